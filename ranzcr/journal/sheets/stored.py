"""The journal as an import compares and writes it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from mlflow import MlflowClient

from ranzcr.journal import remote
from ranzcr.journal.journal_run import JournalRun
from ranzcr.journal.sheets.content import key_of
from ranzcr.tracking import server
from ranzcr.tracking.names import Tag

UNFINISHED = "unfinished"  # the tag imported_cells while a row is being written


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
        client = server.connect()
        place = server.experiment_id(client)
        unfinished = f"tags.{Tag.IMPORTED_CELLS} = '{UNFINISHED}'"
        with server.translated(client.tracking_uri):
            begun = list(map(remote.of_mlflow, client.search_runs([place], unfinished)))
        found = remote.search(client, place)
        trained = {
            run.info.run_id
            for run in found
            if Tag.IMPORTED_FROM not in run.data.tags or (run.inputs and run.inputs.dataset_inputs)
        }
        runs = sorted(map(remote.of_mlflow, found), key=lambda run: (run.started, run.run_id))
        return cls(client, place, runs, begun, frozenset(trained))

    @cached_property
    def by_key(self) -> dict[str, JournalRun]:
        """Runs by run key and by run id; of several with one key the earliest."""
        by_id = {run.run_id: run for run in self.runs}
        return {**by_id, **{key_of(run): run for run in reversed(self.runs)}}
