"""An act: one request makes a production version with its ledger line, one more moves the alias.

So there is one gap for a killed process to leave: a line whose version is not in use. The same
command again moves the alias; another act takes its place, and the line counts as never used.

Nothing is locked. Of two acts that follow the same line the server's numbering tells which one
stands (see ledger), and the other raises TrackingError.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from ranzcr.errors import TrackingError
from ranzcr.registry import candidates, decisions, ledger
from ranzcr.registry.candidates import CHAMPION, CandidateVersion
from ranzcr.registry.decisions import Decisions
from ranzcr.registry.gates import GateReport
from ranzcr.registry.ledger import PRODUCTION, Chain, LedgerLine
from ranzcr.tracking import server


@dataclass(frozen=True)
class Promotion:
    """What `promote`, `approve` or `rollback` did.

    `changed` is False where the champion stayed, `waits` True where others must approve first.
    """

    candidate: str
    version: str  # of production; "" while it waits
    previous: str  # "" where there was no champion
    changed: bool
    waits: bool = False

    @property
    def told(self) -> str:
        """What came of it, in one line."""
        if self.waits:
            return (
                f"candidate {self.candidate} waits for an approver: ranzcr registry approve "
                f"{self.candidate} --why ..."
            )
        before = self.previous or "none"
        return f"champion: version {self.version}, candidate {self.candidate} (before: {before})"


@dataclass(frozen=True)
class Snapshot:
    """What the registry says at one moment. The chain is read first, so that an act of another
    process in between is found out: whoever follows an old chain has lost."""

    chain: Chain
    reigning: ModelVersion | None
    decisions: Decisions

    @classmethod
    def read(cls, client: MlflowClient) -> Snapshot:
        chain = ledger.read(client)
        reigning = candidates.by_alias(client, PRODUCTION, CHAMPION)
        return cls(chain, reigning, decisions.read(client))

    @property
    def in_use(self) -> str:
        """The production version at the alias, "" for none."""
        return str(self.reigning.version) if self.reigning else ""

    @property
    def cut_off(self) -> LedgerLine | None:
        """The last act, where it was killed before it moved the alias."""
        head = self.chain.head
        return head if head and head.version != self.in_use == head.previous_version else None

    def report(self, candidate: CandidateVersion) -> GateReport:
        """A candidate's gates as they count now: against this champion, with the waivers."""
        blend = self.reigning.tags.get("blend_digest", "") if self.reigning else ""
        own = candidate.model.get("blend_digest", "")
        waivers = self.decisions.waivers.get(candidate.version, ())
        judged = candidate.report.at_champion(self.in_use, blend, own)
        return judged.waived(waivers, candidate.digest)


def put_in_use(
    client: MlflowClient, now: Snapshot, source: ModelVersion, told: Mapping[str, object]
) -> Promotion:
    """Copy a version to production as an act that follows `now`, and move the alias to it.

    Args:
        source: a candidate or an earlier production version.
        told: of the act, as `Chain.next` takes it.

    Raises TrackingError where another act came first.
    """
    candidates.ensure_model(client, PRODUCTION)
    entry = now.chain.next(**told, previous_version=now.in_use)
    server.create_once(lambda: _made(client, entry), lambda: _copy(client, source, entry))
    return finish(client, entry)


def finish(client: MlflowClient, entry: LedgerLine) -> Promotion:
    """Move the alias to what the ledger says; tell it where that is not this act's version.

    An alias cannot be moved on a condition. So we look at the ledger after each move: whoever
    moves it last has seen the last line.
    """
    while True:
        chain = ledger.read(client)
        own = next((act for act in chain.entries if act.id == entry.id), None)
        head = chain.head
        assert head is not None
        if own is None:
            raise _overtaken(entry, head)
        client.set_registered_model_alias(PRODUCTION, CHAMPION, head.version)
        if ledger.read(client).head == head:
            break
    if own != head:
        raise _overtaken(entry, head)
    return Promotion(own.candidate_version, own.version, own.previous_version, changed=True)


def _made(client: MlflowClient, entry: LedgerLine) -> str | None:
    """The version that this act has made already."""
    chain = ledger.read(client)
    known = (*chain.entries, *chain.lost)
    return next((act.version for act in known if act.id == entry.id), None)


def _copy(client: MlflowClient, source: ModelVersion, entry: LedgerLine) -> str:
    """Copy a version to production, its line with it; the new version.

    MLflow's copy_model_version sends the same request, but with all tags of the source, which a
    trainer may write, and without the line: there would be a moment without it.
    """
    made = client.create_model_version(
        PRODUCTION,
        f"models:/{source.name}/{source.version}",
        source.run_id,
        tags={**entry.model, ledger.TAG: entry.line},
    )
    return str(made.version)


def _overtaken(entry: LedgerLine, head: LedgerLine) -> TrackingError:
    return TrackingError(
        f"candidate {entry.candidate_version} is not in use: {head.told} (version {head.version}) "
        "came at the same time and is; see ranzcr registry list"
    )
