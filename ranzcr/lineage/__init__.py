"""Lineage: what a run or a version was made from, and what was made from it.

`graph` builds it from the journal and the registry, `text` prints it, `picture` draws it, `render`
chooses between them.
"""
