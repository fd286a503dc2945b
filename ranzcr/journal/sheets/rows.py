"""Rows of a table as what the journal is to hold: all of them are read before any is written."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from ranzcr.errors import DataError, nearest
from ranzcr.journal.columns import KINDS
from ranzcr.journal.sheets import cells
from ranzcr.journal.sheets.cells import Cell, UnreadableError
from ranzcr.journal.sheets.fields import EXPERIMENT, KIND, Content, Field
from ranzcr.journal.sheets.header import Table
from ranzcr.journal.sheets.mapping import Mapping
from ranzcr.tracking import delivery, runs

_FOLDS, _MEMBERS, _WEIGHTS = "tags.folds", "tags.members", "tags.weights"
_LONGEST = {"params": 6000, "tags": delivery.TAG}  # characters that MLflow takes
_TOTALS = re.compile(
    r"(grand )?(total|sum|average|mean|avg|max|min|summe|gesamt|итого|всего)s?:?",
    re.IGNORECASE,
)
_KINDS = {"model": "single", "single model": "single", "blend": "ensemble", "stacking": "ensemble"}
_WEIGHTED = re.compile(
    r"(?P<name>.+?)\s*(?:[:=*×]\s*|\()(?P<weight>\d*\.?\d+)\)?"
    r"|(?P<weight_first>\d*\.?\d+)\s*[*×]\s*(?P<name_last>.+)"
)


@dataclass(frozen=True)
class Row:
    """One row of a table."""

    number: int  # in the file
    key: runs.Key  # the same row in a later version of the file has the same
    content: Content

    @property
    def name(self) -> str:
        return str(self.content[EXPERIMENT])


@dataclass
class Rows:
    """All rows of a table, and what a reader should know about them."""

    source: str
    rows: dict[runs.Key, Row] = field(default_factory=dict)
    names: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # where, what was found, what to do


def read(table: Table, mapping: Mapping) -> Rows:
    """The rows of a table.

    A row is the same as an earlier one if it has its `run_key`, which an export tells; else its
    `row_id`; else its experiment's name, the first, second ... of that name in the table.

    Raises DataError naming the first cell that cannot be read, and how many more there are.
    """
    columns = mapping.columns()
    if not any(told.name in ("experiment", "run_key") for told, _ in columns.values()):
        raise DataError(
            f"{table.file}: no column is the experiment's name ({', '.join(table.columns)}); "
            "write the mapping with --write-map, tell it there, and give it with --map"
        )
    readers = _readers(table, columns)
    found = Rows(mapping.source)
    rows = _without_totals(table, columns, found)
    for number, row in rows.items():
        content = _content(number, row, readers, found)
        if _is_row(number, content, [row[name] for name in readers], found):
            _add(number, content, mapping, found)
    _refuse(table, found)
    _tell_repeated(found)
    return found


def identity(*parts: str) -> runs.Key:
    """The run key of a row of a table."""
    return runs.make_key("imported", *parts)


_Reader = tuple[Field, Callable[[Cell], str | float | None]]


def _readers(table: Table, columns: dict[str, tuple[Field, bool]]) -> dict[str, _Reader]:
    """How each column is read. An export's text is taken as it is: "-" is a decision there."""
    exact = any(told.name == "run_key" for told, _ in columns.values())
    readers: dict[str, _Reader] = {}
    for name, (told, percent) in columns.items():
        if told.reading == "moment":
            order = cells.day_first(row[name] for row in table.rows.values())
            readers[name] = told, partial(cells.moment, day_first=order)
        elif told.reading == "status":
            readers[name] = told, _status
        elif told.place == "metrics" and exact:
            readers[name] = told, cells.number
        elif told.reading == "score":
            readers[name] = told, partial(cells.score, percent=percent)
        else:
            readers[name] = told, _verbatim if exact else _READERS[told.reading]
    return readers


def _verbatim(cell: Cell) -> str | None:
    return cell if isinstance(cell, str) else cells.text(cell) or None


def _status(cell: Cell) -> str | None:
    """How a run ended, if not well."""
    told = cells.text(cell)
    return told if told in ("FAILED", "KILLED") else None


def _text(cell: Cell) -> str | None:
    return cells.text(cell) or None


def _words(cell: Cell) -> str | None:
    return None if cells.is_nothing(cell) else cells.text(cell)


def _note(cell: Cell) -> str | None:
    """Lines stay lines."""
    return None if cells.is_nothing(cell) else str(cell).strip()


def _whole(read: Callable[[Cell], int | None]) -> Callable[[Cell], str | None]:
    def as_text(cell: Cell) -> str | None:
        value = read(cell)
        return None if value is None else str(value)

    return as_text


def _kind(cell: Cell) -> str | None:
    told = (_words(cell) or "").casefold()
    kind = _KINDS.get(told, told)
    if kind and kind not in KINDS:
        raise UnreadableError(f"{told!r} is no kind; {nearest(told, KINDS)}")
    return kind or None


def _names(cell: Cell) -> str | None:
    """Names with commas between; weights stay beside them until `_split_weights`."""
    told = _words(cell)
    if told is None:
        return None
    if re.search(r"[:=*×(]", told):  # weights, and 0,6 is one
        told = re.sub(r"(?<=\d),(?=\d)", ".", told)
    parts = re.split(r"\s*[,;+&]\s*|\s+(?=\S+\s*:)", told)
    return ",".join(part.strip() for part in parts if part.strip())


_READERS: dict[str, Callable[[Cell], str | float | None]] = {
    "text": _text,
    "words": _words,
    "note": _note,
    "number": cells.number,
    "kind": _kind,
    "names": _names,
    "size": _whole(cells.size),
    "folds": _whole(cells.folds),
}


def _without_totals(
    table: Table, columns: dict[str, tuple[Field, bool]], found: Rows
) -> dict[int, dict[str, Cell]]:
    """The rows but for sums below the last experiment; an export has none."""
    rows = dict(table.rows)
    names = {told.name: name for name, (told, _) in columns.items()}
    name = names.get("experiment")
    while rows and name is not None and "run_key" not in names:
        last = max(rows)
        called = cells.text(rows[last][name])
        if not _TOTALS.fullmatch(called):
            break
        found.notes.append(f"row {last} {called!r}: below the table, left out")
        del rows[last]
    return rows


def _content(
    number: int, row: dict[str, Cell], readers: dict[str, _Reader], found: Rows
) -> Content:
    content: Content = {}
    for name, (told, read) in readers.items():
        try:
            value = read(row[name])
        except UnreadableError as problem:
            found.problems.append(f"row {number}, column {name!r}: {problem}")
            continue
        if value is None:
            continue
        longest = _LONGEST.get(told.place)
        if longest and len(str(value)) > longest:
            found.notes.append(
                f"row {number}, column {name!r}: {len(str(value))} characters, cut to {longest}"
            )
            value = str(value)[:longest]
        content[told.cell] = value
    return content


def _is_row(number: int, content: Content, row: list[Cell], found: Rows) -> bool:
    """Whether a row is an experiment: titles between the rows are none, nor are remarks."""
    filled = [cells.text(cell) for cell in row if not cells.is_nothing(cell)]
    if "run_key" in content or (EXPERIMENT in content and len(filled) > 1):
        return True
    if any(cell.startswith("metrics.") for cell in content):
        found.problems.append(
            f"row {number}: scores, but no name of an experiment; name it, or empty the row"
        )
    elif filled:
        found.notes.append(f"row {number} {filled[0][:40]!r}: no experiment, left out")
    return False


def _add(number: int, content: Content, mapping: Mapping, found: Rows) -> None:
    run_key, row_id = (str(content.pop(cell, "")) for cell in ("run_key", "row_id"))
    if EXPERIMENT not in content:
        found.problems.append(f"row {number}: no name of an experiment; name it")
        return
    content.setdefault(KIND, mapping.kind)
    name = str(content[EXPERIMENT]).casefold()
    if run_key:
        key = run_key
    elif row_id:
        key = identity(mapping.source, "id", row_id)
    else:
        key = identity(mapping.source, "name", name, str(found.names[name]))
    if not run_key:
        _complete(content)
    before = found.rows.get(key)
    if before is not None:
        found.problems.append(
            f"row {number}: the same {'run_key' if run_key else 'id'} as row {before.number}; make "
            "it unique, or map its column as skip"
        )
    elif not re.fullmatch("[0-9a-f]{32}", key):
        found.problems.append(f"row {number}: {key!r} is no run_key; export the journal again")
    found.names[name] += 1
    found.rows[key] = Row(number, key, content)


def _complete(content: Content) -> None:
    """What follows from other cells: how many folds have a score, a blend's weights."""
    scores = sum(cell.startswith("metrics.auc_fold/") for cell in content)
    if scores:
        content.setdefault(_FOLDS, str(scores))
    if _MEMBERS in content:
        _split_weights(content)


def _split_weights(content: Content) -> None:
    """ "a:0.6,b:0.4" becomes the members a,b and their weights."""
    weights: dict[str, float] = {}
    names: list[str] = []
    for part in str(content[_MEMBERS]).split(","):
        found = _WEIGHTED.fullmatch(part)
        name = (found["name"] or found["name_last"]) if found else part
        names.append(name.strip())
        if found:
            weights[name.strip()] = float(found["weight"] or found["weight_first"])
    content[_MEMBERS] = ",".join(names)
    if len(weights) == len(names):
        content.setdefault(_WEIGHTS, json.dumps(weights))


def _refuse(table: Table, found: Rows) -> None:
    if not found.problems:
        return
    first, *more = found.problems
    rows = ", ".join(problem.split(":")[0] for problem in more[:5])
    rest = f"; and {len(more)} more: {rows}{', ...' if len(more) > 5 else ''}" if more else ""
    raise DataError(f"{table.file}: {first}{rest}; nothing was imported")


def _tell_repeated(found: Rows) -> None:
    times = Counter(row.name for row in found.rows.values())
    repeated = [f"{name} ({count} times)" for name, count in times.items() if count > 1]
    if repeated:
        found.notes.append(
            f"names of several rows, each a row of its own: {', '.join(repeated[:8])}"
            + (", ..." if len(repeated) > 8 else "")
        )
