"""Tells a chat what happened: a promotion, a verdict, failed gates, a run that ended.

A message is posted, as JSON that Slack, Mattermost and their like understand, to the URL in
RANZCR_WEBHOOK_URL, or in the file that RANZCR_WEBHOOK_URL_FILE names; where neither is set,
nothing is sent. Who has such a URL can write to the chat: it is a secret, and stands in no message,
log or error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import requests
from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun

from ranzcr.errors import ConfigError, TrackingError
from ranzcr.journal.sheets.stored import FROM as IMPORTED
from ranzcr.registry.candidates import Request
from ranzcr.registry.decisions import Verdict
from ranzcr.registry.gates import FAIL, GateReport
from ranzcr.registry.ledger import PRODUCTION, LedgerLine
from ranzcr.tracking import place, server

URL = "RANZCR_WEBHOOK_URL"
_SECONDS = 4.0  # to connect, and again until the answer
_TRIES = 2
_SECTION = 3000  # characters that Slack takes in one
_DONE = {"promote": "promoted", "rollback": "brought back"}  # by a ledger entry's action
_ENDED = {"FAILED": "failed", "KILLED": "was stopped"}
_SCORED = ("single", "ensemble")  # kinds of runs that have a CV when they are done


@dataclass(frozen=True)
class Event:
    """What happened: a title, and facts in the order they are shown, each of one line."""

    title: str
    facts: tuple[tuple[str, str], ...] = ()


def act(entry: LedgerLine) -> Event:
    """A promotion or a rollback, as the ledger has it."""
    facts = {
        "version": entry.version,
        "before": entry.previous_version,
        "by": entry.who,
        "why": entry.why,
        "at": entry.time,
    }
    return _about(entry.candidate_version, _DONE.get(entry.action, entry.action), facts)


def champion_is(version: str) -> Event:
    """The alias was moved, of which no more is known: by hand, or while nobody listened."""
    facts = {"see": "ranzcr registry verify"}
    return _event(f"{PRODUCTION}: version {version} is in use now", facts)


def asked(version: str, request: Request) -> Event:
    """A candidate that somebody wants promoted, and that another person has to approve."""
    return _about(version, "approval asked for", {"by": request.who, "why": request.why})


def rejected(version: str, verdict: Verdict) -> Event:
    """A candidate that an approver turned down."""
    return _about(version, "rejected", {"by": verdict.who, "why": verdict.why})


def gates_failed(version: str, report: GateReport) -> Event:
    """A candidate that did not pass: which gates, and what they found."""
    failed = {gate.name: gate.text for gate in report.gates if gate.result == FAIL}
    return _about(version, "failed its gates", failed)


def ledger_broken(problem: str) -> Event:
    """What does not fit the ledger's chain."""
    return _event(f"{PRODUCTION}: the ledger was changed by hand", {"found": problem})


def run_ended(run: MlflowRun, uri: str) -> Event | None:
    """What a run came to, None where there is nothing to tell.

    Args:
        run: as MLflow has it now. A single model or an ensemble is done when it is scored; any
            other run is told of where it failed or was stopped. What a table brought is not told.
        uri: of the MLflow that it is in.
    """
    tags, metrics = run.data.tags, run.data.metrics
    name = f"{tags.get('kind', 'run')} {tags.get('experiment') or run.info.run_name}"
    page = place.run_page(place.page(uri), run.info.experiment_id, run.info.run_id)
    facts = {"by": tags.get("author", ""), "run": page}
    if IMPORTED in tags:
        return None
    if run.info.status in _ENDED:
        return _event(f"{name} {_ENDED[run.info.status]}", facts)
    if run.info.status == "FINISHED" and tags.get("kind") in _SCORED and "cv_auc" in metrics:
        scores = {"95 %": _interval(metrics), "GPU hours": _hours(metrics)}
        return _event(f"{name}: CV {metrics['cv_auc']:.4f}", {**scores, **facts})
    return None


def send(event: Event | None) -> None:
    """Post an event where a URL is set; a failure is one line on stderr and stops nothing.

    Takes 16 s at most, where the receiver never answers.
    """
    try:
        url = secret(URL)
        if url and event is not None:
            post(url, event)
    except (ConfigError, TrackingError) as problem:
        warn(str(problem))


def send_end(client: MlflowClient, run_id: str) -> None:
    """Tell what a run came to, as MLflow has it by now; see `run_ended` and `send`."""
    if not any(os.environ.get(name) for name in (URL, f"{URL}_FILE")):
        return
    uri = client.tracking_uri
    try:
        with server.translated(uri), server.hurried():
            run = client.get_run(run_id)
    except TrackingError as problem:
        warn(f"the end of run {run_id} was not told: {problem}")
    else:
        send(run_ended(run, uri))


def post(url: str, event: Event) -> None:
    """Post an event. Raises TrackingError, without the URL, where the receiver does not take it."""
    problem = ""
    for _ in range(_TRIES):
        try:
            answer = requests.post(
                url, json=message(event), timeout=_SECONDS, allow_redirects=False, stream=True
            )
        except (OSError, ValueError) as error:  # requests' own too; their text holds the URL
            problem = type(error).__name__
            continue
        answer.close()
        if answer.status_code < 300:
            return
        problem = f"answer {answer.status_code}"
        if answer.status_code < 500:
            break
    raise TrackingError(
        f"{event.title!r} was not sent: {problem} from the receiver that {URL} names; "
        "check it with ranzcr notify test"
    )


def message(event: Event) -> dict:
    """An event as Slack's JSON: `text` for the preview, `blocks` for the channel."""
    title = _escape(event.title)
    lines = [f"*{title}*", *(_escape(f"{name}: {value}") for name, value in event.facts)]
    sections = [{"type": "section", "text": {"type": "mrkdwn", "text": line}} for line in lines]
    return {"text": title, "blocks": sections}


def secret(name: str) -> str:
    """The variable `name`, or what the file holds that `name`_FILE names; "" where neither is set.

    Raises ConfigError for a file that cannot be read or is empty.
    """
    if os.environ.get(name):
        return os.environ[name].strip()
    file = os.environ.get(f"{name}_FILE")
    if not file:
        return ""
    try:
        held = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        held = ""
    if not held:
        raise ConfigError(f"{name}_FILE: {file} cannot be read or is empty; write the secret to it")
    return held


def warn(text: str) -> None:
    print(f"ranzcr: {' '.join(text.split())}", file=sys.stderr, flush=True)


def _about(candidate: str, what: str, facts: Mapping[str, str]) -> Event:
    return _event(f"{PRODUCTION}: candidate {candidate} {what}", facts)


def _event(title: str, facts: Mapping[str, str]) -> Event:
    lines = ((name, " ".join(value.split())) for name, value in facts.items())
    return Event(" ".join(title.split()), tuple((name, line) for name, line in lines if line))


def _interval(metrics: Mapping[str, float]) -> str:
    if "cv_auc_lo" not in metrics or "cv_auc_hi" not in metrics:
        return ""
    return f"{metrics['cv_auc_lo']:.4f} to {metrics['cv_auc_hi']:.4f}"


def _hours(metrics: Mapping[str, float]) -> str:
    return f"{metrics['gpu_hours']:.1f}" if "gpu_hours" in metrics else ""


def _escape(text: str) -> str:
    """Text that people wrote, cut, and without a link or a mention of the whole channel in it."""
    text = text[: _SECTION // 6]  # the longest escape has five characters
    for sign, instead in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("@", "@\u200b")):
        text = text.replace(sign, instead)
    return text
