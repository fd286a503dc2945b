"""`make images`: which program builds, and what is refused before it starts."""

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
    """Run the builder with programs that say what they were called with; its status, what it says.

    Programs stand in folders of PATH: "first/docker" is found before "second/docker".
    """

    def _build(programs: dict[str, str], *names: str, **environment: str):
        folders = list(dict.fromkeys(str(tmp_path / Path(name).parent) for name in programs))
        for name, does in programs.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            says = 'case "$1 $2" in build* | *" build") echo "$0" "$@" ;; esac'
            path.write_text(f"#!/bin/sh\n{does}\n{says}\nexit 0\n")
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


def test_docker_builds_with_buildx_where_it_is_and_keeps_the_image(build, tmp_path):
    done = build({"first/docker": BUILDX, "first/podman": PODMAN}, "ranzcr-serve")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"{tmp_path}/first/docker buildx build --load --build-arg=")


def test_a_docker_that_cannot_build_is_passed_over(build, tmp_path):
    done = build({"first/docker": NO_BUILDX, "second/docker": BUILDKIT}, "ranzcr-serve")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"{tmp_path}/second/docker build ")
    assert "--file docker/ranzcr-serve.Dockerfile ." in done.stderr


@pytest.mark.parametrize("docker", [NO_BUILDX, PODMAN])
def test_without_docker_it_is_podman_with_health_checks(build, docker):
    done = build({"first/docker": docker, "first/podman": PODMAN}, "ranzcr")
    assert "podman build --format=docker --layers " in done.stderr


def test_who_builds_can_be_chosen(build, tmp_path):
    programs = {"first/docker": BUILDX, "first/podman": PODMAN, "first/buildah": ""}
    done = build(programs, "ranzcr", BUILD_WITH="buildah")
    assert done.stderr.startswith(f"{tmp_path}/first/buildah build --format=docker --layers ")


def test_a_base_is_named_by_its_digest_or_said_to_be_a_tag(build):
    pinned = build({"first/docker": BUILDKIT}, "ranzcr", BASE="example.com/python@sha256:0123")
    assert "--build-arg=BASE_DIGEST=sha256:0123 " in pinned.stderr
    assert "BASE is a tag" not in pinned.stderr
    tag = build({"first/docker": BUILDKIT}, "ranzcr", BASE="example.com:5000/python:3.11")
    assert "--build-arg=BASE_DIGEST= " in tag.stderr
    assert tag.stderr.endswith(
        "BASE is a tag, which may move; docs/images.md tells how to pin it\n"
    )


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
        (
            {"a/docker": BUILDKIT},
            ["ranzcr"],
            {"BUILD_WITH": "kaniko"},
            "BUILD_WITH=kaniko: no such builder; known: docker, podman, buildah",
        ),
        ({"a/docker": BUILDKIT}, ["ranzcr"], {"BUILD_WITH": "podman"}, "podman: not installed"),
        ({"a/docker": NO_BUILDX}, ["ranzcr"], {"BUILD_WITH": "docker"}, "wants the plugin buildx"),
    ],
)
def test_what_the_caller_can_mend_is_one_line(build, programs, names, environment, message):
    done = build(programs, *names, **environment)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_build_that_fails_is_told_after_what_the_builder_said(build):
    done = build({"a/docker": f'{BUILDKIT}\n[ "$1" = build ] && exit 3'}, "ranzcr")
    assert done.returncode == 1
    assert done.stderr == "image ranzcr was not built; what failed stands above\n"
    assert done.stdout == ""


@pytest.mark.parametrize("file", sorted((REPOSITORY / "docker").glob("*.Dockerfile")))
def test_a_dockerfile_pins_its_base_and_drops_rights(file):
    text = file.read_text()
    assert "latest" not in text
    assert text.count("\nFROM ${BASE}\n") == 1, "the last stage stands on BASE"
    last = text[text.index("\nFROM ${BASE}\n") :]
    assert "USER 10001:10001" in last
    assert "org.opencontainers.image.revision" in last
    assert "VISIBLE_DEVICES=" not in last, "it would show a pod GPUs that it did not ask for"
