import json

import mlflow
import numpy as np
import pytest
from trained import tiny

from ranzcr import predictions
from ranzcr.data.dataset import Dataset
from ranzcr.errors import ConfigError, TrackingError
from ranzcr.models import checkpoint
from ranzcr.stages import train


def test_a_checkpoint_folder_has_the_model_its_experiment_and_its_scores(dataset, tmp_path):
    result = train.run(tiny(), dataset, tmp_path / "out", fold=1)
    names = {path.name for path in result.path.iterdir()}
    assert names == {
        *("model.safetensors", "experiment.yaml", "metrics.json"),
        *("oof.parquet", "curves.png", "examples.npy"),
    }
    metrics = json.loads((result.path / "metrics.json").read_text())
    assert metrics["experiment"] == "tiny"
    assert (metrics["fold"], metrics["epochs"], metrics["image_size"]) == (1, 1, 48)
    assert metrics["valid_auc"] == pytest.approx(result.valid_auc)
    assert list(metrics["auc"]) == metrics["labels"]
    assert checkpoint.load(result.path).experiment == tiny()
    assert predictions.read(result.path / "oof.parquet").origin.fold == 1
    assert np.load(result.path / "examples.npy").shape == (4, 48, 48)
    _assert_recorded(result)


def _assert_recorded(result):
    from ranzcr.tracking import server

    run = server.connect().get_run(result.run_id)
    assert run.data.tags["kind"] == "fold"
    assert run.data.metrics["valid_auc"] == pytest.approx(result.valid_auc)
    assert {"loss", "val_auc", "images_per_second"} < set(run.data.metrics)
    assert run.info.status == "FINISHED"


def test_the_same_training_has_the_same_digest_and_another_fold_has_not(dataset, tmp_path):
    runs = [
        train.run(tiny(), dataset, tmp_path / str(number), fold=fold, track=False)
        for number, fold in enumerate((0, 0, 1))
    ]
    first, again, other = (run.digest for run in runs)
    assert first == again != other
    assert runs[0].run_id is None


def test_nothing_is_written_if_the_recipe_does_not_fit(dataset, tmp_path):
    with pytest.raises(ConfigError, match="fold 7: the data set has folds 0 to 2"):
        train.run(tiny(), dataset, tmp_path / "out", fold=7, track=False)
    assert not list(tmp_path.glob("out*"))


def test_an_unreachable_mlflow_is_noticed_before_training(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr("ranzcr.training.fit.fit", lambda *_, **__: pytest.fail("it trained"))
    with pytest.raises(TrackingError):
        train.run(tiny(), dataset, tmp_path / "out", fold=0)
    mlflow.set_tracking_uri(None)


@pytest.mark.parametrize(
    ("ranks", "recorded"),
    [
        ({"RANK": "1", "LOCAL_RANK": "0"}, False),  # the first process of the second node
        ({"LOCAL_RANK": "1"}, False),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
    ],
)
def test_only_the_first_process_of_all_nodes_is_recorded(
    dataset, tmp_path, monkeypatch, ranks, recorded
):
    for name, value in ranks.items():
        monkeypatch.setenv(name, value)
    with train._open_run(tiny(), Dataset.open(dataset), 0, None, track=True) as run:
        assert bool(run) == recorded
