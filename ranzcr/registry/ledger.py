"""The ledger: who put which model in use, when and why, as a chain of hashed lines.

Each line is the tag `ledger` of a production version, written in the one request that creates the
version. So the ledger lives in the registry (one backup holds both), only those who may write the
production model can write it, and no version exists without its line. Each line holds its own hash
and that of the line before it.

A server numbers versions one after the other. If two lines follow the same line, the one with the
lower version number counts; the other has lost, and is kept. That decides between two promotions
at once: there is no lock that a killed process could leave behind.

MLflow's tags can be edited by everyone who may promote. A line that was changed, removed or
inserted does not fit the chain. The ledger alone cannot detect that the whole chain was rewritten
with new hashes: keep a copy of the last hash elsewhere, `verify` prints it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from ranzcr import competitions
from ranzcr.errors import TrackingError
from ranzcr.files import hash_json
from ranzcr.registry.gates import GateReport
from ranzcr.tables import table, to_text
from ranzcr.tracking import server
from ranzcr.tracking.names import Tag

PRODUCTION = competitions.current().name
TAG = Tag.LEDGER
GENESIS = "0" * 64  # the previous hash of the first line
PROMOTE, ROLLBACK = "promote", "rollback"  # actions
_NOT_HASHED = ("hash", "version")
_NOT_TEXT = ("index", "model", "gate_report")


@dataclass(frozen=True, kw_only=True)
class LedgerLine:
    """One promotion or rollback. `Chain.next` fills in the fields that are empty here."""

    id: str = ""  # by which a repeated request finds the version that it has created
    index: int = 0
    time: str = ""  # ISO 8601, UTC
    who: str
    why: str
    action: str
    candidate_version: str
    previous_version: str  # in use before, "" for the first champion
    model: dict[str, str]  # the version's other tags: digest of the content, members, data set
    registered_by: str
    gate_report: dict[str, Any]
    previous_hash: str = ""
    hash: str = ""
    version: str = ""  # the production version that carries the line; not part of it

    @property
    def text(self) -> str:
        """The content of the tag."""
        fields = asdict(self)
        return json.dumps({name: value for name, value in fields.items() if name != "version"})

    @property
    def report(self) -> GateReport:
        """The gates of the promotion."""
        return GateReport.from_json(self.gate_report)

    @property
    def summary(self) -> str:
        return f"{self.who}'s {self.action} of candidate {self.candidate_version}"

    def sealed(self) -> LedgerLine:
        """Return the same line with its own hash."""
        return replace(self, hash=self._digest())

    @property
    def intact(self) -> bool:
        return self.hash == self._digest()

    def _digest(self) -> str:
        fields = asdict(self)
        return hash_json({name: fields[name] for name in fields if name not in _NOT_HASHED})


@dataclass(frozen=True)
class Chain:
    """The ledger: the `entries` that count in order, those that `lost`, and what is wrong."""

    entries: tuple[LedgerLine, ...] = ()
    lost: tuple[LedgerLine, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def head(self) -> LedgerLine | None:
        """The last line."""
        return self.entries[-1] if self.entries else None

    def next(self, line: LedgerLine) -> LedgerLine:
        """Return the line with its place behind the last one: id, index, time and hashes."""
        return replace(
            line,
            id=uuid.uuid4().hex,
            index=self.head.index + 1 if self.head else 0,
            time=now(),
            previous_hash=self.head.hash if self.head else GENESIS,
            version="",
        ).sealed()


def now() -> str:
    """Return the time as ISO 8601, UTC, to the millisecond: such texts sort by time."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def read(client: MlflowClient) -> Chain:
    """Return the ledger of the production model."""
    return follow(
        (str(version.version), version.tags.get(TAG)) for version in versions(client, PRODUCTION)
    )


def entries(client: MlflowClient) -> tuple[LedgerLine, ...]:
    """Return the lines that count, oldest first."""
    return read(client).entries


def follow(lines: Iterable[tuple[str, str | None]]) -> Chain:
    """Separate the lines that count from those that lost, and find what was changed by hand.

    Args:
        lines: number and ledger line of each production version, in any order.

    A problem is reported once, and the chain continues behind it.
    """
    entries: list[LedgerLine] = []
    lost: list[LedgerLine] = []
    problems: list[str] = []
    head: str | None = GENESIS  # None: any line may come next, since the break is reported already
    followed: set[str] = set()
    expected = 1
    for version, text in sorted(lines, key=lambda pair: int(pair[0])):
        if int(version) != expected:
            problems.append(_deleted(expected, int(version) - 1))
            head = None
        expected = int(version) + 1
        line = parse(text)
        if line is None:
            problems.append(_unreadable(version, text))
            continue
        line = replace(line, version=version)
        if line.id in {other.id for other in (*entries, *lost)}:
            problems.append(f"{_line(version)} is a copy of another line: it was put there by hand")
        elif line.intact and line.previous_hash in followed and line.previous_hash != head:
            lost.append(line)
        else:
            if not line.intact:
                problems.append(f"{_line(version)} was changed by hand: its hash does not fit it")
            elif head not in (None, line.previous_hash):
                problems.append(
                    f"{_line(version)} does not follow the one before it: a line was inserted or "
                    "removed by hand"
                )
            followed.add(line.previous_hash)
            head = line.hash
            entries.append(line)
    return Chain(tuple(entries), tuple(lost), tuple(problems))


def parse(text: str | None) -> LedgerLine | None:
    """Return the line that a tag holds, None if it holds something else."""
    try:
        line = LedgerLine(**json.loads(text or ""))
        _ = line.report
    except (ValueError, TypeError, KeyError):
        return None
    texts = {field: value for field, value in asdict(line).items() if field not in _NOT_TEXT}
    valid = isinstance(line.model, dict) and all(isinstance(v, str) for v in texts.values())
    return line if valid else None


def _line(version: str) -> str:
    return f"ledger line of {PRODUCTION} version {version}"


def _unreadable(version: str, text: str | None) -> str:
    if text is None:
        return (
            f"{PRODUCTION} version {version} has no ledger line: the version was created, or its "
            "line removed, by hand"
        )
    return f"{_line(version)} cannot be read: it was changed by hand"


def _deleted(first: int, last: int) -> str:
    which = f"version {first} was" if first == last else f"versions {first} to {last} were"
    return f"{PRODUCTION} {which} deleted by hand, and the ledger line with it"


def before(lines: Sequence[LedgerLine], version: str) -> LedgerLine | None:
    """Return the line of the version that a rollback of `version` brings back.

    Args:
        lines: those that count, oldest first.
        version: of the production model.

    None if nothing was in use before. A version that a rollback created has the same predecessor
    as the version that it brought back, so that rollbacks in a row go further into the past.
    """
    by_version = {line.version: line for line in lines}
    predecessor: dict[str, str] = {}
    for line in lines:
        replaced = line.previous_version
        if line.action == ROLLBACK:
            brought_back = predecessor.get(replaced, "")
            replaced = predecessor.get(brought_back, "")
        predecessor[line.version] = replaced
    return by_version.get(predecessor.get(version, ""))


def render() -> str:
    """Return the ledger as text. Raises TrackingError if its chain is broken."""
    with server.connected() as client:
        chain = read(client)
    refuse_broken(chain)
    if not chain.entries:
        return "The ledger is empty: nothing was promoted yet.\n"
    headings = ["time", "who", "action", "candidate", "version", "before", "why", "waived", "hash"]
    rows = [
        [
            *(line.time[:19], line.who, line.action, line.candidate_version, line.version),
            *(line.previous_version, line.why, _waived(line), line.hash[:12]),
        ]
        for line in chain.entries
    ]
    return to_text([table(f"ledger of {PRODUCTION}", headings, rows)])


def refuse_broken(chain: Chain) -> None:
    """Raise TrackingError if a line was changed, removed or inserted."""
    if chain.problems:
        more = f" (and {len(chain.problems) - 1} more)" if len(chain.problems) > 1 else ""
        raise TrackingError(
            f"{chain.problems[0]}{more}; see ranzcr registry verify, restore the registry from a "
            "backup"
        )


def _waived(line: LedgerLine) -> str:
    waived = [(gate.name, gate.waiver.who) for gate in line.report.gates if gate.waiver]
    return ", ".join(f"{name} by {who}" for name, who in waived)


def versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    """Return every version of a registered model; none if the model does not exist."""
    with server.translated(client.tracking_uri):
        versions: list[ModelVersion] = []
        token: str | None = None
        while True:
            page = client.search_model_versions(f"name = '{name}'", page_token=token)
            versions += page
            token = page.token
            if not token:
                return versions
