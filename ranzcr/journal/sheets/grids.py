"""CSV and XLSX files as rows of cells, as they are: nothing is known of headers yet."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import openpyxl
from openpyxl.utils.escape import unescape
from openpyxl.utils.exceptions import InvalidFileException
from openpyxl.worksheet.worksheet import Worksheet

from ranzcr.errors import ConfigError, DataError, nearest
from ranzcr.journal.sheets.cells import Cell
from ranzcr.journal.spreadsheets import unquoted

_TEXT = (".csv", ".tsv", ".txt")
_SEPARATORS = (",", ";", "\t", "|")
_GOOGLE = " - "  # between document and sheet in the name of a CSV that Google Sheets makes


@dataclass(frozen=True)
class Grid:
    """One sheet: its rows by their numbers in the file, those without any cell left out."""

    file: str  # and sheet, for messages
    source: str  # the file's name without suffix and, where it has several sheets, the sheet's
    rows: dict[int, list[Cell]]  # from 1; all of one width
    notes: list[str] = field(default_factory=list)  # what a reader should know


def read(file: Path, sheet: str | None = None) -> list[Grid]:
    """All readings of a file: one of an XLSX sheet, one for each separator that a CSV may have.

    Args:
        file: .xlsx, .csv, .tsv or .txt.
        sheet: which sheet of an XLSX; needed where several are filled.

    Raises DataError where the file is missing, damaged, empty, or of another type, ConfigError for
    a sheet that is not there.
    """
    if not file.is_file():
        raise DataError(f"{file}: no such file; check the path")
    if file.suffix.lower() == ".xlsx":
        grids = [_xlsx(file, sheet)]
    elif file.suffix.lower() in _TEXT:
        if sheet is not None:
            raise ConfigError(f"--sheet {sheet}: {file.name} is text, which has no sheets")
        grids = _csv(file)
    else:
        raise DataError(f"{file}: a .csv or .xlsx file is expected; save the table as one of them")
    if not any(grid.rows for grid in grids):
        raise DataError(f"{file}: no cell is filled; choose another file")
    return grids


def _csv(file: Path) -> list[Grid]:
    text, notes = _decoded(file)
    separators = [separator for separator in _SEPARATORS if separator in text] or [","]
    readings = (_records(file, text, separator) for separator in separators)
    return [Grid(file.name, _stem(file), rows, notes) for rows in readings]


def _decoded(file: Path) -> tuple[str, list[str]]:
    raw = file.read_bytes()
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", errors="replace"), []
    try:
        return raw.decode("utf-8-sig"), []
    except UnicodeDecodeError:
        note = "not UTF-8: read as Windows-1252 (Latin-1); check words with accents"
    try:
        return raw.decode("cp1252"), [note]
    except UnicodeDecodeError:
        return raw.decode("latin-1"), [note]


def _records(file: Path, text: str, separator: str) -> dict[int, list[Cell]]:
    try:
        records = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    except csv.Error as error:
        raise DataError(f"{file}: not a table ({error}); save it again as CSV") from None
    return _filled([[unquoted(cell) or None for cell in record] for record in records])


def _xlsx(file: Path, sheet: str | None) -> Grid:
    try:
        values = openpyxl.load_workbook(file, data_only=True)
        formulas = openpyxl.load_workbook(file)
    except (zipfile.BadZipFile, InvalidFileException, KeyError, ValueError, OSError) as error:
        raise DataError(
            f"{file}: not an XLSX file, or damaged ({' '.join(str(error).split())[:100]}); save it "
            "again"
        ) from None
    filled = [one.title for one in values.worksheets if one.max_row > 1 or one["A1"].value]
    name = _chosen(file, sheet, filled, [one.title for one in values.worksheets])
    rows = _filled(_values(values[name]))
    # One name for both downloads of a Google sheet, and for a plain file its own.
    several = len(values.worksheets) > 1
    source = f"{_stem(file)}{_GOOGLE}{name}" if several else _stem(file)
    where = f"{file.name} sheet {name}" if several else file.name
    return Grid(where, source, rows, _uncomputed(values[name], formulas[name]))


def _chosen(file: Path, sheet: str | None, filled: list[str], known: list[str]) -> str:
    if sheet is not None:
        if sheet not in known:
            raise ConfigError(f"--sheet {sheet}: {file.name} has none; {nearest(sheet, known)}")
        return sheet
    if len(filled) > 1:
        raise ConfigError(
            f"{file} has {len(filled)} filled sheets: {', '.join(filled)}; give one with --sheet"
        )
    return (filled or known)[0]


def _values(sheet: Worksheet) -> list[list[Cell]]:
    """The cells; what is merged downwards stands in each row, what is merged sideways in one."""
    rows: list[list[Cell]] = [
        [_value(cell) for cell in row] for row in sheet.iter_rows(values_only=True)
    ]
    for merged in sheet.merged_cells.ranges:
        first, column = merged.min_row - 1, merged.min_col - 1
        for row in rows[first + 1 : merged.max_row]:
            row[column] = rows[first][column]
    return rows


def _value(cell: object) -> Cell:
    """What openpyxl found; as the file has it, "_x000D_" is a character."""
    if isinstance(cell, str):
        return unescape(cell) or None
    return cell  # type: ignore[return-value]  # numbers, dates, truth values, None


def _uncomputed(values: Worksheet, formulas: Worksheet) -> list[str]:
    """Formulas whose values the file does not hold: a program wrote it, no spreadsheet."""
    missing = [
        cell.coordinate
        for row in formulas.iter_rows()
        for cell in row
        if cell.data_type == "f" and values[cell.coordinate].value is None
    ]
    if not missing:
        return []
    return [
        f"{len(missing)} formulas without saved values are taken as empty ({_some(missing)}); open "
        "the file in a spreadsheet and save it"
    ]


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _filled(rows: list[list[Cell]]) -> dict[int, list[Cell]]:
    width = max(map(len, rows), default=0)
    padded = ([*row, *[None] * (width - len(row))] for row in rows)
    return {
        number: row
        for number, row in enumerate(padded, 1)
        if any(cell is not None and str(cell).strip() for cell in row)
    }


def _stem(file: Path) -> str:
    """The file's name without suffix and without the " (1)" of a second download."""
    return re.sub(r" ?\(\d+\)$", "", file.stem)
