"""Tables as text, for the terminal."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from rich.cells import cell_len, chop_cells

# rich's own tables take 1 ms per row, too slow for 5,000 rows; its character widths are used here.

_DEFAULT_WIDTH = 200  # characters, if there is no terminal
_GAP = "  "
_NARROWEST = 4  # characters of a column
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@dataclass(frozen=True)
class Table:
    """A table with a title; `links` are URLs for the last cells of the rows."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    links: Sequence[str] = ()


def table(
    title: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    links: Sequence[str] = (),
) -> Table:
    """Return a table whose cells have no control characters."""
    return Table(title, headings, [[_printable(cell) for cell in row] for row in rows], links)


def to_text(tables: Iterable[Table], *, to_file: bool = False) -> str:
    """Return the tables as text, as wide as the terminal; cells that are too long are folded.

    Args:
        to_file: whether the text is for a file: then it has a fixed width and no links.
    """
    terminal = sys.stdout.isatty() and not to_file
    size = (_DEFAULT_WIDTH, 0)
    width = shutil.get_terminal_size(size).columns if terminal else _DEFAULT_WIDTH
    return "\n".join("\n".join(_lines(table_, width, links=terminal)) + "\n" for table_ in tables)


def _lines(contents: Table, width: int, links: bool) -> list[str]:
    columns = zip(contents.headings, *contents.rows, strict=True)
    widths = _fit([max(map(cell_len, cells)) for cells in columns], width)
    rule = _GAP.join("─" * width for width in widths)
    lines = [contents.title, *_row(contents.headings, widths), rule]
    for index, row in enumerate(contents.rows):
        link = contents.links[index] if links and contents.links else ""
        lines += _row(row, widths, link)
    return lines


def _fit(widths: list[int], total: int) -> list[int]:
    """Narrow the widest columns until all fit."""
    free = total - len(_GAP) * (len(widths) - 1)
    limit = max(widths)
    while limit > _NARROWEST and sum(min(width, limit) for width in widths) > free:
        limit -= 1
    return [min(width, limit) for width in widths]


def _row(cells: Sequence[str], widths: Sequence[int], link: str = "") -> list[str]:
    """The lines of one row: a folded cell takes several."""
    folded = [_fold(cell, width) for cell, width in zip(cells, widths, strict=True)]
    lines = []
    for parts in zip_longest(*folded, fillvalue=""):
        padded = [
            part + " " * (width - cell_len(part)) for part, width in zip(parts, widths, strict=True)
        ]
        if link and parts[-1]:
            padded[-1] = f"\x1b]8;;{link}\x1b\\{parts[-1]}\x1b]8;;\x1b\\"
        lines.append(_GAP.join(padded).rstrip())
    return lines


def _fold(cell: str, width: int) -> list[str]:
    """Split a cell into lines of at most `width`, between words if possible."""
    if cell_len(cell) <= width:
        return [cell]
    lines = [""]
    for word in cell.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if cell_len(longer) <= width:
            lines[-1] = longer
        else:
            lines += chop_cells(word, width)
    return [line for line in lines if line]


def _printable(cell: str) -> str:
    """Replace line breaks and terminal control characters by spaces."""
    return cell if cell.isprintable() else _CONTROL.sub(" ", cell)
