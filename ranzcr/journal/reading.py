"""Reading the journal by the quickest way that there is to it.

A local journal is read from its tables without importing mlflow; what is odd about it, and every
other place, is left to mlflow. So nothing here may import mlflow before it is known to be needed.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from ranzcr.journal import local_tables
from ranzcr.journal.entries import Entry, Record
from ranzcr.tracking import place

SHORT = 8  # characters of a run id that are shown, and suffice to name a run


def read(kind: str | None = None) -> Record:
    """All top-level runs, newest first; none where there is no local journal yet.

    Raises TrackingError where MLflow does not answer, refuses, or its file is damaged.
    """
    uri = place.tracking_uri()
    file = place.sqlite_file(uri)
    pages = place.page(uri)
    if file is not None and not file.exists():
        return Record([], pages)
    with _without_collector():
        known = local_tables.read(file, place.EXPERIMENT, kind) if file else None
        entries, experiment_id = known or _ask_mlflow(kind)
    return Record(entries, pages, experiment_id)


def named(name: str) -> list[Entry]:
    """The runs that are named `name`, or whose id begins with it, 8 characters at least.

    A server is asked for these alone: reading all of its runs takes seconds.
    """
    if place.tracking_uri().startswith("http"):
        from ranzcr.journal import remote
        from ranzcr.tracking import server

        client = server.connect()
        found = remote.named(client, server.experiment_id(client), name, SHORT)
    else:
        found = read().entries
    return [entry for entry in found if is_named(entry, name)]


def is_named(entry: Entry, name: str) -> bool:
    """Whether `name` means this run."""
    return name == entry.experiment or (len(name) >= SHORT and entry.run_id.startswith(name))


def _ask_mlflow(kind: str | None) -> tuple[list[Entry], str]:
    from ranzcr.journal import remote
    from ranzcr.tracking import server

    client = server.connect()
    experiment_id = server.experiment_id(client)
    return remote.read(client, experiment_id, kind), experiment_id


@contextmanager
def _without_collector() -> Iterator[None]:
    """Reading 1,000 runs makes 70,000 objects that all stay: looking through them again and again
    takes longer than reading them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
