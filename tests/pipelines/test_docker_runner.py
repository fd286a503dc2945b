"""`pipeline run --runner docker` checks its options before it starts; no Docker is needed here."""

from __future__ import annotations

import pytest

from pipelines import launch
from pipelines.local import containers
from ranzcr.errors import ConfigError, PipelineError

pytestmark = pytest.mark.slow

OPTIONS = {"folds": 2, "first": ["smoke_a"], "second": ["smoke_student"]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runner": "docker"}, "--runner docker needs --image NAME:TAG; make images builds one"),
        ({"runner": "dokcer"}, "no runner 'dokcer'; did you mean docker?"),
        ({"image": "ranzcr:1"}, "--image is for --runner docker; leave it out"),
    ],
)
def test_a_runner_and_an_image_that_do_not_match_are_refused(competition, options, message):
    with pytest.raises(ConfigError, match=message):
        launch.run("competition", source=str(competition), **OPTIONS, **options)


def test_a_docker_that_does_not_answer_is_one_line(competition, monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/socket")
    with pytest.raises(PipelineError, match=r"Docker does not answer at .*/socket; start it, or"):
        launch.run(
            "competition", source=str(competition), **OPTIONS, runner="docker", image="ranzcr:1"
        )


def test_a_task_gets_only_the_variables_that_it_needs(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    variables = containers.environment("sha256:1")
    assert variables["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    assert variables["HOME"] == "/tmp"
    assert "GITHUB_TOKEN" not in variables
    assert variables["RANZCR_AUTHOR"]  # in a container the caller's uid has no name
