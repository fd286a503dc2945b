"""Training on one node with several devices: several processes in one ordinary train task."""

from pathlib import Path

import pytest
from kfp import dsl
from mlflow import MlflowClient

from components.train import train
from pipelines import local
from ranzcr import config
from ranzcr.data.dataset import Dataset
from ranzcr.models import checkpoint

pytestmark = pytest.mark.service  # two processes import torch


@dsl.pipeline(name="two-devices")
def two_devices(dataset: str, digest: str, experiment: str) -> dsl.Model:
    data = dsl.importer(artifact_uri=dataset, artifact_class=dsl.Dataset).output
    trained = train(
        config=experiment, fold="0", dataset=data, dataset_digest=digest, code="", devices=2
    )
    return trained.outputs["checkpoint"]


def test_the_processes_of_a_task_create_one_checkpoint_and_one_run(dataset, tmp_path, monkeypatch):
    tracking = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking)
    quick = ("data.image_size=48", "training.recipe.train.epochs=2")
    digest = Dataset.open(dataset).digest
    outputs = []
    local.run(
        lambda **arguments: outputs.append(two_devices(**arguments).output),
        {
            "dataset": str(dataset),
            "digest": digest,
            "experiment": config.load("smoke_a", quick).to_json(),
        },
        root=tmp_path / "pipelines",
        parallel=1,
        tasks=1,
    )
    (trained,) = outputs
    assert trained.metadata["digest"] == checkpoint.digest(Path(trained.path))
    client = MlflowClient(tracking)
    ids = [item.experiment_id for item in client.search_experiments()]
    (run,) = client.search_runs(ids, "tags.kind = 'fold'")
    assert run.info.status == "FINISHED"
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 2
    (log,) = (tmp_path / "pipelines/logs").glob("*/train-*.log")
    assert log.read_text().count("epoch 2/2") == 1  # only the first process reports
