"""The local runner on a toy pipeline: caching, failures and resuming."""

import pytest
from kfp import dsl

from pipelines import local
from pipelines.local.cache import ContentCache
from pipelines.local.versions import Versions
from ranzcr.errors import PipelineError

pytestmark = pytest.mark.slow

component = dsl.component(base_image="python-toy", install_kfp_package=False)


@component
def ingest(text: str, data: dsl.Output[dsl.Dataset]) -> str:
    with open(data.path, "w") as file:
        file.write(text)
    data.metadata["digest"] = text
    print(f"wrote {text}")
    return text


@component
def train(
    data: dsl.Input[dsl.Dataset], config: str, fold: str, model: dsl.Output[dsl.Model]
) -> str:
    import os
    import signal
    import sys
    import time

    with open(data.path) as file:
        text = file.read()
    if text == "fix me" and fold == "1":
        print("train: data.csv: fix it", file=sys.stderr)
        sys.exit(2)
    if text == "kill me":
        os.kill(os.getpid(), signal.SIGKILL)
    if text == "sleep":
        time.sleep(3600)
    if text == "crash":
        raise ZeroDivisionError("a bug")
    if text == "odd":
        print("gave up")
        sys.exit(255)
    with open(model.path, "w") as file:
        file.write(f"{config} {fold} {text}")
    model.metadata["digest"] = f"{text}-{fold}"
    return f"{text}-{fold}"


@component
def blend(models: dsl.Input[list[dsl.Model]], digests: list[str]) -> str:
    from pathlib import Path

    return " | ".join(Path(model.path).read_text() for model in models)


@dsl.pipeline
def toy(text: str, items: list[dict]):
    data = ingest(text=text).set_caching_options(False)
    with dsl.ParallelFor(items) as item:
        trained = train(data=data.outputs["data"], config=item.config, fold=item.fold)
    blend(
        models=dsl.Collected(trained.outputs["model"]),
        digests=dsl.Collected(trained.outputs["Output"]),
    )


ITEMS = [{"config": '{"name": "smoke"}', "fold": str(fold)} for fold in range(2)]


@pytest.fixture
def run(tmp_path, capfd):
    """Run the toy pipeline and return its stderr."""

    def _run(text: str) -> str:
        capfd.readouterr()
        local.run(toy, {"text": text, "items": ITEMS}, root=tmp_path, parallel=2, tasks=4)
        return capfd.readouterr().err

    return _run


def test_a_task_is_named_by_stage_experiment_and_fold_and_its_output_is_shown(run):
    stderr = run("fine")
    assert "ingest | wrote fine" in stderr
    assert "train smoke fold 0: done in" in stderr
    assert "[4/4] blend: done in" in stderr
    assert "executor_input" not in stderr


def test_an_uncached_task_with_the_same_content_leaves_the_rest_in_the_cache(run):
    run("fine")
    stderr = run("fine")
    assert "ingest: done" in stderr
    for task in ("train smoke fold 0", "train smoke fold 1", "blend"):
        assert f"{task}: cached" in stderr


def test_other_content_is_processed_again(run):
    run("fine")
    assert "cached" not in run("other")


def test_a_failed_stage_is_reported_with_its_error(run):
    with pytest.raises(PipelineError, match=r"stage train smoke fold 1 failed: data\.csv: fix it"):
        run("fix me")


def test_tasks_that_finished_before_a_failure_are_not_repeated(run, capfd):
    with pytest.raises(PipelineError):
        run("fix me")
    with pytest.raises(PipelineError):
        run("fix me")
    assert "train smoke fold 0: cached" in capfd.readouterr().err


def test_a_killed_stage_is_reported_as_killed(run):
    with pytest.raises(PipelineError, match=r"stage train smoke fold . was killed \(SIGKILL\)"):
        run("kill me")


def test_a_bug_in_a_stage_points_to_the_log(run):
    with pytest.raises(local.StageCrash, match=r"ZeroDivisionError: a bug; see .*train-smoke-fold"):
        run("crash")


def test_an_exit_status_that_is_not_a_signal_is_a_crash(run):
    with pytest.raises(local.StageCrash, match="crashed: gave up; see "):
        run("odd")


def test_kfp_is_left_as_it_was(run):
    from kfp.local import subprocess_task_handler

    before = subprocess_task_handler.run_local_subprocess
    run("fine")
    assert subprocess_task_handler.run_local_subprocess is before


def test_ctrl_c_ends_the_running_tasks(tmp_path, capfd):
    """Otherwise kfp's threads would wait for a task that sleeps an hour."""
    import os
    import signal
    import threading

    threading.Timer(3, os.kill, [os.getpid(), signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        local.run(toy, {"text": "sleep", "items": ITEMS}, root=tmp_path, parallel=2, tasks=4)
    assert "stopped; run the same command again to resume" in capfd.readouterr().err


@pytest.fixture
def key(tmp_path):
    """Return the cache key of a train task with some values changed."""

    def _key(loss="1", digest="d", path="/a", **changes) -> str:
        versions = Versions(lambda stage, experiment: {"losses.py": loss})
        cache = ContentCache(str(tmp_path), found=print, versions=versions)
        data = dsl.Dataset(name="data", uri=path, metadata={"digest": digest})
        parameters = {
            "config": '{"name": "smoke"}',
            "fold": "0",
            "code": "c",
            "dataset_digest": digest,
        }
        return cache.compute_key(
            component_name="comp-train",
            image="ranzcr@sha256:1",
            full_command=["python", "--function_to_execute", "train"],
            arguments={**parameters, "data": data, **changes},
        )

    return _key


def test_the_same_content_at_another_path_has_the_same_key(key):
    assert key() == key(path="/b")


@pytest.mark.parametrize(
    "changed",
    [
        {"digest": "other data"},
        {"config": '{"name": "smoke", "seed": 1}'},
        {"loss": "2"},
    ],
)
def test_other_data_experiment_or_code_has_another_key(key, changed):
    assert key(**changed) != key()


def test_the_code_of_the_stage_replaces_the_parameter(key):
    """The items of a cached plan may contain older code."""
    assert key(code="other") == key()
