"""The journal as an import compares it: its runs, their cells, and digests of these.

Exports use this without mlflow, whose import takes seconds.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ranzcr.journal.journal_run import JournalRun
from ranzcr.tracking.names import Tag

if TYPE_CHECKING:
    from mlflow import MlflowClient

Content = dict[str, str | float]  # by cell: "metrics.cv_auc", "tags.kind", "start_time"

START, END = "start_time", "end_time"  # milliseconds since 1970
STATUS = "status"  # FAILED or KILLED; a run without it has finished
RUN_CELLS = (START, END, STATUS)
EXPERIMENT, KIND, NOTE = f"tags.{Tag.EXPERIMENT}", f"tags.{Tag.KIND}", f"tags.{Tag.NOTE}"
LONGEST = {"params": 6000, "tags": 8000}  # characters that MLflow takes
UNFINISHED = "unfinished"  # the tag imported_cells while a row is being written
_NO_CELLS = ("mlflow.", "imported_", Tag.RUN_KEY, Tag.ALIVE_AT)  # how such tags begin
_DIGEST = 8  # hex digits


@dataclass(frozen=True)
class Journal:
    """The journal's rows, and how to find them."""

    client: MlflowClient
    place: str  # the MLflow experiment
    runs: list[JournalRun]  # the earliest first
    unfinished: list[JournalRun]  # rows that an import began to write
    trained: frozenset[str]  # ids of runs that ranzcr trained or went on with; may have artifacts

    @classmethod
    def load(cls) -> Journal:
        """Read it from MLflow. Raises TrackingError if MLflow does not answer."""
        from ranzcr.journal import remote
        from ranzcr.tracking import server

        client = server.connect()
        place = server.experiment_id(client)
        unfinished = f"tags.{Tag.IMPORTED_CELLS} = '{UNFINISHED}'"
        with server.translated(client.tracking_uri):
            begun = list(map(remote.of_mlflow, client.search_runs([place], unfinished)))
        journal_runs = remote.search(client, place)
        trained = {
            run.info.run_id
            for run in journal_runs
            if Tag.IMPORTED_FROM not in run.data.tags or (run.inputs and run.inputs.dataset_inputs)
        }
        runs = sorted(
            map(remote.of_mlflow, journal_runs), key=lambda run: (run.started, run.run_id)
        )
        return cls(client, place, runs, begun, frozenset(trained))

    @cached_property
    def by_key(self) -> dict[str, JournalRun]:
        """Runs by run key and by run id; of several with one key the earliest."""
        by_id = {run.run_id: run for run in self.runs}
        return {**by_id, **{key_of(run): run for run in reversed(self.runs)}}

    @property
    def replaced(self) -> list[JournalRun]:
        """Imported runs with the key of an earlier run, left by an import that was killed."""
        later = [run for run in self.runs if self.by_key[key_of(run)] is not run]
        return [run for run in later if run.run_id not in self.trained]


def key_of(run: JournalRun) -> str:
    """Return the run key, or the id of a run without one."""
    return run.tags.get(Tag.RUN_KEY, run.run_id)


def content_of(run: JournalRun) -> Content:
    """Return the cells of a run that a table can hold, without empty ones and NaN."""
    tags = {name: tag for name, tag in run.tags.items() if not name.startswith(_NO_CELLS)}
    content: Content = {
        **{f"tags.{name}": tag for name, tag in tags.items() if tag},
        **{f"params.{name}": param for name, param in run.params.items() if param},
        **{f"metrics.{name}": value for name, value in run.metrics.items() if value == value},
        **{EXPERIMENT: run.experiment, START: run.started},
        **({NOTE: run.tags[Tag.NOTE]} if run.tags.get(Tag.NOTE) else {}),
        **({END: run.ended} if run.ended is not None else {}),
        **({STATUS: run.status} if run.status in ("FAILED", "KILLED") else {}),
    }
    return content


def digest(cell: str, value: str | float) -> str:
    """Return a short hash of a cell."""
    return hashlib.sha256(json.dumps([cell, value]).encode()).hexdigest()[:_DIGEST]


def digests(content: Content) -> str:
    """Join the digests of 1,000 cells, as many as a tag holds."""
    return "".join(digest(cell, value) for cell, value in content.items())[: LONGEST["tags"]]


def imported_digests(run: JournalRun) -> set[str]:
    """Return the digests of the cells that a run was imported with."""
    joined = run.tags.get(Tag.IMPORTED_CELLS, "")
    return {joined[at : at + _DIGEST] for at in range(0, len(joined), _DIGEST)}
