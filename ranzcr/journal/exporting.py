"""The journal as a table that `importing` reads back: all but artifacts and the runs of folds."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from ranzcr.errors import ConfigError
from ranzcr.journal import reading, show
from ranzcr.journal.columns import IMPORTED, Column
from ranzcr.journal.journal_run import JournalRun
from ranzcr.journal.rows import Selection, check_kind
from ranzcr.journal.sheets.stored import content_of, key_of

_FORMATS = (".csv", ".xlsx")


def run(file: Path, kind: str | None = None) -> int:
    """Write the journal to .csv or .xlsx and return the number of rows.

    Args:
        kind: single, pseudo or ensemble; None for all.

    Raises ConfigError for another suffix or kind, TrackingError if MLflow does not answer.
    """
    if file.suffix.lower() not in _FORMATS:
        raise ConfigError(f"{file}: an export is {' or '.join(_FORMATS)}; change the suffix")
    check_kind(kind)
    selection = select(reading.read(kind).runs)
    show.write(selection, file.suffix.lower().removeprefix("."), file)
    return len(selection.rows)


def select(runs: Iterable[JournalRun]) -> Selection:
    """Return a row with all cells for each run, the oldest first."""
    columns = {column.source: column for column in IMPORTED.values()}
    keys: set[str] = set()
    rows: list[dict[str, str | float]] = []
    for run in sorted(runs, key=lambda run: (run.started, run.run_id)):
        key = run.run_id if key_of(run) in keys else key_of(run)
        keys.add(key)
        row: dict[str, str | float] = {"run_key": key}
        for cell, value in content_of(run).items():
            column = columns.setdefault(cell, Column(cell, cell))
            row[column.name] = _time(float(value)) if column.reading == "moment" else value
        rows.append(row)
    used = {name for row in rows for name in row} | {"run_key", "kind", "experiment"}
    others = sorted(column.name for column in columns.values() if column.name not in IMPORTED)
    named = [column for column in IMPORTED.values() if column.name in used]
    return Selection(rows, columns=[*named, *(columns[name] for name in others)])


def _time(milliseconds: float) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
