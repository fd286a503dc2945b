"""Finds what somebody changed in the registry by hand; tells all of it, and what to do."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow.artifacts
import yaml
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from ranzcr.errors import TrackingError
from ranzcr.files import hash_folder
from ranzcr.progress import track
from ranzcr.registry import candidates, decisions, ledger
from ranzcr.registry.candidates import CANDIDATES, CHAMPION, CandidateVersion
from ranzcr.registry.decisions import Decisions
from ranzcr.registry.ledger import PRODUCTION, PROMOTE, Chain, LedgerLine
from ranzcr.tracking import server

_RESTORE = "restore the registry from a backup"


@dataclass(frozen=True)
class Verification:
    """`head` is the hash of the last ledger line, "" where there is none."""

    entries: int
    head: str
    findings: tuple[str, ...]  # one line each


@dataclass(frozen=True)
class _Registry:
    client: MlflowClient
    chain: Chain
    production: dict[str, ModelVersion]  # by version
    candidates: dict[str, CandidateVersion]
    champion: str  # the version at the alias, "" for none
    decisions: Decisions


def verify(*, content: bool = False) -> Verification:
    """Compare the ledger, the alias, both models' versions and the decisions with each other.

    Args:
        content: also download every model and compare it with its digest.
    """
    client = server.connect()
    with server.translated(client.tracking_uri):
        known = _read(client)
        checks = [_ledger, _alias, _sources, _tags, _judgements, _decisions]
        if content:
            checks.append(_content)
        findings = [finding for check in checks for finding in check(known)]
    head = known.chain.head
    return Verification(len(known.chain.entries), head.hash if head else "", tuple(findings))


def _read(client: MlflowClient) -> _Registry:
    production = {str(found.version): found for found in ledger.versions(client, PRODUCTION)}
    lines = [(version, found.tags.get(ledger.TAG)) for version, found in production.items()]
    registered = [CandidateVersion(found) for found in ledger.versions(client, CANDIDATES)]
    champion = candidates.by_alias(client, PRODUCTION, CHAMPION)
    return _Registry(
        client,
        ledger.follow(lines),
        production,
        {candidate.version: candidate for candidate in registered},
        str(champion.version) if champion else "",
        decisions.read(client),
    )


def _ledger(known: _Registry) -> Iterator[str]:
    for problem in known.chain.problems:
        yield f"{problem}; {_RESTORE}"


def _alias(known: _Registry) -> Iterator[str]:
    """The alias stands at the last act's version."""
    head = known.chain.head
    found, told = known.champion, head.version if head else ""
    if found == told:
        return
    text = f"alias {CHAMPION} of {PRODUCTION} is at version {found or 'none'}, the last ledger line"
    if head is None:
        yield f"{text} at version none: it was set by hand; remove it in ranzcr ui"
        return
    yield (
        f"{text} at version {told}: {head.told} was cut off, or the alias was moved by hand; "
        f"complete it by ranzcr registry promote {head.candidate_version} (approve, where roles "
        "are on), or take its place by another act"
    )


def _sources(known: _Registry) -> Iterator[str]:
    """A promoted version is a copy of its candidate, a rolled back one of an earlier version."""
    for entry in (*known.chain.entries, *known.chain.lost):
        found = known.production[entry.version].source
        if found not in _expected_sources(known, entry):
            yield (
                f"{PRODUCTION} version {entry.version} is no copy of candidate "
                f"{entry.candidate_version}, which its ledger line names: its source is {found}; "
                "promote a candidate that is known"
            )


def _expected_sources(known: _Registry, entry: LedgerLine) -> list[str]:
    if entry.action == PROMOTE:
        return [f"models:/{CANDIDATES}/{entry.candidate_version}"]
    return [
        f"models:/{PRODUCTION}/{earlier.version}"
        for earlier in known.chain.entries
        if earlier.model == entry.model and int(earlier.version) < int(entry.version)
    ]


def _tags(known: _Registry) -> Iterator[str]:
    """Production versions and their candidates still say what the ledger says of them."""
    for entry in known.chain.entries:
        found = known.production[entry.version].tags
        for tag, value in entry.model.items():
            if found.get(tag) != value:
                yield (
                    f"tag {tag} of {PRODUCTION} version {entry.version} was changed by hand: it is "
                    f"{found.get(tag, 'missing')}, its ledger line says {value}; set it back"
                )
    for version, entry in {e.candidate_version: e for e in known.chain.entries}.items():
        candidate = known.candidates.get(version)
        digest = entry.model.get("digest", "")
        if candidate is None:
            yield (
                f"candidate {version} was deleted by hand, and {PRODUCTION} version "
                f"{entry.version} is a copy of it; keep the candidates that were promoted"
            )
        elif candidate.digest != digest:
            yield (
                f"tag digest of candidate {version} was changed by hand: it is "
                f"{candidate.digest or 'missing'}, the ledger says {digest}; set it back"
            )


def _judgements(known: _Registry) -> Iterator[str]:
    """Gate reports are as they were written, and what was promoted is as the ledger has it."""
    for version, candidate in known.candidates.items():
        try:
            judged = candidate.judged
        except TrackingError as error:
            yield str(error)
            continue
        told = {tag: candidate.found.tags.get(tag, "") for tag in ("gate", "registered_by")}
        if told != {"gate": judged["result"], "registered_by": judged["registered_by"]}:
            yield (
                f"tags gate and registered_by of candidate {version} do not say what its gate "
                "report says: one was changed by hand; register its ensemble again"
            )
        promoted = [
            entry
            for entry in known.chain.entries
            if entry.candidate_version == version
            and entry.action == PROMOTE
            and judged["judged"] < entry.time
        ]
        if any(not _same_findings(entry, candidate) for entry in promoted):
            yield (
                f"gate report of candidate {version} is not the one that it was promoted with: it "
                "was changed by hand; register its ensemble again"
            )


def _same_findings(entry: LedgerLine, candidate: CandidateVersion) -> bool:
    """Whether each gate that the ledger shows as passed was judged so."""
    judged = {gate.name: gate for gate in candidate.report.gates}
    return all(
        gate.name in judged and judged[gate.name].text == gate.text
        for gate in entry.report.gates
        if gate.passed
    )


def _decisions(known: _Registry) -> Iterator[str]:
    for tag in known.decisions.edited:
        yield f"tag {tag} of {PRODUCTION} was changed by hand, and does not count; decide again"
    for version, waivers in known.decisions.waivers.items():
        for waiver in waivers:
            yield from _strayed(known, f"waiver of gate {waiver.gate}", version, waiver.digest)
    for version, verdict in known.decisions.verdicts.items():
        yield from _strayed(known, f"verdict {verdict.verdict}", version, verdict.digest)


def _strayed(known: _Registry, what: str, version: str, digest: str) -> Iterator[str]:
    candidate = known.candidates.get(version)
    if candidate is not None and candidate.digest != digest:
        yield (
            f"{what} of candidate {version} is about other content ({digest[:12]}): its digest or "
            "the candidate's was changed by hand; decide again"
        )


def _content(known: _Registry) -> Iterator[str]:
    """The models are what they were when they were registered."""
    wanted = [(CANDIDATES, c.version, c.digest) for c in known.candidates.values()]
    wanted += [(PRODUCTION, e.version, e.model.get("digest", "")) for e in known.chain.entries]
    for name, version, digest in track(wanted, "Verifying models"):
        with tempfile.TemporaryDirectory() as folder:
            found = _digest_of(known.client, name, version, Path(folder))
        if found != digest:
            yield (
                f"model of {name} version {version} was changed by hand: its digest is "
                f"{found[:12]}, it was registered with {digest[:12]}; {_RESTORE}"
            )


def _digest_of(client: MlflowClient, name: str, version: str, folder: Path) -> str:
    """Of the ensemble folder within the model, "none" where there is none to read."""
    uri = client.tracking_uri
    try:
        place = client.get_model_version_download_uri(name, version)
        model = Path(
            mlflow.artifacts.download_artifacts(
                place, dst_path=str(folder), tracking_uri=uri, registry_uri=uri
            )
        )
        told = yaml.safe_load((model / "MLmodel").read_text(encoding="utf-8"))
        return hash_folder(model / told["flavors"]["python_function"]["data"])
    except (MlflowException, OSError, KeyError, TypeError, yaml.YAMLError):
        return "none"
