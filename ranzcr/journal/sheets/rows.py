"""The rows of a table as what the journal is to hold; all are read before any is written."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass

from ranzcr.errors import DataError
from ranzcr.journal.columns import Column
from ranzcr.journal.sheets.cells import READERS, CellError, is_empty
from ranzcr.journal.sheets.mapping import Mapping
from ranzcr.journal.sheets.stored import EXPERIMENT, KIND, LONGEST, STATUS, Content
from ranzcr.journal.sheets.tables import SheetTable, listed, text
from ranzcr.tracking import runs
from ranzcr.tracking.names import Metric, Param, Tag

_FOLDS, _MEMBERS, _WEIGHTS = f"tags.{Tag.FOLDS}", f"tags.{Tag.MEMBERS}", f"tags.{Tag.WEIGHTS}"
_NEPTUNE_FAILED = f"params.{Param.IMPORTED}sys/failed"
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


def identity(*parts: str) -> runs.Key:
    """Return the run key of a row of a table."""
    return runs.make_key("imported", *parts)


def read(table: SheetTable, mapping: Mapping) -> list[Row]:
    """Read the rows of a table; its notes get what is cut or left out.

    Raises DataError, which names the first cell that cannot be read and counts the others.
    """
    columns = mapping.targets(table.file)
    names = {column.name for column in columns.values()}
    if not names & {"experiment", "run_key"}:
        raise DataError(f"{table.file}: no column is the experiment's name; set it in a mapping")
    exported = "run_key" in names
    readings = {name: _reading(column, exported) for name, column in columns.items()}
    last = max(table.rows, default=0)
    rows: list[Row] = []
    problems: list[str] = []
    numbers: dict[runs.Key, int] = {}
    for number, cells in table.rows.items():
        content: Content = {}
        for name, column in columns.items():
            try:
                value = READERS[readings[name]](cells[name], mapping)
            except CellError as error:
                problems.append(f"row {number}, column {name!r}: {error}")
                continue
            longest = LONGEST.get(column.place)
            if longest and len(str(value)) > longest:
                size = f"{len(str(value))} characters, cut to {longest}"
                table.notes.append(f"row {number}, column {name!r}: {size}")
                value = str(value)[:longest]
            if value is not None:
                content[column.source] = value
        filled = [text(cells[name]) for name in columns if not is_empty(cells[name])]
        try:
            row = _row(number, content, len(filled), mapping)
        except CellError as error:
            problems.append(f"row {number}: {error}")
            continue
        total = row and number == last and not exported and _TOTAL.fullmatch(row.name)
        if row and not total:
            rows.append(row)
            if row.key and numbers.setdefault(row.key, number) != number:
                advice = "make it unique, or skip its column"
                problems.append(f"row {number}: the same id as row {numbers[row.key]}; {advice}")
        elif filled:
            table.notes.append(f"row {number} {filled[0][:40]!r}: not an experiment, left out")
    if problems:
        first, *more = problems
        places = listed((problem.split(":")[0] for problem in more), 5)
        rest = f"; and {len(more)} more: {places}" if more else ""
        raise DataError(f"{table.file}: {first}{rest}; nothing was imported")
    times = Counter(row.name for row in rows)
    repeated = [f"{name} ({count} times)" for name, count in times.items() if count > 1]
    if repeated:
        table.notes.append(f"names of several rows, each a row of its own: {listed(repeated)}")
    return rows


def _reading(column: Column, exported: bool) -> str:
    """Return how a column is read; an export has its texts and numbers as they are."""
    if exported and column.reading not in ("moment", "status"):
        return "number" if column.place == "metrics" else "verbatim"
    return column.reading


def _row(number: int, content: Content, filled: int, mapping: Mapping) -> Row | None:
    """Return a row; None for a title or a remark between the rows.

    Raises CellError for a row without a name.
    """
    run_key, row_id = (str(content.pop(cell, "")) for cell in ("run_key", "row_id"))
    measured = any(cell.startswith("metrics.") for cell in content)
    if EXPERIMENT not in content and (run_key or measured):
        raise CellError("no name of an experiment; name it, or empty the row")
    if EXPERIMENT not in content or (filled < 2 and not run_key):
        return None
    content.setdefault(KIND, mapping.kind)
    if not run_key:
        _complete(content)
        return Row(number, content, row_id and identity(mapping.source, "id", row_id))
    if not re.fullmatch("[0-9a-f]{32}", run_key):
        raise CellError(f"{run_key!r} is not a run_key; export the journal again")
    return Row(number, content, run_key)


def _complete(content: Content) -> None:
    """Add what follows from other cells: the number of folds, the weights of a blend, a failure."""
    if str(content.get(_NEPTUNE_FAILED)).casefold() == "true":
        content[STATUS] = "FAILED"
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
