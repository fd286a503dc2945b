"""The journal and the registry as a directed graph, and the part of it that concerns one node.

data -> folds -> teachers -> soft labels -> students -> ensemble -> candidate -> production version

An edge follows a run id or a digest if the journal has one. Older and imported rows name each other
only by experiment: then the edge leads from the run on the same data set by the same code, and if
there are several, from the newest one before. A row may name something that the journal does not
have: that becomes a node with `known=False`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx

from ranzcr.errors import TrackingError, nearest
from ranzcr.journal import columns, reading, rows
from ranzcr.journal.journal_run import SHORT, JournalRun
from ranzcr.registry import ledger
from ranzcr.registry.candidates import CANDIDATES, CHALLENGER, CHAMPION, by_alias
from ranzcr.registry.ledger import PRODUCTION
from ranzcr.tracking import server
from ranzcr.tracking.names import Kind, Param, Tag

_DIGEST = 12  # characters of a digest that are shown


@dataclass(frozen=True)
class Node:
    """A data set, a run, a set of soft labels, or a version."""

    id: str
    kind: str  # data, folds, single, soft labels, ensemble, candidate, production
    name: str
    facts: tuple[str, ...] = ()  # CV with its interval, digest, state
    link: str = ""  # to MLflow's page
    known: bool = True  # False: another node names it, but the journal does not have it

    @property
    def label(self) -> str:
        """ "soft labels of b6v3_001", "folds by patient"."""
        return f"{self.kind} {self.name}"

    @property
    def details(self) -> tuple[str, ...]:
        return self.facts if self.known else (*self.facts, "not in the journal")


@dataclass(frozen=True)
class Lineage:
    """One node with all that it was made from and all that was made from it.

    `graph` is a networkx.DiGraph without cycles. Its nodes are ids with the attribute `node`, its
    edges have the attribute `note`: a member's weight, or how sure the edge is.
    """

    of: str  # the id of that node
    graph: Any

    @property
    def nodes(self) -> dict[str, Node]:
        return dict(self.graph.nodes(data="node"))

    @property
    def edges(self) -> list[tuple[str, str, str]]:
        """(source, target, note)"""
        return list(self.graph.edges(data="note"))


def trace(name: str) -> Lineage:
    """Return the lineage of a run or a version.

    Args:
        name: a run as `rows.resolve` takes it, a version such as "ranzcr-clip/3", or an alias:
            champion or challenger.

    Raises TrackingError for an unknown name.
    """
    record = _Record(server.connect())
    node_id = record.version_id(name) or _run_node(rows.resolve(name))
    graph = record.graph
    relatives = {node_id} | nx.ancestors(graph, node_id) | nx.descendants(graph, node_id)
    part = nx.DiGraph(graph.subgraph(relatives))
    while not nx.is_directed_acyclic_graph(part):  # tags were edited by hand
        part.remove_edge(*nx.find_cycle(part)[-1])
    _drop_implied_folds(part)
    return Lineage(node_id, part)


def _drop_implied_folds(graph: Any) -> None:
    """Remove the edge from the folds to a student if a teacher of it comes from these folds."""
    for folds in [node for node in graph if node.startswith("folds:")]:
        below = nx.descendants(graph, folds)
        implied = [
            (folds, target)
            for target in graph.successors(folds)
            if any(source in below for source in graph.predecessors(target))
        ]
        graph.remove_edges_from(implied)


class _Record:
    """The whole journal and registry as a graph."""

    def __init__(self, client: Any) -> None:
        self.graph = nx.DiGraph()
        self._record = reading.read()
        runs = self._record.runs
        # A row that did not exist yet when its name was written down was recorded by its key.
        self._by_key = {run.tags.get(Tag.RUN_KEY, run.run_id): run for run in runs}
        self._by_key |= {run.run_id: run for run in runs}
        self._by_name: dict[tuple[str, str], list[JournalRun]] = {}
        for run in runs:
            self._by_name.setdefault(_referred_to_by(run), []).append(run)
        self._aliases = _aliases(client)
        self._acts = _acts(client)
        for run in runs:
            self._add_run(run)
        for model in (CANDIDATES, PRODUCTION):
            for version in ledger.versions(client, model):
                self._add_version(version)

    def version_id(self, name: str) -> str | None:
        """Return the node of a version or an alias; None if `name` must be that of a run."""
        if name in self._aliases:
            return self._aliases[name]
        model, slash, _ = name.partition("/")
        if not slash or model not in (CANDIDATES, PRODUCTION):
            return None
        if name not in self.graph or not self.graph.nodes[name]["node"].known:
            versions = [node for node in self.graph if node.startswith(f"{model}/")]
            hint = nearest(name, versions) if versions else f"{model} has no version yet"
            raise TrackingError(f"no version {name!r} in the registry; {hint}")
        return name

    def _add(self, node: Node) -> str:
        """Add a node and return its id; a known node replaces one that was only named."""
        if node.known or node.id not in self.graph:
            self.graph.add_node(node.id, node=node)
        return node.id

    def _link(self, source: str, target: str, note: str = "") -> None:
        if not self.graph.has_edge(source, target):
            self.graph.add_edge(source, target, note=note)

    def _add_run(self, run: JournalRun) -> None:
        add_sources = {
            Kind.SINGLE: self._link_single,
            Kind.PSEUDO: self._link_pseudo,
            Kind.ENSEMBLE: self._link_ensemble,
        }
        kind = run.tags.get(Tag.KIND, "")
        if kind not in add_sources:
            return
        shown_kind = "soft labels" if kind == Kind.PSEUDO else kind
        name = run.experiment.removeprefix("soft labels ")
        facts, link = _run_facts(run), self._record.link(run)
        node = self._add(Node(_run_node(run.run_id), shown_kind, name, facts, link))
        add_sources[kind](run, node)

    def _link_single(self, run: JournalRun, node: str) -> None:
        """Link a model to its folds, and to its soft labels or their teachers."""
        self._link(self._folds(run), node)
        digest = run.tags.get(Tag.SOFT_LABELS, "")
        if soft_runs := self._by_name.get((Kind.PSEUDO, digest)) if digest else None:
            # Runs with the same digest have the same content.
            self._link(_run_node(_closest(soft_runs, run)[0].run_id), node)
            return
        learner = node
        if digest:
            learner = self._add(
                Node(f"lost:{digest}", "soft labels", digest[:_DIGEST], known=False)
            )
            self._link(learner, node)
        for teacher in _split(run.tags.get(Tag.TEACHERS, "")):
            source, note = self._run_named(teacher, run)
            self._link(source, learner, note)

    def _link_pseudo(self, run: JournalRun, node: str) -> None:
        for _, source, note in self._named_runs(run, Tag.TEACHERS, Tag.TEACHER_RUNS):
            self._link(source, node, note)

    def _link_ensemble(self, run: JournalRun, node: str) -> None:
        weights = _weights(run.tags)
        for member, source, note in self._named_runs(run, Tag.MEMBERS, Tag.MEMBER_RUNS):
            self._link(source, node, ", ".join(filter(None, [weights.get(member), note])))

    def _named_runs(
        self, user: JournalRun, names_tag: str, ids_tag: str
    ) -> list[tuple[str, str, str]]:
        """Return (name, node, note) of the runs that a row names, by their ids if it has them."""
        names = _split(user.tags.get(names_tag, ""))
        ids = user.tags.get(ids_tag, "").split(",")
        if len(ids) != len(names):
            ids = [""] * len(names)
        return [
            (name, self._run_with_id(run_id, name), "")
            if run_id
            else (name, *self._run_named(name, user))
            for name, run_id in zip(names, ids, strict=True)
        ]

    def _run_with_id(self, run_id: str, name: str) -> str:
        if run_id in self._by_key:
            return _run_node(self._by_key[run_id].run_id)
        facts = (f"run {run_id[:SHORT]}",)
        return self._add(Node(_run_node(run_id), Kind.SINGLE, name, facts, known=False))

    def _run_named(self, name: str, user: JournalRun) -> tuple[str, str]:
        """Return the node of the experiment's run that `user` must mean, and how sure that is."""
        dataset = user.tags.get(Tag.DATASET_DIGEST, "")
        candidates = [
            run
            for run in self._by_name.get((Kind.SINGLE, name), [])
            if run is not user and run.tags.get(Tag.DATASET_DIGEST, "") in (dataset, "")
        ]
        if candidates:
            run, note = _closest(candidates, user)
            return _run_node(run.run_id), note
        return self._add(Node(f"lost:{name}@{dataset}", Kind.SINGLE, name, known=False)), ""

    def _folds(self, run: JournalRun) -> str:
        """Return the folds of a run's data set, linked to it; one unknown node if not recorded."""
        digest = run.tags.get(Tag.DATASET_DIGEST, "")
        if not digest:
            return self._add(Node("lost:data", "data", "not recorded", known=False))
        folds = f"folds:{digest}"
        if folds not in self.graph:
            dataset = self._add(Node(f"data:{digest}", "data", digest[:_DIGEST]))
            self._link(dataset, self._add(Node(folds, "folds", "by patient")))
        return folds

    def _add_version(self, version: Any) -> None:
        name = f"{version.name}/{version.version}"
        facts = _nonempty(
            *(alias for alias, target in self._aliases.items() if target == name),
            self._acts.get(name, ""),
            f"gates: {version.tags[Tag.GATE]}" if Tag.GATE in version.tags else "",
            _digest(version.tags),
        )
        kind = "production" if version.name == PRODUCTION else "candidate"
        link = f"{self._record.pages}/#/models/{version.name}/versions/{version.version}"
        node = self._add(Node(name, kind, name, facts, link))
        self._link(self._origin(version), node)

    def _origin(self, version: Any) -> str:
        """Return the candidate of a production version, or the ensemble of a candidate."""
        copied = (version.source or "").removeprefix("models:/")
        if copied.startswith(f"{CANDIDATES}/"):
            return self._add(Node(copied, "candidate", copied, known=False))
        run_id = version.run_id or "not recorded"
        name = f"run {run_id[:SHORT]}"
        return self._add(Node(_run_node(run_id), Kind.ENSEMBLE, name, known=False))


def _closest(candidates: Sequence[JournalRun], user: JournalRun) -> tuple[JournalRun, str]:
    """Return the run that `user` was made from: by the same code, before it, the newest."""
    code = user.tags.get(Tag.CODE, "")
    same_code = [run for run in candidates if run.tags.get(Tag.CODE, "") == code] or candidates
    earlier = [run for run in same_code if run.started <= user.started] or same_code
    newest = max(earlier, key=lambda run: (run.started, run.run_id))
    return newest, f"newest of {len(earlier)} that fit" if len(earlier) > 1 else ""


def _referred_to_by(run: JournalRun) -> tuple[str, str]:
    """Return how other rows name a run: soft labels by their digest, others by experiment."""
    kind = run.tags.get(Tag.KIND, "")
    return kind, run.tags.get(Tag.DIGEST, "") if kind == Kind.PSEUDO else run.experiment


def _run_node(run_id: str) -> str:
    return f"run:{run_id}"


def _split(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _weights(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the weight of each member; nothing if the tag was edited by hand."""
    try:
        stored = json.loads(tags.get(Tag.WEIGHTS, "{}"))
        return {name: f"{weight:.3f}" for name, weight in stored.items()}
    except (ValueError, AttributeError, TypeError):
        return {}


def _run_facts(run: JournalRun) -> tuple[str, ...]:
    tags = run.tags
    cv = columns.interval(run.metrics)
    config = run.params.get(Param.CONFIG_HASH, "")[:_DIGEST]
    return _nonempty(
        f"CV {cv}" if cv else "",
        ", ".join(
            _nonempty(
                _digest(tags) or (f"config {config}" if config else ""),
                f"{tags[Tag.FOLDS]} folds" if tags.get(Tag.FOLDS) else "",
            )
        ),
        f"{run.status.lower()}, run {run.run_id[:SHORT]}",
        tags.get(Tag.DECISION, ""),
    )


def _digest(tags: Mapping[str, str]) -> str:
    return f"digest {tags[Tag.DIGEST][:_DIGEST]}" if tags.get(Tag.DIGEST) else ""


def _nonempty(*texts: str) -> tuple[str, ...]:
    return tuple(text for text in texts if text)


def _acts(client: Any) -> dict[str, str]:
    """Return the act that made each production version."""
    chain = ledger.read(client)
    acts = {}
    for line in (*chain.entries, *chain.lost):
        act = f"{line.action} by {line.who}"
        lost = line in chain.lost
        acts[f"{PRODUCTION}/{line.version}"] = (
            f"overtaken {act}" if lost else f"{act}, {line.time[:10]}"
        )
    return acts


def _aliases(client: Any) -> dict[str, str]:
    """Return the version of each alias, "ranzcr-clip/3"."""
    with server.translated(client.tracking_uri):
        versions = {
            alias: by_alias(client, model, alias)
            for alias, model in ((CHAMPION, PRODUCTION), (CHALLENGER, CANDIDATES))
        }
    return {
        alias: f"{version.name}/{version.version}"
        for alias, version in versions.items()
        if version is not None
    }
