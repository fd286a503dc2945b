from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from tiny_ensemble import write_ensemble

from ranzcr.data.dataset import Dataset
from ranzcr.errors import DataError
from ranzcr.files import hash_file
from ranzcr.inference import runtime
from ranzcr.labels import UID
from ranzcr.predictions import Origin, Predictions
from ranzcr.stages import bundle
from ranzcr.submission.validate import validate


@pytest.fixture
def ensemble(dataset, tmp_path):
    (tmp_path / "ensemble").mkdir()
    return write_ensemble(tmp_path / "ensemble", Dataset.open(dataset).schema.names)


@pytest.fixture
def blend(dataset, ensemble, tmp_path) -> Path:
    """A blend whose test predictions are what the ensemble gives for the cached images."""
    prepared = Dataset.open(dataset)
    for split, name in (("train", "oof"), ("test", "test")):
        rows = prepared.rows(split)
        values = runtime.load(ensemble).predict(prepared.images[rows])
        uids = prepared.table[UID].to_numpy()[rows]
        origin = Origin(experiment="blend", split=split)
        Predictions(uids, values, prepared.schema, origin).write(tmp_path / f"blend/{name}.parquet")
    return tmp_path / "blend"


def test_the_kernel_makes_the_blends_submission(competition, ensemble, blend, tmp_path, capfd):
    result = bundle.run(ensemble, tmp_path / "out", competition=competition, blend=blend)
    assert result.max_abs_diff < 1e-5
    assert result.submission == tmp_path / "out" / "submission.csv"
    assert validate(result.submission, competition / "sample_submission.csv") > 0
    assert "0 without a readable image" in capfd.readouterr().err


def test_the_manifest_has_every_file_of_the_bundle(ensemble, tmp_path):
    result = bundle.run(ensemble, tmp_path / "out")
    manifest = json.loads((result.path / "MANIFEST.json").read_text())
    files = {p.relative_to(result.path).as_posix() for p in result.path.rglob("*") if p.is_file()}
    assert set(manifest) == files - {"MANIFEST.json"}
    assert {"kernel.py", "ensemble.json", "README.md", "requirements.txt"} < set(manifest)
    assert all(hash_file(result.path / file) == sha for file, sha in manifest.items())
    assert result.submission is None
    assert bundle.run(ensemble, tmp_path / "again").digest == result.digest


def test_a_broken_test_image_does_not_stop_it(competition, ensemble, blend, tmp_path, capfd):
    copy = shutil.copytree(competition, tmp_path / "competition")
    next(iter((copy / "test").iterdir())).write_bytes(b"")
    with pytest.raises(DataError, match=r"test.parquet: the bundle's predictions differ from it"):
        bundle.run(ensemble, tmp_path / "out", competition=copy, blend=blend)
    assert not (tmp_path / "out").exists()
    result = bundle.run(ensemble, tmp_path / "out", competition=copy)
    assert result.max_abs_diff is None
    assert (pd.read_csv(result.submission).iloc[:, 1:] == 0.25).all(axis=1).sum() == 1
    assert "1 without a readable image" in capfd.readouterr().err


def test_a_missing_model_is_named(ensemble, tmp_path):
    (ensemble / "exp0" / "fold1.onnx").unlink()
    with pytest.raises(DataError, match=r"exp0/fold1.onnx: the model is missing; export"):
        bundle.run(ensemble, tmp_path / "out")


def test_a_damaged_model_fails_with_the_kernels_last_line(competition, ensemble, tmp_path):
    (ensemble / "exp0" / "fold1.onnx").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"kernel.py: failed with 1: .*fold1.onnx") as raised:
        bundle.run(ensemble, tmp_path / "out", competition=competition)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_an_ensemble_is_named(tmp_path):
    with pytest.raises(
        DataError, match=r"ensemble.json: missing or damaged; make it with ranzcr export"
    ):
        bundle.run(tmp_path, tmp_path / "out")
