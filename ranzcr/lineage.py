"""What a run or a version is made of and what was made of it: the journal as a graph.

data -> folds -> teachers -> soft labels -> students -> ensemble -> candidate -> production version

A link is a run id or a digest where the journal has one. Rows of before, and imported ones, name
each other only by experiment: then the run on the same data by the same code is taken, of several
the newest before. What a row names and the journal does not have is a node that is not `known`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from ranzcr.errors import ConfigError, TrackingError, nearest
from ranzcr.files import replacing
from ranzcr.journal import columns, reading, rows
from ranzcr.journal.journal_run import SHORT, JournalRun
from ranzcr.registry import ledger
from ranzcr.registry.candidates import CANDIDATES, CHALLENGER, CHAMPION, by_alias
from ranzcr.registry.ledger import PRODUCTION
from ranzcr.tracking import server
from ranzcr.tracking.runs import KEY

FORMATS = ("text", "svg", "html")
_DIGEST = 12  # characters of a digest that are shown


@dataclass(frozen=True)
class Node:
    """One thing that was made."""

    id: str
    kind: str  # data, folds, single, soft labels, ensemble, candidate, production
    name: str
    facts: tuple[str, ...] = ()  # CV with interval, digest, state
    link: str = ""  # to MLflow's page
    known: bool = True  # False: another node names it, and the journal does not have it

    @property
    def label(self) -> str:
        """ "soft labels of b6v3_001", "folds by patient"."""
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Edge:
    """`source` went into `target`; ids of nodes."""

    source: str
    target: str
    note: str = ""  # a member's weight, or how sure the link is


@dataclass(frozen=True)
class Lineage:
    """Everything that one node is made of, and everything that was made of it. Has no cycle."""

    of: str  # the id of that node
    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]


def trace(name: str) -> Lineage:
    """The lineage of a run or a version.

    Args:
        name: a run as `rows.resolve` takes it, a version such as "ranzcr-clip/3", or an alias:
            champion or challenger.

    Raises TrackingError for a name that nothing has.
    """
    client = server.connect()
    graph = _Graph(client)
    asked = graph.version_id(name) or _run_id(rows.resolve(name))
    return _line(asked, graph.nodes, graph.edges)


def render(lineage: Lineage, form: str = "text") -> str:
    """As a tree for the terminal, as SVG, or as a web page that needs no other file."""
    from ranzcr import lineage_svg

    drawn: dict[str, Callable[[Lineage], str]] = {
        "text": _tree,
        "svg": lineage_svg.draw,
        "html": lineage_svg.page,
    }
    if form not in drawn:
        raise ConfigError(f"no format {form!r}; {nearest(form, FORMATS)}")
    return drawn[form](lineage)


def write(lineage: Lineage, form: str, path: Path) -> None:
    """`render` to a file."""
    text = render(lineage, form)
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


class _Graph:
    """The whole journal and registry: `nodes` by id, and the `edges` between them."""

    def __init__(self, client: MlflowClient) -> None:
        self._record = reading.read()
        self.nodes: dict[str, Node] = {}
        self._notes: dict[tuple[str, str], str] = {}  # of (source, target)
        runs = self._record.runs
        # A row that was not there yet when it was noted was noted by its key.
        self._by_key = {run.tags.get(KEY, run.run_id): run for run in runs}
        self._by_key |= {run.run_id: run for run in runs}
        self._by_name: dict[tuple[str, str], list[JournalRun]] = {}
        for run in runs:
            self._by_name.setdefault(_joined_by(run), []).append(run)
        self._aliases = _aliases(client)
        self._acts = _acts(client)
        for run in runs:
            self._add_run(run)
        for model in (CANDIDATES, PRODUCTION):
            for version in ledger.versions(client, model):
                self._add_version(version)

    @property
    def edges(self) -> list[Edge]:
        return [Edge(source, target, note) for (source, target), note in self._notes.items()]

    def version_id(self, name: str) -> str | None:
        """The node of a version or an alias; None where `name` must be a run's."""
        if name in self._aliases:
            return self._aliases[name]
        model, slash, _ = name.partition("/")
        if not slash or model not in (CANDIDATES, PRODUCTION):
            return None
        node = self.nodes.get(name)
        if node is None or not node.known:
            versions = [known for known in self.nodes if known.startswith(f"{model}/")]
            hint = nearest(name, versions) if versions else f"{model} has no version yet"
            raise TrackingError(f"no version {name!r} in the registry; {hint}")
        return name

    def _add(self, node: Node) -> str:
        """Keep a node; one that is known takes the place of one that was only named."""
        if node.known or node.id not in self.nodes:
            self.nodes[node.id] = node
        return node.id

    def _link(self, sources: Iterable[tuple[str, str]], target: str) -> None:
        """Edges from (source, note) pairs; one that is there already stays as it is."""
        for source, note in sources:
            self._notes.setdefault((source, target), note)

    def _add_run(self, run: JournalRun) -> None:
        makers = {"single": self._of_single, "pseudo": self._of_pseudo, "ensemble": self._of_blend}
        kind = run.tags.get("kind", "")
        if kind not in makers:
            return
        link = self._record.link(run)
        shown = "soft labels" if kind == "pseudo" else kind
        name = run.experiment.removeprefix("soft labels ")
        node = Node(_run_id(run.run_id), shown, name, _run_facts(run), link)
        self._link(makers[kind](run), self._add(node))

    def _of_single(self, run: JournalRun) -> list[tuple[str, str]]:
        """What a model learned from: its folds, and soft labels or their teachers."""
        tags = run.tags
        sources = [(self._folds(run), "")]
        digest = tags.get("soft_labels", "")
        made = self._by_name.get(("pseudo", digest))
        if digest and made:  # all of one digest have the same content
            return [*sources, (_run_id(_closest(made, run)[0].run_id), "")]
        teachers = [self._named(name, run) for name in _words(tags.get("teachers", ""))]
        if not digest:
            return sources + teachers
        soft = self._add(Node(f"lost:{digest}", "soft labels", digest[:_DIGEST], known=False))
        self._link(teachers, soft)
        return [*sources, (soft, "")]

    def _of_pseudo(self, run: JournalRun) -> list[tuple[str, str]]:
        tags = run.tags
        return self._chosen(_words(tags.get("teachers", "")), tags.get("teacher_runs", ""), run)

    def _of_blend(self, run: JournalRun) -> list[tuple[str, str]]:
        tags = run.tags
        members = _words(tags.get("members", ""))
        weights = _weights(tags)
        found = self._chosen(members, tags.get("member_runs", ""), run)
        return [
            (source, ", ".join(filter(None, [weights.get(member), note])))
            for member, (source, note) in zip(members, found, strict=True)
        ]

    def _chosen(
        self, names: Sequence[str], run_ids: str, user: JournalRun
    ) -> list[tuple[str, str]]:
        """The runs that `user` names, by the ids beside the names where it has them."""
        ids = run_ids.split(",")
        if len(ids) != len(names):
            ids = [""] * len(names)
        return [
            (self._noted(run_id, name), "") if run_id else self._named(name, user)
            for run_id, name in zip(ids, names, strict=True)
        ]

    def _noted(self, run_id: str, name: str) -> str:
        if run_id in self._by_key:
            return _run_id(self._by_key[run_id].run_id)
        facts = (f"run {_short(run_id)}",)
        return self._add(Node(_run_id(run_id), "single", name, facts, known=False))

    def _named(self, name: str, user: JournalRun) -> tuple[str, str]:
        """The run of an experiment that `user` must have meant, and how sure that is."""
        data = user.tags.get("dataset_digest", "")
        fitting = [
            run
            for run in self._by_name.get(("single", name), [])
            if run is not user and run.tags.get("dataset_digest", "") in (data, "")
        ]
        if fitting:
            run, note = _closest(fitting, user)
            return _run_id(run.run_id), note
        return self._add(Node(f"lost:{name}@{data}", "single", name, known=False)), ""

    def _folds(self, run: JournalRun) -> str:
        """The folds of a run's data set, drawn from it; what is not recorded is one lost node."""
        digest = run.tags.get("dataset_digest", "")
        if not digest:
            return self._add(Node("lost:data", "data", "not recorded", known=False))
        folds = f"folds:{digest}"
        if folds not in self.nodes:
            data = self._add(Node(f"data:{digest}", "data", digest[:_DIGEST]))
            self._link([(data, "")], self._add(Node(folds, "folds", "by patient")))
        return folds

    def _add_version(self, version: ModelVersion) -> None:
        name = f"{version.name}/{version.version}"
        facts = _facts(
            *(alias for alias, at in self._aliases.items() if at == name),
            self._acts.get(name, ""),
            f"gates: {version.tags['gate']}" if "gate" in version.tags else "",
            _digest(version.tags),
        )
        kind = "production" if version.name == PRODUCTION else "candidate"
        link = f"{self._record.pages}/#/models/{version.name}/versions/{version.version}"
        node = self._add(Node(name, kind, name, facts, link))
        self._link([(self._origin(version), "")], node)

    def _origin(self, version: ModelVersion) -> str:
        """The candidate that a production version is a copy of; the blend of a candidate."""
        copied = (version.source or "").removeprefix("models:/")
        if copied.startswith(f"{CANDIDATES}/"):
            return self._add(Node(copied, "candidate", copied, known=False))
        run_id = version.run_id or "not recorded"
        return self._add(Node(_run_id(run_id), "ensemble", f"run {_short(run_id)}", known=False))


def _line(asked: str, nodes: Mapping[str, Node], edges: Sequence[Edge]) -> Lineage:
    """The part of a graph that is upstream or downstream of one node."""
    up: dict[str, list[str]] = {}
    down: dict[str, list[str]] = {}
    for edge in edges:
        up.setdefault(edge.target, []).append(edge.source)
        down.setdefault(edge.source, []).append(edge.target)
    ids = _reached(asked, up) | _reached(asked, down)
    within = [edge for edge in edges if edge.source in ids and edge.target in ids]
    return Lineage(
        asked,
        {name: node for name, node in nodes.items() if name in ids},
        tuple(_without_known_folds(_without_cycles(within))),
    )


def _reached(start: str, following: Mapping[str, Sequence[str]]) -> set[str]:
    found, ahead = {start}, [start]
    while ahead:
        new = [name for name in following.get(ahead.pop(), ()) if name not in found]
        found.update(new)
        ahead += new
    return found


def _without_cycles(edges: Iterable[Edge]) -> list[Edge]:
    """The edges without those that close a cycle, which only tags edited by hand can make."""
    following: dict[str, list[str]] = {}
    kept = []
    for edge in edges:
        if edge.source not in _reached(edge.target, following):
            following.setdefault(edge.source, []).append(edge.target)
            kept.append(edge)
    return kept


def _without_known_folds(edges: Sequence[Edge]) -> list[Edge]:
    """Without the edge from the folds to a student where a teacher of it comes from them, too."""
    up: dict[str, list[str]] = {}
    for edge in edges:
        up.setdefault(edge.target, []).append(edge.source)

    def known(edge: Edge) -> bool:
        others = [source for source in up[edge.target] if source != edge.source]
        return any(edge.source in _reached(other, up) for other in others)

    return [edge for edge in edges if not (edge.source.startswith("folds:") and known(edge))]


def _tree(lineage: Lineage) -> str:
    """From what was made last down to the data; a node is shown whole once, then named."""
    into: dict[str, list[Edge]] = {}
    for edge in lineage.edges:
        into.setdefault(edge.target, []).append(edge)
    used = {edge.source for edge in lineage.edges}
    ends = [name for name in lineage.nodes if name not in used]
    shown: set[str] = set()
    lines: list[str] = []

    def add(name: str, note: str, first: str, rest: str) -> None:
        node = lineage.nodes[name]
        mark = "  <- asked for" if name == lineage.of and ends != [name] else ""
        if name in shown:
            lines.append(f"{first}{note}{node.label} (above)")
            return
        shown.add(name)
        lines.append(f"{first}{note}{_described(node)}{mark}")
        sources = into.get(name, [])
        for edge in sources:
            branch, below = ("└─ ", "   ") if edge is sources[-1] else ("├─ ", "│  ")
            before = f"({edge.note}) " if edge.note else ""
            add(edge.source, before, rest + branch, rest + below)

    for end in ends:
        add(end, "", "", "")
    return "\n".join([*lines, ""])


def _described(node: Node) -> str:
    facts = node.facts if node.known else (*node.facts, "not in the journal")
    return "  ".join([node.label, *([" · ".join(facts)] if facts else [])])


def _closest(fitting: Sequence[JournalRun], user: JournalRun) -> tuple[JournalRun, str]:
    """Which of several runs `user` was made from: by the same code, before it, the newest."""
    code, start = user.tags.get("code", ""), user.started
    same_code = [run for run in fitting if run.tags.get("code", "") == code] or fitting
    before = [run for run in same_code if run.started <= start] or same_code
    chosen = max(before, key=lambda run: (run.started, run.run_id))
    return chosen, f"newest of {len(before)} that fit" if len(before) > 1 else ""


def _joined_by(run: JournalRun) -> tuple[str, str]:
    """What other rows name a run by: soft labels by their digest, the rest by experiment."""
    kind = run.tags.get("kind", "")
    return kind, run.tags.get("digest", "") if kind == "pseudo" else run.experiment


def _run_id(run_id: str) -> str:
    return f"run:{run_id}"


def _short(run_id: str) -> str:
    return run_id[:SHORT]


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _weights(tags: Mapping[str, str]) -> dict[str, str]:
    """Member -> its weight in a blend; none where the tag was edited by hand."""
    try:
        stored = json.loads(tags.get("weights", "{}"))
        return {name: f"{weight:.3f}" for name, weight in stored.items()}
    except (ValueError, AttributeError, TypeError):
        return {}


def _run_facts(run: JournalRun) -> tuple[str, ...]:
    tags, params = run.tags, run.params
    cv = columns.interval(run.metrics)
    config = f"config {params['config_hash'][:_DIGEST]}" if "config_hash" in params else ""
    folds = f"{tags['folds']} folds" if tags.get("folds") else ""
    return _facts(
        f"CV {cv}" if cv else "",
        ", ".join(filter(None, [_digest(tags) or config, folds])),
        f"{run.status.lower()}, run {_short(run.run_id)}",
        tags.get("decision", ""),
    )


def _digest(tags: Mapping[str, str]) -> str:
    return f"digest {tags['digest'][:_DIGEST]}" if tags.get("digest") else ""


def _acts(client: MlflowClient) -> dict[str, str]:
    """What put each production version in use."""
    chain = ledger.read(client)
    told = {act.version: f"{act.action} by {act.who}, {act.time[:10]}" for act in chain.entries} | {
        act.version: f"overtaken {act.action} by {act.who}" for act in chain.lost
    }
    return {f"{PRODUCTION}/{version}": words for version, words in told.items()}


def _facts(*facts: str) -> tuple[str, ...]:
    return tuple(fact for fact in facts if fact)


def _aliases(client: MlflowClient) -> dict[str, str]:
    """Alias -> the version that it stands at, "ranzcr-clip/3"."""
    with server.translated(client.tracking_uri):
        found = {
            alias: by_alias(client, model, alias)
            for alias, model in ((CHAMPION, PRODUCTION), (CHALLENGER, CANDIDATES))
        }
    return {alias: f"{at.name}/{at.version}" for alias, at in found.items() if at}
