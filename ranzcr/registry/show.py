"""The registry as text: both models, and one candidate with everything that decides about it."""

from __future__ import annotations

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from ranzcr.errors import TrackingError
from ranzcr.journal import columns
from ranzcr.registry import candidates, registry
from ranzcr.registry.candidates import CANDIDATES, CHAMPION, CandidateVersion
from ranzcr.registry.gates import Gate
from ranzcr.registry.ledger import PRODUCTION, LedgerLine
from ranzcr.registry.promotion import Snapshot
from ranzcr.registry.registry import Standing
from ranzcr.tables import table, to_text
from ranzcr.tracking import server
from ranzcr.tracking.names import Tag

_PRODUCTION_HEADINGS = ["version", "state", "candidate", "act", "time", "by", "why"]
_CANDIDATE_TAGS = (Tag.CV_AUC, Tag.MEMBERS, Tag.DATASET_DIGEST, Tag.REGISTERED_BY)


def render() -> str:
    """Return both registered models as text, newest version first."""
    with server.connected() as client:
        now = Snapshot.read(client)
        versions = candidates.newest_first(client, CANDIDATES)
        rows = [_candidate_row(now, CandidateVersion(version)) for version in versions]
    if not rows:
        return "The registry is empty: run a pipeline, or register an ensemble.\n"
    lines = sorted((*now.chain.entries, *now.chain.lost), key=lambda line: -int(line.version))
    production = [_production_row(now, line) for line in lines]
    headings = ["version", "gate", "state", *_CANDIDATE_TAGS]
    return to_text(
        [table(PRODUCTION, _PRODUCTION_HEADINGS, production), table(CANDIDATES, headings, rows)]
    )


def describe(word: str) -> str:
    """Return a candidate as text: members, CV, data, gates, people, and its time in production.

    Args:
        word: its version, or the alias champion or challenger.

    Raises TrackingError for one that is unknown or was never judged.
    """
    with server.connected() as client:
        standing = registry.standing(word)
        candidate = standing.candidate
        in_production = [f"{line.version} by {line.action}" for line in standing.lines]
        rows = [
            *_blend_rows(client, candidate.run_id),
            ["data set", candidate.model.get(Tag.DATASET_DIGEST, "")],
            ["digest", candidate.digest],
            ["run", candidate.run_id],
            ["registered by", candidate.registered_by],
            ["state", _state(standing)],
            [f"as {PRODUCTION}", ", ".join(in_production) or "never promoted"],
        ]
    gates = [[gate.name, gate.result, _finding(gate)] for gate in standing.report.gates]
    return to_text(
        [
            table(f"{CANDIDATES} {candidate.version}", ["what", "value"], rows),
            table(f"gates: {standing.report.result}", ["gate", "verdict", "found"], gates),
        ]
    )


def gate_lines(standing: Standing) -> list[str]:
    """Return a line per gate and per waiver that no longer holds, then the verdict."""
    report = standing.report
    lines = [f"{gate.result}  {gate.name}: {_finding(gate)}" for gate in report.gates]
    lines += [
        f"void  {waiver.gate}: {waiver.summary}; the finding has changed since"
        for waiver in standing.void
    ]
    return [*lines, f"candidate version {standing.candidate.version}: gate {report.result}"]


def _finding(gate: Gate) -> str:
    return f"{gate.text}; {gate.waiver.summary}" if gate.waiver else gate.text


def _state(standing: Standing) -> str:
    """Return what people decided, in one line; "" if nobody has."""
    request = standing.waiting
    if request:
        return f"waits for an approver, requested by {request.who}: {request.why}"
    return standing.verdict.summary if standing.verdict else ""


def _blend_rows(client: MlflowClient, run_id: str) -> list[list[str]]:
    try:
        blend = client.get_run(run_id).data
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return [["members", "its run was deleted"]]
    return [
        ["members", columns.members(blend.tags)],
        ["CV [95%]", columns.interval(blend.metrics)],
    ]


def _production_row(now: Snapshot, line: LedgerLine) -> list[str]:
    state = CHAMPION if line.version == now.in_use else ""
    if line == now.cut_off:
        state = "cut off"
    if line in now.chain.lost:
        state = "lost"
    return [
        *(line.version, state, line.candidate_version),
        *(line.action, line.time[:19], line.who, line.why),
    ]


def _candidate_row(now: Snapshot, candidate: CandidateVersion) -> list[str]:
    tags = [candidate.tags.get(tag, "") for tag in _CANDIDATE_TAGS]
    try:
        standing = registry.standing_of(now, candidate)
    except TrackingError:
        return [candidate.version, "changed by hand", "", *tags]
    return [candidate.version, standing.report.result, _state(standing), *tags]
