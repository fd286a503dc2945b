"""Post what is new in the journal and the registry to a chat, each event once.

    <home>/notify/<MLflow>.json   {"since": milliseconds, "told": [hashes of the events sent]}

Events are the lines of the ledger and breaks of its chain, requests for approval, rejections,
candidates that failed their gates, and runs that were scored, failed or were stopped. The first
poll sends nothing: it takes everything up to then as sent. An event that the chat did not accept is
sent by a later poll, also by one of another process. An event is sent twice only if the poller is
killed between the chat's answer and writing the file.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from ranzcr.errors import TrackingError
from ranzcr.files import hash_json, write_json
from ranzcr.home import home
from ranzcr.journal import remote
from ranzcr.journal.journal_run import JournalRun
from ranzcr.notify import Event
from ranzcr.registry import ledger
from ranzcr.registry.candidates import CANDIDATES, CandidateVersion
from ranzcr.registry.decisions import REJECTED
from ranzcr.registry.gates import FAIL
from ranzcr.registry.ledger import PRODUCTION, LedgerLine
from ranzcr.registry.promotion import Snapshot
from ranzcr.tracking import place, server
from ranzcr.tracking.names import Kind, Metric, Tag

Post = Callable[[Event], None]

# A run's end may reach MLflow days later, with its original time, if MLflow was away.
_LATE = 7 * 24 * 3600 * 1000  # milliseconds
_ACTIONS = {ledger.PROMOTE: "promoted", ledger.ROLLBACK: "brought back"}
_FAILURES = {"FAILED": "failed", "KILLED": "was stopped"}  # by a run's status


def watch(post: Post, every: float) -> None:
    """Poll every `every` seconds until stopped; an outage is one line on stderr, not one a poll."""
    printed = ""
    while True:
        problem = ""
        try:
            poll(post)
        except TrackingError as error:
            problem = " ".join(str(error).split())
        if problem and problem != printed:
            print(f"ranzcr: {problem}", file=sys.stderr, flush=True)
        printed = problem
        time.sleep(every)


def poll(post: Post) -> int:
    """Post the events that are new since the last poll and return their number.

    Raises TrackingError if MLflow does not answer or the chat does not accept an event; the next
    poll sends the rest.
    """
    file = home() / "notify" / f"{server.identity()}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock"):  # of two pollers at once, one waits and then finds nothing new
        now = int(time.time() * 1000)
        state = _State.read(file)
        events = {_key(event): event for event in _events((state.since if state else now) - _LATE)}
        if state is None:
            _State(now, events.keys()).write(file)
            return 0
        sent = events.keys() & state.sent
        new = events.keys() - sent
        for key, event in events.items():
            if key in new:
                post(event)
                sent.add(key)
                _State(state.since, sent).write(file)
        _State(now, sent).write(file)
        return len(new)


@dataclass(frozen=True)
class _State:
    """The time of the last complete poll, and the keys of the events sent that still exist."""

    since: int  # milliseconds since 1970
    sent: Iterable[str]

    @classmethod
    def read(cls, file: Path) -> _State | None:
        """Read the state; None before the first poll."""
        if not file.exists():
            return None
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            return cls(int(content["since"]), list(content["told"]))
        except (OSError, ValueError, KeyError, TypeError):
            raise TrackingError(
                f"{file}: damaged; remove it, and the next poll takes everything as sent"
            ) from None

    def write(self, file: Path) -> None:
        write_json(file, {"since": self.since, "told": sorted(self.sent)})


def _key(event: Event) -> str:
    return hash_json(asdict(event))[:16]


def _events(since: int) -> list[Event]:
    """Return the events of the whole registry, and of the runs that ended after `since`."""
    client = server.connect()
    uri = client.tracking_uri
    with server.translated(uri), server.hurried():
        registry = Snapshot.read(client)
        candidates = ledger.versions(client, CANDIDATES)
        experiment = server.experiment_id(client)
        runs = remote.ended(client, experiment, since)
    events = [*_decisions(registry)]
    for version in candidates:
        events += _of_candidate(CandidateVersion(version))
    for run in runs:
        events += _of_run(run, place.run_page(place.page(uri), experiment, run.run_id))
    return events


def _decisions(registry: Snapshot) -> Iterator[Event]:
    for line in registry.chain.entries:
        if line != registry.cut_off:
            yield _promoted(line)
    for problem in registry.chain.problems:
        yield _event(f"{PRODUCTION}: the ledger was changed by hand", {"found": problem})
    for version, verdict in registry.decisions.verdicts.items():
        if verdict.verdict == REJECTED:  # an approval adds a line to the ledger
            yield _about(version, "rejected", {"by": verdict.who, "why": verdict.why})


def _promoted(line: LedgerLine) -> Event:
    """Return the event of a promotion or a rollback."""
    facts = {
        "version": line.version,
        "before": line.previous_version,
        "by": line.who,
        "why": line.why,
        "at": line.time,
    }
    return _about(line.candidate_version, _ACTIONS.get(line.action, line.action), facts)


def _of_candidate(candidate: CandidateVersion) -> Iterator[Event]:
    request = candidate.request
    if request:
        facts = {"by": request.who, "why": request.why}
        yield _about(candidate.version, "approval asked for", facts)
    with suppress(TrackingError):  # the report was changed by hand; `registry verify` finds that
        report = candidate.report
        if report.result == FAIL:
            failed = {gate.name: gate.text for gate in report.gates if gate.result == FAIL}
            yield _about(candidate.version, "failed its gates", failed)


def _of_run(run: JournalRun, page: str) -> Iterator[Event]:
    """Yield the event of a run that was scored, failed or was stopped; imported runs have none.

    If a fold fails, so does the run of its experiment.
    """
    tags, metrics = run.tags, run.metrics
    if Tag.IMPORTED_FROM in tags:
        return
    kind = tags.get(Tag.KIND, "run")
    facts = {"by": tags.get(Tag.AUTHOR, ""), "run": page}
    if run.status in _FAILURES:
        yield _event(f"{kind} {run.experiment} {_FAILURES[run.status]}", facts)
    elif (
        run.status == "FINISHED"
        and kind in (Kind.SINGLE, Kind.ENSEMBLE)
        and Metric.CV_AUC in metrics
    ):
        scores = {"95 %": _interval(metrics), "GPU hours": _hours(metrics)}
        title = f"{kind} {run.experiment}: CV {metrics[Metric.CV_AUC]:.4f}"
        yield _event(title, {**scores, **facts})


def _interval(metrics: Mapping[str, float]) -> str:
    if Metric.CV_AUC_LO not in metrics or Metric.CV_AUC_HI not in metrics:
        return ""
    return f"{metrics[Metric.CV_AUC_LO]:.4f} to {metrics[Metric.CV_AUC_HI]:.4f}"


def _hours(metrics: Mapping[str, float]) -> str:
    return f"{metrics[Metric.GPU_HOURS]:.1f}" if Metric.GPU_HOURS in metrics else ""


def _about(candidate: str, what: str, facts: Mapping[str, str]) -> Event:
    return _event(f"{PRODUCTION}: candidate {candidate} {what}", facts)


def _event(title: str, facts: Mapping[str, str]) -> Event:
    """Return an event whose facts have one line each; empty ones are left out."""
    lines = ((name, " ".join(value.split())) for name, value in facts.items())
    return Event(" ".join(title.split()), tuple((name, line) for name, line in lines if line))
