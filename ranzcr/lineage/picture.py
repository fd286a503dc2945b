"""A lineage as a picture: boxes in columns from the data on the left to what was made last."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import networkx as nx

from ranzcr.errors import ConfigError
from ranzcr.files import replacing
from ranzcr.lineage.graph import Lineage

FORMATS = ("svg", "png", "pdf")
_COLORS = {
    "data": "#eceff3",
    "folds": "#eceff3",
    "single": "#e3effb",
    "soft labels": "#fdf1d3",
    "ensemble": "#e2f4e7",
    "candidate": "#f1e8fa",
    "production": "#fde4e4",
}
_WIDTH, _HEIGHT = 2.5, 1.0  # inches of a box
_STEP_X, _STEP_Y = 3.3, 1.25  # inches from one box to the next
_LETTERS, _LINES = 30, 5  # of the text in a box
_MOST = 400  # boxes that a person can still read
_SWEEPS = 4

Slot = tuple[str, ...]  # (node,), or (source, target, column) where an edge passes a column


def draw(lineage: Lineage, path: Path, format: str) -> None:
    """Draw the lineage to `path` in one of FORMATS. In SVG the boxes are links.

    Raises ConfigError if there are too many boxes for a picture.
    """
    from matplotlib.figure import Figure

    graph, nodes = lineage.graph, lineage.nodes
    if len(nodes) > _MOST:
        raise ConfigError(
            f"{path}: {len(nodes)} boxes are too many for a picture (at most {_MOST}); print the "
            "tree, or write --format dot for Graphviz"
        )
    positions, paths = _layout(graph)
    points = [*positions.values(), *(point for path in paths.values() for point in path)]
    columns, rows = (max(numbers) + 1 for numbers in zip(*points, strict=True))
    figure = Figure(figsize=(columns * _STEP_X, rows * _STEP_Y))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, columns * _STEP_X), ylim=(rows * _STEP_Y, 0))
    axes.set_axis_off()
    for (source, target), passed in paths.items():
        _draw_edge(axes, passed, graph.edges[source, target]["note"])
    for name, (x, y) in positions.items():
        _draw_box(axes, nodes[name], *_corner(x, y), bold=name == lineage.of)
    with replacing(path) as beside:
        figure.savefig(beside, format=format, dpi=100)


def _layout(graph: Any) -> tuple[dict[str, tuple[int, float]], dict[tuple[str, str], list[Any]]]:
    """Return (column, row) of each node, and the points that each edge passes.

    An edge over several columns takes a place in each of them, so that it passes no box. Rows are
    ordered by the mean row of the neighbours (barycentre method, Sugiyama et al. 1981).
    """
    generations = enumerate(nx.topological_generations(graph))
    column = {node: index for index, nodes in generations for node in nodes}
    slots = nx.DiGraph()
    slots.add_nodes_from((node,) for node in graph)
    chains: dict[tuple[str, str], list[Slot]] = {}
    for source, target in graph.edges:
        between = [
            (source, target, str(index)) for index in range(column[source] + 1, column[target])
        ]
        chains[source, target] = [(source,), *between, (target,)]
        nx.add_path(slots, chains[source, target])
    levels: list[list[Slot]] = [[] for _ in range(max(column.values()) + 1)]
    for slot in slots:
        levels[int(slot[2]) if len(slot) == 3 else column[slot[0]]].append(slot)
    row: dict[Slot, float] = {}
    highest = max(map(len, levels))
    for sweep in range(_SWEEPS):
        neighbours = slots.predecessors if sweep % 2 == 0 else slots.successors
        for level in levels if sweep % 2 == 0 else reversed(levels):
            means: dict[Slot, float] = {}
            for slot in level:
                rows = [row[neighbour] for neighbour in neighbours(slot) if neighbour in row]
                means[slot] = sum(rows) / len(rows) if rows else row.get(slot, 0.0)
            level.sort(key=means.__getitem__)
            start = (highest - len(level)) / 2
            row |= {slot: start + place for place, slot in enumerate(level)}
    places = {slot: (index, row[slot]) for index, level in enumerate(levels) for slot in level}
    positions = {node: places[(node,)] for node in graph}
    return positions, {edge: [places[slot] for slot in chain] for edge, chain in chains.items()}


def _corner(column: float, row: float) -> tuple[float, float]:
    """The upper left corner of a box, in inches."""
    return column * _STEP_X + (_STEP_X - _WIDTH) / 2, row * _STEP_Y + (_STEP_Y - _HEIGHT) / 2


def _draw_box(axes: Any, node: Any, left: float, top: float, bold: bool) -> None:
    from matplotlib.patches import Rectangle

    box = Rectangle(
        (left, top),
        _WIDTH,
        _HEIGHT,
        facecolor=_COLORS.get(node.kind, "white") if node.known else "white",
        edgecolor="#1f2933" if bold else "#7b8794",
        linewidth=2.5 if bold else 1,
        linestyle="-" if node.known else "--",
        url=node.link or None,
    )
    axes.add_patch(box)
    lines = [
        *textwrap.wrap(node.label, _LETTERS, max_lines=2, placeholder=" …"),
        *(textwrap.shorten(detail, _LETTERS + 8, placeholder=" …") for detail in node.details),
    ]
    for place, line in enumerate(lines[:_LINES]):
        axes.text(
            left + 0.08,
            top + 0.16 + place * 0.175,
            line.replace("$", r"\$"),
            fontsize=8 if place == 0 else 7,
            fontweight="bold" if place == 0 else "normal",
            va="center",
            url=node.link or None,
        )


def _draw_edge(axes: Any, points: list[tuple[float, float]], note: str) -> None:
    """A line from the right side of the first box to the left side of the last one."""
    corners = [_corner(*point) for point in points]
    line = [(corners[0][0] + _WIDTH, corners[0][1] + _HEIGHT / 2)]
    for left, top in corners[1:-1]:
        line += [(left, top + _HEIGHT / 2), (left + _WIDTH, top + _HEIGHT / 2)]
    end = (corners[-1][0], corners[-1][1] + _HEIGHT / 2)
    axes.plot(*zip(*line, end, strict=True), color="#9aa5b1", linewidth=1.2, zorder=0)
    axes.annotate("", end, line[-1], arrowprops={"arrowstyle": "-|>", "color": "#9aa5b1"}, zorder=0)
    if note:
        (x0, y0), (x1, y1) = line[-1], end
        axes.text((x0 + x1) / 2, (y0 + y1) / 2 - 0.08, note, fontsize=7, ha="center", va="bottom")
