"""The journal as people read it: tables for the terminal, Markdown, one web page, spreadsheets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

from ranzcr.errors import ConfigError, OutputError, nearest
from ranzcr.files import replacing
from ranzcr.journal import spreadsheets
from ranzcr.journal.reading import SHORT
from ranzcr.journal.rows import COLUMNS, KINDS, Row, Selection, interval
from ranzcr.tables import table, to_text

FORMATS = ("table", "md", "csv", "html", "xlsx")
_COUNTS = ("image_size", "folds")
_CHANGED = 60  # characters of what changed that a table shows; csv and xlsx have it whole
_MODEL = ("parent", "changed", "backbone", "head", "image_size", "folds", "teachers")
_SHOWN = {"single": _MODEL, "pseudo": ("teachers",), "ensemble": ("members",)}
_SCORES = ("CV [95%]", "LB public", "LB private", "GPU h")
_ENDS = ("decision", "state", "run")

_STYLE = (
    "body{font:14px sans-serif;margin:2em}table{border-collapse:collapse}th{cursor:pointer}"
    "th,td{border:1px solid #ccc;padding:.3em .6em;text-align:left}th{background:#f3f3f3}"
)
# A click on a heading sorts by it, a second one the other way round; empty cells stay last.
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
    """The rows of one kind as cells; the last one, the run, leads to `links`."""

    kind: str
    headings: list[str]
    cells: list[list[str]]
    links: list[str]


def render(found: Selection, form: str = "table", *, to_file: bool = False) -> str:
    """Rows of the journal as text: csv has every column, the other formats those of each kind.

    Args:
        to_file: not for the terminal, even if there is one.
    """
    if form == "csv":
        return spreadsheets.to_csv(found.rows, COLUMNS)
    if form == "html":
        return _html(found)
    if form in ("table", "md") and not found.rows:
        return found.silence
    if form == "md":
        return _markdown(found)
    if form == "table":
        tables = (table(one.kind, one.headings, one.cells, one.links) for one in _sections(found))
        return to_text(tables, to_file=to_file)
    if form == "xlsx":
        raise ConfigError("--format xlsx is no text; name a file: -o journal.xlsx")
    raise ConfigError(f"no format {form!r}; {nearest(form, FORMATS)}")


def write(found: Selection, form: str, path: Path) -> None:
    """Write rows of the journal to a file, whole or not at all."""
    if path.is_dir():
        raise OutputError(f"{path}: it is a folder; name a file in it, such as journal.xlsx")
    if form == "xlsx":
        with replacing(path) as beside:
            spreadsheets.write_xlsx(beside, "journal", found.rows, COLUMNS, _COUNTS)
        return
    text = render(found, form, to_file=True)
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def _sections(found: Selection) -> Iterator[_Section]:
    """A section per kind that has runs; kinds that others made come last."""
    others = sorted({row["kind"] for row in found.rows} - set(KINDS))
    for kind in (*KINDS, *others):
        rows = [row for row in found.rows if row["kind"] == kind]
        if rows:
            cells, links = [_cells(kind, row) for row in rows], [row["link"] for row in rows]
            yield _Section(kind, _headings(kind), cells, links)


def _headings(kind: str) -> list[str]:
    shown = _SHOWN.get(kind, _MODEL)
    # Soft labels have no score.
    return ["experiment", *shown, *(() if kind == "pseudo" else _SCORES), *_ENDS]


def _cells(kind: str, row: Row) -> list[str]:
    told = [
        _brief(row[name]) if name == "changed" else row[name] for name in _SHOWN.get(kind, _MODEL)
    ]
    scores = [
        interval(row),
        _number(row["lb_public"], 5),
        _number(row["lb_private"], 5),
        _number(row["gpu_hours"], 1),
    ]
    state = "" if row["state"] == "finished" else row["state"]
    ends = [row["decision"], state, row["run_id"][:SHORT]]
    return [row["experiment"], *told, *([] if kind == "pseudo" else scores), *ends]


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _brief(text: str) -> str:
    """The first of a list of changes, as many as fit."""
    if len(text) <= _CHANGED:
        return text
    cut = text[: _CHANGED - 3]
    return f"{cut.rpartition(', ')[0] or cut}, …"


def _markdown(found: Selection) -> str:
    lines: list[str] = []
    for one in _sections(found):
        lines += [
            f"## {one.kind}",
            "",
            _md_line(one.headings),
            _md_line(["---"] * len(one.headings)),
        ]
        for cells, link in zip(one.cells, one.links, strict=True):
            lines.append(_md_line([*map(_md, cells[:-1]), f"[{cells[-1]}]({link})"]))
        lines.append("")
    return "\n".join(lines)


def _md_line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _md(cell: str) -> str:
    return " ".join(cell.split()).replace("\\", "\\\\").replace("|", "\\|")


def _html(found: Selection) -> str:
    """One page that needs no other file."""
    lines = ["<!doctype html>", '<html lang="en"><head><meta charset="utf-8">']
    lines += ["<title>ranzcr journal</title>", f"<style>{_STYLE}</style></head><body>"]
    if not found.rows:
        lines.append(f"<p>{escape(found.silence.strip())}</p>")
    for one in _sections(found):
        headings = "".join(f"<th>{escape(heading)}</th>" for heading in one.headings)
        lines += [f"<h2>{escape(one.kind)}</h2>", "<table><tbody>", f"<tr>{headings}</tr>"]
        lines += [_html_row(*run) for run in zip(one.cells, one.links, strict=True)]
        lines.append("</tbody></table>")
    return "\n".join([*lines, f"<script>{_SCRIPT}</script></body></html>", ""])


def _html_row(cells: list[str], link: str) -> str:
    *told, run = map(escape, cells)
    anchor = f'<a href="{escape(link)}">{run}</a>'
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in [*told, anchor])}</tr>"
