"""The checks before a pipeline starts, and the compiled pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipelines import launch
from pipelines.lint import tree
from ranzcr.errors import ConfigError, DataError, TrackingError

IMAGE = f"registry.example.com/ranzcr@sha256:{'0' * 64}"
SETTINGS = {
    **{"overrides": [], "image_size": None, "folds": 2, "externals": [], "parallel": None},
    **{"seed": 0, "skip_bad": False, "blend_method": "weights", "gates": None, "min_auc": None},
}


def run(source: Path, first: list[str], second: list[str], **options) -> None:
    launch.run(
        "competition", source=str(source), first=first, second=second, **{**SETTINGS, **options}
    )


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> dict:
    path = tmp_path_factory.mktemp("compiled") / "competition.yaml"
    launch.compile_to("competition", path, IMAGE, "cpu")
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
def test_experiments_that_do_not_match_are_refused_before_anything_runs(
    competition, first, second, message
):
    with pytest.raises(ConfigError, match=message):
        run(competition, first, second)


def test_a_missing_data_folder_is_one_line(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        run(tmp_path / "nowhere", ["smoke_a"], ["smoke_student"])


def test_an_unreachable_mlflow_is_reported_before_the_first_task(competition, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(TrackingError, match=r"127\.0\.0\.1:9 does not answer"):
        run(competition, ["smoke_a"], ["smoke_student"])
    assert "started" not in capfd.readouterr().err


def test_gates_are_read_before_anything_runs_and_reach_the_pipeline(competition, tmp_path):
    (tmp_path / "gates.yaml").write_text("calibratoin: {at_most: 1}\n")
    with pytest.raises(ConfigError, match="did you mean calibration"):
        run(competition, ["smoke_a"], ["smoke_student"], gates=tmp_path / "gates.yaml")


def test_every_stage_is_a_component_of_the_compiled_pipeline(compiled):
    functions = {name.removeprefix("exec-") for name in compiled["deploymentSpec"]["executors"]}
    stages = "ingest prepare plan train predict evaluate pseudo blend export register promote"
    assert {*stages.split(), "bundle"} <= functions


@pytest.fixture(scope="module")
def pods(tmp_path_factory):
    """The tasks with a container of every pipeline on a cluster: (pipeline, task)."""
    folder = tmp_path_factory.mktemp("all")

    def read(name: str) -> tuple[tree.LintTask, ...]:
        launch.compile_to(name, folder / f"{name}.yaml", IMAGE, "cpu")
        return tree.read(folder / f"{name}.yaml").pods

    return [(name, task) for name in launch.PIPELINES for task in read(name)]


UNCACHED = {"ingest", "fetch", "register", "promote"}  # they read outside files or the registry


def stage_of(task: tree.LintTask) -> str:
    return task.name.rstrip("0123456789-")


def test_only_stages_that_read_outside_files_or_the_registry_are_not_cached(pods):
    for name, task in pods:
        cached = task.spec.get("cachingOptions", {}).get("enableCache", False)
        assert cached == (stage_of(task) not in UNCACHED), (name, task.path)


def test_a_task_that_reads_an_artifact_has_its_digest_as_a_parameter(pods):
    """On a cluster the cache key holds parameters, not contents."""
    for name, task in pods:
        if stage_of(task) not in UNCACHED:
            assert any("digest" in key for key in task.parameters), (name, task.path)
            assert "code" in task.parameters, (name, task.path)


def test_another_image_gives_each_task_another_cache_key(compiled, tmp_path):
    other = IMAGE.replace("0" * 64, "1" * 64)
    launch.compile_to("competition", tmp_path / "c.yaml", other, "cpu")
    text = (tmp_path / "c.yaml").read_text()
    assert IMAGE not in text
    prepare = next(task for task in tree.read(tmp_path / "c.yaml").pods if task.name == "prepare")
    assert prepare.constants["code"] == "1" * 16


def test_the_image_is_the_code_of_all_tasks_and_not_a_parameter(compiled):
    """The cache key has its digest in place of the sources' digest of a local run."""
    executors = compiled["deploymentSpec"]["executors"].values()
    assert {executor["container"]["image"] for executor in executors} == {IMAGE}
    parameters = compiled["root"]["inputDefinitions"]["parameters"]
    assert not {"code", "devices"} & set(parameters)
    code = compiled["root"]["dag"]["tasks"]["prepare"]["inputs"]["parameters"]["code"]
    assert code == {"runtimeValue": {"constant": "0" * 16}}


def test_the_options_of_a_run_are_parameters(compiled):
    parameters = compiled["root"]["inputDefinitions"]["parameters"]
    options = {"source", "first", "second", "folds", "seed", "image_size", "gates", "externals"}
    assert options <= set(parameters)
    assert [name for name, spec in parameters.items() if not spec.get("isOptional")] == [
        *("first", "second", "source")
    ]


@pytest.mark.parametrize("image", [None, "ranzcr:1.0", "ranzcr@sha256:123", "ranzcr"])
def test_an_image_that_is_not_pinned_is_refused(tmp_path, image):
    with pytest.raises(ConfigError, match="name it by its digest") as error:
        launch.compile_to("competition", tmp_path / "c.yaml", image, "cpu")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "c.yaml").exists()


def test_unknown_pipelines_and_profiles_are_reported_with_valid_names(tmp_path):
    with pytest.raises(ConfigError, match="no pipeline 'nightley'; did you mean nightly"):
        launch.compile_to("nightley", tmp_path / "c.yaml", IMAGE, "cpu")
    with pytest.raises(ConfigError, match="give --profile; known: cpu, gpu-8x"):
        launch.compile_to("nightly", tmp_path / "c.yaml", IMAGE, None)


def test_a_pipeline_with_lint_findings_is_not_written(tmp_path):
    """A user's profile gives a GPU without a queue."""
    profile = tmp_path / "mine.yaml"
    profile.write_text("extends: gpu-small\nhardware: {training: {queue: null}}\n")
    with pytest.raises(ConfigError, match=r"gpu-without-queue: .* \(and 3 more\)"):
        launch.compile_to("competition", tmp_path / "c.yaml", IMAGE, str(profile))
    assert not (tmp_path / "c.yaml").exists()


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "predict",
            {"images": "x", "first": ["smoke_a"]},
            "has no --first; it takes --images",
        ),
        ("predict", {}, "pipeline predict needs --images; give it"),
        ("promote", {"source": "x", "version": "1"}, "pipeline promote needs --why"),
        ("nightly", {"source": "x", "min_auc": 0.0}, "pipeline nightly has no --min-auc"),
        ("second-stage", {"dataset": "x", "soft_labels": "y"}, "--second names no experiment"),
        ("nigthly", {}, "did you mean nightly"),
    ],
)
def test_unknown_and_missing_options_of_a_pipeline_are_reported(name, arguments, message):
    with pytest.raises(ConfigError, match=message):
        launch.run(name, **arguments)


def test_a_second_stage_needs_a_prepared_data_set(tmp_path):
    arguments = {"soft_labels": str(tmp_path), "second": ["smoke_student"]}
    with pytest.raises(DataError, match="not a prepared data set"):
        launch.run("second-stage", dataset=str(tmp_path), **arguments)
