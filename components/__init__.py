"""One file per stage, with the same name: a KFP signature around `ranzcr.stages.<name>.run`.

KFP sends only the body of a component to its container, so each body has its own imports. Every
output artifact carries the digest of its content as metadata, and every component that reads an
artifact also takes that digest as a parameter: on a cluster the cache key holds parameters, not
contents.
"""
