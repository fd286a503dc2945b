"""The output of a run while it is active."""

from __future__ import annotations

import re
import sys
import threading

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class Display:
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

    def __enter__(self) -> Display:
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
