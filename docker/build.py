"""Build the images: `make images`, or `python docker/build.py [NAME...]`.

Docker with BuildKit, Podman or Buildah, whichever is found first. The tag is version-commit, with
"-dirty" where the tree differs from the commit. What may be set, in the environment:

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

ROOT = Path(__file__).parent.parent
NAMES = sorted(path.stem for path in (ROOT / "docker").glob("*.Dockerfile"))
SECRETS = {"pip_conf": "PIP_CONF", "ca": "CA"}


def main(names: list[str]) -> None:
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        sys.exit(f"no image {unknown[0]}; known: {', '.join(NAMES)}")
    tool = builder()
    for name in names or NAMES:
        tag = f"{os.environ.get('PREFIX', '')}{name}:{version()}-{commit()[:12]}{dirt()}"
        words = [*tool, *options(), "--tag", tag, "--file", f"docker/{name}.Dockerfile", "."]
        done = subprocess.run(words, cwd=ROOT, stdout=sys.stderr)  # stdout is for the tags
        if done.returncode:
            sys.exit(f"image {name} was not built; what failed stands above")
        print(tag)


def builder() -> list[str]:
    """The command that builds; exits where there is none."""
    for docker in _on_path("docker"):
        if _succeeds(docker, "buildx", "version"):
            return [docker, "buildx", "build", "--load"]
        if _has_buildkit_itself(docker):
            os.environ["DOCKER_BUILDKIT"] = "1"
            return [docker, "build"]
    for other in ("podman", "buildah"):
        for program in _on_path(other):
            # Else the health check is dropped.
            return [program, "build", "--format", "docker"]
    sys.exit("nothing to build images with; install Docker with buildx, Podman or Buildah")


def options() -> list[str]:
    """What the environment asks for, and what the labels say."""
    arguments = {"VERSION": version(), "COMMIT": commit() + dirt()}
    arguments |= {name: os.environ[name] for name in ("BASE", "BUILDER") if os.environ.get(name)}
    words = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    for secret, variable in SECRETS.items():
        if file := os.environ.get(variable):
            if not Path(file).is_file():
                sys.exit(f"{variable}: no such file {file}")
            words.append(f"--secret=id={secret},src={file}")
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
        sys.exit(f"git {words[0]}: {done.stderr.strip()}; images are built from a checkout")
    return done.stdout.strip()


def _on_path(program: str) -> Iterator[str]:
    """Each program of that name on PATH: the first `docker` may be one that cannot build."""
    for folder in os.get_exec_path():
        path = Path(folder) / program
        if os.access(path, os.X_OK) and path.is_file():
            yield str(path)


def _succeeds(*words: str) -> bool:
    return subprocess.run(words, capture_output=True).returncode == 0


def _has_buildkit_itself(docker: str) -> bool:
    """Docker's own command line had BuildKit built in before 23; from then on it is buildx."""
    done = subprocess.run([docker, "--version"], capture_output=True, text=True)
    major = done.stdout.removeprefix("Docker version ").split(".")[0]
    return major.isdigit() and int(major) < 23


if __name__ == "__main__":
    main(sys.argv[1:])
