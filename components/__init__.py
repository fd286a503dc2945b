"""One file per stage, same name: a KFP signature around `ranzcr.stages.<name>.run`.

KFP sends only a component's body to its container, so each body holds its own imports. Every
output artifact carries the digest of its content as metadata, and every component that reads an
artifact also takes that digest as a parameter: on a cluster the cache key holds parameters, not
contents.
"""
