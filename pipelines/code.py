"""The version of the code, as the cache key needs it."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import ranzcr
from ranzcr.files import hash_folder, hash_json


def code_version() -> str:
    """16 hex digits that change with any source file of ranzcr or version of what it runs on."""
    sources = hash_folder(Path(ranzcr.__file__).parent, "**/*.py")
    pinned = [
        line.split("==")[0] for line in metadata.requires("ranzcr") or [] if "extra ==" not in line
    ]
    versions = {name: metadata.version(name) for name in sorted(pinned)}
    return hash_json([sources, versions])[:16]
