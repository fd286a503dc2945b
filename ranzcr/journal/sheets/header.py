"""Where a table's header is: below titles, in one line or two, with merged or repeated names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from openpyxl.utils import get_column_letter

from ranzcr.errors import DataError
from ranzcr.journal.sheets import cells
from ranzcr.journal.sheets.cells import Cell
from ranzcr.journal.sheets.grids import Grid

_ROWS = 25  # from the top, within which the header is looked for

Names = list[str]


@dataclass(frozen=True)
class Table:
    """Rows below a header."""

    file: str  # and sheet, for messages
    source: str  # by which its rows are found again
    columns: Names  # no two alike, none empty
    rows: dict[int, dict[str, Cell]]  # by their numbers in the file; each has all columns
    notes: list[str]  # what a reader should know


def tabulate(grids: Sequence[Grid], recognised: Callable[[Names], int]) -> Table:
    """The reading of a file in which most columns have names that are recognised.

    Args:
        grids: readings of one file.
        recognised: how many of the names of a line are known.

    Raises DataError where no line has a known name.
    """
    found = [
        ((recognised(names), rank, -last), grid, last, names)
        for grid in grids
        for rank, last, names in _headers(grid, recognised)
    ]
    (score, *_), grid, last, names = max(found, key=lambda one: one[0])
    if score == 0:
        raise DataError(
            f"{grid.file}: no header in the first {_ROWS} rows has a known column such as "
            "experiment, backbone or CV; name the columns in its header, or in a file for --map"
        )
    return _table(grid, last, names)


def _headers(grid: Grid, recognised: Callable[[Names], int]) -> Iterator[tuple[int, int, Names]]:
    """What may be a header: how likely if equally many names are known, its last line, its names.

    One line is likelier than two, but for a second line that says something by itself.
    """
    for number in list(grid.rows)[:_ROWS]:
        row = grid.rows[number]
        yield 1, number, _unique(map(_name, row))
        below = grid.rows.get(number + 1)
        if below is not None and not any(isinstance(cell, (int, float)) for cell in below):
            rank = 2 if recognised(_unique(map(_name, below))) else 0
            yield rank, number + 1, _unique(_joined(row, below))


def _joined(upper: list[Cell], lower: list[Cell]) -> Iterator[str]:
    """ "CV" above "fold 0" and "fold 1" is "CV fold 0", "CV fold 1"."""
    group = ""
    for above, below in zip(map(_name, upper), map(_name, lower), strict=True):
        group = above or (group if below else "")
        yield group if group == below else f"{group} {below}".strip()


def _name(cell: Cell) -> str:
    """One line, its spaces as they are: an export's names must not change."""
    return (
        " ".join(map(str.strip, str(cell).splitlines()))
        if isinstance(cell, str)
        else cells.text(cell)
    )


def _unique(names: Iterator[str]) -> Names:
    """Empty names stay empty; the second "LB" is "LB (2)"."""
    found: Names = []
    for name in names:
        unique, times = name, 1
        while name and unique in found:
            times += 1
            unique = f"{name} ({times})"
        found.append(unique)
    return found


def _table(grid: Grid, last: int, names: Names) -> Table:
    """The rows below line `last`; a column without any cell and name is none."""
    rows = {number: row for number, row in grid.rows.items() if number > last}
    header = [cells.text(cell) for cell in grid.rows[last]]
    again = [number for number, row in rows.items() if list(map(cells.text, row)) == header]
    for number in again:
        del rows[number]
    named = {
        place: name or f"column {get_column_letter(place + 1)}"
        for place, name in enumerate(names)
        if name or any(row[place] is not None for row in rows.values())
    }
    notes = list(grid.notes)
    if again:
        notes.append(f"rows that repeat the header are left out: {_numbers(again)}")
    repeated = [name for name in named.values() if name.endswith(")") and _base(name) in names]
    if repeated:
        notes.append(f"columns of one name are told apart: {', '.join(repeated)}")
    return Table(
        grid.file,
        grid.source,
        list(named.values()),
        {
            number: {name: row[place] for place, name in named.items()}
            for number, row in rows.items()
        },
        notes,
    )


def _base(name: str) -> str:
    return name.rpartition(" (")[0]


def _numbers(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:8])) + (", ..." if len(numbers) > 8 else "")
