"""What the journal holds already, in the cells of a table."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun

from ranzcr.journal import remote
from ranzcr.journal.sheets.fields import END, EXPERIMENT, START, STATUS, Content
from ranzcr.tracking import delivery, runs, server, settling

FROM = "imported_from"  # tag: the file's name; a run without it was made by work
SOURCE = "imported_source"  # tag: the name by which rows are found again
BY = "imported_by"  # tag: who imported it last
CELLS = "imported_cells"  # tag: a digest per cell
UNFINISHED = "unfinished"  # instead of digests, while a row is being written
NOTE = f"tags.{runs.NOTE}"
_OURS = ("mlflow.", "imported_", runs.KEY, settling.ALIVE)  # tags that are no cells
_DIGEST = 8  # hex digits


@dataclass(frozen=True)
class Journal:
    """The journal's rows, and how to find them."""

    client: MlflowClient
    place: str  # the MLflow experiment
    runs: list[MlflowRun]
    unfinished: list[MlflowRun]  # rows that an import began to write

    @classmethod
    def load(cls) -> Journal:
        """Raises TrackingError where MLflow does not answer."""
        client = server.connect()
        place = server.experiment_id(client)
        with server.translated(client.tracking_uri):
            unfinished = client.search_runs([place], f"tags.{CELLS} = '{UNFINISHED}'")
        return cls(client, place, remote.search(client, place), unfinished)

    @cached_property
    def by_key(self) -> dict[str, MlflowRun]:
        """By run key and by run id; of several with one key the earliest."""
        latest_first = sorted(
            self.runs, key=lambda run: (run.info.start_time, run.info.run_id), reverse=True
        )
        by_id = {run.info.run_id: run for run in self.runs}
        return {**by_id, **{key_of(run): run for run in latest_first}}


def key_of(run: MlflowRun) -> str:
    """The run key; the id of a run without one."""
    return run.data.tags.get(runs.KEY, run.info.run_id)


def name_of(run: MlflowRun) -> str:
    return run.data.tags.get("experiment", run.info.run_name)


def is_native(run: MlflowRun) -> bool:
    """Whether work has made a run, or gone on in it: it may have artifacts."""
    return FROM not in run.data.tags or bool(run.inputs and run.inputs.dataset_inputs)


def content_of(run: MlflowRun) -> Content:
    """What a run holds that a table can hold; what is empty or NaN is left out."""
    tags = {name: value for name, value in run.data.tags.items() if not name.startswith(_OURS)}
    content: Content = {
        **{f"tags.{name}": value for name, value in tags.items() if value},
        **{f"params.{name}": value for name, value in run.data.params.items() if value},
        **{f"metrics.{name}": v for name, v in run.data.metrics.items() if v == v},
        EXPERIMENT: name_of(run),
        START: run.info.start_time,
    }
    if run.data.tags.get(runs.NOTE):
        content[NOTE] = run.data.tags[runs.NOTE]
    if run.info.end_time is not None:
        content[END] = run.info.end_time
    if run.info.status in ("FAILED", "KILLED"):
        content[STATUS] = run.info.status
    return content


def digest(cell: str, value: str | float) -> str:
    """Tells whether a cell is as it was."""
    return hashlib.sha256(json.dumps([cell, value]).encode()).hexdigest()[:_DIGEST]


def digests(content: Content) -> str:
    """As many as a tag takes, 1,000; further cells count as edited where they differ."""
    return "".join(digest(cell, value) for cell, value in content.items())[: delivery.TAG]


def remembered(run: MlflowRun) -> set[str]:
    """The digests of the cells that a run was imported with."""
    joined = run.data.tags.get(CELLS, "")
    return {joined[at : at + _DIGEST] for at in range(0, len(joined), _DIGEST)}
