"""Another competition is one YAML file: here a single label and other columns."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from trained import tiny

from ranzcr import competitions
from ranzcr.data.dataset import Dataset
from ranzcr.ensemble.score import Truth
from ranzcr.errors import ConfigError, DataError
from ranzcr.predictions import read
from ranzcr.stages import blend, bundle, evaluate, export, predict, prepare, train

pytestmark = pytest.mark.usefixtures("journal")

NODULES = """
about: nodules on chest X-rays
id: image
group: case
slug: nodules-2027
"""


@pytest.fixture
def nodules(competition, tmp_path, monkeypatch):
    """A folder of the second competition, which is chosen."""
    (tmp_path / "nodules.yaml").write_text(NODULES)
    monkeypatch.setenv("RANZCR_COMPETITION", str(tmp_path / "nodules.yaml"))
    folder = shutil.copytree(competition, tmp_path / "nodules")
    names = {"StudyInstanceUID": "image", "PatientID": "case", "CVC - Normal": "nodule"}
    for file in ("train.csv", "sample_submission.csv", "train_annotations.csv"):
        table = pd.read_csv(folder / file).rename(columns=names)
        if "label" in table:
            table = table[table["label"] == "CVC - Normal"].assign(label="nodule")
        columns = [name for name in ("image", "nodule", "case", "label", "data") if name in table]
        table[columns].to_csv(folder / file, index=False)
    return folder


def test_a_second_competition_goes_from_its_folder_to_its_submission(nodules, tmp_path):
    dataset = tmp_path / "dataset"
    prepare.run(nodules, dataset, size=64, folds=2, seed=0)
    prepared = Dataset.open(dataset)
    assert prepared.schema.names == ("nodule",)
    assert (prepared.table["PatientID"].iloc[prepared.rows("train")] != "").all()
    checkpoints = [tmp_path / f"fold{fold}" for fold in range(2)]
    predicted = [tmp_path / f"predicted{fold}" for fold in range(2)]
    for fold in range(2):
        train.run(tiny(), dataset, checkpoints[fold], fold=fold)
        predict.run([checkpoints[fold]], dataset, predicted[fold])
    evaluate.run(predicted, dataset, tmp_path / "evaluated")
    blend.run([tmp_path / "evaluated"], dataset, tmp_path / "blend", method="mean")
    export.run(tmp_path / "blend", checkpoints, tmp_path / "ensemble")
    result = bundle.run(tmp_path / "ensemble", tmp_path / "bundle", competition=nodules)
    submission = pd.read_csv(result.submission)
    assert list(submission.columns) == ["image", "nodule"]
    assert list(submission["image"]) == list(
        pd.read_csv(nodules / "sample_submission.csv")["image"]
    )
    assert "nodules-2027" in (result.path / "README.md").read_text()


def test_tables_of_predictions_and_labels_have_its_columns(nodules, tmp_path):
    truth = Truth.read(nodules / "train.csv")
    assert truth.schema.names == ("nodule",)
    assert truth.groups[0] != truth.uids[0]
    pd.DataFrame({"image": ["a"], "nodule": [0.5]}).to_csv(tmp_path / "p.csv", index=False)
    predictions = read(tmp_path / "p.csv")
    predictions.write(tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_text().startswith("image,nodule\n")


def test_an_error_names_its_columns(nodules, tmp_path):
    pd.read_csv(nodules / "train.csv").drop(columns="case").to_csv(nodules / "train.csv")
    with pytest.raises(DataError, match=r"train\.csv: missing case; found .*, image, nodule\."):
        prepare.run(nodules, tmp_path / "dataset", size=64, folds=2, seed=0)


def test_its_names_in_mlflow_follow_from_its_own(nodules):
    assert competitions.current().candidates == "nodules-candidates"
    code = "from ranzcr.tracking import place; print(place.EXPERIMENT)"
    printed = subprocess.check_output([sys.executable, "-c", code], env=os.environ, text=True)
    assert printed == "nodules\n"


def test_an_unknown_competition_is_refused(monkeypatch):
    monkeypatch.setenv("RANZCR_COMPETITION", "ranzcr-clap")
    with pytest.raises(ConfigError, match="no competition 'ranzcr-clap'; did you mean ranzcr-"):
        competitions.current()
