"""The registry as text: both models, and one candidate with all that decides about it."""

from __future__ import annotations

from collections.abc import Sequence

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

_CANDIDATE_TAGS = ("cv_auc", "members", "dataset_digest", "registered_by")


def render() -> str:
    """Both registered models as text, newest version first."""
    client = server.connect()
    with server.translated(client.tracking_uri):
        now = Snapshot.read(client)
        versions = candidates.newest_first(client, CANDIDATES)
        rows = [_candidate_row(now, CandidateVersion(version)) for version in versions]
    if not rows:
        return "The registry is empty: run a pipeline, or register an ensemble.\n"
    acts = sorted((*now.chain.entries, *now.chain.lost), key=lambda act: -int(act.version))
    production = [_production_row(now, act) for act in acts]
    headings = ["version", "gate", "state", *_CANDIDATE_TAGS]
    return to_text(
        [
            table(
                PRODUCTION,
                ["version", "state", "candidate", "act", "time", "by", "why"],
                production,
            ),
            table(CANDIDATES, headings, rows),
        ]
    )


def describe(word: str) -> str:
    """A candidate as text: members, CV, data, gates, people, and when it was in production.

    Args:
        word: its version, or the alias champion or challenger.

    Raises TrackingError for one that is unknown or was never judged.
    """
    client = server.connect()
    with server.translated(client.tracking_uri):
        stands = registry.standing(word)
        candidate = stands.candidate
        run_id = candidate.found.run_id or ""
        rows = [
            *_blend_rows(client, run_id),
            ["data set", candidate.model.get("dataset_digest", "")],
            ["digest", candidate.digest],
            ["run", run_id],
            ["registered by", candidate.registered_by],
            ["state", state(stands)],
            [f"as {PRODUCTION}", _acts(stands.acts)],
        ]
    return to_text(
        [
            table(f"{CANDIDATES} {candidate.version}", ["what", "value"], rows),
            table(
                f"gates: {stands.report.result}",
                ["gate", "verdict", "found"],
                [[gate.name, gate.result, found(gate)] for gate in stands.report.gates],
            ),
        ]
    )


def gate_lines(stands: Standing) -> list[str]:
    """The gates of a candidate, one line each, the waivers that no longer hold, the verdict."""
    lines = [f"{gate.result}  {gate.name}: {found(gate)}" for gate in stands.report.gates]
    lines += [
        f"void  {waiver.gate}: {waiver.told}; what is found now is not what was waived"
        for waiver in stands.void
    ]
    return [*lines, f"candidate version {stands.candidate.version}: gate {stands.report.result}"]


def found(gate: Gate) -> str:
    """What a gate found, and who answers for it where it was waived."""
    return f"{gate.text}; {gate.waiver.told}" if gate.waiver else gate.text


def state(stands: Standing) -> str:
    """What people decided, in one line; "" where nobody has."""
    if stands.waits:
        return f"waits for an approver, asked by {stands.waits.who}: {stands.waits.why}"
    return stands.verdict.told if stands.verdict else ""


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


def _acts(acts: Sequence[LedgerLine]) -> str:
    """Which production versions a candidate became by which act, "1 by promote, 4 by rollback"."""
    return ", ".join(f"{act.version} by {act.action}" for act in acts) or "never promoted"


def _production_row(now: Snapshot, act: LedgerLine) -> list[str]:
    state = CHAMPION if act.version == now.in_use else ""
    if act == now.cut_off:
        state = "cut off"
    if act in now.chain.lost:
        state = "lost"
    return [
        *(act.version, state, act.candidate_version),
        *(act.action, act.time[:19], act.who, act.why),
    ]


def _candidate_row(now: Snapshot, candidate: CandidateVersion) -> list[str]:
    tags = [candidate.found.tags.get(tag, "") for tag in _CANDIDATE_TAGS]
    try:
        stands = registry.stands(now, candidate)
    except TrackingError:
        return [candidate.version, "changed by hand", "", *tags]
    return [candidate.version, stands.report.result, state(stands), *tags]
