"""Tasks as processes of this machine, by kfp.local's SubprocessRunner."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

from kfp import local
from kfp.local import subprocess_task_handler

from pipelines import code

Execute = Callable[[list[str], Mapping[str, str]], int]  # command, environment -> exit status


@dataclass(frozen=True)
class Ended:
    """How a task ended; a negative status is the signal that killed it."""

    status: int
    out_of_memory: bool = False

    @classmethod
    def told(cls, status: int, *, out_of_memory: bool = False) -> Ended:
        """As shells and containers tell of it: by 128 and the signal where one killed it."""
        number = status - 128
        return cls(-number if number in signal.valid_signals() else status, out_of_memory)


class Started(Protocol):
    """A task that was started."""

    def lines(self) -> Iterator[str]:
        """What it says, until it ends."""

    def wait(self) -> Ended:
        """Its end. Call it once, after `lines`."""

    def signal(self, number: int) -> None:
        """Send a signal to all its processes; nothing to do where it has ended."""


class Machine(Protocol):
    """What runs tasks; `image` is what they run in, "" outside containers."""

    image: str

    def code_version(self) -> str:
        """Of the code that tasks run; see pipelines.code."""

    def kfp_runner(self) -> Any:
        """What kfp.local shall be set up with."""

    def handing_to(self, execute: Execute) -> Any:
        """A context in which kfp hands each task to `execute`."""

    def environment(self) -> dict[str, str]:
        """What each task finds in its environment."""

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> Started:
        """Raises PipelineError where it cannot be started."""


class Processes:
    """Each task is a process, in our environment."""

    image = ""

    def code_version(self) -> str:
        return code.code_version()

    def kfp_runner(self) -> local.SubprocessRunner:
        return local.SubprocessRunner(use_venv=False)

    @contextmanager
    def handing_to(self, execute: Execute) -> Iterator[None]:
        def run(full_command: list[str], env_vars: Mapping[str, str] | None = None) -> int:
            return execute(full_command, env_vars or {})

        before = subprocess_task_handler.run_local_subprocess
        subprocess_task_handler.run_local_subprocess = run
        try:
            yield
        finally:
            subprocess_task_handler.run_local_subprocess = before

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> _Process:
        return _Process(command, environment)


class _Process:
    """kfp wraps a task in a shell: both are one process group, which is ended as one."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            start_new_session=True,
        )

    def lines(self) -> Iterator[str]:
        assert self._process.stdout is not None
        yield from self._process.stdout

    def wait(self) -> Ended:
        with self._process:
            return Ended.told(self._process.wait())

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.Signals(number))
