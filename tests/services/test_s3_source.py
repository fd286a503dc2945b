"""Ingesting a competition's data from a real object store."""

from __future__ import annotations

from pathlib import Path

import pytest
import swift

from ranzcr.errors import DataError
from ranzcr.stages import ingest


@pytest.fixture
def bucket(s3, competition: Path, monkeypatch):
    """Upload the phantoms' competition folder to s3://ranzcr/raw/."""
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    client = swift.client(s3)
    for path in competition.rglob("*"):
        if path.is_file():
            key = f"raw/{path.relative_to(competition).as_posix()}"
            client.upload_file(str(path), swift.BUCKET, key)


def test_a_bucket_and_a_folder_with_the_same_files_have_one_digest(bucket, competition, tmp_path):
    from_bucket = ingest.run("s3://ranzcr/raw", tmp_path / "from-bucket")
    from_folder = ingest.run(str(competition), tmp_path / "from-folder")
    assert from_bucket.digest == from_folder.digest
    assert from_bucket.files == from_folder.files > 24


def test_a_missing_bucket_is_reported(bucket, tmp_path):
    with pytest.raises(DataError, match="s3://nowhere/raw"):
        ingest.run("s3://nowhere/raw", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_empty_prefix_is_reported(bucket, tmp_path):
    with pytest.raises(DataError, match="s3://ranzcr/nothing"):
        ingest.run("s3://ranzcr/nothing", tmp_path / "out")
