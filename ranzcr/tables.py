"""Tables as text, for the terminal."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells

# rich's own tables take 1 ms per row, which 5,000 rows cannot wait for; its widths are used here.

_WIDE = 200  # characters, where no terminal says how wide it is
_GAP = "  "
_NARROW = 4  # characters that each column keeps
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@dataclass(frozen=True)
class Table:
    """A titled table; `links` are the pages of the rows' last cells, if they have some."""

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
    """A titled table; a cell that is too long is folded, not cut."""
    return Table(title, headings, [[_plain(cell) for cell in row] for row in rows], links)


def to_text(tables: Iterable[Table], *, to_file: bool = False) -> str:
    """The tables one below the other, as wide as the terminal; `to_file`: as if there were none."""
    terminal = sys.stdout.isatty() and not to_file
    wide = shutil.get_terminal_size((_WIDE, 0)).columns if terminal else _WIDE
    blocks = ["\n".join(_lines(one, wide, links=terminal)) + "\n" for one in tables]
    return "\n".join(blocks)


def _lines(one: Table, wide: int, links: bool) -> list[str]:
    columns = zip(one.headings, *one.rows, strict=True)
    widths = _fit([max(map(cell_len, cells)) for cells in columns], wide)
    lines = [one.title, *_row(one.headings, widths), _GAP.join("─" * width for width in widths)]
    for place, row in enumerate(one.rows):
        lines += _row(row, widths, one.links[place] if links and one.links else "")
    return lines


def _fit(widths: list[int], wide: int) -> list[int]:
    """Narrow the widest columns until all fit."""
    free = wide - len(_GAP) * (len(widths) - 1)
    cap = max(widths)
    while cap > _NARROW and sum(min(width, cap) for width in widths) > free:
        cap -= 1
    return [min(width, cap) for width in widths]


def _row(cells: Sequence[str], widths: Sequence[int], link: str = "") -> list[str]:
    folded = [_fold(cell, width) for cell, width in zip(cells, widths, strict=True)]
    high = max(map(len, folded))
    lines = []
    for level in range(high):
        parts = [lines[level] if level < len(lines) else "" for lines in folded]
        padded = [
            part + " " * (width - cell_len(part)) for part, width in zip(parts, widths, strict=True)
        ]
        if link and parts[-1]:
            padded[-1] = f"\x1b]8;;{link}\x1b\\{parts[-1]}\x1b]8;;\x1b\\"
        lines.append(_GAP.join(padded).rstrip())
    return lines


def _fold(cell: str, width: int) -> list[str]:
    """A cell in lines of at most `width`, broken between words where that is possible."""
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


def _plain(cell: str) -> str:
    """What people wrote on one line, and without what a terminal would obey."""
    return cell if cell.isprintable() else _CONTROL.sub(" ", cell)
