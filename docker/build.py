"""Build the images: `make images`, or `python docker/build.py [NAME...]`.

With Docker (BuildKit), Podman or Buildah. The tag is version-commit, with "-dirty" where the tree
differs from the commit. What may be set, in the environment:

    BUILD_WITH     docker, podman or buildah; the first of them that is there and can, if not set
    BASE, BUILDER  image to build on, and the one with venv to install in; see the Dockerfiles
    PIP_CONF       pip's configuration, where the index is another: a build secret, in no layer
    CA             certificates to trust while installing: likewise
    PREFIX         before the image's name, such as registry.example.com/team/
    FLAGS          more words for the builder, such as --network=host
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
    tool, asked = builder(), options()
    for name in names or NAMES:
        tag = f"{os.environ.get('PREFIX', '')}{name}:{version()}-{commit()[:12]}{dirt()}"
        words = [*tool, *asked, "--tag", tag, "--file", f"docker/{name}.Dockerfile", "."]
        environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
        done = subprocess.run(words, cwd=ROOT, env=environment, stdout=sys.stderr)
        if done.returncode:
            sys.exit(f"image {name} was not built; what failed stands above")
        print(tag)
    if "@" not in os.environ.get("BASE", ""):
        print("BASE is a tag, which may move; docs/images.md tells how to pin it", file=sys.stderr)


def builder() -> list[str]:
    """The command that builds; exits where there is none."""
    wanted = os.environ.get("BUILD_WITH")
    if wanted and wanted not in TOOLS:
        _refuse(f"BUILD_WITH={wanted}: no such builder; known: {', '.join(TOOLS)}")
    for tool in [wanted] if wanted else TOOLS:
        for program in _on_path(tool):
            if words := _docker(program) if tool == "docker" else _buildah(program):
                return words
    if wanted == "docker":
        _refuse("BUILD_WITH=docker: no docker here that builds; it wants the plugin buildx")
    if wanted:
        _refuse(f"BUILD_WITH={wanted}: not installed")
    _refuse("nothing to build images with; install Docker with buildx, Podman or Buildah")


def options() -> list[str]:
    """What the environment asks for, and what the labels say."""
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
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        _refuse(f"git {words[0]}: {done.stderr.strip()}; images are built from a checkout")
    return done.stdout.strip()


def _on_path(program: str) -> Iterator[str]:
    """Each program of that name on PATH: the first `docker` may be one that cannot build."""
    for folder in os.get_exec_path():
        path = Path(folder) / program
        if os.access(path, os.X_OK) and path.is_file():
            yield str(path)


def _docker(program: str) -> list[str] | None:
    """How this `docker` builds; None where it cannot, or is Podman under Docker's name."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True)
    major = done.stdout.removeprefix("Docker version ").split(".")[0]
    if not major.isdigit():
        return None
    if subprocess.run([program, "buildx", "version"], capture_output=True).returncode == 0:
        return [program, "buildx", "build", "--load"]
    # Docker's own command line had BuildKit built in before 23; from then on it is buildx.
    return [program, "build"] if int(major) < 23 else None


def _buildah(program: str) -> list[str]:
    """How Podman and Buildah build: OCI's format has no health check, and one layer no cache."""
    return [program, "build", "--format=docker", "--layers"]


def _refuse(problem: str) -> NoReturn:
    print(problem, file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main(sys.argv[1:])
