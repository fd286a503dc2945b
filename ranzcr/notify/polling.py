"""Asks MLflow what has happened, where its webhooks cannot reach us, and tells the chat.

    <home>/notify/<MLflow>.json   {"since": milliseconds, "told": [what was told, by key]}

Told are the acts of the ledger and what does not fit its chain, rejections and requests, candidates
that failed their gates, and top-level runs that ended. At the very first look all that is there
counts as told. What the chat did not take stays untold, and the next look tells it; so does a
poller that starts again. Only where it is killed between the chat's answer and its own note is an
event told twice.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock
from mlflow import MlflowClient

from ranzcr.errors import TrackingError
from ranzcr.files import hash_json, write_json
from ranzcr.home import home
from ranzcr.notify import notify
from ranzcr.notify.notify import Event
from ranzcr.notify.webhooks import Tell
from ranzcr.registry import ledger
from ranzcr.registry.candidates import CANDIDATES, CandidateVersion
from ranzcr.registry.decisions import REJECTED
from ranzcr.registry.gates import FAIL
from ranzcr.registry.promotion import Snapshot
from ranzcr.tracking import server

# A run's end may reach MLflow late, with its original time: an outbox waits while MLflow is away.
_LATE = 7 * 24 * 3600 * 1000  # milliseconds
_PAGE = 1000  # runs per request


def look(tell: Tell) -> int:
    """Tell what is new since the last look; how many events that were.

    Raises TrackingError where MLflow does not answer, or the chat does not take an event: then the
    next look tells the rest.
    """
    file = home() / "notify" / f"{server.identity()}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock"):  # two pollers take turns and tell nothing twice
        return _look(file, tell)


def _look(file: Path, tell: Tell) -> int:
    now = int(time.time() * 1000)
    before = _read(file)
    since = (before["since"] if before else now) - _LATE
    events = {hash_json(asdict(event))[:16]: event for event in _happened(since)}
    if before is None:
        _write(file, now, events)
        return 0
    told = events.keys() & before["told"]
    new = [key for key in events if key not in told]
    for key in new:
        tell(events[key])
        told.add(key)
        _write(file, before["since"], told)
    _write(file, now, told)
    return len(new)


def _happened(since: int) -> list[Event]:
    """All that could be told: what the registry holds, and what ended after `since`."""
    client = server.connect()
    with server.translated(client.tracking_uri), server.hurried():
        return [*_registry(client), *_ends(client, since)]


def _registry(client: MlflowClient) -> Iterator[Event]:
    now = Snapshot.read(client)
    for entry in now.chain.entries:
        if entry != now.cut_off:
            yield notify.act(entry)
    yield from map(notify.ledger_broken, now.chain.problems)
    for version, verdict in now.decisions.verdicts.items():
        if verdict.verdict == REJECTED:  # an approval is followed by its act
            yield notify.rejected(version, verdict)
    for found in ledger.versions(client, CANDIDATES):
        yield from _candidate(CandidateVersion(found))


def _candidate(candidate: CandidateVersion) -> Iterator[Event]:
    if candidate.request:
        yield notify.asked(candidate.version, candidate.request)
    with suppress(TrackingError):  # a report that was changed by hand; `registry` tells of it
        if candidate.report.result == FAIL:
            yield notify.gates_failed(candidate.version, candidate.report)


def _ends(client: MlflowClient, since: int) -> Iterator[Event]:
    """A run that goes on again is not among them, so its next end is a new one."""
    asked = f"attributes.end_time > {since} and tags.kind != 'fold'"
    journal, token = server.experiment_id(client), None
    while True:
        page = client.search_runs([journal], asked, max_results=_PAGE, page_token=token)
        for run in page:
            event = notify.run_ended(run, client.tracking_uri)
            if event is not None:
                yield event
        token = page.token
        if not token:
            return


def _read(file: Path) -> dict[str, Any] | None:
    """What the last look left, None where there was none."""
    if not file.exists():
        return None
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
        return {"since": int(held["since"]), "told": list(held["told"])}
    except (OSError, ValueError, KeyError, TypeError):
        raise TrackingError(
            f"{file}: damaged; remove it, and what happened until then is not told"
        ) from None


def _write(file: Path, since: int, told: Iterable[str]) -> None:
    write_json(file, {"since": since, "told": sorted(told)})
