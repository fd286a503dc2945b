"""The name of a task, read from the command by which kfp runs it, and the error it ended with."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from pipelines.local.processes import Ended
from ranzcr.errors import PipelineError


class StageCrash(Exception):  # noqa: N818, a crash is not a user's error
    """A stage ended with an error that the user cannot fix; its text is one line."""


@dataclass(frozen=True)
class TaskName:
    """A stage and what it works on: "train smoke_a fold 0", "plan smoke_a, smoke_b"."""

    stage: str
    experiment: str = ""  # of a task in a loop
    rest: str = ""

    @classmethod
    def of(cls, stage: str, arguments: Mapping[str, Any]) -> TaskName:
        """Name a task by its arguments, with the metadata of artifacts in their place."""
        config = arguments.get("config")
        if config:
            return cls(stage, _experiment_name(config), f"fold {arguments['fold']}")
        checkpoint = arguments.get("checkpoint", {})
        if "experiment" in checkpoint:  # else it is an ensemble
            return cls(stage, checkpoint["experiment"], f"fold {checkpoint['fold']}")
        return cls(stage, rest=", ".join(map(_experiment_name, arguments.get("experiments", []))))

    def __str__(self) -> str:
        return " ".join(word for word in (self.stage, self.experiment, self.rest) if word)


@dataclass
class Task:
    """A task that runs."""

    name: TaskName
    log: Path
    lines: list[str] = field(default_factory=list)

    @classmethod
    def of_command(cls, full_command: list[str], logs: Path) -> Task:
        """Return the task that a command runs; its log is a new file in `logs`."""
        executor_input = json.loads(full_command[full_command.index("--executor_input") + 1])
        inputs = executor_input.get("inputs", {})
        metadata = {
            key: value["artifacts"][0].get("metadata", {})
            for key, value in inputs.get("artifacts", {}).items()
        }
        arguments = {**metadata, **inputs.get("parameterValues", {})}
        name = TaskName.of(stage_of(full_command), arguments)
        prefix = f"{str(name).replace(' ', '-')}-"
        handle, log = tempfile.mkstemp(prefix=prefix, suffix=".log", dir=logs)
        os.close(handle)
        return cls(name, Path(log))


def stage_of(full_command: list[str]) -> str:
    return full_command[full_command.index("--function_to_execute") + 1]


def _experiment_name(text: str) -> str:
    return json.loads(text)["name"] if text.startswith("{") else text


def own_lines(output: Iterator[str], log: TextIO) -> Iterator[str]:
    """Yield the lines of the stage itself; those of kfp's executor go to the log alone."""
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


def failure(task: Task, ended: Ended) -> Exception:
    """Return the error to raise for a task that failed."""
    again = "run the same command again to resume from the cache"
    prefix = f"{task.name.stage}: "
    errors = [line.removeprefix(prefix) for line in task.lines if line.startswith(prefix)]
    if ended.out_of_memory:
        return PipelineError(
            f"stage {task.name} ran out of memory; give it more or --parallel 1, then {again}"
        )
    if ended.status == 2 and errors:
        return PipelineError(
            f"stage {task.name} failed: {errors[-1]}; then run the same command again: it resumes "
            "from the cache"
        )
    if ended.status < 0:
        signal_name = signal.Signals(-ended.status).name
        return PipelineError(f"stage {task.name} was killed ({signal_name}); {again}")
    last = task.lines[-1] if task.lines else "no output"
    return StageCrash(f"stage {task.name} crashed: {last}; see {task.log}")
