"""monitor: a new data set compared with that of the champion."""

import json
import shutil

import champion
import pandas as pd
import pytest

from ranzcr.errors import ConfigError
from ranzcr.stages import fetch, monitor, prepare


@pytest.fixture
def run(journal, dataset, tmp_path):
    """Monitor a data set with a champion that learned from the tiny one."""
    champion.promote_one(tmp_path / "made", dataset)
    model = tmp_path / "model"
    fetch.run("champion", model / "ensemble", model / "blend", model / "candidate.json")

    def _run(data):
        return monitor.run(
            model / "ensemble",
            tmp_path / "report",
            blend=model / "blend",
            dataset=data,
            candidate=model / "candidate.json",
        )

    return _run


@pytest.fixture
def changed(competition, tmp_path):
    """Prepare the tiny competition with another train.csv."""

    def _changed(edit, size=64):
        folder = shutil.copytree(competition, tmp_path / "changed")
        table = pd.read_csv(folder / "train.csv", dtype=str)
        edit(folder, table).to_csv(folder / "train.csv", index=False)
        prepare.run(folder, tmp_path / "new", size=size, folds=3, seed=0)
        return tmp_path / "new"

    return _changed


def report(tmp_path):
    return json.loads((tmp_path / "report" / "monitor.json").read_text())


def test_the_data_of_the_training_has_no_finding(run, dataset, tmp_path):
    result = run(dataset)
    assert result.findings == ()
    monitored = report(tmp_path)
    assert set(monitored["drift"].values()) == {0.0}
    assert monitored["studies"] == {"out_of_fold": 24, "new": 0, "left_out": 0, "gone": 0}
    assert monitored["cv_auc"] == 1.0


def test_labels_that_have_changed_are_found_and_lower_the_score(run, changed, tmp_path):
    def edit(folder, table):
        labels = table.columns.drop(["StudyInstanceUID", "PatientID"])
        return table.assign(**(1 - table[labels].astype(int)).astype(str))

    findings = run(changed(edit)).findings
    drifted, scored = findings[0], findings[-1]
    assert drifted.startswith("drift: label/")
    assert " positive, was 0." in drifted
    assert scored == "score: AUC 0.0000, below 0.9000, the lower end of its interval at training"
    assert report(tmp_path)["findings"] == list(findings)


def test_a_new_study_counts_only_if_its_patient_is_new(run, changed, tmp_path):
    """The model was trained on the other studies of a known patient."""

    def edit(folder, table):
        known, other = table.iloc[0].copy(), table.iloc[1].copy()
        for row, name in ((known, "known"), (other, "stranger")):
            shutil.copy(
                folder / "train" / f"{row.StudyInstanceUID}.jpg", folder / "train" / f"{name}.jpg"
            )
            image = (folder / "train" / f"{name}.jpg").read_bytes()
            (folder / "train" / f"{name}.jpg").write_bytes(image + b"\0")
            row["StudyInstanceUID"] = name
        other["PatientID"] = "nobody-yet"
        (folder / "train_annotations.csv").unlink()  # it names the study that is gone
        gone = table.index[-1]
        return pd.concat([table.drop(index=gone), known.to_frame().T, other.to_frame().T])

    run(changed(edit))
    assert report(tmp_path)["studies"] == {"out_of_fold": 23, "new": 1, "left_out": 1, "gone": 1}


def test_another_image_size_is_refused_with_the_size_to_prepare(run, changed):
    with pytest.raises(ConfigError, match="the model needs 64; prepare it with --size 64"):
        run(changed(lambda folder, table: table, size=32))
