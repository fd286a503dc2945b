"""Buildah and Podman build what Docker builds; `make images` takes any of them."""

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
SAME = ("Cmd", "Env", "ExposedPorts", "Healthcheck", "User", "WorkingDir")
REVISION = "org.opencontainers.image.revision"
ITS_OWN = ("io.buildah.version", "org.opencontainers.image.base.name", REVISION)


@pytest.fixture(scope="module")
def storage(host, images) -> Iterator[dict[str, str]]:
    """The environment in which both find the builder's base, and keep what they make.

    They change root instead of making containers, which not every machine allows.
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
        said(["buildah", "pull", f"docker-archive:{base}"], environment)
        base.unlink()
        yield environment
        assert not docker_host.holds_secret(folder / "images")


@pytest.mark.parametrize("tool", ["buildah", "podman"])
def test_another_builder_makes_the_same_image(host, images, storage, tmp_path, tool):
    if not shutil.which(tool):
        pytest.skip(f"no {tool}; apt install {tool}")
    with docker_host.pip_configuration(tmp_path) as pip_conf:
        with pip_conf.open("a") as file:
            file.write("[install]\ncompile = false\n")  # it takes half of the time
        base = {"BUILD_WITH": tool, "BASE": docker_host.BUILDER}
        built = docker_host.build(pip_conf, "ranzcr-serve", **base, **storage)
    found = configuration(built["ranzcr-serve"], storage)
    expected = host.client.images.get(images["ranzcr-serve"]).attrs["Config"]
    assert {key: found[key] for key in SAME} == {key: expected[key] for key in SAME}
    assert labels(found) == labels(expected)
    assert f"-{found['Labels'][REVISION][:12]}" in built["ranzcr-serve"]


def configuration(tag: str, environment: dict[str, str]) -> dict[str, Any]:
    told = said(["buildah", "inspect", "--type", "image", tag], environment)
    return json.loads(told)["Docker"]["config"]


def labels(config: dict[str, Any]) -> dict[str, str]:
    return {key: value for key, value in config["Labels"].items() if key not in ITS_OWN}


def said(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
