"""Who put which model in use, when and why: an append-only chain of entries.

Each entry is the tag `ledger` of the production model version that the act created. So it lives
with the registry (one backup holds both), needs no place of its own, is writable only by who may
write the production model, and cannot be lost with a laptop. MLflow's tags can be edited: hence
each entry holds its predecessor's hash and its own, and `verify` finds a line that was changed,
removed from within, or put between.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from ranzcr.errors import TrackingError
from ranzcr.files import hash_json
from ranzcr.tracking import server
from ranzcr.tracking.tables import table, to_text

PRODUCTION = "ranzcr-clip"
TAG = "ledger"
GENESIS = "0" * 64  # what the first entry names as its predecessor
PROMOTE, ROLLBACK = "promote", "rollback"  # actions


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One act. `previous_version` is what it replaced, "" for the first champion."""

    index: int
    time: str  # ISO 8601, UTC
    who: str
    why: str
    action: str
    candidate_version: str
    version: str
    previous_version: str
    gate_report: dict
    previous_hash: str
    hash: str = ""

    def sealed(self) -> Entry:
        """The same entry with its own hash."""
        return Entry(**{**asdict(self), "hash": self._digest()})

    @property
    def intact(self) -> bool:
        return self.hash == self._digest()

    def _digest(self) -> str:
        return hash_json({name: value for name, value in asdict(self).items() if name != "hash"})


def entries(client: MlflowClient) -> list[Entry]:
    """The ledger, first entry first. Raises TrackingError for a line that cannot be read."""
    found = (of(version) for version in versions(client, PRODUCTION))
    return sorted((entry for entry in found if entry), key=lambda entry: entry.index)


def of(version: ModelVersion) -> Entry | None:
    """The entry of the act that made a production version, None where the act was cut off.

    Raises TrackingError for a line that cannot be read.
    """
    if TAG not in version.tags:
        return None
    try:
        stored: Mapping = json.loads(version.tags[TAG])
        return Entry(**stored)
    except (ValueError, TypeError):
        raise TrackingError(
            f"ledger line of {PRODUCTION} version {version.version} cannot be read: it was changed "
            "by hand; restore the registry"
        ) from None


def before(known: Sequence[Entry], version: str) -> Entry | None:
    """The act that put in use what a rollback of a production version brings back.

    Args:
        known: the ledger, first entry first.
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


def append(client: MlflowClient, **told: object) -> Entry:
    """Write the next entry on the production version that it speaks of.

    Args:
        told: who, why, action, candidate_version, version, previous_version, gate_report.

    The caller holds the lock under which promotions take turns.
    """
    known = entries(client)
    entry = Entry(
        index=len(known),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        previous_hash=known[-1].hash if known else GENESIS,
        **told,  # type: ignore[arg-type]
    ).sealed()
    with server.translated(client.tracking_uri):
        line = json.dumps(asdict(entry))
        client.set_model_version_tag(PRODUCTION, entry.version, TAG, line)
    return entry


def verify(client: MlflowClient) -> int:
    """Check the whole chain; the number of its entries.

    Raises TrackingError that names the first entry that was changed, removed or put between.
    """
    before = GENESIS
    known = entries(client)
    for position, entry in enumerate(known):
        if not entry.intact or entry.index != position or entry.previous_hash != before:
            raise TrackingError(
                f"ledger entry {position} of {PRODUCTION} (version {entry.version}) does not fit "
                "the chain: it, or the one before it, was changed by hand; restore the registry"
            )
        before = entry.hash
    return len(known)


def render() -> str:
    """The ledger as text, its chain checked. Raises TrackingError where it was changed by hand."""
    client = server.connect()
    verify(client)
    acts = entries(client)
    if not acts:
        return "The ledger is empty: nothing was promoted yet.\n"
    headings = ["time", "who", "action", "candidate", "version", "before", "why", "hash"]
    lines = [
        [
            *(entry.time, entry.who, entry.action, entry.candidate_version, entry.version),
            *(entry.previous_version, entry.why, entry.hash[:12]),
        ]
        for entry in acts
    ]
    return to_text([table(f"ledger of {PRODUCTION}", headings, lines)])


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
