from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fold_predictions import write_folds

from ranzcr import config, predictions
from ranzcr.data.dataset import Dataset
from ranzcr.ensemble.auc import macro_auc
from ranzcr.errors import DataError
from ranzcr.labels import UID
from ranzcr.stages import evaluate
from ranzcr.tracking import context

pytestmark = pytest.mark.usefixtures("journal")


@pytest.fixture(scope="module")
def folds(tmp_path_factory, dataset) -> list[Path]:
    """Predict output folders: three of `good`, three of `weak`."""
    root = tmp_path_factory.mktemp("predicted")
    weak = write_folds(root, dataset, "weak", skill=1, seed=1)
    return write_folds(root, dataset, "good", skill=3) + weak


def read_json(path: Path) -> dict:
    return json.loads(path.read_text())


def test_every_experiment_is_assembled_and_scored(folds, dataset, tmp_path):
    result = evaluate.run(folds, dataset, tmp_path / "out")
    prepared = Dataset.open(dataset)
    rows = prepared.rows("train")
    written = read_json(tmp_path / "out" / "evaluation.json")
    assert list(written) == ["good", "weak"]
    for name, scores in written.items():
        whole = predictions.read(tmp_path / "out" / name / "oof.parquet", prepared.schema)
        assert list(whole.uids) == list(prepared.table[UID].iloc[rows])
        assert scores["cv_auc"] == pytest.approx(macro_auc(prepared.targets(rows), whole.values))
        assert scores["cv_auc_lo"] <= scores["cv_auc"] <= scores["cv_auc_hi"]
        assert list(scores["auc"]) == list(prepared.schema.names)
        assert scores["cv_auc_folds_std"] >= 0
        assert (tmp_path / "out" / name / "roc.png").stat().st_size > 1000
    assert result.cv["good"] > result.cv["weak"]


def test_test_predictions_are_the_mean_over_folds(folds, dataset, tmp_path):
    evaluate.run(folds[:3], dataset, tmp_path / "out")
    mean = predictions.read(tmp_path / "out" / "good" / "test.parquet")
    parts = [predictions.read(folder / "test.parquet").values for folder in folds[:3]]
    np.testing.assert_allclose(mean.values, np.mean(parts, axis=0), atol=1e-6)
    assert mean.origin.split == "test"
    assert not (tmp_path / "out" / "good" / "external.parquet").exists()


def test_the_digest_follows_content(folds, dataset, tmp_path):
    first = evaluate.run(folds[:3], dataset, tmp_path / "a")
    assert evaluate.run(folds[:3], dataset, tmp_path / "b").digest == first.digest
    assert evaluate.run(folds[3:], dataset, tmp_path / "c").digest != first.digest


def test_a_missing_fold_is_named_and_nothing_is_written(folds, dataset, tmp_path):
    with pytest.raises(DataError, match="experiment good: fold 1 is missing, found 0, 2"):
        evaluate.run([folds[0], folds[2]], dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_test_predictions_of_some_folds_only_are_refused(folds, dataset, tmp_path):
    copies = [shutil.copytree(folder, tmp_path / folder.name) for folder in folds[:3]]
    (copies[2] / "test.parquet").unlink()
    with pytest.raises(
        DataError, match=r"good: test.parquet of 2 folds, oof.parquet of 3; predict"
    ):
        evaluate.run(copies, dataset, tmp_path / "out")


def test_predictions_of_another_data_set_are_refused(folds, dataset, tmp_path):
    copy = shutil.copytree(dataset, tmp_path / "dataset")
    described = read_json(copy / "dataset.json")
    (copy / "dataset.json").write_text(json.dumps({**described, "digest": "0" * 64}))
    with pytest.raises(DataError, match=r"made from data set .*, expected 000000000000"):
        evaluate.run(folds, copy, tmp_path / "out")


def test_scores_are_recorded_in_the_run_of_the_experiment(dataset, tmp_path, journal):
    prepared = Dataset.open(dataset)
    experiment = config.Experiment(name="good")
    run_ids = {}
    for fold in range(3):
        with context.fold_run(
            experiment, dataset_digest=prepared.digest, fold=fold, labels=prepared.schema.names
        ) as run:
            run_ids[fold] = run.run_id
    folds = write_folds(tmp_path, dataset, "good", skill=3, run_ids=run_ids)
    result = evaluate.run(folds, dataset, tmp_path / "out")
    whole = predictions.read(tmp_path / "out" / "good" / "oof.parquet")
    noted = journal.get_run(whole.origin.run_id)
    assert noted.data.tags["kind"] == "single"
    assert noted.data.metrics["cv_auc"] == pytest.approx(result.cv["good"])
    assert "auc/CVC - Normal" in noted.data.metrics
    files = {file.path for file in journal.list_artifacts(whole.origin.run_id)}
    assert {"oof.parquet", "roc.png"} <= files
