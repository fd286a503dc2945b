"""Atomic writes, and content hashes of files and folders."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ranzcr.errors import OutputError


@contextmanager
def replacing(target: Path | str) -> Iterator[Path]:
    """Yield a path beside `target` for a file or a folder, and rename it to `target` on success.

    On an error the new file or folder is removed and `target` stays as it was. The yielded path
    does not exist yet and keeps the target's suffix. A folder at `target` is replaced as a whole.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    holder = Path(tempfile.mkdtemp(prefix=f".{target.name[:40]}-", dir=target.parent))
    written = holder / target.name
    try:
        yield written
        if not written.exists():
            raise OutputError(f"{target}: nothing was written")
        if target.is_dir() and not target.is_symlink():
            target.rename(holder / "replaced")
        written.replace(target)
    except OSError as error:
        error.filename = error.filename or str(
            target
        )  # a failed write to a full disk does not name the file
        raise
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` atomically as indented JSON; keys keep their order."""
    with replacing(path) as beside:
        beside.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def hash_file(path: Path | str) -> str:
    """Return the SHA-256 of a file's bytes, 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_json(value: Any) -> str:
    """Return the SHA-256 of a JSON value with sorted keys, 64 hex digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def hash_folder(folder: Path | str, pattern: str = "**/*") -> str:
    """Return the SHA-256 of the relative names and contents of a folder's files, 64 hex digits."""
    folder = Path(folder)
    contents = {
        path.relative_to(folder).as_posix(): hash_file(path)
        for path in folder.glob(pattern)
        if path.is_file()
    }
    return hash_json(contents)
