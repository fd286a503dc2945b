"""What a run holds, by the cells of a table, and digests by which unchanged cells are known."""

from __future__ import annotations

import hashlib
import json

from ranzcr.journal.journal_run import JournalRun
from ranzcr.tracking.names import Tag

Content = dict[str, str | float]  # by cell: "metrics.cv_auc", "tags.kind", "start_time"

START, END = "start_time", "end_time"  # milliseconds since 1970
STATUS = "status"  # FAILED or KILLED; a run without it has finished
RUN_CELLS = (START, END, STATUS)
EXPERIMENT, KIND, NOTE = f"tags.{Tag.EXPERIMENT}", f"tags.{Tag.KIND}", f"tags.{Tag.NOTE}"
LONGEST_TAG = 8000  # characters that MLflow takes
_NO_CELLS = ("mlflow.", "imported_", Tag.RUN_KEY, Tag.ALIVE_AT)  # how such tags begin
_DIGEST = 8  # hex digits


def key_of(run: JournalRun) -> str:
    """Return the run key, or the id of a run without one."""
    return run.tags.get(Tag.RUN_KEY, run.run_id)


def content_of(run: JournalRun) -> Content:
    """Return the cells of a run that a table can hold, without empty ones and NaN."""
    tags = {name: v for name, v in run.tags.items() if not name.startswith(_NO_CELLS)}
    content: Content = {
        **{f"tags.{name}": value for name, value in tags.items() if value},
        **{f"params.{name}": value for name, value in run.params.items() if value},
        **{f"metrics.{name}": value for name, value in run.metrics.items() if value == value},
        EXPERIMENT: run.experiment,
        START: run.started,
    }
    if run.tags.get(Tag.NOTE):
        content[NOTE] = run.tags[Tag.NOTE]
    if run.ended is not None:
        content[END] = run.ended
    if run.status in ("FAILED", "KILLED"):
        content[STATUS] = run.status
    return content


def digest(cell: str, value: str | float) -> str:
    """Return a short hash of a cell."""
    return hashlib.sha256(json.dumps([cell, value]).encode()).hexdigest()[:_DIGEST]


def digests(content: Content) -> str:
    """Join the digests of 1,000 cells, as many as a tag holds."""
    return "".join(digest(cell, value) for cell, value in content.items())[:LONGEST_TAG]


def imported_digests(run: JournalRun) -> set[str]:
    """Return the digests of the cells that a run was imported with."""
    joined = run.tags.get(Tag.IMPORTED_CELLS, "")
    return {joined[at : at + _DIGEST] for at in range(0, len(joined), _DIGEST)}
