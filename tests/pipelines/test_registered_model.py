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

pytestmark = pytest.mark.slow


@pytest.fixture
def stderr(capfd):
    """Return the runner's stderr since the last call."""
    return lambda: capfd.readouterr().err


def test_a_candidate_is_evaluated_again_and_promoted(
    journal, competition, dataset, tmp_path, stderr
):
    version = champion.register_one(tmp_path / "model", dataset, min_auc=0.9999)
    arguments = {"source": str(competition), "version": version, "folds": 3, "why": "0.01 better"}
    with pytest.raises(PipelineError, match=r"stage promote failed: .* did not pass its gates"):
        launch.run("promote", min_auc=0.9999, **arguments)
    assert registry.champion() is None
    launch.run("promote", min_auc=0.5, **arguments)
    assert "prepare: cached" in stderr()
    assert [(line.candidate_version, line.why) for line in ledger.entries(journal)] == [
        (version, "0.01 better")
    ]


def test_each_image_of_a_folder_is_predicted_once(journal, competition, dataset, tmp_path, stderr):
    champion.promote_one(tmp_path / "model", dataset)
    images = str(competition / "test")
    outputs = launch.run("predict", images=images)
    submission = pd.read_csv(outputs["predictions"] / "submission.csv")
    sample = pd.read_csv(competition / "sample_submission.csv")
    assert sorted(submission.StudyInstanceUID) == sorted(sample.StudyInstanceUID)
    assert list(submission.columns) == list(sample.columns)
    assert "predict: done" in stderr()

    assert launch.run("predict", images=images) == outputs
    assert "predict: cached" in stderr()


def test_nightly_succeeds_on_the_data_that_the_model_was_trained_on(
    journal, competition, dataset, tmp_path, stderr
):
    champion.promote_one(tmp_path / "model", dataset)
    launch.run("nightly", source=str(competition), folds=3)
    run = journal.get_run(registry.champion().run_id)
    assert run.data.metrics["monitor/cv_auc"] == 1.0
    assert run.data.metrics["monitor/pixels"] == 0.0
    stderr()
    launch.run("nightly", source=str(competition), folds=3)
    assert "monitor: cached" in stderr()


def test_nightly_fails_if_the_images_have_changed(journal, competition, dataset, tmp_path, stderr):
    champion.promote_one(tmp_path / "model", dataset)
    changed = shutil.copytree(competition, tmp_path / "changed")
    _darken(changed / "train")
    with pytest.raises(PipelineError, match=r"stage monitor failed: .*drift: pixels \d"):
        launch.run("nightly", source=str(changed), folds=3)
    files = journal.list_artifacts(registry.champion().run_id, "monitor")
    assert [file.path for file in files] == ["monitor/monitor.json"]


def _darken(folder: Path) -> None:
    for path in folder.glob("*.jpg"):
        cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) // 4)
