"""Writing what an import has worked out; the next import writes what it has not reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count

from mlflow.entities import Metric, Param, RunTag
from mlflow.entities import Run as MlflowRun

from ranzcr.errors import TrackingError
from ranzcr.journal.journal_run import JournalRun
from ranzcr.journal.sheets.content import (
    END,
    EXPERIMENT,
    KIND,
    START,
    STATUS,
    Content,
    content_of,
    digests,
    key_of,
)
from ranzcr.journal.sheets.plan import Edit, Plan
from ranzcr.journal.sheets.rows import Row
from ranzcr.journal.sheets.stored import UNFINISHED, Journal
from ranzcr.progress import track
from ranzcr.tracking import delivery, provenance, runs, server
from ranzcr.tracking.names import Tag
from ranzcr.tracking.place import sqlite_file

_BATCH = 100  # metrics, params and tags per request
_AT_ONCE = 4  # rows; a server has 4 processes by default
_MARKS = (Tag.IMPORTED_FROM, Tag.IMPORTED_SOURCE, Tag.IMPORTED_BY, Tag.IMPORTED_CELLS)


def write(plan: Plan, journal: Journal) -> None:
    """Write a plan row by row; several rows at once to a server, which takes its time to answer.

    Raises TrackingError, which says how far it got, if MLflow does not answer.
    """
    steps: list[JournalRun | Row | Edit] = [*plan.leftovers, *plan.new, *plan.edits]
    uri = journal.client.tracking_uri
    done = 0
    pool = ThreadPoolExecutor(1 if sqlite_file(uri) else _AT_ONCE)
    try:
        with server.translated(uri):
            writes = [pool.submit(_step, journal, plan, step) for step in steps]
            for result in track(writes, f"import {plan.file}"):
                result.result()
                done += 1
    except TrackingError as error:
        raise TrackingError(
            f"{error}; {done} of {len(steps)} changes are written, import {plan.file} again for "
            "the rest"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _step(journal: Journal, plan: Plan, step: JournalRun | Row | Edit) -> None:
    if isinstance(step, Row):
        _create(journal, step.key, step.content, _marks(plan, digests(step.content)))
    elif not isinstance(step, Edit):
        _patiently(partial(journal.client.delete_run, step.run_id))
    elif step.replaces:
        _replace(journal, plan, step)
    else:
        run_id = step.run.run_id
        if EXPERIMENT in step.content:
            name = str(step.content[EXPERIMENT])
            _patiently(partial(journal.client.update_run, run_id, name=name))
        marks = {f"tags.{name}": mark for name, mark in _marks(plan, step.digests).items()}
        _log(journal, run_id, {**dict.fromkeys(step.cleared, ""), **step.content, **marks})


def _marks(plan: Plan, cells: str | None) -> dict[str, str]:
    """The tags that say where a row is from; none if the run's stay as they are."""
    if cells is None:
        return {}
    return dict(zip(_MARKS, (plan.file, plan.source, provenance.author(), cells), strict=True))


def _create(
    journal: Journal,
    key: runs.Key,
    content: Content,
    marks: Mapping[str, str],
    replaced: str = "",
) -> None:
    """Create a finished run. Its last tag makes it a row of the journal, so no row is half written.

    Args:
        replaced: id of the run with the same key that it takes the place of.
    """
    client = journal.client
    start = int(content[START]) if START in content else None
    tags = {name: str(value) for name, value in _of(content, "tags").items() if name != Tag.KIND}
    tags |= {**marks, Tag.RUN_KEY: key, Tag.IMPORTED_CELLS: UNFINISHED}
    attempts = count()

    def find() -> MlflowRun | None:
        if next(attempts) == 0:  # the plan has looked for it
            return None
        found = client.search_runs([journal.place], f"tags.{Tag.RUN_KEY} = '{key}'")
        return next((run for run in found if run.info.run_id != replaced), None)

    def create() -> MlflowRun:
        return client.create_run(journal.place, start, tags, str(content[EXPERIMENT]))

    run_id = server.create_once(find, create).info.run_id
    end, status = content.get(END, start), str(content.get(STATUS, "FINISHED"))
    ended = None if end is None else int(end)
    _patiently(partial(client.set_terminated, run_id, status, ended))
    rest = {cell: value for cell, value in content.items() if not cell.startswith("tags.")}
    last = {KIND: content[KIND], f"tags.{Tag.IMPORTED_CELLS}": marks[Tag.IMPORTED_CELLS]}
    _log(journal, run_id, {**rest, **last}, start)


def _replace(journal: Journal, plan: Plan, edit: Edit) -> None:
    """Create a run with what the old one holds and the edits; move the old one to the trash."""
    old = edit.run
    kept = {cell: v for cell, v in content_of(old).items() if cell not in edit.cleared}
    before = {name: old.tags[name] for name in _MARKS if name in old.tags}
    marks = {**before, **_marks(plan, edit.digests)}
    _create(journal, key_of(old), {**kept, **edit.content}, marks, old.run_id)
    _patiently(partial(journal.client.delete_run, old.run_id))


def _log(journal: Journal, run_id: str, content: Content, when: int | None = None) -> None:
    """Write cells to a run, the tags last; scores as of `when`, by default now."""
    at = delivery.now() if when is None else when
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
