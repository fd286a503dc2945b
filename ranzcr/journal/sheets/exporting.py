"""The journal as a spreadsheet that `importing` reads back: all but artifacts and folds' runs."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import openpyxl
from mlflow.entities import Run as MlflowRun
from openpyxl.cell import Cell, WriteOnlyCell
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter
from openpyxl.worksheet._write_only import WriteOnlyWorksheet

from ranzcr.errors import ConfigError, nearest
from ranzcr.files import replacing
from ranzcr.journal.columns import KINDS
from ranzcr.journal.sheets.fields import FIELDS, ROW
from ranzcr.journal.sheets.stored import Journal, content_of, key_of
from ranzcr.journal.spreadsheets import quoted

_UNESCAPED = re.compile(r"[\x00-\x08\x0b-\x1f\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)")
_WHOLE = ("image_size", "folds")  # texts that are numbers in a spreadsheet

Row = dict[str, str | float]


def run(file: Path, kind: str | None = None) -> int:
    """Write the journal's rows to .csv or .xlsx; their number.

    Args:
        file: replaced where it is there.
        kind: single, pseudo or ensemble; None for all.

    Raises ConfigError for another suffix or kind, TrackingError where MLflow does not answer.
    """
    if file.suffix.lower() not in _WRITERS:
        raise ConfigError(f"{file}: exported are {' and '.join(_WRITERS)}; name the file so")
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"--kind {kind}: {nearest(kind, KINDS)}")
    found = [run for run in Journal.load().runs if kind in (None, run.data.tags["kind"])]
    write(found, file)
    return len(found)


def write(found: Iterable[MlflowRun], file: Path) -> None:
    """Write runs to a table, the format by its suffix."""
    rows = _rows(found)
    with replacing(file) as beside:
        _WRITERS[file.suffix.lower()](beside, _columns(rows), rows)


def _rows(found: Iterable[MlflowRun]) -> list[Row]:
    """The oldest first. Where two runs have one key, or one has none, its id stands for it."""
    names = {field.cell: name for name, field in FIELDS.items() if field.place != ROW}
    keys: set[str] = set()
    rows: list[Row] = []
    for run in sorted(found, key=lambda run: (run.info.start_time, run.info.run_id)):
        key = run.info.run_id if key_of(run) in keys else key_of(run)
        keys.add(key)
        content = content_of(run)
        rows.append({"run_key": key, **{names.get(k, k): _cell(k, v) for k, v in content.items()}})
    return rows


def _cell(name: str, value: str | float) -> str | float:
    if FIELDS.get(name) and FIELDS[name].reading == "moment":
        return datetime.fromtimestamp(float(value) / 1000, UTC).isoformat(timespec="milliseconds")
    return value


def _columns(rows: list[Row]) -> list[str]:
    """Those that have a cell: the journal's fields, then all others by name."""
    used = {name for row in rows for name in row} | {"run_key", "kind", "experiment"}
    return [*filter(used.__contains__, FIELDS), *sorted(used - FIELDS.keys())]


def _write_csv(file: Path, columns: list[str], rows: list[Row]) -> None:
    with open(file, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows({name: _csv_cell(cell) for name, cell in row.items()} for row in rows)


def _csv_cell(cell: str | float) -> str | float:
    return quoted(cell) if isinstance(cell, str) else cell


def _write_xlsx(file: Path, columns: list[str], rows: list[Row]) -> None:
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("journal")
    sheet.freeze_panes = "D2"  # the header and, of each row, key, kind and name
    sheet.column_dimensions["C"].width = 30
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(columns))}{len(rows) + 1}"
    sheet.append([_xlsx_cell(sheet, name, name, bold=True) for name in columns])
    for row in rows:
        sheet.append([_xlsx_cell(sheet, name, row.get(name)) for name in columns])
    book.save(file)


def _xlsx_cell(
    sheet: WriteOnlyWorksheet, name: str, value: str | float | None, *, bold: bool = False
) -> Cell | None:
    if value is None:
        return None
    digits = _number(name, value)
    cell = WriteOnlyCell(sheet, digits or _escaped(str(value)))
    # Text stays text, "=1+1" too; openpyxl would round a number to 16 digits, but not its digits.
    cell.data_type = "n" if digits else "s"
    if bold:
        cell.font = Font(bold=True)
    return cell


def _number(name: str, value: str | float) -> str | None:
    """The digits of a number, None for text."""
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else None
    whole = name in _WHOLE and re.fullmatch(r"[1-9]\d{0,8}", value)
    return value if whole else None


def _escaped(text: str) -> str:
    """Characters that XML does not take, as spreadsheets write them: "_x000D_"."""
    return _UNESCAPED.sub(lambda found: f"_x{ord(found[0]):04X}_", text)


_WRITERS = {".csv": _write_csv, ".xlsx": _write_xlsx}
