"""The two registered models: training writes candidates, an approver writes production.

ensemble folder -> `register` -> ranzcr-clip-candidates, with its gate report
                -> `promote`  -> ranzcr-clip with a line of the ledger, then the alias champion
                   `approve`  -> the same, if promoting needs a second person
                   `rollback` -> the same for the version that was in use before
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from mlflow import MlflowClient

from ranzcr import predictions
from ranzcr.documents import Candidate
from ranzcr.errors import TrackingError, nearest
from ranzcr.predictions import Predictions
from ranzcr.registry import candidates, decisions, ledger, promotion, roles
from ranzcr.registry.candidates import BLEND, CANDIDATES, CHAMPION, CandidateVersion, Request
from ranzcr.registry.decisions import APPROVED, REJECTED, Verdict
from ranzcr.registry.gates import FAIL, PASS, Gate, GateReport, Waiver
from ranzcr.registry.ledger import PRODUCTION, PROMOTE, ROLLBACK, LedgerLine
from ranzcr.registry.promotion import Promotion, Snapshot
from ranzcr.tracking import provenance, server
from ranzcr.tracking.names import Metric, Tag


@dataclass(frozen=True)
class Champion:
    """The production model in use."""

    version: str
    run_id: str
    digest: str  # of its blend
    dataset_digest: str

    def predictions(self) -> Predictions:
        """Download its cross-fitted out-of-fold predictions from the journal."""
        with server.connected() as client, tempfile.TemporaryDirectory() as folder:
            path = client.download_artifacts(self.run_id, f"{BLEND}/oof.parquet", folder)
            return predictions.read(path)


@dataclass(frozen=True)
class Standing:
    """The state of a candidate: its gates as they count now, and what people decided."""

    candidate: CandidateVersion
    report: GateReport
    void: tuple[Waiver, ...]  # given for findings that differ from today's
    verdict: Verdict | None
    waiting: Request | None  # not decided yet
    lines: tuple[LedgerLine, ...]  # that put it in use


def champion() -> Champion | None:
    """Return the model in use, None if there is none yet."""
    with server.connected() as client:
        version = candidates.by_alias(client, PRODUCTION, CHAMPION)
    if version is None:
        return None
    return Champion(
        version=str(version.version),
        run_id=version.run_id or "",
        digest=version.tags.get(Tag.BLEND_DIGEST, ""),
        dataset_digest=version.tags.get(Tag.DATASET_DIGEST, ""),
    )


def leaderboard(run_id: str) -> dict[str, float]:
    """Return the leaderboard scores of an ensemble's run, by "public" and "private"."""
    with server.connected() as client:
        metrics = client.get_run(run_id).data.metrics
    names = {"public": Metric.LB_PUBLIC, "private": Metric.LB_PRIVATE}
    return {name: metrics[metric] for name, metric in names.items() if metric in metrics}


def register(ensemble: Path, blend: Path, run_id: str, report: GateReport) -> Candidate:
    """Make the ensemble folder a version of the candidates model.

    Args:
        ensemble: output of export; becomes an MLflow pyfunc model of the run.
        blend: output of blend; a later candidate must beat its out-of-fold predictions.
        run_id: the run of the ensemble.
        report: the result of its gates.

    The same content is registered once: again, its version is returned with the new gate report.
    """
    with server.connected() as client:
        who = _author(client)
        with server.exclusive(client.tracking_uri, CANDIDATES):
            version = candidates.register(client, ensemble, blend, run_id, report, who)
        return describe(version, Snapshot.read(client).report(version))


def describe(candidate: CandidateVersion, report: GateReport) -> Candidate:
    """Return the document that tells the next stage about a candidate."""
    return Candidate(
        version=candidate.version,
        run_id=candidate.run_id,
        digest=candidate.digest,
        gate=report.result,
        why=report.failures,
    )


def standing(word: str) -> Standing:
    """Return the state of a candidate, by its version or an alias.

    Raises TrackingError for one that is unknown or was never judged.
    """
    with server.connected() as client:
        return standing_of(Snapshot.read(client), candidates.find(client, word))


def standing_of(now: Snapshot, candidate: CandidateVersion) -> Standing:
    report = now.report(candidate)
    counting = {gate.waiver for gate in report.gates}
    failing = {gate.name for gate in report.gates if gate.result == FAIL}
    waivers = now.decisions.waivers.get(candidate.version, ())
    verdict = now.decisions.verdict_on(candidate.version, candidate.digest)
    lines = tuple(e for e in now.chain.entries if e.candidate_version == candidate.version)
    decided = [*(line.time for line in lines), *([verdict.when] if verdict else [])]
    request = candidate.request
    return Standing(
        candidate=candidate,
        report=report,
        void=tuple(w for w in waivers if w not in counting and w.gate in failing),
        verdict=verdict,
        waiting=request if request and all(request.when > time for time in decided) else None,
        lines=lines,
    )


def promote(word: str, *, why: str, who: str = "") -> Promotion:
    """Put a candidate in use; on a server with roles, ask an approver to.

    Args:
        word: version of the candidates model, or an alias.
        why: the reason, for the ledger.
        who: the author, if the server does not know who we are.

    If the candidate is the champion already, nothing is written. Raises TrackingError for one that
    is unknown, failed a gate or was rejected, and if another process added a line first.
    """
    with server.connected() as client:
        user = roles.user(client)
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
    """Put a candidate in use as a second person; see `promote`. Also ends a rejection.

    Also raises TrackingError if the server knows us as the user who registered it, judged it last
    or requested its promotion.
    """
    with server.connected() as client:
        user = roles.user(client)
        candidate, now = candidates.find(client, word), Snapshot.read(client)
        _refuse_failed(now, candidate)
        if user in candidate.people:
            raise TrackingError(
                f"candidate {candidate.version} was registered or requested by {user}; another "
                "approver must approve it"
            )
        name = user or who or provenance.author()
        _decide(client, candidate, APPROVED, name, why)
        return _unchanged(now, candidate) or _promote(client, now, candidate, name, why)


def reject(word: str, *, why: str, who: str = "") -> CandidateVersion:
    """Record that a candidate shall not be promoted; only `approve` ends that."""
    with server.connected() as client:
        candidate = candidates.find(client, word)
        _decide(client, candidate, REJECTED, _author(client, who), why)
    return candidate


def waive(word: str, gate: str, *, why: str, who: str = "") -> Waiver:
    """Let one failed gate of a candidate pass with its present finding.

    Raises TrackingError for a gate that is unknown, passed, or may not be waived.
    """
    with server.connected() as client:
        name = _author(client, who)
        candidate, now = candidates.find(client, word), Snapshot.read(client)
        finding = _waivable(candidate, now.report(candidate), gate)
        waiver = Waiver(
            gate=gate,
            digest=candidate.digest,
            who=name,
            when=ledger.now(),
            why=why,
            value=finding.value,
            text=finding.text,
            against=finding.against,
        )
        candidates.ensure_model(client, PRODUCTION)
        decisions.waive(client, candidate.version, waiver)
    return waiver


def rollback(*, why: str, who: str = "") -> Promotion:
    """Put the version before the champion in use again.

    Args:
        why: the reason, for the ledger.
        who: the author, if the server does not know who we are.

    The earlier production version is copied as a new one with a ledger line of its own, then the
    alias moves: nothing written before is touched, and the candidates are not needed. Gates are
    not judged again: the line repeats the report of the promotion.

    Rollbacks in a row go back step by step, they do not toggle: after promotions of A, B and C the
    first gives B, the second A, the third is refused. The next call completes an interrupted one.
    Raises TrackingError if there is no champion or none before it, if the ledger was changed, or
    if another process added a line first.
    """
    with server.connected() as client:
        name = _author(client, who)
        now = Snapshot.read(client)
        if now.champion is None:
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
        line = replace(earlier, who=name, why=why, action=ROLLBACK, previous_version=now.in_use)
        return promotion.put_in_use(client, source, now.chain.next(line))


def _author(client: MlflowClient, who: str = "") -> str:
    return roles.user(client) or who or provenance.author()


def _waivable(candidate: CandidateVersion, report: GateReport, name: str) -> Gate:
    gate = report.named(name)
    if gate is None:
        advice = nearest(name, [gate.name for gate in report.gates])
        raise TrackingError(f"candidate {candidate.version} has no gate {name!r}; {advice}")
    if gate.result == PASS:
        raise TrackingError(
            f"gate {name} of candidate {candidate.version} passed and needs no waiver"
        )
    if not gate.waivable:
        raise TrackingError(f"gate {name} may not be waived; fix what it found: {gate.text}")
    return gate


def _unchanged(now: Snapshot, candidate: CandidateVersion) -> Promotion | None:
    """Return the result of a promotion if the candidate is the champion already."""
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
    line = LedgerLine(
        who=who,
        why=why,
        action=PROMOTE,
        candidate_version=candidate.version,
        previous_version=now.in_use,
        model=candidate.model,
        registered_by=candidate.registered_by,
        gate_report=now.report(candidate).to_json(),
    )
    return promotion.put_in_use(client, candidate.model_version, now.chain.next(line))


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
            f"candidate {version} was {verdict.summary}; not promoted unless ranzcr registry "
            f"approve {version} overrides that"
        )


def _decide(
    client: MlflowClient, candidate: CandidateVersion, verdict: str, who: str, why: str
) -> None:
    candidates.ensure_model(client, PRODUCTION)
    record = Verdict(verdict=verdict, digest=candidate.digest, who=who, when=ledger.now(), why=why)
    decisions.decide(client, candidate.version, record)
