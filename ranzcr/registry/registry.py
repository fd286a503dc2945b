"""The two registered models: training writes candidates, an approver writes production.

ensemble folder -> `register` -> ranzcr-clip-candidates, with its gate report
                -> `promote`  -> ranzcr-clip with a line of the ledger, then the alias champion
                   `approve`  -> the same, where promoting takes a second person
                   `rollback` -> the same for what was in use before
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient

from ranzcr import predictions
from ranzcr.errors import TrackingError, nearest
from ranzcr.predictions import Predictions
from ranzcr.registry import candidates, decisions, ledger, promotion, roles
from ranzcr.registry.candidates import BLEND, CANDIDATES, CHAMPION, CandidateVersion, Request
from ranzcr.registry.decisions import APPROVED, REJECTED, Verdict
from ranzcr.registry.gates import FAIL, PASS, Gate, GateReport, Waiver
from ranzcr.registry.ledger import PRODUCTION, PROMOTE, ROLLBACK, LedgerLine
from ranzcr.registry.promotion import Promotion, Snapshot
from ranzcr.tracking import provenance, server


@dataclass(frozen=True)
class Champion:
    """The production model in use. `digest` is that of its blend."""

    version: str
    run_id: str
    digest: str
    dataset_digest: str

    def predictions(self) -> Predictions:
        """Its cross-fitted out-of-fold predictions, fetched from the journal."""
        client = server.connect()
        with tempfile.TemporaryDirectory() as folder, server.translated(client.tracking_uri):
            path = client.download_artifacts(self.run_id, f"{BLEND}/oof.parquet", folder)
            return predictions.read(path)


@dataclass(frozen=True)
class Registration:
    """A version of the candidates model. `digest` is that of the ensemble folder."""

    version: str
    digest: str
    report: GateReport  # with the waivers that cover


@dataclass(frozen=True)
class Standing:
    """How a candidate stands: its gates as they count now, and what people decided."""

    candidate: CandidateVersion
    report: GateReport
    void: tuple[Waiver, ...]  # given, but what they cover was not found again
    verdict: Verdict | None
    waits: Request | None  # asked for and not decided yet
    acts: tuple[LedgerLine, ...]  # that put it in use


def champion() -> Champion | None:
    """The model in use, None where there is none yet."""
    client = server.connect()
    with server.translated(client.tracking_uri):
        version = candidates.by_alias(client, PRODUCTION, CHAMPION)
    if version is None:
        return None
    return Champion(
        version=str(version.version),
        run_id=version.run_id or "",
        digest=version.tags.get("blend_digest", ""),
        dataset_digest=version.tags.get("dataset_digest", ""),
    )


def leaderboard(run_id: str) -> dict[str, float]:
    """The leaderboard scores that an ensemble's run has, by "public" and "private"."""
    client = server.connect()
    with server.translated(client.tracking_uri):
        metrics = client.get_run(run_id).data.metrics
    names = ("public", "private")
    return {name: metrics[f"lb_{name}"] for name in names if f"lb_{name}" in metrics}


def register(
    ensemble: Path, blend: Path, run_id: str, tags: Mapping[str, str], report: GateReport
) -> Registration:
    """Make the ensemble folder a version of the candidates model.

    Args:
        ensemble: output of export; becomes an MLflow pyfunc model of the run.
        blend: output of blend; its out-of-fold predictions are what a later candidate must beat.
        run_id: of the ensemble.
        tags: blend_digest, dataset_digest and what else shall be read off the version.
        report: of its gates.

    The same content is registered once: again, its version is returned with the new gate report.
    """
    client = server.connect()
    who = roles.user(client) or provenance.author()
    with server.translated(client.tracking_uri), server.exclusive(client.tracking_uri, CANDIDATES):
        made = candidates.register(client, ensemble, blend, run_id, tags, report, who)
        counted = Snapshot.read(client).report(made)
    return Registration(made.version, made.digest, counted)


def standing(word: str) -> Standing:
    """How a candidate stands, by its version or an alias.

    Raises TrackingError for one that is unknown or was never judged.
    """
    client = server.connect()
    with server.translated(client.tracking_uri):
        return stands(Snapshot.read(client), candidates.find(client, word))


def stands(now: Snapshot, candidate: CandidateVersion) -> Standing:
    """The same for a candidate at hand."""
    report = now.report(candidate)
    counting = {gate.waiver for gate in report.gates}
    failing = {gate.name for gate in report.gates if gate.result == FAIL}
    given = now.decisions.waivers.get(candidate.version, ())
    verdict = now.decisions.verdict_on(candidate.version, candidate.digest)
    own = tuple(act for act in now.chain.entries if act.candidate_version == candidate.version)
    settled = [*(act.time for act in own), *([verdict.when] if verdict else [])]
    request = candidate.request
    return Standing(
        candidate=candidate,
        report=report,
        void=tuple(one for one in given if one not in counting and one.gate in failing),
        verdict=verdict,
        waits=request if request and all(request.when > time for time in settled) else None,
        acts=own,
    )


def promote(word: str, *, why: str, who: str = "") -> Promotion:
    """Put a candidate in use; where the server has roles, ask an approver to.

    Args:
        word: version of the candidates model, or an alias.
        why: the reason, for the ledger.
        who: who answers for it where the server does not know who we are.

    A candidate that is the champion stays it, and nothing is written. Raises TrackingError for one
    that is unknown, failed a gate or was rejected, and where another act came first.
    """
    client = server.connect()
    user = roles.user(client)
    with server.translated(client.tracking_uri):
        candidate, now = candidates.find(client, word), Snapshot.read(client)
        if unchanged := _unchanged(now, candidate):
            return unchanged
        _refuse_rejected(now, candidate)
        if user is None:
            return _promote(client, now, candidate, who or provenance.author(), why)
        _refuse_failed(now, candidate)
        candidates.request(client, candidate, user, why)
        return Promotion(candidate.version, "", now.in_use, changed=False, waits=True)


def approve(word: str, *, why: str, who: str = "") -> Promotion:
    """Put a candidate in use as a second person; see `promote`. Ends a rejection, too.

    Raises TrackingError also where the server knows us as who registered it, judged it last or
    asked for its promotion.
    """
    client = server.connect()
    user = roles.user(client)
    with server.translated(client.tracking_uri):
        candidate, now = candidates.find(client, word), Snapshot.read(client)
        _refuse_failed(now, candidate)
        if user in candidate.people:
            raise TrackingError(
                f"candidate {candidate.version} was registered or asked for by {user}; another "
                "approver must approve it"
            )
        name = user or who or provenance.author()
        _decide(client, candidate, APPROVED, name, why)
        return _unchanged(now, candidate) or _promote(client, now, candidate, name, why)


def reject(word: str, *, why: str, who: str = "") -> CandidateVersion:
    """Record that a candidate shall not be promoted; only `approve` ends that."""
    client = server.connect()
    name = roles.user(client) or who or provenance.author()
    with server.translated(client.tracking_uri):
        candidate = candidates.find(client, word)
        candidates.ensure_model(client, PRODUCTION)
        _decide(client, candidate, REJECTED, name, why)
    return candidate


def waive(word: str, gate: str, *, why: str, who: str = "") -> Waiver:
    """Let one failed gate of a candidate pass, as it was found.

    Raises TrackingError for a gate that is unknown, passed, or may not be waived.
    """
    client = server.connect()
    name = roles.user(client) or who or provenance.author()
    with server.translated(client.tracking_uri):
        candidate, now = candidates.find(client, word), Snapshot.read(client)
        found = _waivable(candidate, now.report(candidate), gate)
        waiver = Waiver(
            gate=gate,
            digest=candidate.digest,
            who=name,
            when=ledger.now(),
            why=why,
            value=found.value,
            text=found.text,
            against=found.against,
        )
        candidates.ensure_model(client, PRODUCTION)
        decisions.waive(client, candidate.version, waiver)
    return waiver


def rollback(*, why: str, who: str = "") -> Promotion:
    """Put in use again what was in use before the champion.

    Args:
        why: the reason, for the ledger.
        who: who answers for it where the server does not know who we are.

    The earlier production version is copied as a new one, which carries the act's ledger line, then
    the alias moves: nothing written before is touched, and the candidates are not needed. Gates
    are not asked again: the line repeats the report that it was promoted with.

    Rollbacks in a row go back step by step, they do not toggle: after promotions of A, B and C the
    first gives B, the second A, the third is refused. One that was cut off is completed by the
    next call. Raises TrackingError where no champion is, nothing was before it, the ledger was
    changed, or another act came first.
    """
    client = server.connect()
    name = roles.user(client) or who or provenance.author()
    with server.translated(client.tracking_uri):
        now = Snapshot.read(client)
        if now.reigning is None:
            raise TrackingError(f"{PRODUCTION} has no champion to roll back; promote a candidate")
        ledger.refuse_broken(now.chain)
        if now.cut_off and now.cut_off.action == ROLLBACK:
            return promotion.finish(client, now.cut_off)
        earlier = ledger.before(now.chain.entries, now.in_use)
        if earlier is None:
            raise TrackingError(
                f"the ledger of {PRODUCTION} has no champion before version {now.in_use}; promote "
                "another candidate instead"
            )
        source = client.get_model_version(PRODUCTION, earlier.version)
        told = {"who": name, "why": why, "action": ROLLBACK}
        kept = ("candidate_version", "model", "registered_by", "gate_report")
        told |= {field: getattr(earlier, field) for field in kept}
        return promotion.put_in_use(client, now, source, told)


def _waivable(candidate: CandidateVersion, report: GateReport, name: str) -> Gate:
    gate = report.named(name)
    if gate is None:
        known = nearest(name, [one.name for one in report.gates])
        raise TrackingError(f"candidate {candidate.version} has no gate {name!r}; {known}")
    if gate.result == PASS:
        raise TrackingError(f"gate {name} of candidate {candidate.version} passed; waive none")
    if not gate.waivable:
        raise TrackingError(f"gate {name} may not be waived; mend what it found: {gate.text}")
    return gate


def _unchanged(now: Snapshot, candidate: CandidateVersion) -> Promotion | None:
    """What there is to tell where the candidate is the champion already."""
    head = now.chain.head
    if head and head.candidate_version == candidate.version and head.version == now.in_use:
        return Promotion(candidate.version, head.version, head.previous_version, changed=False)
    return None


def _promote(
    client: MlflowClient, now: Snapshot, candidate: CandidateVersion, who: str, why: str
) -> Promotion:
    if now.cut_off and now.cut_off.candidate_version == candidate.version:
        return promotion.finish(client, now.cut_off)
    _refuse_failed(now, candidate)
    told = {
        **{"who": who, "why": why, "action": PROMOTE},
        **{"candidate_version": candidate.version, "model": candidate.model},
        "registered_by": candidate.registered_by,
        "gate_report": now.report(candidate).to_json(),
    }
    return promotion.put_in_use(client, now, candidate.found, told)


def _refuse_failed(now: Snapshot, candidate: CandidateVersion) -> None:
    report = now.report(candidate)
    if report.result == FAIL:
        raise TrackingError(
            f"candidate {candidate.version} did not pass its gates ({report.failures}); not "
            "promoted"
        )


def _refuse_rejected(now: Snapshot, candidate: CandidateVersion) -> None:
    version = candidate.version
    verdict = now.decisions.verdict_on(version, candidate.digest)
    if now.decisions.is_edited(version):
        raise TrackingError(
            f"the verdict on candidate {version} was changed by hand; decide again with ranzcr "
            "registry approve or reject"
        )
    if verdict and verdict.verdict == REJECTED:
        raise TrackingError(
            f"candidate {version} was {verdict.told}; not promoted unless ranzcr registry approve "
            f"{version} says otherwise"
        )


def _decide(
    client: MlflowClient, candidate: CandidateVersion, verdict: str, who: str, why: str
) -> Verdict:
    candidates.ensure_model(client, PRODUCTION)
    told = Verdict(verdict=verdict, digest=candidate.digest, who=who, when=ledger.now(), why=why)
    decisions.decide(client, candidate.version, told)
    return told
