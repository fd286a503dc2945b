"""Who put which model in use, when and why: a chain of lines, the production versions themselves.

Each line is the tag `ledger` of the production version that the act made, and is written in the
one request that makes the version. So the ledger lives with the registry (one backup holds both),
is writable only by who may write the production model, and a version cannot be there without its
line. Each line holds its predecessor's hash and its own.

A server numbers versions one after the other. Of two acts that follow the same predecessor, the
one with the lower number stands in the chain and the other has lost: it is kept, and counts for
nothing. That is all that keeps two promotions at once apart; there is no lock that a killed
process could leave behind.

MLflow's tags can be edited by who may promote: a line that was changed, removed or put between
does not fit the chain. Who rewrites the whole chain with new hashes is not found by the ledger
alone: keep a copy of the last hash elsewhere, `verify` prints it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from ranzcr.errors import TrackingError
from ranzcr.files import hash_json
from ranzcr.registry.gates import GateReport
from ranzcr.tables import table, to_text
from ranzcr.tracking import server

PRODUCTION = "ranzcr-clip"
TAG = "ledger"
GENESIS = "0" * 64  # what the first entry names as its predecessor
PROMOTE, ROLLBACK = "promote", "rollback"  # actions
_NOT_HASHED = ("hash", "version")
_NOT_TEXT = ("index", "model", "gate_report")


@dataclass(frozen=True, kw_only=True)
class LedgerLine:
    """One act. `previous_version` is what was in use before it, "" for the first champion."""

    id: str  # of the act: by it a repeated request finds what it has made
    index: int
    time: str  # ISO 8601, UTC
    who: str
    why: str
    action: str
    candidate_version: str
    previous_version: str
    model: dict[str, str]  # the version's other tags: digest of the content, members, data set
    registered_by: str
    gate_report: dict
    previous_hash: str
    hash: str = ""
    version: str = ""  # the production version that carries the line; not part of it

    @property
    def line(self) -> str:
        """What the tag holds."""
        told = asdict(self)
        return json.dumps({name: value for name, value in told.items() if name != "version"})

    @property
    def report(self) -> GateReport:
        """The gates that it was promoted with."""
        return GateReport.from_json(self.gate_report)

    @property
    def told(self) -> str:
        """The act in a few words."""
        return f"{self.who}'s {self.action} of candidate {self.candidate_version}"

    def sealed(self) -> LedgerLine:
        """The same entry with its own hash."""
        return replace(self, hash=self._digest())

    @property
    def intact(self) -> bool:
        return self.hash == self._digest()

    def _digest(self) -> str:
        told = asdict(self)
        return hash_json({name: told[name] for name in told if name not in _NOT_HASHED})


@dataclass(frozen=True)
class Chain:
    """The ledger as it counts: `entries` in order, the versions that `lost`, and what is wrong."""

    entries: tuple[LedgerLine, ...] = ()
    lost: tuple[LedgerLine, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def head(self) -> LedgerLine | None:
        """The last act."""
        return self.entries[-1] if self.entries else None

    def of(self, version: str) -> LedgerLine | None:
        """The act that made a production version, where it counts."""
        return next((entry for entry in self.entries if entry.version == version), None)

    def next(self, **told: object) -> LedgerLine:
        """The act that follows.

        Args:
            told: who, why, action, candidate_version, previous_version, model, registered_by and
                gate_report.
        """
        return LedgerLine(
            id=uuid.uuid4().hex,
            index=self.head.index + 1 if self.head else 0,
            time=now(),
            previous_hash=self.head.hash if self.head else GENESIS,
            **told,  # type: ignore[arg-type]
        ).sealed()


def now() -> str:
    """ISO 8601, UTC, to the millisecond: such texts sort by time."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def read(client: MlflowClient) -> Chain:
    """The ledger of the production model."""
    return follow(
        (str(version.version), version.tags.get(TAG)) for version in versions(client, PRODUCTION)
    )


def entries(client: MlflowClient) -> tuple[LedgerLine, ...]:
    """The acts that count, first one first."""
    return read(client).entries


def follow(lines: Iterable[tuple[str, str | None]]) -> Chain:
    """Tell the acts that count from those that lost, and find what was changed by hand.

    Args:
        lines: number and ledger line of each production version, in any order.

    A problem is told once, and the chain goes on behind it.
    """
    known: list[LedgerLine] = []
    lost: list[LedgerLine] = []
    problems: list[str] = []
    head: str | None = GENESIS  # None: whatever comes next is taken, for the cause was told
    followed: set[str] = set()
    expected = 1
    for version, line in sorted(lines, key=lambda pair: int(pair[0])):
        if int(version) != expected:
            problems.append(_deleted(expected, int(version) - 1))
            head = None
        expected = int(version) + 1
        entry = parse(line)
        if entry is None:
            problems.append(_unreadable(version, line))
            continue
        entry = replace(entry, version=version)
        if entry.id in {other.id for other in (*known, *lost)}:
            problems.append(f"{_line(version)} is a copy of another line: it was put there by hand")
        elif entry.intact and entry.previous_hash in followed and entry.previous_hash != head:
            lost.append(entry)
        else:
            if not entry.intact:
                problems.append(f"{_line(version)} was changed by hand: its hash is of other words")
            elif head not in (None, entry.previous_hash):
                problems.append(
                    f"{_line(version)} does not follow the one before it: a line was put between "
                    "or taken out by hand"
                )
            followed.add(entry.previous_hash)
            head = entry.hash
            known.append(entry)
    return Chain(tuple(known), tuple(lost), tuple(problems))


def parse(line: str | None) -> LedgerLine | None:
    """The entry of a ledger line, None for what is none."""
    try:
        entry = LedgerLine(**json.loads(line or ""))
        _ = entry.report
    except (ValueError, TypeError, KeyError):
        return None
    texts = {field: value for field, value in asdict(entry).items() if field not in _NOT_TEXT}
    shaped = isinstance(entry.model, dict) and all(isinstance(v, str) for v in texts.values())
    return entry if shaped else None


def _line(version: str) -> str:
    return f"ledger line of {PRODUCTION} version {version}"


def _unreadable(version: str, line: str | None) -> str:
    if line is None:
        return (
            f"{PRODUCTION} version {version} has no ledger line: it was made, or its line removed, "
            "by hand"
        )
    return f"{_line(version)} cannot be read: it was changed by hand"


def _deleted(first: int, last: int) -> str:
    which = f"version {first} was" if first == last else f"versions {first} to {last} were"
    return f"{PRODUCTION} {which} deleted by hand, and the ledger line with it"


def before(known: Sequence[LedgerLine], version: str) -> LedgerLine | None:
    """The act that put in use what a rollback of a production version brings back.

    Args:
        known: the acts that count, first one first.
        version: of the production model.

    None where nothing was in use before. What a rollback made has the predecessor of the version
    that it brought back, not the version that it replaced: so rollbacks go on into the past.
    """
    acts = {entry.version: entry for entry in known}
    earlier: dict[str, str] = {}
    for entry in known:
        replaced = entry.previous_version
        if entry.action == ROLLBACK:
            brought_back = earlier.get(replaced, "")
            replaced = earlier.get(brought_back, "")
        earlier[entry.version] = replaced
    return acts.get(earlier.get(version, ""))


def render() -> str:
    """The ledger as text, its chain checked. Raises TrackingError where it was changed by hand."""
    client = server.connect()
    chain = read(client)
    refuse_broken(chain)
    if not chain.entries:
        return "The ledger is empty: nothing was promoted yet.\n"
    headings = ["time", "who", "action", "candidate", "version", "before", "why", "waived", "hash"]
    lines = [
        [
            *(entry.time[:19], entry.who, entry.action, entry.candidate_version, entry.version),
            *(entry.previous_version, entry.why, _waived(entry), entry.hash[:12]),
        ]
        for entry in chain.entries
    ]
    return to_text([table(f"ledger of {PRODUCTION}", headings, lines)])


def refuse_broken(chain: Chain) -> None:
    """Raise TrackingError where a line was changed, removed or put between."""
    if chain.problems:
        more = f" (and {len(chain.problems) - 1} more)" if len(chain.problems) > 1 else ""
        raise TrackingError(
            f"{chain.problems[0]}{more}; see ranzcr registry verify, restore the registry from a "
            "backup"
        )


def _waived(entry: LedgerLine) -> str:
    waived = [(gate.name, gate.waiver.who) for gate in entry.report.gates if gate.waiver]
    return ", ".join(f"{name} by {who}" for name, who in waived)


def versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    """Every version of a registered model; none where there is no such model."""
    with server.translated(client.tracking_uri):
        found: list[ModelVersion] = []
        token: str | None = None
        while True:
            page = client.search_model_versions(f"name = '{name}'", page_token=token)
            found += page
            token = page.token
            if not token:
                return found
