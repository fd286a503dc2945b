"""The lab journal: one row per single model, set of soft labels, or ensemble."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ranzcr.errors import ConfigError, TrackingError, nearest
from ranzcr.journal import filters, reading
from ranzcr.journal.columns import CELLS, KINDS, SHOWN, Column, Row, time_text
from ranzcr.journal.journal_run import SHORT, JournalRun, Record
from ranzcr.tracking import place
from ranzcr.tracking.names import Metric

_LISTED = 5  # runs of one name that an error lists


@dataclass(frozen=True)
class Selection:
    """Rows of the journal with their columns, and a message for when there are no rows."""

    rows: Sequence[Row]
    message: str = ""
    columns: Sequence[Column] = SHOWN  # of CSV and XLSX; tables have those of each kind


def select(
    *,
    where: Sequence[str] = (),
    kind: str | None = None,
    sort: str = Metric.CV_AUC,
    limit: int | None = None,
) -> Selection:
    """Select rows of the journal, the best first.

    Args:
        where: filters that must all hold, see `ranzcr.journal.filters`. They, and `sort`,
            take a column, or a param or metric by its name in MLflow: cfg.tta, auc/CVC - Normal.
        kind: single, pseudo or ensemble; None for all.
        sort: see `where`; ":asc" or ":desc" may follow. By default the highest metric and the
            first word come first. Empty cells come last.
        limit: the maximal number of rows.

    Raises ConfigError for an unknown kind or column, TrackingError if MLflow does not answer.
    """
    check_kind(kind)
    if limit is not None and limit < 1:
        raise ConfigError(f"limit={limit} must be at least 1")
    conditions = [filters.parse(text) for text in where]
    record = reading.read(kind)  # a run and its parent have the same kind
    runs = record.runs
    for condition in conditions:
        column = _column(condition.column, record)
        runs = [run for run in runs if condition.holds(column.of(run, record))]
    runs = _sorted(runs, sort, record)[:limit]
    rows = [{column.name: column.of(run, record) for column in CELLS} for run in runs]
    return Selection(rows, _message(bool(kind or where)))


def check_kind(kind: str | None) -> None:
    """Raise ConfigError for a kind that the journal does not have; None is accepted."""
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"no kind {kind!r} in the journal; {nearest(kind, KINDS)}")


def find(name: str) -> JournalRun:
    """Find a top-level run.

    Args:
        name: its name, its run id, or the first 8 or more characters of its id.

    Raises TrackingError for an unknown name, and for a name that several runs have.
    """
    runs = reading.named(name)
    if len(runs) == 1:
        return runs[0]
    if runs:
        raise TrackingError(f"{len(runs)} runs are named {name}; give one of {_listed(runs)}")
    names = reading.read().by_name.keys()
    if not names:
        raise TrackingError(f"no run {name!r}: the journal is empty; run a pipeline first")
    raise TrackingError(f"no run {name!r} in the journal; {nearest(name, names)}")


def resolve(name: str) -> str:
    """Return the id of a top-level run; see `find`."""
    return find(name).run_id


def _column(name: str, record: Record) -> Column:
    """Return a column, or one that is made for a metric or a param.

    Raises ConfigError for a name that no run has.
    """
    shown = {column.name: column for column in SHOWN}
    if name in shown:
        return shown[name]
    metrics = {metric for run in record.runs for metric in run.metrics}
    if name in metrics:
        return Column(name, f"metrics.{name}")
    params = {param for run in record.runs for param in run.params}
    if name in params:
        return Column(name, f"params.{name}")
    # Names of settings and of labels' scores have a dot or a slash, names of columns have none.
    names = params | metrics if "." in name or "/" in name else shown.keys()
    raise ConfigError(f"no column {name!r} in the journal; {nearest(name, names or shown)}")


def _sorted(runs: list[JournalRun], sort: str, record: Record) -> list[JournalRun]:
    name, _, direction = sort.rpartition(":")
    if direction not in ("asc", "desc"):
        name, direction = sort, ""
    column = _column(name, record)
    cells = [column.of(run, record) for run in runs]
    filled = [index for index, cell in enumerate(cells) if cell not in (None, "")]
    words = {index: str(cells[index]) for index in filled}
    numbers = {index: filters.number(word) for index, word in words.items()}
    keys: dict[int, Any] = words if None in numbers.values() else numbers
    descending = direction == "desc" or (not direction and column.place == "metrics")
    order = sorted(filled, key=keys.__getitem__, reverse=descending)
    return [runs[index] for index in order] + [
        run for run, cell in zip(runs, cells, strict=True) if cell in (None, "")
    ]


def _message(filtered: bool) -> str:
    file = place.sqlite_file(place.tracking_uri())
    if file is not None and not file.exists():
        return f"No journal yet at {file}: run a pipeline, or train a fold.\n"
    if filtered:
        return "No run of the journal matches.\n"
    return "The journal is empty: run a pipeline, or train a fold.\n"


def _listed(runs: Iterable[JournalRun]) -> str:
    """List the newest runs: "20920af3 of 2026-11-22, c16f209e of 2026-11-20"."""
    newest = sorted(runs, key=lambda run: -run.started)
    texts = [f"{run.run_id[:SHORT]} of {time_text(run.started)[:10]}" for run in newest[:_LISTED]]
    return ", ".join(texts) + (", ..." if len(newest) > _LISTED else "")
