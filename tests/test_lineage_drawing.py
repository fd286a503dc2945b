"""Lineages as SVG and HTML: no box over another, edges go one way, names cannot break the page."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from ranzcr import lineage, lineage_svg
from ranzcr.lineage import Edge, Lineage, Node
from ranzcr.lineage_layout import place

SVG = "{http://www.w3.org/2000/svg}"
NODES = {
    "data:1": Node("data:1", "data", "4e5d"),
    "a": Node("a", "single", "teacher", ("CV 0.9", "finished"), "http://127.0.0.1:5000/#/a"),
    "b": Node("b", "soft labels", "of teacher", known=False),
    "c": Node("c", "ensemble", "a_rather_long_name_of_the_first+another_rather_long_name"),
}
SMALL = Lineage(
    "c", NODES, (Edge("data:1", "a"), Edge("a", "b"), Edge("b", "c", "0.5"), Edge("a", "c"))
)


@st.composite
def graphs(draw):
    """Any graph without cycles: edges go from earlier names to later ones, names are shuffled."""
    names = draw(st.permutations([f"n{index}" for index in range(draw(st.integers(1, 14)))]))
    pairs = list(combinations(names, 2))
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=40)) if pairs else []
    return draw(st.permutations(names)), chosen


def boxes(drawn):
    """(left, top, right, bottom) of each box."""
    for rect in ET.fromstring(drawn).iter(f"{SVG}rect"):
        left, top, wide, high = (float(rect.get(key)) for key in ("x", "y", "width", "height"))
        yield left, top, left + wide, top + high


@given(graphs())
def test_no_two_boxes_touch_and_edges_go_to_the_right(graph):
    names, pairs = graph
    nodes = {name: Node(name, "single", name) for name in names}
    drawn = lineage_svg.draw(Lineage(names[0], nodes, tuple(Edge(*pair) for pair in pairs)))
    for one, other in combinations(boxes(drawn), 2):
        apart = (one[2] < other[0], other[2] < one[0], one[3] < other[1], other[3] < one[1])
        assert any(apart), (one, other)
    spots = place(names, pairs).nodes
    assert all(spots[source].column < spots[target].column for source, target in pairs)


@given(graphs())
def test_an_edge_passes_no_box_on_its_way(graph):
    names, pairs = graph
    layout = place(names, pairs)
    for bends in layout.bends.values():
        for bend in bends:
            beside = [spot for spot in layout.nodes.values() if spot.column == bend.column]
            assert all(abs(spot.row - bend.row) > 0.5 for spot in beside)


@given(graphs())
def test_everything_lies_within_the_drawing(graph):
    names, pairs = graph
    nodes = {name: Node(name, "single", name) for name in names}
    drawn = lineage_svg.draw(Lineage(names[0], nodes, tuple(Edge(*pair) for pair in pairs)))
    root = ET.fromstring(drawn)
    wide, high = float(root.get("width")), float(root.get("height"))
    assert all(box[0] >= 0 and box[1] >= 0 for box in boxes(drawn))
    assert all(box[2] <= wide and box[3] <= high for box in boxes(drawn))


def test_the_drawing_has_the_nodes_and_edges():
    root = ET.fromstring(lineage_svg.draw(SMALL))
    assert {group.get("id") for group in root.iter(f"{SVG}g")} == set(NODES)
    drawn = {(p.get("data-source"), p.get("data-target")) for p in root.iter(f"{SVG}path")}
    assert drawn - {(None, None)} == {(edge.source, edge.target) for edge in SMALL.edges}
    (link,) = (a.get("href") for a in root.iter(f"{SVG}a"))
    assert link == NODES["a"].link


def test_a_long_name_is_cut_to_its_box_and_whole_in_the_tooltip():
    root = ET.fromstring(lineage_svg.draw(SMALL))
    (group,) = (g for g in root.iter(f"{SVG}g") if g.get("id") == "c")
    shown = next(t.text for t in group.iter(f"{SVG}text") if t.get("class") == "name")
    assert shown.endswith("…")
    assert NODES["c"].name.startswith(shown[:-1])
    assert NODES["c"].name in group.find(f"{SVG}title").text


@given(st.text())
def test_what_is_shown_of_any_text_fits_a_box(text):
    shown = lineage_svg._shortened(text, lineage_svg._LARGE)
    wide = lineage_svg._width(shown) * lineage_svg._LARGE * lineage_svg._LETTER
    assert wide <= lineage_svg._BOX - 2 * lineage_svg._PAD


@given(st.text())
def test_any_name_leaves_the_drawing_well_formed(name):
    nodes = {name: Node(name, "single", name, (name,), name)}
    root = ET.fromstring(lineage_svg.draw(Lineage(name, nodes, ())))
    assert len(list(root.iter(f"{SVG}rect"))) == 1


def test_names_are_escaped_in_the_page():
    name = '<script>alert("1")</script>'
    nodes = {"x": Node("x", "single", name, (name,)), "y": Node("y", "ensemble", "y")}
    page = lineage_svg.page(Lineage("x", nodes, (Edge("x", "y", name),)))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_what_is_lost_is_dashed_and_what_was_asked_for_is_framed():
    drawn = lineage_svg.draw(SMALL)
    assert drawn.count('class="box lost"') == drawn.count('class="box asked"') == 1
    assert "not in the journal" in drawn


def test_the_page_tells_each_member_with_its_weight_from_the_data_on():
    page = lineage_svg.page(SMALL)
    assert "<td>soft labels of teacher (0.5), single teacher</td>" in page
    order = [page.rindex(f"<td>{kind}</td>") for kind in ("data", "single", "soft labels")]
    assert order == sorted(order)


def test_a_file_is_written_whole(tmp_path):
    lineage.write(SMALL, "html", tmp_path / "c.html")
    assert (tmp_path / "c.html").read_text(encoding="utf-8") == lineage_svg.page(SMALL)
