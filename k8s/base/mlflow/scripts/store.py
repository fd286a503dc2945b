"""Backups in an object store: <URI>/<time>/<file>, and a manifest that is written last.

Usage: store.py push FOLDER URI [--keep N] | pull FOLDER URI [--backup NAME]
boto3's variables (AWS_*) set the store and the credentials.
"""

import argparse
import hashlib
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import boto3

MANIFEST = "manifest.json"


def push(store: "Store", folder: Path, keep: int) -> None:
    """Upload the folder's files as a new backup, then delete all but the `keep` newest.

    An incomplete backup has no manifest; it is not counted, and deleted with the old ones.
    """
    name = datetime.now(UTC).strftime("%Y-%m-%dT%H%M%SZ")
    files = sorted(file for file in folder.iterdir() if file.is_file())
    for file in files:
        store.send(file, f"{name}/{file.name}")
    manifest = json.dumps({file.name: sha256(file) for file in files}, indent=1)
    store.write(f"{name}/{MANIFEST}", manifest)
    print(f"{store.uri}/{name}: {', '.join(file.name for file in files)}")
    kept = store.backups()[-keep:]
    for key in store.names():
        if key.split("/")[0] < kept[0]:
            store.delete(key)


def pull(store: "Store", folder: Path, name: str) -> None:
    """Download a backup by name or the `newest`; exit if it is missing or has changed."""
    backups = store.backups()
    if name == "newest":
        name = max(backups, default=name)
    if name not in backups:
        sys.exit(f"{store.uri}: no backup {name}; there are {', '.join(backups) or 'none'}")
    for file, digest in json.loads(store.read(f"{name}/{MANIFEST}")).items():
        store.fetch(f"{name}/{file}", folder / file)
        if sha256(folder / file) != digest:
            sys.exit(f"{store.uri}/{name}/{file}: its content has changed; choose another backup")
    print(f"{store.uri}/{name}: fetched")


class Store:
    """Objects below an s3://bucket/prefix, with names relative to it."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self._bucket = urlsplit(self.uri).netloc
        self._prefix = urlsplit(self.uri).path.strip("/") + "/"
        self._client = boto3.client("s3")

    def backups(self) -> list[str]:
        """Return the names of complete backups, oldest first."""
        return sorted(
            key.removesuffix(f"/{MANIFEST}") for key in self.names() if key.endswith(MANIFEST)
        )

    def names(self) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix
        )
        entries = [entry for page in pages for entry in page.get("Contents", [])]
        return [entry["Key"].removeprefix(self._prefix) for entry in entries]

    def send(self, file: Path, key: str) -> None:
        self._client.upload_file(str(file), self._bucket, self._prefix + key)

    def fetch(self, key: str, file: Path) -> None:
        self._client.download_file(self._bucket, self._prefix + key, str(file))

    def write(self, key: str, text: str) -> None:
        self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=text.encode())

    def read(self, key: str) -> bytes:
        return self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)["Body"].read()

    def delete(self, key: str) -> None:
        self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)


def sha256(file: Path) -> str:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["push", "pull"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("uri")
    parser.add_argument("--keep", type=int, default=30)
    parser.add_argument("--backup", default="newest")
    arguments = parser.parse_args()
    store = Store(arguments.uri)
    if arguments.action == "push":
        push(store, arguments.folder, arguments.keep)
    else:
        pull(store, arguments.folder, arguments.backup)


if __name__ == "__main__":
    main()
