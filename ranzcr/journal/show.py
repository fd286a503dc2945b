"""The journal as tables for the terminal, Markdown, one web page, CSV or XLSX."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from ranzcr.errors import ConfigError, OutputError, nearest
from ranzcr.files import replacing
from ranzcr.journal import spreadsheets
from ranzcr.journal.columns import KINDS, table_of
from ranzcr.journal.rows import Selection
from ranzcr.tables import table, to_text
from ranzcr.tracking.names import Tag

FORMATS = ("table", "md", "csv", "html", "xlsx")

_STYLE = (
    "body{font:14px sans-serif;margin:2em}table{border-collapse:collapse}th{cursor:pointer}"
    "th,td{border:1px solid #ccc;padding:.3em .6em;text-align:left}th{background:#f3f3f3}"
)
# A click on a heading sorts by its column, a second click reverses it; empty cells stay last.
_SCRIPT = """
for (const th of document.querySelectorAll("th")) th.onclick = () => {
  const way = th.dataset.way = th.dataset.way === "1" ? "-1" : "1", at = th.cellIndex;
  const text = row => row.cells[at].textContent, number = row => parseFloat(text(row));
  const rows = [...th.closest("table").rows].slice(1);
  rows.sort((a, b) => !text(a) - !text(b) || way * (number(a) - number(b) ||
    text(a).localeCompare(text(b), undefined, {numeric: true})));
  th.closest("tbody").append(...rows);
};
"""


@dataclass(frozen=True)
class _Section:
    """The rows of one kind as text. Each row's last cell, the run id, is a link to its page."""

    kind: str
    headings: list[str]
    rows: list[list[str]]
    links: list[str]


def render(selection: Selection, form: str = "table", *, to_file: bool = False) -> str:
    """Return rows as text. CSV has all columns, the other formats have the columns of each kind.

    Args:
        to_file: whether the text is for a file, even if there is a terminal.
    """
    if form == "csv":
        return spreadsheets.to_csv(selection.rows, selection.columns)
    if form == "html":
        return _html(selection)
    if form in ("table", "md") and not selection.rows:
        return selection.message
    if form == "md":
        return "\n".join(line for section in _sections(selection) for line in _markdown(section))
    if form == "table":
        sections = _sections(selection)
        tables = (table(part.kind, part.headings, part.rows, part.links) for part in sections)
        return to_text(tables, to_file=to_file)
    if form == "xlsx":
        raise ConfigError("--format xlsx cannot be printed; name a file: -o journal.xlsx")
    raise ConfigError(f"no format {form!r}; {nearest(form, FORMATS)}")


def write(selection: Selection, form: str, path: Path) -> None:
    """Write rows to a file, completely or not at all."""
    if path.is_dir():
        raise OutputError(f"{path}: it is a folder; name a file in it, such as journal.xlsx")
    if form == "xlsx":
        with replacing(path) as temporary:
            spreadsheets.write_xlsx(temporary, selection.rows, selection.columns)
        return
    text = render(selection, form, to_file=True)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def _sections(selection: Selection) -> Iterator[_Section]:
    """Return a section for each kind that has rows; kinds that ranzcr does not write come last."""
    others = sorted({str(row[Tag.KIND]) for row in selection.rows} - set(KINDS))
    for kind in (*KINDS, *others):
        rows = [row for row in selection.rows if row[Tag.KIND] == kind]
        if rows:
            columns = table_of(kind)
            yield _Section(
                kind,
                [column.heading or column.name for column in columns],
                [[column.text(row[column.name]) for column in columns] for row in rows],
                [str(row["link"]) for row in rows],
            )


def _markdown(section: _Section) -> Iterator[str]:
    yield from (f"## {section.kind}", "", _md_line(section.headings))
    yield _md_line(["---"] * len(section.headings))
    for row, link in zip(section.rows, section.links, strict=True):
        *cells, run = map(_md_cell, row)
        yield _md_line([*cells, f"[{run}]({link})"])
    yield ""


def _md_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _md_cell(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")


def _html(selection: Selection) -> str:
    """One page that needs no other file."""
    lines = ["<!doctype html>", '<html lang="en"><head><meta charset="utf-8">']
    lines += ["<title>ranzcr journal</title>", f"<style>{_STYLE}</style></head><body>"]
    if not selection.rows:
        lines.append(f"<p>{escape(selection.message.strip())}</p>")
    for section in _sections(selection):
        headings = "".join(f"<th>{escape(heading)}</th>" for heading in section.headings)
        lines += [f"<h2>{escape(section.kind)}</h2>", "<table><tbody>", f"<tr>{headings}</tr>"]
        lines += map(_html_row, section.rows, section.links)
        lines.append("</tbody></table>")
    return "\n".join([*lines, f"<script>{_SCRIPT}</script></body></html>", ""])


def _html_row(row: list[str], link: str) -> str:
    *cells, run = map(escape, row)
    anchor = f'<a href="{escape(link)}">{run}</a>'
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in [*cells, anchor])}</tr>"
