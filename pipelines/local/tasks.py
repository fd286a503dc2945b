"""A task as the user knows it: from the command by which kfp runs it, to how it failed."""

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
    """A stage ended by an error of ours; its text is one line."""


@dataclass
class Task:
    """One task as the user knows it."""

    stage: str
    of: str  # "smoke_a fold 0", or "" outside a loop
    log: Path
    lines: list[str] = field(default_factory=list)

    @classmethod
    def of_command(cls, full_command: list[str], logs: Path) -> Task:
        """The task that a command runs; its log is a new file in `logs`."""
        stage = stage_of(full_command)
        given = json.loads(full_command[full_command.index("--executor_input") + 1])
        inputs = given.get("inputs", {})
        metadata = {
            key: value["artifacts"][0].get("metadata", {})
            for key, value in inputs.get("artifacts", {}).items()
        }
        name = name_of(stage, {**metadata, **inputs.get("parameterValues", {})})
        handle, log = tempfile.mkstemp(prefix=f"{name.replace(' ', '-')}-", suffix=".log", dir=logs)
        os.close(handle)
        return cls(stage, name.removeprefix(stage).strip(), Path(log))

    def __str__(self) -> str:
        return f"{self.stage} {self.of}".strip()


def stage_of(full_command: list[str]) -> str:
    return full_command[full_command.index("--function_to_execute") + 1]


def name_of(stage: str, arguments: Mapping[str, Any]) -> str:
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


def own_lines(output: Iterator[str], log: TextIO) -> Iterator[str]:
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


def failure(task: Task, ended: Ended) -> Exception:
    """What to raise for a task that did not end well."""
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
