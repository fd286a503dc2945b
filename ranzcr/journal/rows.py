"""The lab journal: one row per single model, set of soft labels, or ensemble."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ranzcr.errors import ConfigError, TrackingError, nearest
from ranzcr.journal import filters, reading
from ranzcr.journal.changes import Parents
from ranzcr.journal.entries import Entry, Record
from ranzcr.journal.filters import Cell
from ranzcr.journal.reading import SHORT
from ranzcr.tracking import place

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]  # by COLUMNS; a score is None and a word "" where it is not known

KINDS = ("single", "pseudo", "ensemble")  # in the order they are shown
SCORES = ("cv_auc", "cv_auc_lo", "cv_auc_hi", "lb_public", "lb_private", "gpu_hours")
COLUMNS = [
    *["kind", "experiment", "parent", "backbone", "head", "image_size", "folds"],
    *["teachers", "members", *SCORES, "decision", "run_id"],
    *["changed", "state", "started", "author", "link"],
]
_NAMED = 5  # runs of one name that an error lists


@dataclass(frozen=True)
class Selection:
    """Rows of the journal, and what to say where there are none."""

    rows: list[Row]
    silence: str


def select(
    *,
    where: Sequence[str] = (),
    kind: str | None = None,
    sort: str = "cv_auc",
    limit: int | None = None,
) -> Selection:
    """The journal, best first.

    Args:
        where: filters that all must hold, see `ranzcr.journal.filters`. They, and `sort`,
            take a column, or a param or metric by MLflow's name: cfg.tta, auc/CVC - Normal.
        kind: single, pseudo or ensemble; None for all.
        sort: see `where`; ":asc" or ":desc" may follow. Scores and metrics fall and words and
            counts rise if neither does. What is not there comes last.
        limit: at most so many rows.

    Raises ConfigError for an unknown kind or column, TrackingError where MLflow does not answer.
    """
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"no kind {kind!r} in the journal; {nearest(kind, KINDS)}")
    if limit is not None and limit < 1:
        raise ConfigError(f"limit={limit} must be at least 1")
    conditions = [filters.parse(text) for text in where]
    record = reading.read(kind)  # a parent is of its child's kind
    cells = _Cells(record)
    chosen = record.entries
    for condition in conditions:
        of = cells.getter(condition.column)
        chosen = [entry for entry in chosen if condition.holds(of(entry))]
    chosen = _sorted(chosen, sort, cells)[:limit]
    return Selection([cells.row(entry) for entry in chosen], _silence(bool(kind or where)))


def rows(kind: str | None = None, sort: str = "cv_auc", limit: int | None = None) -> pd.DataFrame:
    """`select` as a table with COLUMNS."""
    import pandas as pd

    frame = pd.DataFrame(select(kind=kind, sort=sort, limit=limit).rows, columns=COLUMNS)
    return frame.astype(dict.fromkeys(SCORES, float))


def resolve(name: str) -> str:
    """The id of a top-level run.

    Args:
        name: its name, its run id, or the beginning of that from 8 characters on.

    Raises TrackingError for a name that is unknown, or that several runs have.
    """
    same = reading.named(name)
    if len(same) == 1:
        return same[0].run_id
    if same:
        raise TrackingError(f"{len(same)} runs are named {name}; give one of {_listed(same)}")
    entries = reading.read().entries
    if not entries:
        raise TrackingError(f"no run {name!r}: the journal is empty; run a pipeline first")
    known = {entry.experiment for entry in entries}
    raise TrackingError(f"no run {name!r} in the journal; {nearest(name, known)}")


def members(tags: Mapping[str, str]) -> str:
    """A blend's members with their weights: "smoke_a:0.600 smoke_b:0.400"."""
    try:
        weights = json.loads(tags["weights"])
        return " ".join(f"{name}:{weight:.3f}" for name, weight in weights.items())
    except (KeyError, ValueError, AttributeError, TypeError):  # not told, or written by hand
        return " ".join(tags.get("members", "").split(","))


def interval(scores: Mapping[Any, float | None]) -> str:
    """CV with its interval, "0.8123 [0.7812, 0.8410]"; "" where there is none."""
    cv, lo, hi = (_known(scores.get(name)) for name in ("cv_auc", "cv_auc_lo", "cv_auc_hi"))
    if cv is None:
        return ""
    return f"{cv:.4f}" if lo is None or hi is None else f"{cv:.4f} [{lo:.3f}, {hi:.3f}]"


class _Cells:
    """The cells of a journal's runs."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._parents = Parents(record.entries)

    def row(self, entry: Entry) -> Row:
        return {column: cell(self, entry) for column, cell in _CELLS.items()}

    def changed(self, entry: Entry) -> str:
        return self._parents.changes(entry)

    def link(self, entry: Entry) -> str:
        return place.run_page(self._record.pages, self._record.place, entry.run_id)

    def getter(self, name: str) -> Callable[[Entry], Cell]:
        """How to get the cell `name` of a run. Raises ConfigError where no run has one."""
        if name in _CELLS:
            cell = _CELLS[name]
            return lambda entry: cell(self, entry)
        metrics = {metric for entry in self._record.entries for metric in entry.metrics}
        if name in metrics:
            return lambda entry: _known(entry.metrics.get(name))
        params = {param for entry in self._record.entries for param in entry.params}
        if name in params:
            return lambda entry: entry.params.get(name, "")
        # A setting or a label's score is long; a column is short.
        known = params | metrics if "." in name or "/" in name else set(COLUMNS)
        raise ConfigError(f"no column {name!r} in the journal; {nearest(name, known or COLUMNS)}")

    def rises(self, name: str) -> bool:
        """Whether small comes first: words and counts, but not what is measured."""
        return name not in SCORES and not any(
            name in entry.metrics for entry in self._record.entries
        )


def _of_tag(name: str) -> Callable[[_Cells, Entry], str]:
    return lambda _, entry: entry.tags.get(name, "")


def _of_param(name: str) -> Callable[[_Cells, Entry], str]:
    return lambda _, entry: entry.params.get(name, "")


def _of_metric(name: str) -> Callable[[_Cells, Entry], float | None]:
    return lambda _, entry: _known(entry.metrics.get(name))


_OTHER: dict[str, Callable[[_Cells, Entry], Cell]] = {
    "experiment": lambda _, entry: entry.experiment,
    "backbone": _of_param("cfg.model.backbone"),
    "head": _of_param("cfg.model.head"),
    "image_size": _of_param("cfg.data.image_size"),
    "members": lambda _, entry: members(entry.tags),
    "run_id": lambda _, entry: entry.run_id,
    "changed": _Cells.changed,
    "state": lambda _, entry: entry.status.lower(),
    "started": lambda _, entry: _time(entry.started),
    "link": _Cells.link,
    **{name: _of_metric(name) for name in SCORES},
}
_CELLS = {column: _OTHER.get(column) or _of_tag(column) for column in COLUMNS}


def _known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _time(milliseconds: int) -> str:
    """UTC to the second, "2026-11-22T14:05:58Z"."""
    if not milliseconds:
        return ""
    return f"{datetime.fromtimestamp(milliseconds // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _sorted(entries: list[Entry], sort: str, cells: _Cells) -> list[Entry]:
    name, _, direction = sort.rpartition(":")
    if direction not in ("asc", "desc"):
        name, direction = sort, ""
    of = cells.getter(name)
    falls = direction == "desc" or (not direction and not cells.rises(name))
    known = [(cell, entry) for entry in entries if (cell := of(entry)) not in (None, "")]
    keys = _keys([cell for cell, _ in known])
    order = sorted(range(len(known)), key=keys.__getitem__, reverse=falls)
    return [known[index][1] for index in order] + [
        entry for entry in entries if of(entry) in (None, "")
    ]


def _keys(cells: list[Cell]) -> list[Any]:
    """What to sort by: numbers where all are, else words."""
    words = [str(cell) for cell in cells]
    numbers = [filters.number(word) for word in words]
    return words if None in numbers else numbers


def _silence(asked: bool) -> str:
    file = place.sqlite_file(place.tracking_uri())
    if file is not None and not file.exists():
        return f"No journal yet at {file}: run a pipeline, or train a fold.\n"
    if asked:
        return "No run of the journal is as asked.\n"
    return "The journal is empty: run a pipeline, or train a fold.\n"


def _listed(entries: Iterable[Entry]) -> str:
    """The newest of several runs: "20920af3 of 2026-11-22, c16f209e of 2026-11-20"."""
    newest = sorted(entries, key=lambda entry: -entry.started)
    told = [f"{entry.run_id[:SHORT]} of {_time(entry.started)[:10]}" for entry in newest[:_NAMED]]
    return ", ".join(told) + (", ..." if len(newest) > _NAMED else "")
