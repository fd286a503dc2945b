"""With KFP's MLflow plugin, our runs are its runs, and nothing is lost or created twice."""

import shutil
from pathlib import Path

import pytest
from kfp import dsl
from kfp import local as kfp_local
from plugin_emulator import Plugin

from pipelines import local
from ranzcr import config

pytestmark = pytest.mark.slow

component = dsl.component(base_image="python-toy", install_kfp_package=False)


@component
def train(
    config: str, fold: str, loss: float, scored: dsl.Output[dsl.Metrics], until: str = ""
) -> str:
    """Write to the journal as ranzcr.stages.train does; with `until`, the first attempt fails."""
    from pathlib import Path

    from ranzcr.config import Experiment
    from ranzcr.tracking import context

    description = {"dataset_digest": "d" * 64, "fold": int(fold), "labels": ["CVC - Normal"]}
    with context.fold_run(Experiment.from_json(config), **description) as run:
        if until and not Path(until).exists():
            Path(until).write_text("tried")
            run.log_epoch(0, {"loss": loss})
            raise RuntimeError("the first attempt")
        run.log_epoch(1 if until else 0, {"loss": loss})
    scored.log_metric("scored_by_kfp", 0.5)
    Path(scored.path).touch()  # an output without a file is not cached
    return run.run_id


@component
def clash(fold: str, scored: dsl.Output[dsl.Metrics]):
    """Log a param without a prefix."""
    import os

    from mlflow import MlflowClient

    MlflowClient().log_param(os.environ["MLFLOW_RUN_ID"], "fold", 7)
    scored.log_metric("scored_by_kfp", 0.5)


@component
def after(run_ids: list[str]):
    pass


@dsl.pipeline
def three_folds(items: list[dict]):
    with dsl.ParallelFor(items, name="first-stage") as item:
        trained = train(config=item.config, fold=item.fold, loss=item.loss)
    first = after(run_ids=dsl.Collected(trained.outputs["Output"]))
    clash(fold="0").after(first)


@dsl.pipeline
def retried(config: str, until: str):
    train(config=config, fold="0", loss=0.25, until=until).set_retry(1, "0s")


@dsl.pipeline
def failing(config: str, until: str):
    train(config=config, fold="1", loss=0.25, until=until)


@pytest.fixture(scope="module")
def home(migrated, tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("plugin") / "home"
    home.mkdir()
    shutil.copy(migrated, home / "mlflow.db")
    return home


@pytest.fixture(scope="module")
def plugin(home) -> Plugin:
    """The plugin logs to an experiment that is not the journal's, as an admin may set it up."""
    return Plugin(f"sqlite:///{home / 'mlflow.db'}", "kfp-default")


@pytest.fixture(scope="module")
def experiment():
    return config.load("smoke_a")


@pytest.fixture(scope="module")
def three_items(experiment):
    text = experiment.to_json()
    return {"items": [{"config": text, "fold": str(f), "loss": f / 2} for f in range(3)]}


@pytest.fixture(scope="module")
def tracked(plugin, home, three_items) -> tuple[str, int]:
    """Run a pipeline with a loop of 3 items and 2 tasks; return its run and the count of runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANZCR_HOME", str(home))
        with plugin.pipeline_run("three folds") as root:
            local.run(three_folds, three_items, root=home / "kfp", parallel=2, tasks=5)
    experiments = [item.experiment_id for item in plugin.client.search_experiments()]
    return root, len(plugin.client.search_runs(experiments))


@pytest.fixture(scope="module")
def loop(tracked) -> str:
    return tracked[0]


@pytest.fixture(scope="module")
def folds(plugin, loop):
    """The runs of that loop's iterations, by fold."""
    return iterations(plugin, loop)


def iterations(plugin, root):
    """Return the runs of the tasks in the loop of a pipeline run, by name."""
    (loop,) = (run for run in plugin.children(root) if run.info.run_name == "first-stage")
    return sorted(plugin.children(loop.info.run_id), key=lambda run: run.info.run_name)


def test_a_loop_of_three_creates_exactly_seven_runs(plugin, tracked, folds):
    """The same as in KFP's end-to-end test: 1 for the pipeline, 3 below it, 3 iterations."""
    root, count = tracked
    below = sorted(run.info.run_name for run in plugin.children(root))
    assert below == ["after", "clash", "first-stage"]
    assert len(folds) == 3
    assert count == 7


def test_the_runs_of_folds_have_names_and_tags_though_the_plugin_gives_them_one_name(
    folds, experiment
):
    assert [run.info.run_name for run in folds] == [f"smoke_a fold {fold}" for fold in range(3)]
    assert [run.data.tags["fold"] for run in folds] == ["0", "1", "2"]
    assert {run.data.tags["kind"] for run in folds} == {"fold"}
    assert {run.data.params["config_hash"] for run in folds} == {experiment.config_hash}
    assert {run.info.status for run in folds} == {"FINISHED"}


def test_a_repeated_pipeline_takes_the_folds_from_the_cache(
    plugin, home, loop, folds, three_items, monkeypatch
):
    monkeypatch.setenv("RANZCR_HOME", str(home))
    with plugin.pipeline_run("three folds") as root:
        local.run(three_folds, three_items, root=home / "kfp", parallel=2, tasks=5)
    cached = iterations(plugin, root)
    assert [run.info.run_name for run in cached] == ["train"] * 3
    assert not any("kind" in run.data.tags for run in cached)
    assert len(iterations(plugin, loop)) == len(folds)


def test_params_and_metrics_of_the_plugin_and_of_ours_are_kept(plugin, folds, experiment):
    for fold, run in enumerate(folds):
        assert run.data.params["fold"] == f'"{fold}"'
        assert run.data.params["config"].startswith('"{')
        assert run.data.params["cfg.data.batch_size"] == str(experiment.data.batch_size)
        assert run.data.metrics == {"loss": fold / 2, "scored_by_kfp": 0.5}


def test_a_param_without_a_prefix_makes_the_plugin_lose_inputs_and_metrics(plugin, loop):
    (run,) = (run for run in plugin.children(loop) if run.info.run_name == "clash")
    assert run.data.params == {"fold": "7"}
    assert run.data.metrics == {}
    assert "Changing param values is not allowed" in plugin.refused[0]


def test_a_retried_task_continues_its_run(plugin, home, experiment, tmp_path, monkeypatch):
    monkeypatch.setenv("RANZCR_HOME", str(home))
    folders = {"pipeline_root": str(tmp_path / "runs"), "workspace_root": str(tmp_path / "work")}
    kfp_local.init(kfp_local.SubprocessRunner(use_venv=False), **folders)
    with plugin.pipeline_run("retried") as root:
        retried(config=experiment.to_json(), until=str(tmp_path / "tried"))
    (run,) = plugin.children(root)
    assert (run.info.run_name, run.info.status) == ("smoke_a fold 0", "FINISHED")
    history = plugin.client.get_metric_history(run.info.run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(0, 0.25), (1, 0.25)]


def test_a_failed_task_marks_its_run_and_the_pipelines_run_as_failed(
    plugin, home, experiment, tmp_path, monkeypatch
):
    monkeypatch.setenv("RANZCR_HOME", str(home))
    arguments = {"config": experiment.to_json(), "until": str(tmp_path / "tried")}
    with (
        pytest.raises(local.StageCrash, match="RuntimeError: the first attempt"),
        plugin.pipeline_run("failing") as root,
    ):
        local.run(failing, arguments, root=tmp_path, parallel=1, tasks=1)
    (run,) = plugin.children(root)
    assert (run.info.run_name, run.info.status) == ("smoke_a fold 1", "FAILED")
    assert run.data.metrics == {"loss": 0.25}
    assert plugin.client.get_run(root).info.status == "FAILED"
