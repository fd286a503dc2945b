"""`make images`: which program builds, and what is refused before it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
OLD = 'echo "Docker version 20.10.24, build 1"'  # BuildKit is in it
NEW = 'echo "Docker version 28.2.2, build 1"'  # it wants buildx


@pytest.fixture
def build(tmp_path):
    """Run the builder with programs that say what they were called with; its status, what it says.

    Programs stand in folders of PATH: "first/docker" is found before "second/docker".
    """

    def _build(programs: dict[str, str], *names: str, **environment: str):
        folders = list(dict.fromkeys(str(tmp_path / Path(name).parent) for name in programs))
        for name, does in programs.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(f'#!/bin/sh\n{does}\n[ "$1" = build ] && echo "$0" "$@"\nexit 0\n')
            path.chmod(0o755)
        (tmp_path / "git").mkdir(exist_ok=True)
        commit = tmp_path / "git" / "git"
        commit.write_text('#!/bin/sh\n[ "$1" = rev-parse ] && echo 0123456789abcdef\nexit 0\n')
        commit.chmod(0o755)
        path = os.pathsep.join([*folders, str(tmp_path / "git")])
        done = subprocess.run(
            [sys.executable, REPOSITORY / "docker" / "build.py", *names],
            env={"PATH": path, **environment},
            capture_output=True,
            text=True,
        )
        return done

    return _build


NO_BUILDX = f'[ "$1" = buildx ] && exit 1\n[ "$1" = --version ] && {NEW}'
BUILDKIT = f'[ "$1" = buildx ] && exit 1\n[ "$1" = --version ] && {OLD}'


def test_a_docker_that_cannot_build_is_passed_over(build, tmp_path):
    done = build({"first/docker": NO_BUILDX, "second/docker": BUILDKIT}, "ranzcr-serve")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"{tmp_path}/second/docker build ")
    assert "--file docker/ranzcr-serve.Dockerfile ." in done.stderr


def test_without_docker_it_is_podman_with_health_checks(build):
    done = build({"first/docker": NO_BUILDX, "first/podman": ""}, "ranzcr")
    assert "podman build --format docker " in done.stderr


def test_the_tag_is_version_and_commit_never_latest(build):
    done = build({"first/docker": BUILDKIT}, PREFIX="registry.example.com/team/")
    assert done.stdout.split() == [
        f"registry.example.com/team/{name}:0.1.0-0123456789ab"
        for name in ("ranzcr", "ranzcr-mlflow", "ranzcr-serve")
    ]
    assert "latest" not in done.stderr


def test_what_a_closed_network_needs_is_given_as_secrets(build, tmp_path):
    conf, ca = tmp_path / "pip.conf", tmp_path / "ca.pem"
    conf.touch()
    ca.touch()
    settings = {"PIP_CONF": str(conf), "CA": str(ca), "BASE": "local/base:1"}
    done = build({"first/docker": BUILDKIT}, "ranzcr", **settings)
    assert f"--secret=id=pip_conf,src={conf} --secret=id=ca,src={ca}" in done.stderr
    assert "--build-arg=BASE=local/base:1" in done.stderr
    assert "--build-arg=CA" not in done.stderr


@pytest.mark.parametrize(
    ("programs", "names", "environment", "message"),
    [
        ({}, ["ranzcr"], {}, "nothing to build images with; install Docker with buildx"),
        ({"a/docker": BUILDKIT}, ["rancr"], {}, "no image rancr; known: ranzcr, ranzcr-mlflow"),
        ({"a/docker": BUILDKIT}, ["ranzcr"], {"CA": "/no.pem"}, "CA: no such file /no.pem"),
        ({"a/docker": f'{BUILDKIT}\n[ "$1" = build ] && exit 1'}, ["ranzcr"], {}, "not built"),
    ],
)
def test_what_cannot_be_built_is_one_line(build, programs, names, environment, message):
    done = build(programs, *names, **environment)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("file", sorted((REPOSITORY / "docker").glob("*.Dockerfile")))
def test_a_dockerfile_pins_its_base_and_drops_rights(file):
    text = file.read_text()
    assert "latest" not in text
    assert text.count("\nFROM ${BASE}\n") == 1, "the last stage stands on BASE"
    assert "USER 10001:10001" in text[text.index("\nFROM ${BASE}\n") :]
    assert "org.opencontainers.image.revision" in text
