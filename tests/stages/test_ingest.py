from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ranzcr.errors import DataError, OutputError
from ranzcr.stages import ingest


@pytest.fixture
def source(competition, tmp_path) -> Path:
    return shutil.copytree(competition, tmp_path / "source")


def names(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def test_a_folder_is_copied_without_foreign_files(source, tmp_path):
    expected = names(source) - {"phantoms.json"}
    (source / "notes.txt").write_text("not ours")
    (source / "train" / "Thumbs.db").write_bytes(b"")
    result = ingest.run(str(source), tmp_path / "out")
    taken = names(result.path)
    assert taken - {"ingest.json"} == {name for name in expected if name.endswith((".csv", ".jpg"))}
    assert result.files == len(taken) - 1


def test_the_digest_depends_on_content_not_on_paths(source, tmp_path):
    first = ingest.run(str(source), tmp_path / "a")
    second = ingest.run(str(shutil.copytree(source, tmp_path / "copy")), tmp_path / "b")
    assert first.digest == second.digest
    assert json.loads((tmp_path / "a" / "ingest.json").read_text())["digest"] == first.digest
    with (source / "train.csv").open("a") as table:
        table.write("\n")
    assert ingest.run(str(source), tmp_path / "a").digest != first.digest


def test_files_of_the_same_file_system_are_linked(source, tmp_path):
    ingest.run(str(source), tmp_path / "out")
    assert (tmp_path / "out" / "train.csv").samefile(source / "train.csv")


def test_files_of_another_file_system_are_copied(source, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    ingest.run(str(source), tmp_path / "out")
    copied, original = tmp_path / "out" / "train.csv", source / "train.csv"
    assert not copied.samefile(original)
    assert copied.read_bytes() == original.read_bytes()


def test_externals_get_a_folder_and_their_patients(source, tmp_path):
    images = tmp_path / "nih" / "images_001"
    images.mkdir(parents=True)
    shutil.copy(min((source / "test").iterdir()), images / "n1.jpg")
    (tmp_path / "nih" / "patients.csv").write_text("StudyInstanceUID,PatientID\nn1,7\n")
    externals = [str(tmp_path / "nih"), f"again={tmp_path / 'nih'}"]
    ingest.run(str(source), tmp_path / "out", externals=externals)
    assert {name for name in names(tmp_path / "out") if name.startswith("external")} == {
        "external/nih/n1.jpg",
        "external/nih.csv",
        "external/again/n1.jpg",
        "external/again.csv",
    }


@pytest.mark.parametrize(
    ("external", "message"),
    [
        ("{tmp}/nowhere", "no such folder"),
        ("{tmp}/empty", r"no \.jpg or \.png image"),
        ("a/b={tmp}/empty", "'a/b' is not a name"),
    ],
)
def test_a_bad_external_is_one_line(source, tmp_path, external, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=message):
        ingest.run(str(source), tmp_path / "out", externals=[external.format(tmp=tmp_path)])
    assert not (tmp_path / "out").exists()


def test_a_source_that_is_not_a_competition_leaves_nothing(source, tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        ingest.run(str(tmp_path / "nowhere"), tmp_path / "here" / "out")
    shutil.rmtree(source / "train")
    with pytest.raises(DataError, match="no images in train/"):
        ingest.run(str(source), tmp_path / "here" / "out")
    (source / "train.csv").unlink()
    with pytest.raises(DataError, match=r"no train\.csv"):
        ingest.run(str(source), tmp_path / "here" / "out")
    assert list((tmp_path / "here").iterdir()) == []


def test_another_folder_is_not_overwritten(source, tmp_path):
    with pytest.raises(OutputError, match="is not an ingested folder"):
        ingest.run(str(source), source)


def test_without_the_kaggle_command_one_line_explains_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="kaggle command is not installed; pip install kaggle"):
        ingest.run("kaggle:ranzcr-clip", tmp_path / "out")


@pytest.fixture
def kaggle(source, tmp_path, monkeypatch) -> Path:
    """A `kaggle` command that leaves an archive of `source` where it should."""
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", source)
    program = tmp_path / "bin" / "kaggle"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\ncp "{archive}" "$5/ranzcr.zip"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    return program


def test_kaggle_s_archive_becomes_the_same_folder(kaggle, source, tmp_path):
    from_kaggle = ingest.run("kaggle:ranzcr-clip", tmp_path / "a")
    assert from_kaggle.digest == ingest.run(str(source), tmp_path / "b").digest


def test_kaggle_s_refusal_is_passed_on(kaggle, tmp_path):
    kaggle.write_text("#!/bin/sh\necho 403 - Forbidden\nexit 1\n")
    with pytest.raises(DataError, match="kaggle says: 403 - Forbidden; accept its rules"):
        ingest.run("kaggle:ranzcr-clip", tmp_path / "out")


class Bucket:
    """The two calls of an S3 client that are used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get_paginator(self, _):
        return self

    def paginate(self, Bucket: str, Prefix: str):
        keys = [{"Key": Prefix + name} for name in sorted(names(self.folder))]
        return [{"Contents": keys[:5]}, {"Contents": keys[5:]}, {}]

    def download_file(self, bucket: str, key: str, target: str) -> None:
        shutil.copyfile(self.folder / key.removeprefix("clip/"), target)


def test_a_bucket_becomes_the_same_folder(source, tmp_path, monkeypatch):
    monkeypatch.setattr("boto3.client", lambda _: Bucket(source))
    from_s3 = ingest.run("s3://bucket/clip", tmp_path / "a")
    assert from_s3.digest == ingest.run(str(source), tmp_path / "b").digest


def test_a_bucket_that_refuses_is_one_line(tmp_path, monkeypatch):
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "x")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(
        DataError, match=r"s3://nowhere/x: .*check the bucket and your AWS"
    ) as caught:
        ingest.run("s3://nowhere/x", tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_a_folder_of_images_is_copied_and_hashed(competition, tmp_path):
    folder = shutil.copytree(competition / "test", tmp_path / "images")
    (folder / "notes.txt").write_text("not ours")
    first = ingest.run(str(folder), tmp_path / "a", images=True)
    assert names(first.path) - {"ingest.json"} == names(competition / "test")
    next(folder.glob("*.jpg")).unlink()
    assert ingest.run(str(folder), tmp_path / "a", images=True).digest != first.digest


def test_a_folder_without_images_is_one_line(tmp_path):
    with pytest.raises(DataError, match=r"no \.jpg or \.png image in it"):
        ingest.run(str(tmp_path), tmp_path / "out", images=True)
    with pytest.raises(DataError, match="nowhere: no such folder"):
        ingest.run(str(tmp_path / "nowhere"), tmp_path / "out", images=True)
