from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from ranzcr.data.dataset import Dataset
from ranzcr.errors import DataError
from ranzcr.stages import prepare

pytestmark = pytest.mark.slow


@pytest.fixture
def prepared(folder, tmp_path):
    """The tiny folder, prepared at 16 px in 2 folds."""
    return prepare.run(folder, tmp_path / "prepared", size=16, folds=2).path


def test_rows_targets_and_images_belong_together(prepared):
    dataset = Dataset.open(prepared)
    assert [len(dataset.rows(split)) for split in ("train", "test", "external")] == [8, 2, 1]
    assert dataset.targets(dataset.rows("train"))[:2].tolist() == [[0, 1], [1, 1]]
    assert (dataset.targets(dataset.rows("test")) == -1).all()
    assert dataset.targets(np.array([0])).dtype == np.float32
    assert dataset.images.shape == (11, 16, 16)
    assert (dataset.folds, dataset.image_size) == (2, 16)
    assert json.loads(dataset.annotations["points"].iloc[0]) == [[30, 5], [31, 20]]


def test_an_unknown_split_is_a_callers_mistake(prepared):
    with pytest.raises(ValueError, match="expected one of train, test, external"):
        Dataset.open(prepared).rows("valid")


def test_a_changed_pixel_is_found(prepared):
    Dataset.open(prepared).verify()
    images = np.load(prepared / "images.npy", mmap_mode="r+")
    images[3, 0, 0] ^= 1
    images.flush()
    with pytest.raises(DataError, match=r"images\.npy: the image of 1\.2\.3 \(row 3\) is damaged"):
        Dataset.open(prepared, verify=False).verify()


def test_a_cache_that_is_new_to_this_machine_is_verified_when_it_is_opened(prepared, monkeypatch):
    verified = []
    monkeypatch.setattr(Dataset, "verify", lambda dataset: verified.append(dataset.path))
    Dataset.open(prepared)  # prepare has verified it
    assert verified == []
    copy = shutil.copytree(prepared, prepared.with_name("copy"))
    Dataset.open(copy, verify=False)
    assert verified == []
    Dataset.open(copy)
    assert verified == [copy]


def test_another_folder_is_no_data_set(tmp_path):
    with pytest.raises(DataError, match=r"not a prepared data set \(no dataset\.json\)"):
        Dataset.open(tmp_path)


def test_another_version_is_refused(prepared):
    described = json.loads((prepared / "dataset.json").read_text())
    (prepared / "dataset.json").write_text(json.dumps({**described, "schema_version": 9}))
    with pytest.raises(DataError, match="schema version 9, this ranzcr reads 1"):
        Dataset.open(prepared)


@pytest.mark.parametrize(
    "name", ["dataset.json", "table.parquet", "annotations.parquet", "images.npy"]
)
def test_a_cut_off_file_is_one_line(prepared, name):
    content = (prepared / name).read_bytes()
    (prepared / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"prepare .*again") as caught:
        Dataset.open(prepared)
    assert "\n" not in str(caught.value)


def test_a_cache_of_other_images_is_refused(prepared):
    np.save(prepared / "images.npy", np.zeros((10, 16, 16), np.uint8))
    with pytest.raises(DataError, match=r"found uint8 \(10, 16, 16\), .* \(11, 16, 16\)"):
        Dataset.open(prepared)


def test_a_moved_data_set_is_the_same(prepared, tmp_path):
    moved = shutil.copytree(prepared, tmp_path / "elsewhere" / "x")
    assert Dataset.open(moved).digest == Dataset.open(prepared).digest
