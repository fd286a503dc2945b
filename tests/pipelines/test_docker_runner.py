"""What `pipeline run --runner docker` asks for before anything starts; it needs no Docker here."""

from __future__ import annotations

import pytest

from pipelines import launch
from pipelines.local import containers
from ranzcr.errors import ConfigError, PipelineError

ASKED = {"folds": 2, "first": ["smoke_a"], "second": ["smoke_student"]}


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"runner": "docker"}, "--runner docker needs --image NAME:TAG; make images builds one"),
        ({"runner": "dokcer"}, "no runner 'dokcer'; did you mean docker?"),
        ({"image": "ranzcr:1"}, "--image is for --runner docker; leave it out"),
    ],
)
def test_a_runner_and_an_image_that_do_not_fit_are_refused(competition, chosen, message):
    with pytest.raises(ConfigError, match=message):
        launch.run("competition", source=str(competition), **ASKED, **chosen)


def test_a_docker_that_does_not_answer_is_one_line(competition, monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/socket")
    with pytest.raises(PipelineError, match=r"Docker does not answer at .*/socket; start it, or"):
        launch.run(
            "competition", source=str(competition), **ASKED, runner="docker", image="ranzcr:1"
        )


def test_a_task_sees_of_our_environment_what_it_needs_alone(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    seen = containers.environment("sha256:1")
    assert seen["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    assert seen["HOME"] == "/tmp"
    assert "GITHUB_TOKEN" not in seen
    assert seen["RANZCR_AUTHOR"]  # no name goes with the caller's uid in a container
