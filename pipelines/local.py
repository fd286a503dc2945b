"""Run a pipeline on this machine: kfp.local's runners, cached by content, told live.

kfp 2.17's local runner keys its cache by the path of an artifact, which changes with each run of an
uncached task, and prints each task's whole input. So the cache here keys artifacts by the digest
that our components write beside them, and a task's output goes to a log file, with its own lines
shown. Both hang on kfp's internals: tests/pipelines/test_local.py notices when they move.
"""

from __future__ import annotations

import builtins
import json
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from kfp import dsl, local
from kfp.local import cache as kfp_cache
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pipelines.processes import Ended, Machine, Processes, Started
from ranzcr.cores import cores
from ranzcr.errors import PipelineError

_PARALLEL_STAGES = ("train", "predict")  # those in a loop share the machine's cores


class StageCrash(Exception):  # noqa: N818, a crash is not a user's error
    """A stage ended by an error of ours; its text is one line."""


@dataclass
class _Task:
    """One task as the user knows it."""

    stage: str
    of: str  # "smoke_a fold 0", or "" outside a loop
    log: Path
    lines: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.stage} {self.of}".strip()


def run(
    pipeline: Callable[..., Any],
    arguments: Mapping[str, Any],
    *,
    root: Path,
    parallel: int,
    tasks: int,
    machine: Machine | None = None,
) -> None:
    """Run `pipeline` to its end, or raise at the first stage that fails.

    Args:
        root: holds `cache/` and `runs/`; a rerun with the same root resumes from the cache.
        parallel: tasks at a time in a loop; kfp.local runs at most 2.
        tasks: how many there will be, for the progress bar.
        machine: what runs them; processes of our own environment if None.

    Raises PipelineError, which names the stage and gives its own line, where the user can mend it;
    StageCrash where it is our fault.
    """
    for folder in ("cache", "runs"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    logs = root / "logs" / time.strftime("%Y%m%d-%H%M%S")
    logs.mkdir(parents=True, exist_ok=True)
    with _Display(tasks) as display, open(logs / "kfp.log", "w") as chatter:
        runner = _Runner(display, logs, parallel, machine or Processes())
        with _kfp(root, runner, chatter), redirect_stdout(chatter), _stopping(runner):
            try:
                pipeline(**arguments)
            except RuntimeError:
                if runner.failure is None:
                    raise
            except KeyboardInterrupt:
                display.line("stopped; run the same command again to resume from the cache")
                raise
        if runner.failure is not None:
            raise runner.failure


@contextmanager
def _stopping(runner: _Runner) -> Iterator[None]:
    """Within it Ctrl-C and SIGTERM end the running tasks, for which kfp's threads would wait.

    A second one kills them; it must not cut kfp's waiting short, since its threads still speak.
    """

    def stop(_number: int, _frame: object) -> None:
        if isinstance(runner.failure, KeyboardInterrupt):
            runner.stop(signal.SIGKILL)
            return
        runner.stop(signal.SIGTERM)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _kfp(root: Path, runner: _Runner, chatter: TextIO) -> Iterator[None]:
    """kfp.local set up with our cache and our way to run a task, and put back afterwards."""
    workspace = tempfile.mkdtemp(prefix="ranzcr-")  # kfp deletes it after every run
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        local.init(
            runner.machine.kfp_runner(),
            pipeline_root=str(root / "runs"),
            workspace_root=workspace,
            enable_caching=True,
            cache_root=str(root / "cache"),
        )
    cache = _ContentCache(str(root / "cache"), runner, runner.machine.image)
    kfp_cache._cache_singleton = cache
    kfp_cache._cache_singleton_root = str(root / "cache")
    # Around each task kfp replaces and restores these; its threads restore each other's.
    logger = logging.getLogger()
    logged, printed = (logger.level, logger.handlers[:]), builtins.print
    logger.handlers[:] = [logging.StreamHandler(chatter)]
    try:
        with runner.machine.handing_to(runner.execute):
            yield
    finally:
        logger.level, logger.handlers[:] = logged
        builtins.print = printed
        kfp_cache.reset_local_cache_singleton()
        shutil.rmtree(workspace, ignore_errors=True)


class _ContentCache(kfp_cache.LocalCache):
    """kfp's local cache, but an artifact counts by its type and digest, not by its path."""

    def __init__(self, cache_root: str, runner: _Runner, image: str) -> None:
        super().__init__(cache_root)
        self._runner = runner
        self._image = image  # that tasks run in, where it is not the one that they name
        self._names: dict[str, str] = {}

    def compute_key(self, component_name, image, full_command, arguments, **rest) -> str:
        key = super().compute_key(
            _stage_of(full_command),  # its component's name says where it stands in a pipeline
            self._image or image,
            full_command,
            _by_content(arguments),
            **rest,
        )
        self._names[key] = _name(_stage_of(full_command), _flat(arguments))
        return key

    def get(self, key: str) -> dict[str, Any] | None:
        outputs = super().get(key)
        if outputs is not None:
            self._runner.cached(self._names[key])
        return outputs


def _flat(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A task's arguments, with the metadata of an artifact in its place."""
    return {
        key: value.metadata if isinstance(value, dsl.Artifact) else value
        for key, value in arguments.items()
    }


def _by_content(value: Any) -> Any:
    if isinstance(value, dsl.Artifact):
        return {"type": value.schema_title, **value.metadata}
    if isinstance(value, list):
        return [_by_content(item) for item in value]
    if isinstance(value, dict):
        return {key: _by_content(item) for key, item in value.items()}
    return value


class _Runner:
    """Runs one task's command on a machine, and remembers the first failure."""

    def __init__(self, display: _Display, logs: Path, parallel: int, machine: Machine) -> None:
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
            task = self._task(full_command)
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
                self.failure = _failure(task, ended)
            return ended.status

    def _task(self, full_command: list[str]) -> _Task:
        stage = _stage_of(full_command)
        given = json.loads(full_command[full_command.index("--executor_input") + 1])
        inputs = given.get("inputs", {})
        metadata = {
            key: value["artifacts"][0].get("metadata", {})
            for key, value in inputs.get("artifacts", {}).items()
        }
        name = _name(stage, {**metadata, **inputs.get("parameterValues", {})})
        of = name.removeprefix(stage).strip()
        handle, log = tempfile.mkstemp(
            prefix=f"{name.replace(' ', '-')}-", suffix=".log", dir=self._logs
        )
        os.close(handle)
        return _Task(stage, of, Path(log))

    def _stream(self, task: _Task, command: list[str], environment: dict[str, str]) -> Ended:
        if task.stage in _PARALLEL_STAGES:
            environment.setdefault("OMP_NUM_THREADS", self._threads)
        started = self.machine.start(command, {**environment, "PYTHONUNBUFFERED": "1"})
        self._running.add(started)
        if isinstance(self.failure, KeyboardInterrupt):  # while it started
            started.signal(signal.SIGTERM)
        try:
            with open(task.log, "w") as log:
                for line in _own_lines(started.lines(), log):
                    task.lines.append(line)
                    self._display.line(f"{task} | {line}")
        finally:
            ended = started.wait()
            self._running.discard(started)
        return ended


def _own_lines(output: Iterator[str], log: TextIO) -> Iterator[str]:
    """What the stage itself says, without what kfp's executor says of its inputs and outputs."""
    in_input = False
    for line in output:
        log.write(line)
        line = line.rstrip()
        if line.startswith("[KFP Executor"):
            in_input = line.endswith("Got executor_input:")
        elif in_input:
            in_input = line != "}"
        elif line:
            yield line


def _failure(task: _Task, ended: Ended) -> Exception:
    again = "run the same command again to resume from the cache"
    said = [line for line in task.lines if line.startswith(f"{task.stage}: ")]
    if ended.out_of_memory:
        return PipelineError(
            f"stage {task} ran out of memory; give it more or --parallel 1, then {again}"
        )
    if ended.status == 2 and said:
        line = said[-1].removeprefix(f"{task.stage}: ")
        return PipelineError(
            f"stage {task} failed: {line}; then run the same command again: it resumes from the "
            "cache"
        )
    if ended.status < 0:
        name = signal.Signals(-ended.status).name
        return PipelineError(f"stage {task} was killed ({name}); {again}")
    last = task.lines[-1] if task.lines else "no output"
    return StageCrash(f"stage {task} crashed: {last}; see {task.log}")


def _stage_of(full_command: list[str]) -> str:
    return full_command[full_command.index("--function_to_execute") + 1]


def _name(stage: str, arguments: Mapping[str, Any]) -> str:
    """The stage and what it works on: "train smoke_a fold 0", "plan smoke_a, smoke_b"."""
    config = arguments.get("config")
    if config:
        return f"{stage} {_experiment_name(config)} fold {arguments['fold']}"
    checkpoint = arguments.get("checkpoint", {})
    if "experiment" in checkpoint:  # else it is an ensemble
        return f"{stage} {checkpoint['experiment']} fold {checkpoint['fold']}"
    experiments = ", ".join(map(_experiment_name, arguments.get("experiments", [])))
    return f"{stage} {experiments}".strip()


def _experiment_name(text: str) -> str:
    return json.loads(text)["name"] if text.startswith("{") else text


class _Display:
    """Lines as they come; on a terminal with a bar of finished tasks below them."""

    def __init__(self, tasks: int) -> None:
        self._lock = threading.Lock()
        self._tasks = tasks
        self._done = 0
        self._console = Console(file=sys.stderr, highlight=False, soft_wrap=True, markup=False)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._all = self._bar.add_task("tasks", total=tasks)

    def __enter__(self) -> _Display:
        self._bar.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._bar.stop()

    def line(self, text: str) -> None:
        with self._lock:
            self._console.print(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text))

    def done(self, text: str) -> None:
        with self._lock:
            self._done += 1
            self._bar.advance(self._all)
            self._console.print(f"[{self._done}/{self._tasks}] {text}")
