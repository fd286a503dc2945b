"""Put a model in use: one request creates a production version with its ledger line, a second one
moves the alias.

If the process is killed between the two, the last line's version is not in use yet. The same
command again moves the alias; any other promotion or rollback takes its place, and the version
counts as never used.

Nothing is locked. If two processes follow the same ledger line, the server's numbering decides
which one counts (see ledger), and the other raises TrackingError.
"""

from __future__ import annotations

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
from ranzcr.tracking.names import Tag


@dataclass(frozen=True)
class Promotion:
    """The result of `promote`, `approve` or `rollback`.

    `changed` is False if the champion stayed, `waits` True if others must approve first.
    """

    candidate: str
    version: str  # of production; "" while it waits
    previous: str  # "" if there was no champion
    changed: bool
    waits: bool = False

    @property
    def summary(self) -> str:
        """The result in one line."""
        if self.waits:
            return (
                f"candidate {self.candidate} waits for an approver: ranzcr registry approve "
                f"{self.candidate} --why ..."
            )
        before = self.previous or "none"
        return f"champion: version {self.version}, candidate {self.candidate} (before: {before})"


@dataclass(frozen=True)
class Snapshot:
    """The registry at one moment.

    The ledger is read first, so that a promotion by another process in between is detected: it
    makes the process that follows the old line lose.
    """

    chain: Chain
    champion: ModelVersion | None
    decisions: Decisions

    @classmethod
    def read(cls, client: MlflowClient) -> Snapshot:
        chain = ledger.read(client)
        champion = candidates.by_alias(client, PRODUCTION, CHAMPION)
        return cls(chain, champion, decisions.read(client))

    @property
    def in_use(self) -> str:
        """The production version at the alias, "" for none."""
        return str(self.champion.version) if self.champion else ""

    @property
    def cut_off(self) -> LedgerLine | None:
        """The last line if its process was killed before it moved the alias, else None."""
        head = self.chain.head
        return head if head and head.version != self.in_use == head.previous_version else None

    def report(self, candidate: CandidateVersion) -> GateReport:
        """Return a candidate's gates as they count now: against this champion, with waivers."""
        champion_blend = self.champion.tags.get(Tag.BLEND_DIGEST, "") if self.champion else ""
        own_blend = candidate.model.get(Tag.BLEND_DIGEST, "")
        report = candidate.report.at_champion(self.in_use, champion_blend, own_blend)
        waivers = self.decisions.waivers.get(candidate.version, ())
        return report.waived(waivers, candidate.digest)


def put_in_use(client: MlflowClient, source: ModelVersion, line: LedgerLine) -> Promotion:
    """Copy a candidate or an earlier production version to production, and move the alias to it.

    Raises TrackingError if another process added a line first.
    """
    candidates.ensure_model(client, PRODUCTION)
    server.create_once(lambda: _version_of(client, line), lambda: _copy(client, source, line))
    return finish(client, line)


def finish(client: MlflowClient, line: LedgerLine) -> Promotion:
    """Move the alias to the version of the ledger's last line.

    Raises TrackingError if that is not `line`.

    An alias cannot be moved on a condition, so the ledger is read again after each move: the last
    process to move the alias has seen the last line.
    """
    while True:
        chain = ledger.read(client)
        written = next((entry for entry in chain.entries if entry.id == line.id), None)
        head = chain.head
        assert head is not None
        if written is None:
            raise _overtaken(line, head)
        client.set_registered_model_alias(PRODUCTION, CHAMPION, head.version)
        if ledger.read(client).head == head:
            break
    if written != head:
        raise _overtaken(line, head)
    return Promotion(
        written.candidate_version, written.version, written.previous_version, changed=True
    )


def _version_of(client: MlflowClient, line: LedgerLine) -> str | None:
    """Return the version that already carries a line."""
    chain = ledger.read(client)
    entries = (*chain.entries, *chain.lost)
    return next((entry.version for entry in entries if entry.id == line.id), None)


def _copy(client: MlflowClient, source: ModelVersion, line: LedgerLine) -> str:
    """Copy a version to production together with its line; return the new version.

    MLflow's copy_model_version sends the same request, but with all tags of the source, which a
    trainer may write, and without the line: for a moment the version would have none.
    """
    version = client.create_model_version(
        PRODUCTION,
        f"models:/{source.name}/{source.version}",
        source.run_id,
        tags={**line.model, Tag.LEDGER: line.text},
    )
    return str(version.version)


def _overtaken(line: LedgerLine, head: LedgerLine) -> TrackingError:
    return TrackingError(
        f"candidate {line.candidate_version} is not in use: {head.summary} (version "
        f"{head.version}) came at the same time and is; see ranzcr registry list"
    )
