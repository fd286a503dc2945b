"""Build the images: `make images`, or `python docker/build.py [NAME...]`.

Builds with Docker (BuildKit), Podman or Buildah. The tag is version-commit, with "-dirty" if the
tree differs from the commit. Environment variables:

    BUILD_WITH     docker, podman or buildah; if not set, the first of them that can build
    BASE, BUILDER  image to build on, and the one with venv to install in; see the Dockerfiles
    PIP_CONF       pip's configuration for another index; a build secret, stored in no layer
    CA             certificates to trust while installing; also a build secret
    PREFIX         before the image's name, such as registry.example.com/team/
    FLAGS          more options for the builder, such as --network=host
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parent.parent
NAMES = sorted(path.stem for path in (ROOT / "docker").glob("*.Dockerfile"))
TOOLS = ("docker", "podman", "buildah")
SECRETS = {"pip_conf": "PIP_CONF", "ca": "CA"}


def main(names: list[str]) -> None:
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        _refuse(f"no image {unknown[0]}; known: {', '.join(NAMES)}")
    tool, arguments = builder(), options()
    for name in names or NAMES:
        tag = f"{os.environ.get('PREFIX', '')}{name}:{version()}-{commit()[:12]}{dirt()}"
        command = [*tool, *arguments, "--tag", tag, "--file", f"docker/{name}.Dockerfile", "."]
        environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
        result = subprocess.run(command, cwd=ROOT, env=environment, stdout=sys.stderr)
        if result.returncode:
            sys.exit(f"image {name} was not built; the builder's error is above")
        print(tag)
    if "@" not in os.environ.get("BASE", ""):
        message = "BASE is a tag, which may move; docs/images.md explains how to pin it"
        print(message, file=sys.stderr)


def builder() -> list[str]:
    """Return the command that builds an image; exit if no program can."""
    chosen = os.environ.get("BUILD_WITH")
    if chosen and chosen not in TOOLS:
        _refuse(f"BUILD_WITH={chosen}: no such builder; known: {', '.join(TOOLS)}")
    for tool in [chosen] if chosen else TOOLS:
        for program in _on_path(tool):
            if command := _docker(program) if tool == "docker" else _buildah(program):
                return command
    if chosen == "docker":
        _refuse("BUILD_WITH=docker: no docker that can build; Docker needs the plugin buildx")
    if chosen:
        _refuse(f"BUILD_WITH={chosen}: not installed")
    _refuse("nothing to build images with; install Docker with buildx, Podman or Buildah")


def options() -> list[str]:
    """Return the builder's options: arguments and secrets from the environment, and labels."""
    arguments = {"VERSION": version(), "COMMIT": commit() + dirt()}
    arguments |= {name: os.environ[name] for name in ("BASE", "BUILDER") if os.environ.get(name)}
    _, _, arguments["BASE_DIGEST"] = arguments.get("BASE", "").partition("@")
    words = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    for secret, variable in SECRETS.items():
        if file := os.environ.get(variable):
            if not Path(file).is_file():
                _refuse(f"{variable}: no such file {file}")
            words.append(f"--secret=id={secret},src={Path(file).resolve()}")
    return [*words, *shlex.split(os.environ.get("FLAGS", ""))]


def version() -> str:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def commit() -> str:
    return _git("rev-parse", "HEAD")


def dirt() -> str:
    return "-dirty" if _git("status", "--porcelain") else ""


def _git(*words: str) -> str:
    result = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    if result.returncode:
        _refuse(f"git {words[0]}: {result.stderr.strip()}; images are built from a checkout")
    return result.stdout.strip()


def _on_path(program: str) -> Iterator[str]:
    """Yield each program of that name on PATH; the first `docker` may be unable to build."""
    for folder in os.get_exec_path():
        path = Path(folder) / program
        if os.access(path, os.X_OK) and path.is_file():
            yield str(path)


def _docker(program: str) -> list[str] | None:
    """Return this `docker`'s build command; None if it cannot build or is Podman's `docker`."""
    result = subprocess.run([program, "--version"], capture_output=True, text=True)
    major = result.stdout.removeprefix("Docker version ").split(".")[0]
    if not major.isdigit():
        return None
    if subprocess.run([program, "buildx", "version"], capture_output=True).returncode == 0:
        return [program, "buildx", "build", "--load"]
    # Before version 23 Docker's own command line contains BuildKit; later it needs buildx.
    return [program, "build"] if int(major) < 23 else None


def _buildah(program: str) -> list[str]:
    """Return the build command; OCI's format has no health checks, and one layer no cache."""
    return [program, "build", "--format=docker", "--layers"]


def _refuse(problem: str) -> NoReturn:
    print(problem, file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main(sys.argv[1:])
