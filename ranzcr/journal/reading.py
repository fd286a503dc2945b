"""Reads the journal in the fastest way: a local one from its tables, without importing mlflow.

A local journal that is unusual in any way, and every other place, is read through mlflow. So
nothing in this module may import mlflow before it is known to be needed.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from ranzcr.journal import local_tables
from ranzcr.journal.journal_run import SHORT, JournalRun, Record
from ranzcr.tracking import place


def read(kind: str | None = None) -> Record:
    """Read all top-level runs; there are none if there is no local journal yet.

    Raises TrackingError if MLflow does not answer or refuses, or if its file is damaged.
    """
    uri = place.tracking_uri()
    file = place.sqlite_file(uri)
    pages = place.page(uri)
    if file is not None and not file.exists():
        return Record(pages=pages)
    with _garbage_collection_paused():
        local = local_tables.read(file, place.EXPERIMENT, kind) if file else None
        runs, experiment_id = local or _ask_mlflow(kind)
    return Record(runs, pages, experiment_id)


def named(name: str) -> list[JournalRun]:
    """Return the runs that are named `name`, or whose id begins with it (8 characters or more).

    A server is asked for these only: reading all of its runs takes seconds.
    """
    if place.tracking_uri().startswith("http"):
        from ranzcr.journal import remote
        from ranzcr.tracking import server

        client = server.connect()
        runs = remote.named(client, server.experiment_id(client), name)
    else:
        runs = read().runs
    return [run for run in runs if is_named(run, name)]


def is_named(run: JournalRun, name: str) -> bool:
    """Return whether `name` is the name or the beginning of the id of this run."""
    return name == run.experiment or (len(name) >= SHORT and run.run_id.startswith(name))


def _ask_mlflow(kind: str | None) -> tuple[list[JournalRun], str]:
    from ranzcr.journal import remote
    from ranzcr.tracking import server

    client = server.connect()
    experiment_id = server.experiment_id(client)
    return remote.read(client, experiment_id, kind), experiment_id


@contextmanager
def _garbage_collection_paused() -> Iterator[None]:
    """Pause Python's garbage collector: 1,000 runs are 70,000 new objects, none of them garbage,
    and checking them repeatedly takes longer than reading them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
