"""A lineage as text: a tree for the terminal, DOT for Graphviz, Mermaid for Markdown pages."""

from __future__ import annotations

import json

from ranzcr.lineage.graph import Lineage, Node

_PLAIN = " .,:;/()[]+-_·%="  # beside letters and digits


def tree(lineage: Lineage) -> str:
    """Return the lineage from the last node down to the data.

    A node is printed with its details once, then by name with "(above)".
    """
    graph, nodes = lineage.graph, lineage.nodes
    ends = [name for name in graph if not graph.out_degree(name)]
    printed: set[str] = set()
    lines: list[str] = []

    def add(name: str, note: str, first: str, rest: str) -> None:
        if name in printed:
            lines.append(f"{first}{note}{nodes[name].label} (above)")
            return
        printed.add(name)
        mark = "  <- asked for" if name == lineage.of and ends != [name] else ""
        lines.append(f"{first}{note}{_line(nodes[name])}{mark}")
        sources = list(graph.predecessors(name))
        for source in sources:
            branch, below = ("└─ ", "   ") if source == sources[-1] else ("├─ ", "│  ")
            edge_note = graph.edges[source, name]["note"]
            add(source, f"({edge_note}) " if edge_note else "", rest + branch, rest + below)

    for end in ends:
        add(end, "", "", "")
    return "\n".join([*lines, ""])


def dot(lineage: Lineage) -> str:
    """Return the lineage in the language of Graphviz."""
    lines = ["digraph lineage {", "  rankdir=LR;", "  node [shape=box];"]
    for name, node in lineage.nodes.items():
        label = "\n".join([node.label, *node.details])
        style = "bold" if name == lineage.of else "solid" if node.known else "dashed"
        link = f", URL={_quoted(node.link)}" if node.link else ""
        lines.append(f"  {_quoted(name)} [label={_quoted(label)}, style={style}{link}];")
    for source, target, note in lineage.edges:
        label = f" [label={_quoted(note)}]" if note else ""
        lines.append(f"  {_quoted(source)} -> {_quoted(target)}{label};")
    return "\n".join([*lines, "}", ""])


def mermaid(lineage: Lineage) -> str:
    """Return the lineage as a Mermaid flowchart, which GitHub and GitLab draw in Markdown."""
    ids = {name: f"n{place}" for place, name in enumerate(lineage.nodes)}
    lines = ["flowchart LR", "  classDef unknown stroke-dasharray:5 5"]
    for name, node in lineage.nodes.items():
        label = "<br>".join(_mermaid_text(line) for line in (node.label, *node.details))
        lines.append(f'  {ids[name]}["{label}"]{"" if node.known else ":::unknown"}')
    for source, target, note in lineage.edges:
        label = f'|"{_mermaid_text(note)}"|' if note else ""
        lines.append(f"  {ids[source]} -->{label} {ids[target]}")
    return "\n".join([*lines, ""])


def _line(node: Node) -> str:
    return "  ".join(filter(None, [node.label, " · ".join(node.details)]))


def _quoted(text: str) -> str:
    """Return a string in quotes, with quotes, backslashes and line ends escaped as in JSON."""
    return json.dumps(text, ensure_ascii=False)


def _mermaid_text(text: str) -> str:
    """Replace what Mermaid or HTML would interpret by character codes."""
    return "".join(char if char.isalnum() or char in _PLAIN else f"#{ord(char)};" for char in text)
