"""Notes, decisions and leaderboard scores that people add to a run of the journal."""

from __future__ import annotations

from datetime import UTC, datetime

from ranzcr.errors import ConfigError, TrackingError
from ranzcr.journal import rows
from ranzcr.tracking import delivery, provenance, server
from ranzcr.tracking.names import Metric, Tag
from ranzcr.tracking.runs import Run


def set_lb(name: str, *, public: float | None = None, private: float | None = None) -> str:
    """Write leaderboard scores to a top-level run.

    Args:
        name: see `rows.find`.
        public: AUC, 0 to 1.
        private: AUC, 0 to 1.

    Returns the run id.
    """
    if public is None and private is None:
        raise ConfigError("no leaderboard score; give --public, --private or both")
    for score in (public, private):
        if score is not None and not 0 <= score <= 1:
            raise ConfigError(f"leaderboard score {score}: expected an AUC from 0 to 1")
    run = _open(name)
    run.log_metrics({Metric.LB_PUBLIC: public, Metric.LB_PRIVATE: private})
    run.flush()
    return run.run_id


def note(name: str, text: str) -> str:
    """Add a line with the date to the description of a top-level run.

    Args:
        name: see `rows.find`.
        text: line breaks become spaces.

    Returns the run id. Raises TrackingError if the run is unknown or its description is full.
    """
    line = f"{datetime.now(UTC).date()} {provenance.author()}: {_one_line('note', text)}"
    run = _open(name)
    uri = run.client.tracking_uri
    with server.translated(uri), server.exclusive(uri):
        before = run.client.get_run(run.run_id).data.tags.get(Tag.NOTE, "")
        # The description is Markdown: an empty line starts a new paragraph.
        description = f"{before}\n\n{line}".lstrip()
        if len(description) > delivery.TAG:
            raise TrackingError(
                f"the description of {name} would have {len(description)} characters, MLflow takes "
                f"{delivery.TAG}; shorten it with ranzcr ui"
            )
        run.set_tags({Tag.NOTE: description})
    return run.run_id


def decide(name: str, decision: str) -> str:
    """Write a decision about a top-level run, with author and time; replaces an earlier decision.

    Args:
        name: see `rows.find`.
        decision: shown in the journal; line breaks become spaces.

    Returns the run id.
    """
    tags = {
        Tag.DECISION: _one_line("decision", decision),
        Tag.DECIDED_BY: provenance.author(),
        Tag.DECIDED_AT: datetime.now(UTC).isoformat(timespec="seconds"),
    }
    run = _open(name)
    run.set_tags(tags)
    return run.run_id


def _open(name: str) -> Run:
    return Run(server.connect(), rows.resolve(name))


def _one_line(what: str, text: str) -> str:
    line = " ".join(text.split())
    if not line:
        raise ConfigError(f"the {what} is empty; write something")
    if len(line) > delivery.TAG:
        raise ConfigError(f"the {what} has {len(line)} characters; MLflow takes {delivery.TAG}")
    return line
