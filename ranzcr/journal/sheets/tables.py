"""Tables in CSV and XLSX files: a header and the rows below it, each cell as the file has it."""

from __future__ import annotations

import gzip
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import openpyxl
import pandas as pd
from openpyxl.utils import get_column_letter
from openpyxl.utils.escape import unescape

from ranzcr.errors import ConfigError, DataError, nearest
from ranzcr.journal.spreadsheets import unquoted
from ranzcr.settings import Settings

Cell = str | int | float | bool | datetime | None

_SEPARATORS = {".csv": ",;\t|", ".txt": ",;\t|", ".tsv": "\t"}


class Layout(Settings):
    """How a file is laid out, and how its cells are written."""

    sheet: str | None = None  # of an XLSX
    header_row: int | None = None  # from 1; the first if None
    sep: str | None = None  # of a CSV; the commonest of , ; | and tab in its header if None
    encoding: str = "utf-8-sig"  # of a CSV
    decimal: str = "."
    date_format: str = ""  # as strptime takes it; ISO 8601 if empty


@dataclass(frozen=True)
class Table:
    """The rows below a header."""

    file: str  # and sheet, for messages
    source: str  # by which its rows are found again
    columns: list[str]  # no two alike, none empty
    rows: dict[int, dict[str, Cell]]  # by their numbers in the file; each has all columns
    notes: list[str] = field(default_factory=list)  # for the person who imports it


def read(file: Path, layout: Layout) -> Table:
    """Return the table in a file: .xlsx, .csv, .tsv, .txt, or a text with .gz behind it.

    Raises DataError if it cannot be read, ConfigError if no sheet, or none of several, is chosen.
    """
    plain = Path(file.name.removesuffix(".gz"))
    source = re.sub(r" ?\(\d+\)$", "", plain.stem)  # " (1)" is from a second download
    notes: list[str] = []
    try:
        if plain.suffix.lower() in _SEPARATORS:
            sheet, number, grid = "", *_csv(file, _SEPARATORS[plain.suffix.lower()], layout)
        elif file.suffix.lower() == ".xlsx":
            number = layout.header_row or 1
            sheet, grid = _xlsx(file, layout.sheet, notes)
            grid = grid[number - 1 :]
        else:
            raise ValueError("expected .csv, .tsv, .txt or .xlsx")
    except (ValueError, LookupError, OSError, EOFError, zipfile.BadZipFile) as error:
        problem = " ".join(str(error).split())[:200].removeprefix(
            "Error tokenizing data. C error: "
        )
        raise DataError(f"{file}: not a readable table ({problem}); save it again") from None
    name = f"{file.name} sheet {sheet}" if sheet else file.name
    # Google Sheets names the CSV of one sheet "document - sheet".
    return _table(name, f"{source} - {sheet}" if sheet else source, number, grid, notes)


def text(cell: Cell) -> str:
    """A cell on one line; "" for an empty one."""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    return "" if cell is None else " ".join(str(cell).split())


def listed(items: Iterable[object], most: int = 8) -> str:
    """The first items with commas between, and "..." for more."""
    words = list(map(str, items))
    return ", ".join(words[:most]) + (", ..." if len(words) > most else "")


def _csv(file: Path, separators: str, layout: Layout) -> tuple[int, list[list[Cell]]]:
    """The number of the header's row, and the rows from there on."""
    if layout.sheet is not None:
        raise ConfigError(f"--sheet {layout.sheet}: {file.name} is text and has no sheets")
    with (gzip.open if file.suffix == ".gz" else open)(
        file, "rt", encoding=layout.encoding
    ) as lines:
        number, header = layout.header_row or 1, ""
        for _ in range(number):
            header = lines.readline()
        if header.startswith("Warning:"):  # of Kaggle's command, if it is outdated
            number, header = number + 1, lines.readline()
    frame = pd.read_csv(
        file,
        sep=layout.sep or max(separators, key=header.count),
        encoding=layout.encoding,
        header=None,
        skiprows=number - 1,
        dtype=object,
        keep_default_na=False,
        skip_blank_lines=False,
    )
    return number, [[unquoted(str(cell)) or None for cell in row] for row in frame.values.tolist()]


def _xlsx(file: Path, sheet: str | None, notes: list[str]) -> tuple[str, list[list[Cell]]]:
    """The name of the sheet, "" if it is the only one, and its rows."""
    book, formulas = openpyxl.load_workbook(file, data_only=True), openpyxl.load_workbook(file)
    names = [one.title for one in book.worksheets]
    filled = [one.title for one in book.worksheets if one.max_row > 1 or one["A1"].value]
    if sheet is None and len(filled) > 1:
        raise ConfigError(f"{file} has the sheets {', '.join(filled)}; choose one with --sheet")
    if sheet is not None and sheet not in names:
        raise ConfigError(
            f"--sheet {sheet}: {file.name} has no such sheet; {nearest(sheet, names)}"
        )
    name = sheet or (filled or names)[0]
    unsaved = [
        cell.coordinate
        for row in formulas[name].iter_rows()
        for cell in row
        if cell.data_type == "f" and book[name][cell.coordinate].value is None
    ]
    if unsaved:
        notes.append(f"formulas without saved values count as empty: {listed(unsaved)}")
    rows = [[_value(cell) for cell in row] for row in book[name].iter_rows(values_only=True)]
    return name if len(names) > 1 else "", rows


def _value(cell: object) -> Cell:
    if cell is None or isinstance(cell, (int, float, datetime)):
        return cell
    return unescape(str(cell)) or None


def _table(file: str, source: str, number: int, grid: list[list[Cell]], notes: list[str]) -> Table:
    """The table whose header is the first row of `grid`, which is row `number` of the file."""
    rows = {row: cells for row, cells in enumerate(grid, number) if "".join(map(text, cells))}
    if number not in rows:
        raise DataError(f"{file}: row {number} is empty; set `header_row:` in a mapping")
    columns: dict[str, int] = {}
    for place, title in enumerate(rows.pop(number)):
        cells = [row[place] for row in rows.values()]
        name = (
            " ".join(map(str.strip, title.splitlines())) if isinstance(title, str) else text(title)
        )
        index = place == 0 and list(map(text, cells)) == list(map(str, range(len(cells))))
        if not name and (index or set(cells) <= {None}):  # pandas writes its index so
            continue
        base = name = name or f"column {get_column_letter(place + 1)}"
        times = 1
        while name in columns:
            times += 1
            name = f"{base} ({times})"
        columns[name] = place
    named = {
        row: {name: cells[place] for name, place in columns.items()} for row, cells in rows.items()
    }
    return Table(file, source, list(columns), named, notes)
