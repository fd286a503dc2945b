"""A lineage as a drawing: SVG, or a web page with it and a table of its nodes."""

from __future__ import annotations

import unicodedata
from html import escape

from ranzcr.lineage import Edge, Lineage, Node
from ranzcr.lineage_layout import Layout, Spot, place

# Pixels. Letters are monospace, 0.6 of their size wide, so that what fits is known.
_BOX, _HIGH = 216, 88
_ACROSS, _DOWN = _BOX + 56, _HIGH + 22  # from one box to the next
_EDGE, _PAD = 16, 10  # around the drawing, within a box
_LETTER = 0.602
_SMALL, _LARGE = 11, 13
_FACTS = 3  # lines; the rest is in the tooltip

_FILL = {
    "data": "#eceff3",
    "folds": "#eceff3",
    "single": "#e3effb",
    "soft labels": "#fdf1d3",
    "ensemble": "#e2f4e7",
    "candidate": "#f1e8fa",
    "production": "#fde4e4",
}
_STYLE = (
    "text{font-family:ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#1f2933}"
    f".kind{{font-size:{_SMALL}px;fill:#616e7c}}.name{{font-size:{_LARGE}px;font-weight:bold}}"
    f".fact{{font-size:{_SMALL}px}}"
    "marker path{fill:#9aa5b1}"
    ".box{stroke:#7b8794;stroke-width:1}.asked{stroke:#1f2933;stroke-width:2.5}"
    ".lost{stroke-dasharray:5 4;fill:#fff}.edge{fill:none;stroke:#9aa5b1;stroke-width:1.4}"
    "a:hover .box{stroke:#0b69a3;stroke-width:2}"
)
_ARROW = (
    '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>'
)
_PAGE_STYLE = (
    "body{font:14px sans-serif;margin:2em;color:#1f2933}"
    "h1{font-size:1.5em}h1,td+td{overflow-wrap:anywhere}"
    "figure{margin:0;overflow-x:auto}"
    "table{border-collapse:collapse;margin-top:2em}"
    "th,td{border:1px solid #ccc;padding:.3em .6em;text-align:left;vertical-align:top}"
    "th{background:#f3f3f3}td.lost{color:#616e7c;font-style:italic}"
    "@media print{@page{size:landscape}body{margin:0}svg{width:100%;height:auto}"
    "tr{break-inside:avoid}*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}"
)


def draw(lineage: Lineage) -> str:
    """The lineage as one SVG document."""
    layout = _layout(lineage)
    spots = [*layout.nodes.values(), *(spot for bends in layout.bends.values() for spot in bends)]
    wide = 2 * _EDGE + _ACROSS * max(spot.column for spot in spots) + _BOX
    high = 2 * _EDGE + _DOWN * max(spot.row for spot in spots) + _DOWN / 2
    name = _text(lineage.nodes[lineage.of].label)
    size = f'width="{wide}" height="{high:.0f}" viewBox="0 0 {wide} {high:.0f}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>lineage of {name}</title><style>{_STYLE}</style>{_ARROW}",
        *(_edge(edge, layout) for edge in lineage.edges),
        *(
            _box(node, layout.nodes[node.id], node.id == lineage.of)
            for node in lineage.nodes.values()
        ),
        "</svg>",
    ]
    return "\n".join([*lines, ""])


def page(lineage: Lineage) -> str:
    """The drawing and a table of its nodes, as a page that needs no other file."""
    name = _text(lineage.nodes[lineage.of].label)
    sources: dict[str, list[str]] = {}
    for edge in lineage.edges:
        told = lineage.nodes[edge.source].label + (f" ({edge.note})" if edge.note else "")
        sources.setdefault(edge.target, []).append(told)
    lines = ["<!doctype html>", '<html lang="en"><head><meta charset="utf-8">']
    lines += [f"<title>lineage of {name}</title><style>{_PAGE_STYLE}</style></head><body>"]
    lines += [f"<h1>Lineage of {name}</h1>", f"<figure>{draw(lineage)}</figure>", "<table>"]
    lines += ["<tr><th>what</th><th>name</th><th>facts</th><th>made of</th></tr>"]
    spots = _layout(lineage).nodes
    flow = sorted(lineage.nodes, key=lambda node: (spots[node].column, spots[node].row))
    lines += [_row(lineage.nodes[node], sources.get(node, [])) for node in flow]
    return "\n".join([*lines, "</table>", "</body></html>", ""])


def _layout(lineage: Lineage) -> Layout:
    return place(list(lineage.nodes), [(edge.source, edge.target) for edge in lineage.edges])


def _row(node: Node, sources: list[str]) -> str:
    name = _text(node.name)
    linked = f'<a href="{_text(node.link)}">{name}</a>' if node.link else name
    style = "" if node.known else ' class="lost"'
    cells = [_text(", ".join(_facts(node))), _text(", ".join(sources))]
    told = "".join(f"<td>{cell}</td>" for cell in cells)
    return f"<tr><td>{node.kind}</td><td{style}>{linked}</td>{told}</tr>"


def _box(node: Node, spot: Spot, asked: bool) -> str:
    left, top = _corner(spot)
    style = " ".join(["box", *(["asked"] if asked else []), *([] if node.known else ["lost"])])
    told = _text("\n".join([node.label, *_facts(node)]))
    lines = [("kind", _SMALL, node.kind), ("name", _LARGE, node.name)]
    lines += [("fact", _SMALL, fact) for fact in _facts(node)[:_FACTS]]
    words = [
        f'<text class="{name}" x="{left + _PAD}" y="{top + 17 + 16 * index:.1f}">'
        f"{_text(_shortened(text, size))}</text>"
        for index, (name, size, text) in enumerate(lines)
    ]
    frame = (
        f'<rect class="{style}" x="{left}" y="{top:.1f}" width="{_BOX}" height="{_HIGH}" rx="6" '
        f'fill="{_FILL[node.kind]}"/>'
    )
    drawn = f"<title>{told}</title>{frame}{''.join(words)}"
    if node.link:
        drawn = f'<a href="{_text(node.link)}" target="_blank">{drawn}</a>'
    return f'<g id="{_text(node.id)}">{drawn}</g>'


def _edge(edge: Edge, layout: Layout) -> str:
    """A curve from the right of a box to the left of another, level where it passes boxes."""
    at, to = layout.nodes[edge.source], layout.nodes[edge.target]
    x, y = _corner(at)[0] + _BOX, _middle(at)
    path = [f"M{x} {y:.1f}"]
    for spot in (*layout.bends[edge.source, edge.target], to):
        left, level = _corner(spot)[0], _middle(spot)
        half = (left - x) / 2
        path.append(f"C{x + half:.0f} {y:.1f} {x + half:.0f} {level:.1f} {left} {level:.1f}")
        x, y = left + _BOX, level
        if spot is not to:
            path.append(f"H{x}")
    names = f'data-source="{_text(edge.source)}" data-target="{_text(edge.target)}"'
    title = f"<title>{_text(edge.note)}</title>" if edge.note else ""
    drawn = f'd="{" ".join(path)}" marker-end="url(#arrow)"'
    return f'<path class="edge" {names} {drawn}>{title}</path>'


def _corner(spot: Spot) -> tuple[int, float]:
    """Left and top of a box."""
    return _EDGE + _ACROSS * spot.column, _middle(spot) - _HIGH / 2


def _middle(spot: Spot) -> float:
    return _EDGE + _DOWN * spot.row


def _facts(node: Node) -> tuple[str, ...]:
    return node.facts if node.known else (*node.facts, "not in the journal")


def _shortened(text: str, size: int) -> str:
    """What of `text` fits into a box, with "…" for the rest; CJK letters are two wide."""
    room = int((_BOX - 2 * _PAD) / (size * _LETTER))
    if _width(text) <= room:
        return text
    kept = ""
    for letter in text:
        if _width(kept + letter) >= room:
            break
        kept += letter
    return f"{kept}…"


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _text(text: str) -> str:
    """Escaped, without the control characters that XML does not take."""
    return escape("".join(c for c in text if c in "\n\t" or unicodedata.category(c)[0] != "C"))
