"""Progress of long work: a bar on a terminal, a few plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

Item = TypeVar("Item")

_SECONDS_BETWEEN_LINES = 5.0


def track(items: Iterable[Item], title: str, total: int | None = None) -> Iterator[Item]:
    """Yield `items` and show the progress on stderr.

    A terminal gets a bar with the time left. A log (of a KFP task, of CI) gets one line every 5
    seconds at most, and none if the work takes less.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        yield from _bar(items, title, total)
    else:
        yield from _lines(items, title, total)


def _bar(items: Iterable[Item], title: str, total: int | None) -> Iterator[Item]:
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True)) as bars:
        yield from bars.track(items, total=total, description=title)


def _lines(items: Iterable[Item], title: str, total: int | None) -> Iterator[Item]:
    last = time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_LINES:
            last = now
            print(f"{title}: {count}{f' of {total}' if total else ''}", file=sys.stderr, flush=True)
