"""What is checked before a pipeline starts, and what it compiles to."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipelines import launch
from pipelines.code import code_version
from ranzcr import config
from ranzcr.errors import ConfigError, DataError, TrackingError

SETTINGS = {
    **{"overrides": [], "image_size": None, "folds": 2, "externals": [], "parallel": None},
    **{"seed": 0, "skip_bad": False, "blend_method": "weights", "min_auc": 0.5},
}


def run(source: Path, first: list[str], second: list[str], **more) -> None:
    launch.run(
        "competition", source=str(source), first=first, second=second, **{**SETTINGS, **more}
    )


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> dict:
    path = tmp_path_factory.mktemp("compiled") / "competition.yaml"
    launch.compile_to("competition", path, None)
    return next(yaml.safe_load_all(path.read_text()))


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([], ["smoke_student"], "--first names no experiment; known: b6v3_001"),
        (["smoke_a"], [], "--second names no experiment"),
        (["smoke_c"], ["smoke_student"], "no experiment 'smoke_c'; did you mean smoke_"),
        (["smoke_a", "smoke_a"], ["smoke_student"], "smoke_a is given twice"),
        (["smoke_student"], ["smoke_a"], "smoke_student learns from soft labels"),
        (["b6v3_001"], ["kdb4v3_b71_001"], "kdb4v3_b71_001 wants teacher b7v3_001; add it to"),
    ],
)
def test_experiments_that_do_not_fit_are_refused_before_anything_runs(
    competition, first, second, message
):
    with pytest.raises(ConfigError, match=message):
        run(competition, first, second)


def test_a_missing_data_folder_is_one_line(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        run(tmp_path / "nowhere", ["smoke_a"], ["smoke_student"])


def test_an_mlflow_that_is_away_is_found_before_the_first_task(competition, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(TrackingError, match=r"127\.0\.0\.1:9 does not answer"):
        run(competition, ["smoke_a"], ["smoke_student"])
    assert "started" not in capfd.readouterr().err


def test_the_cache_is_as_large_as_the_largest_phase():
    assert launch.largest_size(config.load("r200d_staged")) == 768
    assert launch.largest_size(config.load("smoke_a")) == 96


def test_the_code_version_is_stable_within_one_checkout():
    assert code_version() == code_version()
    assert len(code_version()) == 16


def test_every_stage_is_a_component_of_the_compiled_pipeline(compiled):
    functions = {name.removeprefix("exec-") for name in compiled["deploymentSpec"]["executors"]}
    stages = "ingest prepare plan train predict evaluate pseudo blend export register promote"
    assert {*stages.split(), "bundle"} <= functions


def test_what_looks_at_the_world_is_never_cached_and_the_rest_is(compiled):
    tasks = {}
    for component in [compiled["root"], *compiled["components"].values()]:
        tasks.update(component.get("dag", {}).get("tasks", {}))
    uncached = {
        name
        for name, task in tasks.items()
        if "executorLabel" in compiled["components"].get(task["componentRef"]["name"], {})
        and not task.get("cachingOptions", {}).get("enableCache")
    }
    assert uncached == {"ingest", "register", "promote"}


def test_whatever_reads_an_artifact_also_takes_its_digest(compiled):
    """On a cluster the cache key holds parameters, not contents."""
    for name, component in compiled["components"].items():
        stage = name.removeprefix("comp-").split("-")[0]
        if "executorLabel" not in component or stage in ("ingest", "register", "promote"):
            continue
        inputs = component["inputDefinitions"]
        digests = [key for key in inputs["parameters"] if "digest" in key]
        assert digests, name
        assert "code" in inputs["parameters"], name


def test_the_image_can_be_named_at_compile_time(tmp_path):
    """In a process of its own: components take the image when they are made."""
    import subprocess
    import sys

    image = f"registry.example.com/ranzcr-python@sha256:{'0' * 64}"
    command = ["pipeline", "compile", "competition", "-o", str(tmp_path / "c.yaml")]
    ranzcr = Path(sys.executable).parent / "ranzcr"
    subprocess.run([ranzcr, *command, "--image", image], check=True, capture_output=True)
    executors = next(yaml.safe_load_all((tmp_path / "c.yaml").read_text()))["deploymentSpec"]
    images = {one["container"]["image"] for one in executors["executors"].values()}
    assert images == {image}
