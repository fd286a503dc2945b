"""Tasks in Docker containers on this machine, by kfp.local's DockerRunner.

kfp 2.17 lets Docker remove a container as it ends, and reports one that it no longer finds as a
success: a task that failed at once was reported as done 27 times in 100. Here a container stays
until its status is read.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests
import urllib3
from docker.client import DockerClient
from docker.errors import APIError, ContainerError, DockerException, ImageNotFound
from docker.types import DeviceRequest
from kfp import local
from kfp.local import docker_task_handler
from kfp.local.status import Status

from pipelines.code import Code
from pipelines.local.processes import Ended, Execute
from ranzcr.errors import ConfigError, PipelineError
from ranzcr.home import home
from ranzcr.tracking import provenance

# Prefixes of the variables that a task gets: the journal, the data, and the accounts for both.
_PASSED = ("AWS_", "KAGGLE_", "MLFLOW_", "OMP_", "RANZCR_")
_AWAY = (DockerException, requests.RequestException, urllib3.exceptions.HTTPError)


class Containers:
    """Each task is a container without privileges and with a read-only root file system.

    It runs as the caller, mounts ranzcr's home folder and, read-only, the data, each at its own
    path, and shares the caller's network, because MLflow is often on loopback.
    """

    def __init__(self, image: str, *, data: Iterable[Path], parallel: int) -> None:
        """
        Args:
            image: by name, tag or digest; it is not pulled.
            data: folders to read.
            parallel: containers at a time, which share the memory of the machine.

        Raises PipelineError if Docker does not answer, ConfigError if it has no such image, or one
        without ranzcr.
        """
        self._client = _connect()
        self._name = image
        # By its id, because a tag may be moved to another image meanwhile.
        self._image = _identity(self._client, image)
        self._require_ranzcr()
        self._volumes = {str(folder): {"bind": str(folder), "mode": "ro"} for folder in data}
        self._volumes[str(home())] = {"bind": str(home()), "mode": "rw"}
        self._memory = memory() // parallel

    def code_of(self, stage: str, extensions: Sequence[Path] = ()) -> Code:
        """Return the image, which holds the code of all stages."""
        return {f"image {self._name}": self._image.removeprefix("sha256:")[:16]}

    def kfp_runner(self) -> local.DockerRunner:
        return local.DockerRunner()

    @contextmanager
    def handing_to(self, execute: Execute) -> Iterator[None]:
        def run(handler: docker_task_handler.DockerTaskHandler) -> Status:
            status = execute(handler.full_command, handler.env_vars)
            return Status.SUCCESS if status == 0 else Status.FAILURE

        before = docker_task_handler.DockerTaskHandler.run
        docker_task_handler.DockerTaskHandler.run = run
        try:
            yield
        finally:
            docker_task_handler.DockerTaskHandler.run = before

    def environment(self) -> dict[str, str]:
        return environment(self._image)

    def _require_ranzcr(self) -> None:
        command = ["python3", "-c", "import ranzcr"]
        with _translated():
            try:
                self._client.containers.run(self._image, command, remove=True)
            except (ContainerError, APIError):
                raise ConfigError(
                    f"--image {self._name}: it does not hold ranzcr; build one with make images"
                ) from None

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> _Container:
        gpu = DeviceRequest(count=-1, capabilities=[["gpu"]])
        return _Container(
            self._client,
            image=self._image,
            command=list(command),
            environment=dict(environment),
            volumes=self._volumes,
            user=f"{os.getuid()}:{os.getgid()}",
            network_mode="host",
            init=True,
            read_only=True,
            tmpfs={"/tmp": "exec"},
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            mem_limit=self._memory,
            shm_size=self._memory // 2,  # as Linux does; batches pass through /dev/shm
            device_requests=[gpu] if shutil.which("nvidia-smi") else [],
        )


class _Container:
    """A container, which is removed once its status is read."""

    def __init__(self, client: DockerClient, **settings: Any) -> None:
        self._client = client
        self._name = f"ranzcr-{secrets.token_hex(6)}"  # chosen here, so that it can be removed
        try:
            with _translated():
                self._container = client.containers.create(name=self._name, **settings)
                self._container.start()
        except BaseException:  # Ctrl-C, too
            self._remove()
            raise

    def lines(self) -> Iterator[str]:
        rest = b""
        with suppress(*_AWAY):  # `wait` reports it
            for piece in self._container.logs(stream=True):
                *whole, rest = (rest + piece).split(b"\n")
                yield from (line.decode(errors="replace") + "\n" for line in whole)
        if rest:
            yield rest.decode(errors="replace")

    def wait(self) -> Ended:
        try:
            with _translated():
                return self._end()
        finally:
            self._remove()

    def signal(self, number: int) -> None:
        with suppress(*_AWAY):
            self._container.kill(signal.Signals(number).name)

    def _remove(self) -> None:
        with suppress(*_AWAY):
            self._client.api.remove_container(self._name, force=True)

    def _end(self) -> Ended:
        status = self._container.wait()["StatusCode"]
        self._container.reload()
        killed = self._container.attrs["State"]["OOMKilled"]
        return Ended.of_exit_code(status, out_of_memory=killed)


def environment(image: str) -> dict[str, str]:
    """Return the environment variables of a task in `image`."""
    passed = {key: value for key, value in os.environ.items() if key.startswith(_PASSED)}
    return {
        **passed,
        "HOME": "/tmp",
        "RANZCR_AUTHOR": provenance.author(),
        "RANZCR_HOME": str(home()),
        "RANZCR_IMAGE": image,
        "TINI_KILL_PROCESS_GROUP": "1",  # a signal reaches the task, not its shell alone
    }


def memory() -> int:
    """Return the bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _connect() -> DockerClient:
    try:
        return DockerClient.from_env()
    except DockerException:
        where = os.environ.get("DOCKER_HOST", "/var/run/docker.sock")
        raise PipelineError(
            f"Docker does not answer at {where}; start it, or run without --runner docker"
        ) from None


def _identity(client: DockerClient, image: str) -> str:
    try:
        return client.images.get(image).id
    except ImageNotFound:
        raise ConfigError(
            f"--image {image}: Docker has no such image; build it with make images, "
            f"or get it with docker pull {image}"
        ) from None


@contextmanager
def _translated() -> Iterator[None]:
    """Turn a refusal of Docker, or a lost connection, into one line."""
    try:
        yield
    except _AWAY as error:
        reason = " ".join(str(error).split())
        raise PipelineError(f"Docker failed: {reason}; then run the same command again") from None
