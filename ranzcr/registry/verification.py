"""Find what somebody changed in the registry by hand; report each change with what to do."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from ranzcr.errors import TrackingError
from ranzcr.files import hash_folder
from ranzcr.progress import track
from ranzcr.registry import candidates, ledger
from ranzcr.registry.candidates import CANDIDATES, CHAMPION, CandidateVersion
from ranzcr.registry.ledger import PRODUCTION, PROMOTE, Chain, LedgerLine
from ranzcr.registry.promotion import Snapshot
from ranzcr.tracking import server
from ranzcr.tracking.names import Tag

_RESTORE = "restore the registry from a backup"


@dataclass(frozen=True)
class Verification:
    """The extent of a verification and its problems."""

    entries: int  # lines of the ledger
    head: str  # hash of the last line, "" for none
    findings: tuple[str, ...]  # one line each


@dataclass(frozen=True)
class _Registry:
    client: MlflowClient
    now: Snapshot
    production: dict[str, ModelVersion]  # by version
    candidates: dict[str, CandidateVersion]

    @property
    def chain(self) -> Chain:
        return self.now.chain


def verify(*, content: bool = False) -> Verification:
    """Compare the ledger, the alias, both models' versions and the decisions with each other.

    Args:
        content: also download every model and compare it with its digest.
    """
    with server.connected() as client:
        registry = _read(client)
        checks = [_ledger, _alias, _sources, _tags, _judgements, _decisions]
        if content:
            checks.append(_content)
        findings = [finding for check in checks for finding in check(registry)]
    head = registry.chain.head
    return Verification(len(registry.chain.entries), head.hash if head else "", tuple(findings))


def _read(client: MlflowClient) -> _Registry:
    registered = map(CandidateVersion, ledger.versions(client, CANDIDATES))
    return _Registry(
        client,
        Snapshot.read(client),
        {str(version.version): version for version in ledger.versions(client, PRODUCTION)},
        {candidate.version: candidate for candidate in registered},
    )


def _ledger(registry: _Registry) -> Iterator[str]:
    for problem in registry.chain.problems:
        yield f"{problem}; {_RESTORE}"


def _alias(registry: _Registry) -> Iterator[str]:
    """Check that the alias is at the last line's version."""
    head = registry.chain.head
    version, expected = registry.now.in_use, head.version if head else ""
    if version == expected:
        return
    text = f"alias {CHAMPION} of {PRODUCTION} is at version {version or 'none'}, the last ledger"
    if head is None:
        yield f"{text} line at version none: it was set by hand; remove it in ranzcr ui"
        return
    yield (
        f"{text} line at version {expected}: {head.summary} was cut off, or the alias was moved by "
        f"hand; complete it by ranzcr registry promote {head.candidate_version} (approve, if roles "
        "are on), or promote another candidate"
    )


def _sources(registry: _Registry) -> Iterator[str]:
    """Check that a version is a copy of its candidate, or of an earlier version (rollback)."""
    for line in (*registry.chain.entries, *registry.chain.lost):
        source = registry.production[line.version].source
        if source not in _expected_sources(registry, line):
            yield (
                f"{PRODUCTION} version {line.version} is not a copy of candidate "
                f"{line.candidate_version}, which its ledger line names: its source is {source}; "
                "promote a candidate that is known"
            )


def _expected_sources(registry: _Registry, line: LedgerLine) -> list[str]:
    if line.action == PROMOTE:
        return [f"models:/{CANDIDATES}/{line.candidate_version}"]
    return [
        f"models:/{PRODUCTION}/{earlier.version}"
        for earlier in registry.chain.entries
        if earlier.model == line.model and int(earlier.version) < int(line.version)
    ]


def _tags(registry: _Registry) -> Iterator[str]:
    """Check that the tags of production versions and their candidates agree with the ledger."""
    for line in registry.chain.entries:
        tags = registry.production[line.version].tags
        for tag, value in line.model.items():
            if tags.get(tag) != value:
                yield (
                    f"tag {tag} of {PRODUCTION} version {line.version} was changed by hand: it is "
                    f"{tags.get(tag, 'missing')}, its ledger line says {value}; set it back"
                )
    for version, line in {e.candidate_version: e for e in registry.chain.entries}.items():
        candidate = registry.candidates.get(version)
        digest = line.model.get(Tag.DIGEST, "")
        if candidate is None:
            yield (
                f"candidate {version} was deleted by hand, and {PRODUCTION} version "
                f"{line.version} is a copy of it; keep the candidates that were promoted"
            )
        elif candidate.digest != digest:
            yield (
                f"tag digest of candidate {version} was changed by hand: it is "
                f"{candidate.digest or 'missing'}, the ledger says {digest}; set it back"
            )


def _judgements(registry: _Registry) -> Iterator[str]:
    """Check that gate reports are unchanged and agree with the ledger."""
    for version, candidate in registry.candidates.items():
        try:
            judgement = candidate.judgement
        except TrackingError as error:
            yield str(error)
            continue
        shown = [candidate.tags.get(tag, "") for tag in (Tag.GATE, Tag.REGISTERED_BY)]
        if shown != [judgement["result"], judgement["registered_by"]]:
            yield (
                f"tags gate and registered_by of candidate {version} do not say what its gate "
                "report says: one was changed by hand; register its ensemble again"
            )
        promotions = [
            line
            for line in registry.chain.entries
            if line.candidate_version == version
            and line.action == PROMOTE
            and judgement["judged"] < line.time
        ]
        if any(not _same_findings(line, candidate) for line in promotions):
            yield (
                f"gate report of candidate {version} is not the one that it was promoted with: it "
                "was changed by hand; register its ensemble again"
            )


def _same_findings(line: LedgerLine, candidate: CandidateVersion) -> bool:
    """Return whether each gate that passed in the ledger has the same finding in the report."""
    texts = {gate.name: gate.text for gate in candidate.report.gates}
    return all(texts.get(gate.name) == gate.text for gate in line.report.gates if gate.passed)


def _decisions(registry: _Registry) -> Iterator[str]:
    for tag in registry.now.decisions.edited:
        yield f"tag {tag} of {PRODUCTION} was changed by hand, and does not count; decide again"
    decided = [
        (f"waiver of gate {waiver.gate}", version, waiver.digest)
        for version, waivers in registry.now.decisions.waivers.items()
        for waiver in waivers
    ]
    for version, verdict in registry.now.decisions.verdicts.items():
        decided.append((f"verdict {verdict.verdict}", version, verdict.digest))
    for decision, version, digest in decided:
        candidate = registry.candidates.get(version)
        if candidate is not None and candidate.digest != digest:
            yield (
                f"{decision} of candidate {version} is about other content ({digest[:12]}): its "
                "digest or the candidate's was changed by hand; decide again"
            )


def _content(registry: _Registry) -> Iterator[str]:
    """Check that the models' files are those that were registered."""
    expected = [(CANDIDATES, c.version, c.digest) for c in registry.candidates.values()]
    for line in registry.chain.entries:
        expected.append((PRODUCTION, line.version, line.model.get(Tag.DIGEST, "")))
    for name, version, digest in track(expected, "Verifying models"):
        actual = _digest_of(registry.client, name, version)
        if actual != digest:
            yield (
                f"model of {name} version {version} was changed by hand: its digest is "
                f"{actual[:12]}, it was registered with {digest[:12]}; {_RESTORE}"
            )


def _digest_of(client: MlflowClient, name: str, version: str) -> str:
    """Return the digest of the ensemble folder in the model, "none" if it cannot be read."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            return hash_folder(candidates.download(client, name, version, Path(folder)))
        except (MlflowException, OSError, KeyError, TypeError, yaml.YAMLError):
            return "none"
