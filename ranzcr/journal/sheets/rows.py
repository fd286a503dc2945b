"""The rows of a table as what the journal is to hold; all are read before any is written."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass

from ranzcr.errors import DataError
from ranzcr.journal.columns import Column
from ranzcr.journal.sheets.cells import CellError, Reader, is_empty, reader
from ranzcr.journal.sheets.content import EXPERIMENT, KIND, LONGEST_TAG, Content
from ranzcr.journal.sheets.mapping import Mapping
from ranzcr.journal.sheets.tables import Table, listed, text
from ranzcr.tracking import runs
from ranzcr.tracking.names import Metric, Tag

_FOLDS, _MEMBERS, _WEIGHTS = f"tags.{Tag.FOLDS}", f"tags.{Tag.MEMBERS}", f"tags.{Tag.WEIGHTS}"
_LONGEST = {"params": 6000, "tags": LONGEST_TAG}  # characters that MLflow takes
_TOTAL = re.compile(r"((grand )?total|sum|average|mean|avg|max|min)s?:?", re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """One row of a table."""

    number: int  # in the file
    content: Content
    key: runs.Key = ""  # the run's; "" for a row that is found by its name, see `plan`

    @property
    def name(self) -> str:
        return str(self.content[EXPERIMENT])


def read(table: Table, mapping: Mapping) -> list[Row]:
    """The rows of a table; its notes get what is cut or left out.

    Raises DataError, which names the first cell that cannot be read and counts the others.
    """
    columns = mapping.targets(table.file)
    names = {column.name for column in columns.values()}
    if not names & {"experiment", "run_key"}:
        raise DataError(
            f"{table.file}: no column is the experiment's name ({listed(table.columns)}); write a "
            "mapping with --write-map, set it there, and pass it with --map"
        )
    exported = "run_key" in names
    readers = {name: _reader(column, mapping, exported) for name, column in columns.items()}
    last = max(table.rows, default=0)
    found: list[Row] = []
    problems: list[str] = []
    for number, cells in table.rows.items():
        content: Content = {}
        for name, column in columns.items():
            try:
                value = readers[name](cells[name])
            except CellError as error:
                problems.append(f"row {number}, column {name!r}: {error}")
                continue
            if value is not None:
                where = f"row {number}, column {name!r}"
                content[column.source] = _cut(value, _LONGEST.get(column.place), where, table.notes)
        filled = [text(cells[name]) for name in columns if not is_empty(cells[name])]
        try:
            row = _row(number, content, filled, mapping)
        except CellError as error:
            problems.append(f"row {number}: {error}")
            continue
        total = row and number == last and not exported and _TOTAL.fullmatch(row.name)
        if row and not total:
            found.append(row)
        elif filled:
            table.notes.append(f"row {number} {filled[0][:40]!r}: not an experiment, left out")
    _refuse(table, problems + _repeated_keys(found))
    times = Counter(row.name for row in found)
    repeated = [f"{name} ({count} times)" for name, count in times.items() if count > 1]
    if repeated:
        table.notes.append(f"names of several rows, each a row of its own: {listed(repeated)}")
    return found


def identity(*parts: str) -> runs.Key:
    """The run key of a row of a table."""
    return runs.make_key("imported", *parts)


def _reader(column: Column, mapping: Mapping, exported: bool) -> Reader:
    """The reader of a column; an export has its texts and numbers as they are."""
    if exported and column.reading not in ("moment", "status"):
        return reader("number" if column.place == "metrics" else "verbatim", mapping)
    return reader(column.reading, mapping)


def _row(number: int, content: Content, filled: list[str], mapping: Mapping) -> Row | None:
    """A row of a table; None for a title or a remark between the rows.

    Raises CellError for a row without a name.
    """
    run_key, row_id = (str(content.pop(cell, "")) for cell in ("run_key", "row_id"))
    measured = any(cell.startswith("metrics.") for cell in content)
    if EXPERIMENT not in content and (run_key or measured):
        raise CellError("no name of an experiment; name it, or empty the row")
    if EXPERIMENT not in content or (len(filled) < 2 and not run_key):
        return None
    content.setdefault(KIND, mapping.kind)
    if run_key:
        if not re.fullmatch("[0-9a-f]{32}", run_key):
            raise CellError(f"{run_key!r} is not a run_key; export the journal again")
        return Row(number, content, run_key)
    _complete(content)
    return Row(number, content, row_id and identity(mapping.source, "id", row_id))


def _complete(content: Content) -> None:
    """Add what follows from other cells: how many folds have a score, a blend's weights."""
    scores = sum(cell.startswith(f"metrics.{Metric.FOLD_AUC}") for cell in content)
    if scores:
        content.setdefault(_FOLDS, str(scores))
    members = [part.rpartition(":") for part in str(content.get(_MEMBERS, "")).split(",")]
    try:
        weights = {name.strip(): float(weight) for name, _, weight in members}
    except ValueError:  # a name without a weight
        return
    content[_MEMBERS] = ",".join(weights)
    content.setdefault(_WEIGHTS, json.dumps(weights))


def _cut(value: str | float, longest: int | None, where: str, notes: list[str]) -> str | float:
    """A value as long as MLflow takes it."""
    if longest is None or len(str(value)) <= longest:
        return value
    notes.append(f"{where}: {len(str(value))} characters, cut to {longest}")
    return str(value)[:longest]


def _repeated_keys(rows: list[Row]) -> list[str]:
    numbers: dict[runs.Key, int] = {}
    return [
        f"row {row.number}: the same id as row {first}; make it unique, or skip its column"
        for row in rows
        if row.key and (first := numbers.setdefault(row.key, row.number)) != row.number
    ]


def _refuse(table: Table, problems: list[str]) -> None:
    if problems:
        first, *more = problems
        places = listed((problem.split(":")[0] for problem in more), 5)
        rest = f"; and {len(more)} more: {places}" if more else ""
        raise DataError(f"{table.file}: {first}{rest}; nothing was imported")
