"""Tasks as processes of this machine, by kfp.local's SubprocessRunner."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kfp import local
from kfp.local import subprocess_task_handler

from pipelines import code

Execute = Callable[[list[str], Mapping[str, str]], int]  # command, environment -> exit status


@dataclass(frozen=True)
class Ended:
    """The end of a task; a negative status is the signal that killed it."""

    status: int
    out_of_memory: bool = False

    @classmethod
    def of_exit_code(cls, number: int, *, out_of_memory: bool = False) -> Ended:
        """Read an exit code of a shell or a container: 128 plus the signal that killed it."""
        killed_by = number - 128
        is_signal = killed_by in signal.valid_signals()
        return cls(-killed_by if is_signal else number, out_of_memory)


class Started(Protocol):
    """A task that was started."""

    def lines(self) -> Iterator[str]:
        """Yield its output until it ends."""

    def wait(self) -> Ended:
        """Wait for its end. Call it once, after `lines`."""

    def signal(self, number: int) -> None:
        """Send a signal to all its processes; do nothing if it has ended."""


class Machine(Protocol):
    """Runs tasks."""

    def code_of(self, stage: str, extensions: Sequence[Path] = ()) -> code.Code:
        """Return the code of a stage as tasks run it; see pipelines.code."""

    def kfp_runner(self) -> local.SubprocessRunner | local.DockerRunner:
        """Return the runner to set up kfp.local with."""

    def handing_to(self, execute: Execute) -> AbstractContextManager[None]:
        """Open a context in which kfp hands each task to `execute`."""

    def environment(self) -> dict[str, str]:
        """Return the environment variables of each task."""

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> Started:
        """Start a task. Raises PipelineError if that is impossible."""


class Processes:
    """Each task is a process with our own environment."""

    def code_of(self, stage: str, extensions: Sequence[Path] = ()) -> code.Code:
        return code.of_stage(stage, extensions)

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
    """A task in a process group of its own, with the shell that kfp wraps it in."""

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
            return Ended.of_exit_code(self._process.wait())

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.Signals(number))
