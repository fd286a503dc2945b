"""The local runner, on a toy pipeline: what is cached, what a failure says, what is resumed."""

import pytest
from kfp import dsl

from pipelines import local
from pipelines.local.cache import ContentCache
from pipelines.local.versions import Versions
from ranzcr.errors import PipelineError

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
    if text == "mend me" and fold == "1":
        print("train: data.csv: mend it", file=sys.stderr)
        sys.exit(2)
    if text == "kill me":
        os.kill(os.getpid(), signal.SIGKILL)
    if text == "sleep":
        time.sleep(3600)
    if text == "crash":
        raise ZeroDivisionError("ours")
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
    """Run the toy pipeline and return what was shown."""

    def _run(text: str) -> str:
        capfd.readouterr()
        local.run(toy, {"text": text, "items": ITEMS}, root=tmp_path, parallel=2, tasks=4)
        return capfd.readouterr().err

    return _run


def test_a_task_is_named_by_stage_experiment_and_fold_and_its_own_lines_are_shown(run):
    shown = run("fine")
    assert "ingest | wrote fine" in shown
    assert "train smoke fold 0: done in" in shown
    assert "[4/4] blend: done in" in shown
    assert "executor_input" not in shown


def test_an_uncached_task_with_the_same_content_leaves_the_rest_in_the_cache(run):
    run("fine")
    shown = run("fine")
    assert "ingest: done" in shown
    for task in ("train smoke fold 0", "train smoke fold 1", "blend"):
        assert f"{task}: cached" in shown


def test_other_content_is_worked_on_again(run):
    run("fine")
    assert "cached" not in run("other")


def test_a_failing_stage_is_named_with_its_own_line(run):
    with pytest.raises(PipelineError, match=r"stage train smoke fold 1 failed: data\.csv: mend it"):
        run("mend me")


def test_what_finished_before_a_failure_is_not_done_again(run, capfd):
    with pytest.raises(PipelineError):
        run("mend me")
    with pytest.raises(PipelineError):
        run("mend me")
    assert "train smoke fold 0: cached" in capfd.readouterr().err


def test_a_killed_stage_says_so(run):
    with pytest.raises(PipelineError, match=r"stage train smoke fold . was killed \(SIGKILL\)"):
        run("kill me")


def test_an_error_of_ours_points_to_the_log(run):
    with pytest.raises(local.StageCrash, match=r"ZeroDivisionError: ours; see .*train-smoke-fold"):
        run("crash")


def test_a_status_that_is_no_signal_is_a_crash(run):
    with pytest.raises(local.StageCrash, match="crashed: gave up; see "):
        run("odd")


def test_kfp_is_left_as_it_was(run):
    from kfp.local import subprocess_task_handler

    before = subprocess_task_handler.run_local_subprocess
    run("fine")
    assert subprocess_task_handler.run_local_subprocess is before


def test_ctrl_c_ends_the_running_tasks(tmp_path, capfd):
    """kfp's threads would wait for a task that sleeps an hour."""
    import os
    import signal
    import threading

    threading.Timer(3, os.kill, [os.getpid(), signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        local.run(toy, {"text": "sleep", "items": ITEMS}, root=tmp_path, parallel=2, tasks=4)
    assert "stopped; run the same command again to resume" in capfd.readouterr().err


@pytest.fixture
def key(tmp_path):
    """The cache key of one training, with changes."""

    def _key(loss="1", digest="d", path="/a", **parameters) -> str:
        versions = Versions(lambda stage, experiment: {"losses.py": loss})
        cache = ContentCache(str(tmp_path), found=print, versions=versions)
        data = dsl.Dataset(name="data", uri=path, metadata={"digest": digest})
        usual = {"config": '{"name": "smoke"}', "fold": "0", "code": "c", "dataset_digest": digest}
        return cache.compute_key(
            component_name="comp-train",
            image="ranzcr@sha256:1",
            full_command=["python", "--function_to_execute", "train"],
            arguments={**usual, "data": data, **parameters},
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


def test_the_code_of_the_stage_takes_the_place_of_the_parameter(key):
    """The items of a plan that comes from the cache may hold another one."""
    assert key(code="other") == key()
