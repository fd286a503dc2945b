"""The whole pipeline under KFP's MLflow plugin, on a real server: exactly the expected runs."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import mlflow.pyfunc
import pandas as pd
import pytest
from journal_runs import frame
from mlflow import MlflowClient
from plugin_emulator import Plugin

from ranzcr import cli, config
from ranzcr.journal import columns
from ranzcr.lineage.graph import trace
from ranzcr.lineage.render import render

FOLDS = 2
RANZCR = Path(sys.executable).parent / "ranzcr"
QUICK = (
    *("--set", "data.image_size=64", "--set", "training.recipe.train.epochs=1"),
    *("--set", "training.recipe.train.warmup_epochs=0"),
)
RUN = (
    *("pipeline", "run", "competition", "--first", "smoke_a", "--second", "smoke_student"),
    *("--folds", str(FOLDS), "--parallel", "2", *QUICK),
)
# The models learn nothing in one epoch, but the tasks behind the gate must run.
GATES = (
    "{cv: {at_least: 0}, calibration: {at_most: 1},"
    " champion: {required: false}, labels: {required: false}}"
)
STAGES = ("ingest", "prepare", "plan", "plan-2", "evaluate", "evaluate-2", "pseudo")
TASKS = (*STAGES, "blend", "export", "register", "promote", "bundle")
DAGS = ("first-stage", "second-stage", "gate-passed")


@pytest.fixture(scope="module")
def pipeline(competition, mlflow_server, tmp_path_factory):
    """Run the pipeline; return the plugin, all runs that it created, and its home folder."""
    plugin = Plugin(mlflow_server, "kfp-default")
    folder = tmp_path_factory.mktemp("plugin")
    gates = folder / "gates.yaml"
    gates.write_text(GATES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
        patch.setenv("RANZCR_HOME", str(folder / "home"))
        patch.setenv("RANZCR_CODE", "")  # the run sets it: put it back after the tests
        before = {run.info.run_id for run in all_runs(plugin.client)}
        with plugin.pipeline_run("competition"):
            data = ("--data", str(competition), "--gates", str(gates))
            cli.app([*RUN, *data], standalone_mode=False)
        runs = [run for run in all_runs(plugin.client) if run.info.run_id not in before]
    return plugin, runs, folder / "home"


@pytest.fixture
def tracked(pipeline, mlflow_server, monkeypatch):
    """The same, with the journal on that server."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    return pipeline


def all_runs(client: MlflowClient):
    return client.search_runs([it.experiment_id for it in client.search_experiments()])


def of_kind(runs, kind):
    return [run for run in runs if run.data.tags.get("kind") == kind]


def test_the_runs_are_those_of_the_plugin_and_the_rows_of_the_journal(tracked):
    plugin, runs, _ = tracked
    rows = [run for run in runs if run.info.experiment_id != plugin.experiment_id]
    kinds = Counter(run.data.tags["kind"] for run in rows)
    assert kinds == {"single": 2, "pseudo": 1, "ensemble": 1}
    folds = 2 * FOLDS * 2  # two loops, each trains and predicts every fold
    pipeline = 1
    assert len(runs) - len(rows) == pipeline + len(TASKS) + len(DAGS) + folds
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_each_fold_is_one_task_run_with_its_name(tracked):
    plugin, runs, _ = tracked
    folds = of_kind(runs, "fold")
    assert sorted(run.info.run_name for run in folds) == [
        f"{name} fold {fold}" for name in ("smoke_a", "smoke_student") for fold in range(FOLDS)
    ]
    assert {run.info.experiment_id for run in folds} == {plugin.experiment_id}
    for run in folds:
        name, fold = run.data.tags["experiment"], run.data.tags["fold"]
        assert run.info.run_name == f"{name} fold {fold}"


def test_mlflow_accepts_the_plugins_batches_and_no_value_is_missing(tracked):
    plugin, runs, _ = tracked
    assert plugin.refused == []
    batch = config.load("smoke_a").data.batch_size
    for run in of_kind(runs, "fold"):
        assert run.data.params["fold"] == f'"{run.data.tags["fold"]}"'
        assert run.data.params["cfg.data.batch_size"] == str(batch)
        assert {"loss", "valid_auc", "seconds"} <= set(run.data.metrics)


def test_the_journal_finds_the_folds_below_the_pipelines_run(tracked):
    _, runs, _ = tracked
    for row in of_kind(runs, "single"):
        assert row.data.tags["folds"] == str(FOLDS)
        assert "cv_auc" in row.data.metrics
        assert row.inputs.dataset_inputs


def test_the_lineage_leads_from_the_data_to_the_blend(tracked):
    _, runs, _ = tracked
    (blend,) = of_kind(runs, "ensemble")
    text = render(trace(blend.info.run_id))
    assert "not in the journal" not in text
    for node in ("data ", "folds ", "single smoke_a", "soft labels of smoke_a", "smoke_student"):
        assert node in text


def test_the_journal_shows_its_rows_beside_the_plugins(tracked):
    _, runs, _ = tracked
    shown = set(frame().run_id)
    rows = {run.info.run_id for kind in columns.KINDS for run in of_kind(runs, kind)}
    assert rows <= shown
    assert not shown & {run.info.run_id for run in runs} - rows


def test_the_champion_is_served_from_the_server(tracked, competition, mlflow_server):
    *_, home = tracked
    assert not (home / "mlflow.db").exists()
    mlflow.set_tracking_uri(mlflow_server)
    model = mlflow.pyfunc.load_model("models:/ranzcr-clip@champion")
    images = sorted((competition / "test").glob("*.jpg"))[:2]
    contents = [base64.b64encode(path.read_bytes()).decode() for path in images]
    served = model.predict(pd.DataFrame({"image": contents}))
    (submission,) = home.glob("pipelines/*/runs/**/submission.csv")
    submitted = pd.read_csv(submission).set_index("StudyInstanceUID")
    expected = submitted.loc[[path.stem for path in images]]
    assert abs(served.to_numpy() - expected.to_numpy()).max() < 1e-4


def test_of_two_devices_only_the_first_logs(dataset, mlflow_server, tmp_path):
    """Two processes train; the task's run has each epoch once, and there is no other run."""
    plugin = Plugin(mlflow_server, "kfp-two-devices")
    task = plugin.client.create_run(plugin.experiment_id, run_name="train").info.run_id
    variables = {
        "MLFLOW_TRACKING_URI": mlflow_server,
        "MLFLOW_RUN_ID": task,
        "MLFLOW_EXPERIMENT_ID": plugin.experiment_id,
        "RANZCR_HOME": str(tmp_path / "home"),
    }
    train = ("train", "smoke_a", "--data", dataset, "--fold", "0", "-o", tmp_path / "model")
    command = [RANZCR, *train, "--devices", "2", *QUICK]
    result = subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    (run,) = plugin.client.search_runs([plugin.experiment_id])
    assert run.info.run_name == "smoke_a fold 0"
    history = plugin.client.get_metric_history(task, "loss")
    assert [metric.step for metric in history] == [1]
