"""Runs tasks on a machine, tells of them, and remembers the first failure."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from pipelines.local.display import Display
from pipelines.local.processes import Ended, Machine, Started
from pipelines.local.tasks import Task, failure, own_lines
from ranzcr.cores import cores
from ranzcr.errors import PipelineError

_PARALLEL_STAGES = ("train", "predict")  # those in a loop share the machine's cores


class Runner:
    """What kfp hands each task's command to.

    Args:
        parallel: tasks at a time.
    """

    def __init__(self, display: Display, logs: Path, parallel: int, machine: Machine) -> None:
        self.failure: BaseException | None = None
        self.machine = machine
        self._running: set[Started] = set()
        self._display = display
        self._logs = logs
        self._slots = threading.BoundedSemaphore(parallel)
        self._threads = str(max(1, cores() // parallel))

    def stop(self, number: int) -> None:
        """Send the running tasks a signal and start no others."""
        self.failure = KeyboardInterrupt()
        for started in list(self._running):
            started.signal(number)

    def cached(self, name: str) -> None:
        self._display.done(f"{name}: cached")

    def execute(self, full_command: list[str], env_vars: Mapping[str, str]) -> int:
        """Take the place of kfp's way to run a task; returns the exit status."""
        with self._slots:
            if self.failure is not None:
                return 1  # what failed is told sooner when nothing new is started
            task = Task.of_command(full_command, self._logs)
            self._display.line(f"{task}: started")
            began = time.monotonic()
            try:
                ended = self._stream(task, full_command, {**self.machine.environment(), **env_vars})
            except PipelineError as error:
                self.failure = self.failure or error
                return 1
            if ended.status == 0:
                self._display.done(f"{task}: done in {time.monotonic() - began:.1f} s")
            elif self.failure is None:
                self.failure = failure(task, ended)
            return ended.status

    def _stream(self, task: Task, command: list[str], environment: dict[str, str]) -> Ended:
        if task.stage in _PARALLEL_STAGES:
            environment.setdefault("OMP_NUM_THREADS", self._threads)
        started = self.machine.start(command, {**environment, "PYTHONUNBUFFERED": "1"})
        self._running.add(started)
        if isinstance(self.failure, KeyboardInterrupt):  # while it started
            started.signal(signal.SIGTERM)
        try:
            with open(task.log, "w") as log:
                for line in own_lines(started.lines(), log):
                    task.lines.append(line)
                    self._display.line(f"{task} | {line}")
        finally:
            ended = started.wait()
            self._running.discard(started)
        return ended
