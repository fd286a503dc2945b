"""CSV and XLSX files from rows, exact enough to be imported again, without formulas.

A spreadsheet program runs a text that begins with = + - or @. A workbook marks the cell as text; in
CSV, which cannot do that, such a text gets a leading ', which `unquoted` removes. Numbers are
written unchanged in both.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranzcr.journal.columns import Cell, Column, Row
from ranzcr.tracking.names import Tag

if TYPE_CHECKING:
    from openpyxl.worksheet._write_only import WriteOnlyWorksheet

_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
_QUOTED = re.compile(r"'+[=+\-@\t\r\n]")
_COUNT = re.compile(r"0|[1-9]\d{0,8}")
_ESCAPED = re.compile(r"[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)")


def to_csv(rows: Iterable[Row], columns: Sequence[Column]) -> str:
    """Return a heading line and a line per row; numbers have full precision."""
    text = io.StringIO()
    writer = csv.writer(_LinesOf(text))
    writer.writerow(column.name for column in columns)
    for row in rows:
        writer.writerow(_csv_cell(row.get(column.name)) for column in columns)
    return text.getvalue()


class _LinesOf:
    """Ends lines with \\n. csv.writer itself would then leave a \\r in a cell unquoted."""

    def __init__(self, text: io.StringIO) -> None:
        self._text = text

    def write(self, line: str) -> None:
        self._text.write(line.removesuffix("\r\n") + "\n")


def quoted(text: str) -> str:
    """Put a ' before a text that a spreadsheet program would run as a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def unquoted(text: str) -> str:
    """Undo `quoted`."""
    return text[1:] if _QUOTED.match(text) else text


def write_xlsx(path: Path, rows: Sequence[Row], columns: Sequence[Column]) -> None:
    """Write a workbook with one sheet; the heading and the first columns stay visible."""
    from openpyxl import Workbook
    from openpyxl.utils import get_column_letter

    book = Workbook(write_only=True)  # a fifth faster, and needs less memory
    sheet = book.create_sheet("journal")
    names = [column.name for column in columns]
    letters = [get_column_letter(index) for index in range(1, len(columns) + 2)]
    sheet.freeze_panes = f"{letters[names.index(Tag.EXPERIMENT) + 1]}2"
    for letter, column in zip(letters, columns, strict=False):
        sheet.column_dimensions[letter].width = column.width
    sheet.append([_xlsx_text(name, sheet) for name in names])
    for row in rows:
        sheet.append([_xlsx_cell(row.get(column.name), column, sheet) for column in columns])
    sheet.auto_filter.ref = f"A1:{letters[len(columns) - 1]}{len(rows) + 1}"
    book.save(path)


def _csv_cell(cell: Cell) -> Cell:
    return quoted(cell) if isinstance(cell, str) else cell


def _xlsx_cell(cell: Cell, column: Column, sheet: WriteOnlyWorksheet) -> Any:
    """Return what openpyxl writes as this number or text."""
    if cell is None or cell == "":
        return None
    if isinstance(cell, str):
        if column.reading in ("size", "folds") and _COUNT.fullmatch(cell):
            return int(cell)
        return _xlsx_link(cell, sheet) if column.name == "link" else _xlsx_text(cell, sheet)
    if not math.isfinite(cell):
        return _xlsx_text(str(cell), sheet)
    if float(f"{cell:.16g}") == cell:
        return cell
    return _typed(repr(cell), "n", sheet)  # openpyxl would write 16 of the 17 digits


def _xlsx_text(text: str, sheet: WriteOnlyWorksheet) -> Any:
    # A character that XML does not allow is written as spreadsheet programs do: "_x000D_".
    escaped = _ESCAPED.sub(lambda match: f"_x{ord(match[0]):04X}_", text)
    # openpyxl would make a formula or an error of it
    return _typed(escaped, "s", sheet) if escaped.startswith(("=", "#")) else escaped


def _xlsx_link(link: str, sheet: WriteOnlyWorksheet) -> Any:
    cell = _typed(link, "s", sheet)
    cell.hyperlink = link
    cell.style = "Hyperlink"
    return cell


def _typed(value: str, data_type: str, sheet: WriteOnlyWorksheet) -> Any:
    from openpyxl.cell import WriteOnlyCell

    cell = WriteOnlyCell(sheet, value)
    cell.data_type = data_type
    return cell
