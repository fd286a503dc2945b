"""Buildah and Podman build the same images as Docker; `make images` can use any of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker_host
import pytest

STORAGE = """[storage]
driver = "overlay"
graphroot = "{folder}/images"
runroot = "{folder}/run"
"""
COMPARED = ("Cmd", "Env", "ExposedPorts", "Healthcheck", "User", "WorkingDir")
REVISION = "org.opencontainers.image.revision"
VARYING_LABELS = ("io.buildah.version", "org.opencontainers.image.base.name", REVISION)


@pytest.fixture(scope="module")
def storage(host, images) -> Iterator[dict[str, str]]:
    """Return the environment in which both tools find the base image and keep their images.

    They use chroot in place of containers, which not every machine allows.
    """
    with tempfile.TemporaryDirectory(prefix="ranzcr-buildah-", dir="/var/tmp") as name:
        folder = Path(name)
        (folder / "storage.conf").write_text(STORAGE.format(folder=folder))
        (folder / "tmp").mkdir()
        environment = {
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "BUILDAH_ISOLATION": "chroot",
            "TMPDIR": str(folder / "tmp"),
        }
        base = folder / "tmp" / "base.tar"
        with base.open("wb") as file:
            file.writelines(host.client.images.get(docker_host.BUILDER).save(named=True))
        output_of(["buildah", "pull", f"docker-archive:{base}"], environment)
        base.unlink()
        yield environment
        assert not docker_host.holds_secret(folder / "images")


@pytest.mark.parametrize("tool", ["buildah", "podman"])
def test_another_builder_makes_the_same_image(host, images, storage, tmp_path, tool):
    if not shutil.which(tool):
        pytest.skip(f"no {tool}; apt install {tool}")
    with docker_host.pip_configuration(tmp_path) as pip_conf:
        with pip_conf.open("a") as file:
            file.write("[install]\ncompile = false\n")  # saves half of the time
        base = {"BUILD_WITH": tool, "BASE": docker_host.BUILDER}
        built = docker_host.build(pip_conf, "ranzcr-serve", **base, **storage)
    config = configuration(built["ranzcr-serve"], storage)
    expected = host.client.images.get(images["ranzcr-serve"]).attrs["Config"]
    assert {key: config[key] for key in COMPARED} == {key: expected[key] for key in COMPARED}
    assert labels(config) == labels(expected)
    assert f"-{config['Labels'][REVISION][:12]}" in built["ranzcr-serve"]


def configuration(tag: str, environment: dict[str, str]) -> dict[str, Any]:
    description = output_of(["buildah", "inspect", "--type", "image", tag], environment)
    return json.loads(description)["Docker"]["config"]


def labels(config: dict[str, Any]) -> dict[str, str]:
    return {key: value for key, value in config["Labels"].items() if key not in VARYING_LABELS}


def output_of(command: list[str], environment: dict[str, str]) -> str:
    result = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout
