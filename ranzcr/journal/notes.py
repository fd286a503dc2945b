"""What people add to a run of the journal: a note, a decision, leaderboard scores."""

from __future__ import annotations

from datetime import UTC, datetime

from ranzcr.errors import ConfigError, TrackingError
from ranzcr.journal import rows as journal
from ranzcr.tracking import provenance, runs, server
from ranzcr.tracking.runs import Run


def set_lb(name: str, *, public: float | None = None, private: float | None = None) -> str:
    """Record leaderboard scores of a top-level run.

    Args:
        name: see `journal.resolve`.
        public: AUC, 0 to 1.
        private: the same.

    Returns the run id.
    """
    if public is None and private is None:
        raise ConfigError("no leaderboard score; give --public, --private or both")
    for score in (public, private):
        if score is not None and not 0 <= score <= 1:
            raise ConfigError(f"leaderboard score {score}: expected an AUC from 0 to 1")
    run = Run(server.connect(), journal.resolve(name))
    run.log_metrics({"lb_public": public, "lb_private": private})
    run.flush()
    return run.run_id


def note(name: str, text: str) -> str:
    """Add a dated line to the description of a top-level run, which MLflow's pages show.

    Args:
        name: see `journal.resolve`.
        text: made one line.

    Returns the run id. Raises TrackingError where the run is unknown or its description is full.
    """
    line = f"{datetime.now(UTC).date()} {provenance.author()}: {_one_line('note', text)}"
    run = Run(server.connect(), journal.resolve(name))
    uri = run.client.tracking_uri
    with server.translated(uri), server.exclusive(uri):
        before = run.client.get_run(run.run_id).data.tags.get(runs.NOTE, "")
        # A blank line between: the description is Markdown.
        description = f"{before}\n\n{line}".lstrip()
        if len(description) > runs.TAG:
            raise TrackingError(
                f"the description of {name} would have {len(description)} characters, MLflow takes "
                f"{runs.TAG}; shorten it with ranzcr ui"
            )
        run.set_tags({runs.NOTE: description})
    return run.run_id


def decide(name: str, decision: str) -> str:
    """Record what was decided about a top-level run, by whom and when; an earlier one is replaced.

    Args:
        name: see `journal.resolve`.
        decision: made one line, shown in the journal.

    Returns the run id.
    """
    told = {
        "decision": _one_line("decision", decision),
        "decided_by": provenance.author(),
        "decided_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    run = Run(server.connect(), journal.resolve(name))
    run.set_tags(told)
    return run.run_id


def _one_line(what: str, text: str) -> str:
    line = " ".join(text.split())
    if not line:
        raise ConfigError(f"the {what} is empty; say something")
    if len(line) > runs.TAG:
        raise ConfigError(f"the {what} has {len(line)} characters; MLflow takes {runs.TAG}")
    return line
