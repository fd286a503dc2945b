"""Rows for programs and for spreadsheets, in which no cell becomes a formula.

A spreadsheet runs what begins with one of = + - @. A workbook says of each cell that it is text;
CSV cannot, so there such a text gets a ' in front, which `unquoted` takes away. Numbers stay as
they are in both.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranzcr.journal import filters

if TYPE_CHECKING:
    from openpyxl.worksheet._write_only import WriteOnlyWorksheet

Row = Mapping[str, Any]  # None for a number that is not known

_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
_QUOTED = re.compile(r"'+[=+\-@\t\r\n]")
_LINE_END = re.compile(r"\r\n?")  # csv.writer leaves a lone \r bare, and it would end the line
_UNPRINTABLE = re.compile(
    "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\ud800-\\udfff\\ufffe\\uffff]"
)  # not for XML
_WIDTHS = {"experiment": 28, "backbone": 28, "changed": 44, "decision": 24, "run_id": 34}
_WIDTH = 12  # characters, of the other columns


def to_csv(rows: Iterable[Row], columns: Sequence[str]) -> str:
    """A heading line, then a line per row; scores in full precision."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_csv_cell(row[column]) for column in columns] for row in rows)
    return text.getvalue()


def quoted(text: str) -> str:
    """`text` as CSV has it: with a ' in front where a spreadsheet would run it."""
    return f"'{text}" if _FORMULA.match(text) else text


def unquoted(text: str) -> str:
    """The text that `quoted` was given."""
    return text[1:] if _QUOTED.match(text) else text


def write_xlsx(
    path: Path, title: str, rows: Sequence[Row], columns: Sequence[str], counts: Sequence[str] = ()
) -> None:
    """A workbook of one sheet, its heading frozen; the column `link` can be clicked.

    Args:
        counts: columns whose words are numbers where they can be.
    """
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.utils import get_column_letter

    book = Workbook(write_only=True)  # a fifth faster, and no row is kept
    sheet = book.create_sheet(title)
    sheet.freeze_panes = "A2"
    for place, column in enumerate(columns, 1):
        width = _WIDTHS.get(column, _WIDTH)
        sheet.column_dimensions[get_column_letter(place)].width = width
    sheet.append(list(columns))
    link = WriteOnlyCell(sheet)  # for all rows: each is written before the next one is made
    link.style = "Hyperlink"
    for row in rows:
        cells = [_cell(row[column], column in counts, sheet) for column in columns]
        link.value = link.hyperlink = row["link"]
        cells[columns.index("link")] = link
        sheet.append(cells)
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(columns))}{len(rows) + 1}"
    book.save(path)


def _csv_cell(value: Any) -> Any:
    return quoted(_LINE_END.sub("\n", value)) if isinstance(value, str) else value


def _cell(value: str | float | None, count: bool, sheet: WriteOnlyWorksheet) -> Any:
    """What openpyxl writes as the number, or as the words, that `value` is."""
    if value == "":
        return None
    if not isinstance(value, str):
        return value
    if count and (known := filters.number(value)) is not None and math.isfinite(known):
        return known
    plain = value if value.isprintable() else _UNPRINTABLE.sub(" ", value)
    if not plain.startswith(("=", "#")):
        return plain
    from openpyxl.cell import WriteOnlyCell

    cell = WriteOnlyCell(sheet, plain)
    cell.data_type = "s"  # not the formula, or the error, that openpyxl takes it for
    return cell
