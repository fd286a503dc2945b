"""The pipelines that work on a registered model: promote, predict, nightly."""

from __future__ import annotations

import shutil
from pathlib import Path

import champion
import cv2
import pandas as pd
import pytest

from pipelines import launch
from ranzcr.errors import PipelineError
from ranzcr.registry import ledger, registry


@pytest.fixture
def said(capfd):
    """What the runner has said since it was asked last."""
    return lambda: capfd.readouterr().err


def test_a_candidate_is_judged_anew_and_promoted(journal, competition, dataset, tmp_path, said):
    version = champion.register_one(tmp_path / "made", dataset, min_auc=0.9999)
    asked = {"source": str(competition), "version": version, "folds": 3, "why": "0.01 better"}
    with pytest.raises(PipelineError, match=r"stage promote failed: .* did not pass its gates"):
        launch.run("promote", min_auc=0.9999, **asked)
    assert registry.champion() is None
    launch.run("promote", min_auc=0.5, **asked)
    assert "prepare: cached" in said()
    assert [(act.candidate_version, act.why) for act in ledger.entries(journal)] == [
        (version, "0.01 better")
    ]


def test_each_image_of_a_folder_is_predicted_once(journal, competition, dataset, tmp_path, said):
    champion.promote_one(tmp_path / "made", dataset)
    images = str(competition / "test")
    made = launch.run("predict", images=images)
    submission = pd.read_csv(made["predictions"] / "submission.csv")
    sample = pd.read_csv(competition / "sample_submission.csv")
    assert sorted(submission.StudyInstanceUID) == sorted(sample.StudyInstanceUID)
    assert list(submission.columns) == list(sample.columns)
    assert "predict: done" in said()

    assert launch.run("predict", images=images) == made
    assert "predict: cached" in said()


def test_nightly_is_quiet_about_the_data_that_the_model_knows(
    journal, competition, dataset, tmp_path, said
):
    champion.promote_one(tmp_path / "made", dataset)
    launch.run("nightly", source=str(competition), folds=3)
    run = journal.get_run(registry.champion().run_id)
    assert run.data.metrics["monitor/cv_auc"] == 1.0
    assert run.data.metrics["monitor/pixels"] == 0.0
    said()
    launch.run("nightly", source=str(competition), folds=3)
    assert "monitor: cached" in said()


def test_nightly_fails_where_the_images_have_changed(journal, competition, dataset, tmp_path, said):
    champion.promote_one(tmp_path / "made", dataset)
    changed = shutil.copytree(competition, tmp_path / "changed")
    _darken(changed / "train")
    with pytest.raises(PipelineError, match=r"stage monitor failed: .*drift: pixels \d"):
        launch.run("nightly", source=str(changed), folds=3)
    files = journal.list_artifacts(registry.champion().run_id, "monitor")
    assert [file.path for file in files] == ["monitor/monitor.json"]


def _darken(folder: Path) -> None:
    for path in folder.glob("*.jpg"):
        cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) // 4)
