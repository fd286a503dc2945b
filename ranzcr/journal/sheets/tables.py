"""Tables in CSV and XLSX files: a header and the rows below it, each cell as the file has it."""

from __future__ import annotations

import gzip
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count, islice
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
    """The layout of a file, and the notation of its numbers and dates."""

    sheet: str | None = None  # of an XLSX
    header_row: int | None = None  # from 1; the first if None
    sep: str | None = None  # of a CSV; the commonest of , ; | and tab in its header if None
    encoding: str = "utf-8-sig"  # of a CSV
    decimal: str = "."
    date_format: str = ""  # as strptime takes it; ISO 8601 if empty


@dataclass(frozen=True)
class SheetTable:
    """The rows below a header."""

    file: str  # and sheet, for messages
    source: str  # by which its rows are found again
    columns: list[str]  # no two alike, none empty
    rows: dict[int, dict[str, Cell]]  # by their numbers in the file; each has all columns
    notes: list[str] = field(default_factory=list)  # for the person who imports it


def read(file: Path, layout: Layout) -> SheetTable:
    """Read the table in a file: .xlsx, .csv, .tsv, .txt, or a text with .gz behind it.

    Raises DataError if it cannot be read, ConfigError if no sheet, or none of several, is chosen.
    """
    plain = Path(file.name.removesuffix(".gz"))
    source = re.sub(r" ?\(\d+\)$", "", plain.stem)  # " (1)" is from a second download
    notes: list[str] = []
    try:
        if file.suffix.lower() == ".xlsx":
            sheet, first, grid = _xlsx(file, layout, notes)
        else:
            sheet, first, grid = "", *_csv(file, _SEPARATORS[plain.suffix.lower()], layout)
    except (ValueError, LookupError, EOFError, zipfile.BadZipFile, gzip.BadGzipFile) as error:
        problem = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")
        expected = "expected a readable .xlsx, .csv, .tsv or .txt"
        raise DataError(f"{file}: {expected}, found {problem[:200]}; save it again") from None
    name = f"{file.name} sheet {sheet}" if sheet else file.name
    # Google Sheets names the CSV of one sheet "document - sheet".
    return _table(name, f"{source} - {sheet}" if sheet else source, first, grid, notes)


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
    """Return the number of the header's row, and the rows from there on."""
    if layout.sheet is not None:
        raise ConfigError(f"--sheet {layout.sheet}: {file.name} is text and has no sheets")
    first = layout.header_row or 1
    unpack = gzip.open if file.suffix == ".gz" else open
    with unpack(file, "rt", encoding=layout.encoding) as lines:
        header = next(islice(lines, first - 1, None), "")
        if header.startswith("Warning:"):  # of Kaggle's command, if it is outdated
            first, header = first + 1, next(lines, "")
    frame = pd.read_csv(
        file,
        sep=layout.sep or max(separators, key=header.count),
        encoding=layout.encoding,
        header=None,
        skiprows=first - 1,
        skip_blank_lines=False,
        dtype=object,
        keep_default_na=False,
    )
    return first, [[unquoted(str(cell)) or None for cell in row] for row in frame.values.tolist()]


def _xlsx(file: Path, layout: Layout, notes: list[str]) -> tuple[str, int, list[list[Cell]]]:
    """Return the name of the sheet, "" if it is the only one, the header's row, and the rows."""
    book, formulas = openpyxl.load_workbook(file, data_only=True), openpyxl.load_workbook(file)
    names = [sheet.title for sheet in book.worksheets]
    filled = [sheet.title for sheet in book.worksheets if sheet.max_row > 1] or names
    if layout.sheet is None and len(filled) > 1:
        raise ConfigError(f"{file} has the sheets {', '.join(filled)}; choose one with --sheet")
    name = layout.sheet or filled[0]
    if name not in names:
        raise ConfigError(f"--sheet {name}: {file.name} has no such sheet; {nearest(name, names)}")
    cells = [cell for row in formulas[name].iter_rows() for cell in row if cell.data_type == "f"]
    unsaved = [c.coordinate for c in cells if book[name][c.coordinate].value is None]
    if unsaved:
        notes.append(f"formulas without saved values count as empty: {listed(unsaved)}")
    first = layout.header_row or 1
    rows = book[name].iter_rows(min_row=first, values_only=True)
    grid = [[_value(cell) for cell in row] for row in rows]
    return name if len(names) > 1 else "", first, grid


def _value(cell: object) -> Cell:
    if cell is None or isinstance(cell, (int, float, datetime)):
        return cell
    return unescape(str(cell)) or None


def _table(
    file: str, source: str, first: int, grid: list[list[Cell]], notes: list[str]
) -> SheetTable:
    """Return the table whose header is the first row of `grid`, row `first` of the file."""
    rows = {number: row for number, row in enumerate(grid, first) if any(map(text, row))}
    if first not in rows:
        raise DataError(f"{file}: row {first} is empty; set `header_row:` in a mapping")
    columns: dict[str, int] = {}
    for place, title in enumerate(rows.pop(first)):
        cells = [text(row[place]) for row in rows.values()]
        index = place == 0 and cells == [str(number) for number in range(len(cells))]
        if title is None and (index or not any(cells)):  # pandas writes its index so
            continue
        # Spaces stay: an export's names must not change.
        name = " ".join(map(str.strip, str(title or "").splitlines()))
        name = base = name or f"column {get_column_letter(place + 1)}"
        for times in count(2):
            if name not in columns:
                break
            name = f"{base} ({times})"
        columns[name] = place
    named = {number: {c: row[at] for c, at in columns.items()} for number, row in rows.items()}
    return SheetTable(file, source, list(columns), named, notes)
