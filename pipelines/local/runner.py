"""Runs tasks on a machine, shows their lines, and remembers the first failure."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from pipelines.local.display import Display
from pipelines.local.processes import Ended, Machine, Started
from pipelines.local.tasks import Task, TaskName, failure, own_lines
from pipelines.local.versions import Versions
from ranzcr.cores import cores
from ranzcr.errors import PipelineError

_PARALLEL_STAGES = ("train", "predict")  # in a loop, where tasks share the machine's cores


class Runner:
    """Runs the command of each task that kfp hands over.

    Args:
        parallel: tasks at a time.
    """

    def __init__(
        self, display: Display, logs: Path, parallel: int, machine: Machine, versions: Versions
    ) -> None:
        self.failure: BaseException | None = None
        self.machine = machine
        self._versions = versions
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

    def cached(self, name: TaskName) -> None:
        """Note a task whose outputs come from the cache."""
        self._display.done(f"{name}: cached")
        self._versions.finish(name.stage, name.experiment)

    def execute(self, full_command: list[str], env_vars: Mapping[str, str]) -> int:
        """Run a task in place of kfp; returns the exit status."""
        with self._slots:
            if self.failure is not None:
                return 1  # kfp waits for all started tasks before it reports a failure
            task = Task.of_command(full_command, self._logs)
            self._display.line(f"{task.name}: started")
            began = time.monotonic()
            try:
                ended = self._stream(task, full_command, {**self._environment(task), **env_vars})
            except PipelineError as error:
                self.failure = self.failure or error
                return 1
            if ended.status == 0:
                self._display.done(f"{task.name}: done in {time.monotonic() - began:.1f} s")
                self._versions.finish(task.name.stage, task.name.experiment)
            elif self.failure is None:
                self.failure = failure(task, ended)
            return ended.status

    def _environment(self, task: Task) -> dict[str, str]:
        environment = self.machine.environment()
        if task.name.stage in _PARALLEL_STAGES:
            environment.setdefault("OMP_NUM_THREADS", self._threads)
        # The journal keeps results of different code apart.
        code = self._versions.of_task(task.name.stage, task.name.experiment)
        return {**environment, "PYTHONUNBUFFERED": "1", "RANZCR_CODE": code}

    def _stream(self, task: Task, command: list[str], environment: Mapping[str, str]) -> Ended:
        started = self.machine.start(command, environment)
        self._running.add(started)
        if isinstance(self.failure, KeyboardInterrupt):  # it came while the task started
            started.signal(signal.SIGTERM)
        try:
            with open(task.log, "w") as log:
                for line in own_lines(started.lines(), log):
                    task.lines.append(line)
                    self._display.line(f"{task.name} | {line}")
        finally:
            ended = started.wait()
            self._running.discard(started)
        return ended
