"""The code of each task of a run, and the record of what earlier runs finished with which code."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pipelines.code import Code, differences, version
from ranzcr.files import write_json

_SHOWN = 3  # differences that a line names


@dataclass(frozen=True)
class Planned:
    """Tasks of a run: those of a stage, or of a stage and an experiment."""

    stage: str
    experiment: str = ""
    count: int = 1
    cached: bool = True  # if False, they read files or the registry, and run each time

    def __str__(self) -> str:
        name = f"{self.stage} {self.experiment}".strip()
        return f"{name} x {self.count}" if self.count > 1 else name


class Versions:
    """Versions of the code of the tasks of a run.

    Args:
        code_of: returns the code of a stage and an experiment ("" if a task has no single one).
        settings: experiment -> hash of its settings.
        record: the file that records finished tasks; it is missing before the first run.
    """

    def __init__(
        self,
        code_of: Callable[[str, str], Code],
        settings: Mapping[str, str] | None = None,
        record: Path | None = None,
    ) -> None:
        self._code_of = cache(code_of)
        # kfp runs the tasks of a loop in threads, and Python 3.11 cannot parse source in two
        # threads at once (python/cpython#106905).
        self._parsing = threading.Lock()
        self._settings = settings or {}
        self._file = record
        self._record: dict[str, Any] = {}
        if record is not None and record.is_file():
            self._record = json.loads(record.read_text(encoding="utf-8"))

    def _code(self, stage: str, experiment: str) -> Code:
        with self._parsing:
            return self._code_of(stage, experiment)

    def of_task(self, stage: str, experiment: str = "") -> str:
        """Return the version of the code of a task."""
        return version(self._code(stage, experiment))

    def redone(self, planned: Iterable[Planned]) -> list[str]:
        """Describe the tasks whose code or settings no earlier run had, each with the reason."""
        return [
            f"{tasks}: {reason}"
            for tasks in planned
            if tasks.cached and self._record and (reason := self._reason(tasks))
        ]

    def finish(self, stage: str, experiment: str = "") -> None:
        """Record that a task has finished with its present code."""
        now = self._state(stage, experiment)
        before = self._record.get(f"{stage} {experiment}", {"versions": []})
        versions = dict.fromkeys([*before["versions"], version(now)])
        self._record[f"{stage} {experiment}"] = {"versions": list(versions), "code": now}

    def save(self) -> None:
        """Write the record for later runs."""
        if self._file is not None:
            write_json(self._file, self._record)

    def _state(self, stage: str, experiment: str) -> Code:
        settings = self._settings.get(experiment)
        return {
            **self._code(stage, experiment),
            **({f"settings of {experiment}": settings} if settings else {}),
        }

    def _reason(self, tasks: Planned) -> str:
        """Return why tasks are redone, or "" if the cache can have their results."""
        finished = self._record.get(f"{tasks.stage} {tasks.experiment}")
        if finished is None:
            return "not done before"
        now = self._state(tasks.stage, tasks.experiment)
        if version(now) in finished["versions"]:
            return ""
        changes = differences(finished["code"], now)
        more = f" and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
        return f"{', '.join(changes[:_SHOWN])}{more}"
