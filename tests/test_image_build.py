"""`make images`: the program that builds, and the settings that are refused beforehand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
BUILDKIT = """
[ "$1" = buildx ] && exit 1
[ "$1" = --version ] && echo 'Docker version 20.10.24, build 1'"""
NO_BUILDX = BUILDKIT.replace("20.10.24", "28.2.2")
BUILDX = NO_BUILDX.replace("exit 1", ":")
PODMAN = "[ \"$1\" = --version ] && echo 'podman version 5.4.2'"


@pytest.fixture
def build(tmp_path):
    """Return a function that runs docker/build.py with fake programs that print their arguments.

    The programs are in folders of PATH: "first/docker" comes before "second/docker".
    """

    def _build(programs: dict[str, str], *names: str, **environment: str):
        folders = list(dict.fromkeys(str(tmp_path / Path(name).parent) for name in programs))
        for name, script in programs.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            echo = 'case "$1 $2" in build* | *" build") echo "$0" "$@" ;; esac'
            path.write_text(f"#!/bin/sh\n{script}\n{echo}\nexit 0\n")
            path.chmod(0o755)
        (tmp_path / "git").mkdir(exist_ok=True)
        commit = tmp_path / "git" / "git"
        commit.write_text('#!/bin/sh\n[ "$1" = rev-parse ] && echo 0123456789abcdef\nexit 0\n')
        commit.chmod(0o755)
        path = os.pathsep.join([*folders, str(tmp_path / "git")])
        return subprocess.run(
            [sys.executable, REPOSITORY / "docker" / "build.py", *names],
            env={"PATH": path, **environment},
            capture_output=True,
            text=True,
        )

    return _build


def test_docker_builds_with_buildx_if_installed_and_keeps_the_image(build, tmp_path):
    result = build({"first/docker": BUILDX, "first/podman": PODMAN}, "ranzcr-serve")
    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith(f"{tmp_path}/first/docker buildx build --load --build-arg=")


def test_a_docker_that_cannot_build_is_skipped(build, tmp_path):
    result = build({"first/docker": NO_BUILDX, "second/docker": BUILDKIT}, "ranzcr-serve")
    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith(f"{tmp_path}/second/docker build ")
    assert "--file docker/ranzcr-serve.Dockerfile ." in result.stderr


@pytest.mark.parametrize("docker", [NO_BUILDX, PODMAN])
def test_without_docker_podman_builds_with_health_checks(build, docker):
    result = build({"first/docker": docker, "first/podman": PODMAN}, "ranzcr")
    assert "podman build --format=docker --layers " in result.stderr


def test_the_builder_can_be_chosen(build, tmp_path):
    programs = {"first/docker": BUILDX, "first/podman": PODMAN, "first/buildah": ""}
    result = build(programs, "ranzcr", BUILD_WITH="buildah")
    assert result.stderr.startswith(f"{tmp_path}/first/buildah build --format=docker --layers ")


def test_a_base_without_a_digest_is_reported(build):
    pinned = build({"first/docker": BUILDKIT}, "ranzcr", BASE="example.com/python@sha256:0123")
    assert "--build-arg=BASE_DIGEST=sha256:0123 " in pinned.stderr
    assert "BASE is a tag" not in pinned.stderr
    tag = build({"first/docker": BUILDKIT}, "ranzcr", BASE="example.com:5000/python:3.11")
    assert "--build-arg=BASE_DIGEST= " in tag.stderr
    assert tag.stderr.endswith(
        "BASE is a tag, which may move; docs/images.md explains how to pin it\n"
    )


def test_the_tag_is_version_and_commit_never_latest(build):
    result = build({"first/docker": BUILDKIT}, PREFIX="registry.example.com/team/")
    assert result.stdout.split() == [
        f"registry.example.com/team/{name}:0.1.0-0123456789ab"
        for name in ("ranzcr", "ranzcr-mlflow", "ranzcr-serve")
    ]
    assert "latest" not in result.stderr


def test_the_settings_of_a_closed_network_become_secrets(build, tmp_path):
    conf, ca = tmp_path / "pip.conf", tmp_path / "ca.pem"
    conf.touch()
    ca.touch()
    settings = {"PIP_CONF": str(conf), "CA": str(ca), "BASE": "local/base:1"}
    result = build({"first/docker": BUILDKIT}, "ranzcr", **settings)
    assert f"--secret=id=pip_conf,src={conf} --secret=id=ca,src={ca}" in result.stderr
    assert "--build-arg=BASE=local/base:1" in result.stderr
    assert "--build-arg=CA" not in result.stderr


@pytest.mark.parametrize(
    ("programs", "names", "environment", "message"),
    [
        ({}, ["ranzcr"], {}, "nothing to build images with; install Docker with buildx"),
        ({"a/docker": BUILDKIT}, ["rancr"], {}, "no image rancr; known: ranzcr, ranzcr-mlflow"),
        ({"a/docker": BUILDKIT}, ["ranzcr"], {"CA": "/no.pem"}, "CA: no such file /no.pem"),
        (
            {"a/docker": BUILDKIT},
            ["ranzcr"],
            {"BUILD_WITH": "kaniko"},
            "BUILD_WITH=kaniko: no such builder; known: docker, podman, buildah",
        ),
        ({"a/docker": BUILDKIT}, ["ranzcr"], {"BUILD_WITH": "podman"}, "podman: not installed"),
        (
            {"a/docker": NO_BUILDX},
            ["ranzcr"],
            {"BUILD_WITH": "docker"},
            "Docker needs the plugin buildx",
        ),
    ],
)
def test_an_error_that_the_user_can_fix_is_one_line(build, programs, names, environment, message):
    result = build(programs, *names, **environment)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_build_that_fails_is_reported_after_the_builders_output(build):
    result = build({"a/docker": f'{BUILDKIT}\n[ "$1" = build ] && exit 3'}, "ranzcr")
    assert result.returncode == 1
    assert result.stderr == "image ranzcr was not built; the builder's error is above\n"
    assert result.stdout == ""


@pytest.mark.parametrize("file", sorted((REPOSITORY / "docker").glob("*.Dockerfile")))
def test_a_dockerfile_builds_on_its_base_and_drops_rights(file):
    text = file.read_text()
    assert "latest" not in text
    assert text.count("\nFROM ${BASE}\n") == 1, "the last stage builds on BASE"
    last = text[text.index("\nFROM ${BASE}\n") :]
    assert "USER 10001:10001" in last
    assert "org.opencontainers.image.revision" in last
    assert "VISIBLE_DEVICES=" not in last, "a pod would see GPUs that it did not request"
