"""Tables as text, for the terminal."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

_WIDE = 200  # characters, where no terminal says how wide it is


def table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A titled table; a cell that is too long is folded, not cut."""
    made = Table(title=title, title_justify="left", title_style="bold")
    for heading in headings:
        made.add_column(heading, overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def to_text(tables: Iterable[Table]) -> str:
    """The tables one below the other, as wide as the terminal."""
    text = io.StringIO()
    # What people wrote is shown as it is: "[red]" and ":smile:" are no markup.
    width = None if sys.stdout.isatty() else _WIDE
    console = Console(file=text, width=width, markup=False, emoji=False)
    for one in tables:
        console.print(one)
    return text.getvalue()
