"""Lineages as DOT, Mermaid and pictures: no label can break the format, no box covers another."""

from __future__ import annotations

import json
import re
from itertools import combinations

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranzcr.errors import ConfigError
from ranzcr.lineage import picture
from ranzcr.lineage.graph import Lineage, Node
from ranzcr.lineage.render import render, write

ODD = 'a "quoted" \\ <b> & #1; [x]\nsecond line'


def lineage_of(edges, names=()):
    graph = nx.DiGraph()
    for name in [*names, *(name for edge in edges for name in edge[:2])]:
        graph.add_node(name, node=Node(name, "single", name, ("CV 0.9",), "http://host/#/a"))
    for source, target, *note in edges:
        graph.add_edge(source, target, note="".join(note))
    return Lineage(next(iter(graph)), graph)


@st.composite
def graphs(draw):
    """Any graph without cycles: edges go from earlier names to later ones."""
    names = draw(st.permutations([f"n{index}" for index in range(draw(st.integers(1, 12)))]))
    pairs = list(combinations(names, 2))
    edges = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=30)) if pairs else []
    return lineage_of(edges, names)


@given(graphs())
def test_edges_go_to_the_right_and_pass_no_box(lineage):
    positions, paths = picture._layout(lineage.graph)
    assert len(set(positions.values())) == len(positions)
    for (source, target), points in paths.items():
        columns = [column for column, _ in points]
        assert columns == list(range(positions[source][0], positions[target][0] + 1))
        assert not set(points[1:-1]) & set(positions.values())


@given(st.text(max_size=40))
def test_any_name_is_kept_by_dot(name):
    lineage = lineage_of([("data", f"x{name}", name)])
    strings = re.findall(r'"(?:[^"\\]|\\.)*"', render(lineage, "dot"))
    assert {"data", f"x{name}"} <= {json.loads(string) for string in strings}


@given(st.text(max_size=40))
def test_no_name_can_end_a_label_in_mermaid(name):
    lineage = lineage_of([("data", f"x{name}", name)])
    lines = render(lineage, "mermaid").splitlines()
    assert len(lines) == 2 + 2 + 1
    assert all(line.count('"') in (0, 2) and "<" not in line.replace("<br>", "") for line in lines)


def test_mermaid_shows_boxes_edges_and_notes():
    lineage = lineage_of([("a", "b", "0.250")])
    assert render(lineage, "mermaid").splitlines()[2:] == [
        '  n0["single a<br>CV 0.9"]',
        '  n1["single b<br>CV 0.9"]',
        '  n0 -->|"0.250"| n1',
    ]


@pytest.mark.parametrize(
    ("suffix", "magic"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")]
)
def test_a_picture_is_drawn_in_the_format_of_the_suffix(tmp_path, suffix, magic):
    path = tmp_path / f"lineage.{suffix}"
    write(lineage_of([(ODD, "$b$", "0.5"), ("$b$", "c"), (ODD, "c")]), path)
    assert path.read_bytes().startswith(magic)


def test_boxes_of_an_svg_are_links(tmp_path):
    write(lineage_of([("a", "b")]), tmp_path / "a.svg")
    assert 'xlink:href="http://host/#/a"' in (tmp_path / "a.svg").read_text()


def test_too_many_boxes_are_refused_and_nothing_is_written(tmp_path):
    lineage = lineage_of([("a", f"b{index}") for index in range(500)])
    with pytest.raises(ConfigError, match="501 boxes are too many for a picture"):
        write(lineage, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
    assert render(lineage, "dot").count("->") == 500
