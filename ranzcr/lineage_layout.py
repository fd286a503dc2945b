"""Where the boxes of a graph go: columns from left to right, no two boxes over each other.

The layered drawing of Sugiyama, Tagawa and Toda (1981): a node's column is the longest way to it,
an edge over several columns gets a place in each (a bend), columns are ordered so that few edges
cross, then each node moves towards its neighbours as far as its column leaves room.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from itertools import chain, pairwise
from typing import NamedTuple

Pair = tuple[str, str]  # (source, target)

_SWEEPS = 24
_BEND = 0.3  # room of an edge between boxes; a box has 1


class Bend(NamedTuple):
    """Where an edge passes a column that neither of its ends is in."""

    edge: Pair
    column: int


Key = str | Bend  # a node or a bend


@dataclass(frozen=True)
class Spot:
    """`row` is the middle; rows are 1 apart where two boxes touch, the topmost begins at 0."""

    column: int
    row: float


@dataclass(frozen=True)
class Layout:
    """Where each node is, and by which spots each edge goes from its source to its target."""

    nodes: Mapping[str, Spot]
    bends: Mapping[Pair, tuple[Spot, ...]]


def place(nodes: Sequence[str], edges: Iterable[Pair]) -> Layout:
    """Lay out a graph. Raises ValueError where it has a cycle.

    Args:
        nodes: their order decides where nothing else does.
        edges: each pair once, ends among `nodes`.
    """
    edges = list(edges)
    column = _columns(nodes, edges)
    columns: list[list[Key]] = [[] for _ in range(max(column.values(), default=-1) + 1)]
    for node in nodes:
        columns[column[node]].append(node)
    bends = {edge: _bends(edge, column) for edge in edges}
    for bend in chain.from_iterable(bends.values()):
        columns[bend.column].append(bend)
    before, after = _neighbours(step for edge in edges for step in _steps(edge, bends[edge]))
    _order(columns, before, after)
    rows = _rows(columns, before, after)
    return Layout(
        {node: Spot(column[node], rows[node]) for node in nodes},
        {edge: tuple(Spot(bend.column, rows[bend]) for bend in bends[edge]) for edge in edges},
    )


def _columns(nodes: Sequence[str], edges: Sequence[Pair]) -> dict[Key, int]:
    """The number of edges on the longest way to each node; what has no source stands beside its
    first target."""
    before, after = _neighbours(edges)
    column: dict[Key, int] = {}
    for node in TopologicalSorter({node: before.get(node, []) for node in nodes}).static_order():
        column[node] = max((column[source] + 1 for source in before.get(node, [])), default=0)
    for node in nodes:
        if node in after and node not in before:
            column[node] = min(column[target] for target in after[node]) - 1
    return column


def _bends(edge: Pair, column: Mapping[Key, int]) -> list[Bend]:
    source, target = edge
    return [Bend(edge, at) for at in range(column[source] + 1, column[target])]


def _steps(edge: Pair, bends: Sequence[Bend]) -> Iterable[tuple[Key, Key]]:
    """From one column to the next."""
    way: list[Key] = [edge[0], *bends, edge[1]]
    return pairwise(way)


def _neighbours(
    steps: Iterable[tuple[Key, Key]],
) -> tuple[dict[Key, list[Key]], dict[Key, list[Key]]]:
    before: dict[Key, list[Key]] = {}
    after: dict[Key, list[Key]] = {}
    for left, right in steps:
        before.setdefault(right, []).append(left)
        after.setdefault(left, []).append(right)
    return before, after


def _order(
    columns: list[list[Key]], before: Mapping[Key, list[Key]], after: Mapping[Key, list[Key]]
) -> None:
    """Sort each column by the mean place of the neighbours, to and fro."""
    for sweep in range(_SWEEPS):
        forth = sweep % 2 == 0
        for column in columns[1:] if forth else reversed(columns[:-1]):
            at = {key: index for line in columns for index, key in enumerate(line)}
            towards = before if forth else after
            column.sort(key=lambda key: _mean([at[one] for one in towards.get(key, [key])]))


def _rows(
    columns: list[list[Key]], before: Mapping[Key, list[Key]], after: Mapping[Key, list[Key]]
) -> dict[Key, float]:
    rows: dict[Key, float] = {}
    for column in columns:
        rows.update(zip(column, _apart([0.0] * len(column), column), strict=True))
    for sweep in range(_SWEEPS):
        for column in columns if sweep % 2 else reversed(columns):
            near = [[rows[one] for one in before.get(k, []) + after.get(k, [])] for k in column]
            wanted = [_mean(ats or [rows[key]]) for key, ats in zip(column, near, strict=True)]
            rows.update(zip(column, _apart(wanted, column), strict=True))
    top = min((row - _room(key) / 2 for key, row in rows.items()), default=0.0)
    return {key: row - top for key, row in rows.items()}


def _apart(wanted: Sequence[float], column: Sequence[Key]) -> list[float]:
    """The rows nearest to `wanted` (least squares) at which nothing in the column overlaps.

    With the room above each taken off, rows may not fall: that is isotonic regression, solved by
    pooling what falls (Ayer et al., 1955).
    """
    above = [0.0]
    for one, other in pairwise(column):
        above.append(above[-1] + (_room(one) + _room(other)) / 2)
    pools: list[tuple[float, int]] = []  # mean, how many
    for row, room in zip(wanted, above, strict=False):
        mean, count = row - room, 1
        while pools and pools[-1][0] > mean:
            other, others = pools.pop()
            mean, count = (mean * count + other * others) / (count + others), count + others
        pools.append((mean, count))
    level = [mean for mean, count in pools for _ in range(count)]
    return [mean + room for mean, room in zip(level, above, strict=False)]


def _room(key: Key) -> float:
    return 1 if isinstance(key, str) else _BEND


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
