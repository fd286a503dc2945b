"""A source -> a competition folder with a content digest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ranzcr.cores import cores
from ranzcr.data import sources
from ranzcr.errors import OutputError
from ranzcr.files import hash_file, hash_json, replacing, write_json
from ranzcr.progress import track

RECORD = "ingest.json"


@dataclass(frozen=True)
class IngestResult:
    """The folder at `path`; `digest` is of its content and does not depend on the source."""

    path: Path
    digest: str
    files: int


def run(
    source: str, out: Path | str, *, externals: Sequence[str] = (), images: bool = False
) -> IngestResult:
    """Copy or hard-link the competition in `source` to `out`.

    Args:
        source: a folder, s3://bucket/prefix or kaggle:COMPETITION.
        externals: folders of unlabelled images, each "path" or "name=path".
        images: `source` is a folder, or s3://, of images alone.

    Raises DataError if a source is missing or not a competition, OutputError if `out` is something
    else.
    """
    out = Path(out)
    _refuse_other_output(out)
    with replacing(out) as beside:
        beside.mkdir()
        if images:
            sources.fetch_images(str(source), beside)
        else:
            sources.fetch(str(source), beside)
        for external in externals:
            sources.add_external(external, beside)
        files, digest = digest_of(beside)
        record = {"digest": digest, "files": files, "source": str(source)}
        write_json(beside / RECORD, record)
    return IngestResult(out, digest, files)


def source_of(folder: Path) -> str:
    """Return the source of an ingested folder; the folder itself if it was not ingested."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return str(record["source"]).rstrip("/")
    except (OSError, ValueError, KeyError):
        return str(folder)


def digest_of(folder: Path) -> tuple[int, str]:
    """Return the number of files of a competition folder and the hash of names and contents."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    with ThreadPoolExecutor(cores()) as pool:
        hashes = list(track(pool.map(hash_file, files), "Hashing files", len(files)))
    names = [file.relative_to(folder).as_posix() for file in files]
    return len(files), hash_json(dict(zip(names, hashes, strict=True)))


def _refuse_other_output(out: Path) -> None:
    if not out.exists() or (out / RECORD).is_file():
        return
    if not out.is_dir() or any(out.iterdir()):
        raise OutputError(f"{out}: it exists and is not an ingested folder; choose another output")
