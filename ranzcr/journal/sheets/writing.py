"""Writing what an import has worked out; the next import writes what it has not reached."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count

from mlflow.entities import Metric, Param, RunTag
from mlflow.entities import Run as MlflowRun

from ranzcr.errors import TrackingError
from ranzcr.journal.sheets import stored
from ranzcr.journal.sheets.plan import Edit, Plan
from ranzcr.journal.sheets.stored import END, KIND, START, Content, Journal, content_of
from ranzcr.progress import track
from ranzcr.tracking import delivery, server
from ranzcr.tracking.names import Tag
from ranzcr.tracking.place import sqlite_file

_BATCH = 100  # metrics, params and tags per request
_AT_ONCE = 4  # rows; a server has 4 processes by default
_CELLS = f"tags.{Tag.IMPORTED_CELLS}"


def write(plan: Plan, journal: Journal) -> None:
    """Write a plan row by row; several rows at once to a server, which takes its time to answer.

    Raises TrackingError, which says how far it got, if MLflow does not answer.
    """
    steps: list[Callable[[], None]] = [partial(_delete, journal, r.run_id) for r in plan.leftovers]
    for row in plan.new:
        steps.append(partial(_create, journal, row.key, row.content | plan.marks(row.content)))
    steps += [partial(_replace if e.replaces else _update, journal, e) for e in plan.edits]
    uri = journal.client.tracking_uri
    done = 0
    pool = ThreadPoolExecutor(1 if sqlite_file(uri) else _AT_ONCE)
    try:
        with server.translated(uri):
            for write in track([pool.submit(step) for step in steps], f"import {plan.file}"):
                write.result()
                done += 1
    except TrackingError as error:
        progress = f"{done} of {len(steps)} changes are written"
        raise TrackingError(f"{error}; {progress}, import {plan.file} again for the rest") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _create(journal: Journal, key: str, content: Content, replaced: str = "") -> None:
    """Create a finished run. Its last tags make it a row of the journal, so no row is half written.

    Args:
        replaced: id of the run with the same key that it takes the place of.
    """
    client = journal.client
    start = int(content[START]) if START in content else None
    end = int(content[END]) if END in content else start
    tags = {name: str(tag) for name, tag in _of(content, "tags").items() if name != Tag.KIND}
    tags |= {Tag.RUN_KEY: key, Tag.IMPORTED_CELLS: stored.UNFINISHED}
    attempts = count()

    def find() -> MlflowRun | None:
        if next(attempts) == 0:  # the plan has looked for it
            return None
        runs = client.search_runs([journal.place], f"tags.{Tag.RUN_KEY} = '{key}'")
        return next((run for run in runs if run.info.run_id != replaced), None)

    def create() -> MlflowRun:
        return client.create_run(journal.place, start, tags, str(content[stored.EXPERIMENT]))

    run_id = server.create_once(find, create).info.run_id
    status = str(content.get(stored.STATUS, "FINISHED"))
    _patiently(partial(client.set_terminated, run_id, status, end))
    last = {cell: content[cell] for cell in (KIND, _CELLS)}
    others = {cell: value for cell, value in content.items() if not cell.startswith("tags.")}
    _log(journal, run_id, others | last, start)


def _replace(journal: Journal, edit: Edit) -> None:
    """Create a run with what the old one holds and the edits; delete the old one."""
    old = edit.run
    marks = {f"tags.{name}": tag for name, tag in old.tags.items() if name.startswith("imported_")}
    kept = {cell: value for cell, value in content_of(old).items() if cell not in edit.cleared}
    _create(journal, stored.key_of(old), marks | kept | edit.content | edit.marks, old.run_id)
    _delete(journal, old.run_id)


def _update(journal: Journal, edit: Edit) -> None:
    if stored.EXPERIMENT in edit.content:
        name = str(edit.content[stored.EXPERIMENT])
        _patiently(partial(journal.client.update_run, edit.run.run_id, name=name))
    cleared: Content = dict.fromkeys(edit.cleared, "")
    _log(journal, edit.run.run_id, cleared | edit.content | edit.marks, delivery.now())


def _delete(journal: Journal, run_id: str) -> None:
    _patiently(partial(journal.client.delete_run, run_id))


def _log(journal: Journal, run_id: str, content: Content, time: int | None) -> None:
    """Write cells to a run, the tags last."""
    at = delivery.now() if time is None else time
    metrics = [Metric(name, float(v), at, 0) for name, v in _of(content, "metrics").items()]
    params = [Param(name, str(value)) for name, value in _of(content, "params").items()]
    tags = [RunTag(name, str(value)) for name, value in _of(content, "tags").items()]
    for start in reversed(range(0, max(len(metrics), len(params), len(tags)), _BATCH)):
        batch = slice(start, start + _BATCH)
        values = (metrics[batch], params[batch], tags[batch])
        _patiently(partial(journal.client.log_batch, run_id, *values, synchronous=True))


def _patiently(call: Callable[[], object]) -> None:
    """Repeat a call while the server is away, for half a minute; it may be done twice."""
    server.create_once(lambda: None, call)


def _of(content: Content, place: str) -> Content:
    prefix = f"{place}."
    return {cell.removeprefix(prefix): v for cell, v in content.items() if cell.startswith(prefix)}
