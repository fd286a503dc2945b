from __future__ import annotations

import errno
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from ranzcr import cli
from ranzcr.data import cache
from ranzcr.data.audit import audit
from ranzcr.data.dataset import Dataset
from ranzcr.data.folds import assign_folds
from ranzcr.errors import ConfigError, DataError, OutputError
from ranzcr.labels import PATIENT, UID
from ranzcr.stages import ingest, prepare

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(competition, tmp_path) -> Path:
    """The phantoms, to be damaged."""
    return shutil.copytree(competition, tmp_path / "competition")


def first_image(folder: Path) -> Path:
    return min((folder / "train").iterdir())


def test_the_result_counts_its_images(folder, tmp_path):
    result = prepare.run(folder, tmp_path / "out", size=32, folds=3)
    dataset = Dataset.open(result.path)
    dataset.verify()
    rows = [len(dataset.rows(split)) for split in ("train", "test", "external")]
    assert rows == [result.train, result.test, result.external]
    assert result.train == len(pd.read_csv(folder / "train.csv"))
    assert result.digest == dataset.digest
    assert result.skipped == 0
    assert cv2.imread(str(result.path / "overview.png")).std() > 10


def test_folds_keep_patients_whole_and_leave_test_out(folder, tmp_path):
    prepare.run(folder, tmp_path / "out", size=32, folds=3)
    table = Dataset.open(tmp_path / "out").table
    train = table[table["split"] == "train"]
    assert sorted(train["fold"].unique()) == [0, 1, 2]
    assert train.groupby(PATIENT)["fold"].nunique().max() == 1
    assert (table.loc[table["split"] != "train", "fold"] == -1).all()


def test_patients_who_share_no_xray_are_dealt_separately(folder, tmp_path):
    result = prepare.run(folder, tmp_path / "out", size=32, folds=3, seed=5)
    dataset = Dataset.open(result.path)
    train = dataset.table.iloc[dataset.rows("train")]
    labels = train[list(dataset.schema.names)].to_numpy()
    assert result.joined == []
    assert list(train["fold"]) == list(assign_folds(labels, train[PATIENT].to_numpy(), 3, 5))


@pytest.fixture
def twins(folder, tmp_path) -> list[str]:
    """Two patients of other folds who share an X-ray: the second has it at half its size."""
    prepare.run(folder, tmp_path / "before", size=32, folds=3)
    train = Dataset.open(tmp_path / "before").table.query("split == 'train'")
    one, other = (train[train["fold"] == fold].iloc[0] for fold in (0, 1))
    image = cv2.imread(str(folder / "train" / f"{one[UID]}.jpg"), cv2.IMREAD_GRAYSCALE)
    half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(folder / "train" / f"{other[UID]}.jpg"), half)
    return sorted([one[PATIENT], other[PATIENT]])


def test_patients_who_share_an_xray_are_dealt_as_one(folder, twins, tmp_path):
    result = prepare.run(folder, tmp_path / "out", size=32, folds=3)
    dataset = Dataset.open(result.path)
    assert result.joined == [twins]
    assert dataset.table.loc[dataset.table[PATIENT].isin(twins), "fold"].nunique() == 1
    assert audit(dataset).clean


def test_joined_patients_keep_their_ids(folder, twins, tmp_path):
    prepare.run(folder, tmp_path / "out", size=32, folds=3)
    table = Dataset.open(tmp_path / "out").table.query("split == 'train'")
    patients = pd.read_csv(folder / "train.csv", dtype=str).set_index(UID)[PATIENT]
    assert list(table[PATIENT]) == list(patients[table[UID]])


def test_the_command_reports_joined_patients_on_a_second_run_too(folder, twins, tmp_path):
    command = ["prepare", str(folder), str(tmp_path / "out"), "--size", "32", "--folds", "3"]
    for _ in range(2):
        lines = CliRunner().invoke(cli.app, command).stdout.splitlines()
        assert len(lines) == 2
        assert lines[0] == (
            f"{tmp_path / 'out'}: 2 patients share X-rays and are dealt as 1 "
            f"({twins[0]} with {twins[1]}; see {tmp_path / 'out'}/dataset.json)"
        )


def test_the_error_explains_that_joined_patients_count_as_one(folder, tmp_path):
    first, *others = sorted((folder / "train").iterdir())
    for image in others:
        shutil.copy(first, image)
    with pytest.raises(ConfigError, match=r"one patient; .* \(patients who share an X-ray count"):
        prepare.run(folder, tmp_path / "out", size=32, folds=3)


def test_folds_of_an_older_rule_are_dealt_again(folder, tmp_path, monkeypatch):
    with monkeypatch.context() as before:
        before.setattr(prepare, "_DEALING", prepare._DEALING - 1)
        former = prepare.run(folder, tmp_path / "out", size=32, folds=3)
    inode = (tmp_path / "out").stat().st_ino
    assert prepare.run(folder, tmp_path / "out", size=32, folds=3).digest == former.digest
    assert (tmp_path / "out").stat().st_ino != inode


def test_the_same_content_gives_the_same_digest_anywhere(competition, folder, tmp_path):
    first = prepare.run(competition, tmp_path / "a", size=32, folds=3)
    second = prepare.run(folder, tmp_path / "b" / "c", size=32, folds=3)
    assert first.digest == second.digest


@pytest.mark.parametrize("options", [{"size": 40}, {"folds": 2}, {"seed": 1}])
def test_options_that_decide_the_content_change_the_digest(options, folder, tmp_path):
    usual = {"size": 32, "folds": 3, "seed": 0}
    first = prepare.run(folder, tmp_path / "out", **usual)
    second = prepare.run(folder, tmp_path / "out", **{**usual, **options})
    assert first.digest != second.digest


def test_a_second_run_does_no_work(folder, tmp_path, monkeypatch):
    first = prepare.run(folder, tmp_path / "out", size=32, folds=3)
    inode = (tmp_path / "out").stat().st_ino
    monkeypatch.setattr(cache, "build", lambda *_, **__: pytest.fail("images are read again"))
    assert prepare.run(folder, tmp_path / "out", size=32, folds=3) == first
    assert (tmp_path / "out").stat().st_ino == inode


def test_a_changed_image_is_prepared_again_whatever_its_time(folder, tmp_path):
    import os

    first = prepare.run(folder, tmp_path / "out", size=32, folds=3)
    image = first_image(folder)
    before = image.stat()
    pixels = cv2.imread(str(image), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(image), 255 - pixels)
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert prepare.run(folder, tmp_path / "out", size=32, folds=3).digest != first.digest


def test_a_damaged_data_set_is_prepared_again(folder, tmp_path):
    first = prepare.run(folder, tmp_path / "out", size=32, folds=3)
    (tmp_path / "out" / "images.npy").unlink()
    assert prepare.run(folder, tmp_path / "out", size=32, folds=3) == first
    Dataset.open(tmp_path / "out").verify()


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"", "the file is empty"), (None, "truncated"), (b"GIF89a", "cannot be decoded")],
)
def test_a_bad_image_stops_and_leaves_nothing(folder, tmp_path, content, problem):
    image = first_image(folder)
    image.write_bytes(image.read_bytes()[:900] if content is None else content)
    with pytest.raises(DataError, match=f"{image.name}: .*{problem}.*--skip-bad") as caught:
        prepare.run(folder, tmp_path / "here" / "out", size=32, folds=3)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "here").iterdir()) == []


def test_a_missing_image_stops_at_once(folder, tmp_path):
    image = first_image(folder)
    image.unlink()
    with pytest.raises(DataError, match=f"train/{image.name}: no such image; .* --skip-bad"):
        prepare.run(folder, tmp_path / "out", size=32, folds=3)


def test_skip_bad_lists_the_images_that_are_left_out(folder, tmp_path):
    missing, empty = sorted((folder / "train").iterdir())[:2]
    missing.unlink()
    empty.write_bytes(b"")
    result = prepare.run(folder, tmp_path / "out", size=32, folds=3, skip_bad=True)
    assert result.skipped == 2
    listed = pd.read_csv(tmp_path / "out" / "skipped.csv", dtype=str).fillna("")
    assert listed.to_numpy().tolist() == [
        [missing.stem, "", "there is no such image"],
        [empty.stem, f"train/{empty.name}", "the file is empty"],
    ]
    dataset = Dataset.open(tmp_path / "out")
    dataset.verify()
    assert not {missing.stem, empty.stem} & set(dataset.table[UID])
    assert set(dataset.annotations[UID]) <= set(dataset.table[UID])


def test_nothing_left_to_train_on_is_an_error(folder, tmp_path):
    for image in (folder / "train").iterdir():
        image.write_bytes(b"")
    with pytest.raises(DataError, match="train: none of its images can be read"):
        prepare.run(folder, tmp_path / "out", size=32, folds=3, skip_bad=True)


def test_more_folds_than_patients_are_refused(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"folds of .* patients"):
        prepare.run(folder, tmp_path / "out", size=32, folds=100)


def test_another_folder_is_not_overwritten(folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("dear")
    with pytest.raises(OutputError, match="is not a prepared data set; choose another output"):
        prepare.run(folder, tmp_path / "out", size=32, folds=3)
    assert (tmp_path / "out" / "letter.txt").read_text() == "dear"


def test_a_full_disk_keeps_the_earlier_data_set(folder, tmp_path, monkeypatch):
    first = prepare.run(folder, tmp_path / "here" / "out", size=32, folds=3)

    def fill(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache, "build", fill)
    with pytest.raises(OSError, match="No space left"):
        prepare.run(folder, tmp_path / "here" / "out", size=48, folds=3)
    assert [file.name for file in (tmp_path / "here").iterdir()] == ["out"]
    assert Dataset.open(tmp_path / "here" / "out").digest == first.digest


def test_the_real_x_rays_pass_in_full(real_data, tmp_path):
    result = prepare.run(real_data / "cxr-intubation", tmp_path / "out", size=64, folds=5)
    assert (result.train, result.test, result.external, result.skipped) == (76, 40, 0, 0)
    assert result.joined == [["covid-178", "covid-97"]]
    dataset = Dataset.open(result.path)
    assert dataset.schema.names == ("ETT - Present",)
    train = dataset.table.iloc[dataset.rows("train")]
    assert train.groupby("fold")["ETT - Present"].sum().min() > 0
    assert (dataset.images.reshape(116, -1).max(axis=1) > 100).all()
    assert np.unique(dataset.table["width"]).size > 1
    assert audit(dataset).clean


def test_an_error_names_the_users_file_not_the_ingested_copy(folder, tmp_path):
    first_image(folder).write_bytes(b"")
    ingest.run(str(folder), tmp_path / "copy")
    with pytest.raises(DataError, match=re.escape(f"{first_image(folder)}: ")):
        prepare.run(tmp_path / "copy", tmp_path / "dataset", size=32, folds=2)
