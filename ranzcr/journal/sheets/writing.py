"""Writing what an import has worked out. What it has not reached, the next import writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from mlflow.entities import Metric, Param, RunTag
from mlflow.entities import Run as MlflowRun

from ranzcr.errors import TrackingError
from ranzcr.journal.sheets import stored
from ranzcr.journal.sheets.fields import END, EXPERIMENT, KIND, START, STATUS, Content
from ranzcr.journal.sheets.merging import Edit, Plan
from ranzcr.journal.sheets.rows import Row
from ranzcr.journal.sheets.stored import Journal, content_of
from ranzcr.progress import track
from ranzcr.tracking import delivery, provenance, runs, server
from ranzcr.tracking.place import sqlite_file

_BATCH = 100  # metrics, params and tags per request
_AT_ONCE = 4  # rows; a server has 4 processes if nobody says otherwise
_MARKS = (stored.FROM, stored.SOURCE, stored.BY, stored.CELLS)


def write(made: Plan, journal: Journal) -> None:
    """Write a plan, row by row; several at once to a server, whose answers take their time.

    Raises TrackingError, which tells how far it came, where MLflow does not answer.
    """
    steps: list[MlflowRun | Row | Edit] = [*made.leftovers, *made.new, *made.edits]
    uri = journal.client.tracking_uri
    done = 0
    pool = ThreadPoolExecutor(1 if sqlite_file(uri) else _AT_ONCE)
    try:
        with server.translated(uri):
            acts = [pool.submit(_step, journal, made, step) for step in steps]
            for act in track(acts, f"import {made.file}"):
                act.result()
                done += 1
    except TrackingError as error:
        raise TrackingError(
            f"{error}; {done} of {len(steps)} changes are written, import {made.file} again for "
            "the rest"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _step(journal: Journal, made: Plan, step: MlflowRun | Row | Edit) -> None:
    if isinstance(step, Row):
        _create(journal, step.key, step.content, _marks(made, stored.digests(step.content)))
    elif not isinstance(step, Edit):
        _patiently(partial(journal.client.delete_run, step.info.run_id))
    elif step.replaces:
        _replace(journal, made, step)
    else:
        _update(journal, made, step)


def _marks(made: Plan, digests: str | None) -> dict[str, str]:
    """The tags that tell where a row is from; none where they stay as they are."""
    if digests is None:
        return {}
    values = (made.file, made.source, provenance.author(), digests)
    return dict(zip(_MARKS, values, strict=True))


def _create(
    journal: Journal,
    key: runs.Key,
    content: Content,
    marks: Mapping[str, str],
    instead_of: str = "",
) -> None:
    """Make a finished run. It is a row of the journal from its last write on: never half a row."""
    client = journal.client
    start = content.get(START)
    started = None if start is None else int(start)
    tags = {name: str(value) for name, value in _of(content, "tags").items() if name != "kind"}
    tags |= {**marks, runs.KEY: key, stored.CELLS: stored.UNFINISHED}
    asked = False

    def find() -> MlflowRun | None:
        # Before the first request there is none: the plan has looked.
        nonlocal asked
        if not asked:
            asked = True
            return None
        found = client.search_runs([journal.place], f"tags.{runs.KEY} = '{key}'")
        return next((run for run in found if run.info.run_id != instead_of), None)

    def create() -> MlflowRun:
        return client.create_run(journal.place, started, tags, str(content[EXPERIMENT]))

    run_id = server.create_once(find, create).info.run_id
    end, status = content.get(END, started), str(content.get(STATUS, "FINISHED"))
    ended = None if end is None else int(end)
    _patiently(partial(client.set_terminated, run_id, status, ended))
    rest = {cell: value for cell, value in content.items() if not cell.startswith("tags.")}
    last = {KIND: content[KIND], f"tags.{stored.CELLS}": marks[stored.CELLS]}
    _log(journal, run_id, {**rest, **last}, started)


def _update(journal: Journal, made: Plan, edit: Edit) -> None:
    run_id = edit.run.info.run_id
    if EXPERIMENT in edit.content:
        name = str(edit.content[EXPERIMENT])
        _patiently(partial(journal.client.update_run, run_id, name=name))
    marks = {f"tags.{name}": value for name, value in _marks(made, edit.digests).items()}
    _log(journal, run_id, {**dict.fromkeys(edit.cleared, ""), **edit.content, **marks})


def _replace(journal: Journal, made: Plan, edit: Edit) -> None:
    """A new run with what the old one holds and the edits; the old one goes to MLflow's trash."""
    old = edit.run
    kept = {cell: v for cell, v in content_of(old).items() if cell not in edit.cleared}
    before = {name: old.data.tags[name] for name in _MARKS if name in old.data.tags}
    marks = {**before, **_marks(made, edit.digests)}
    content = {**kept, **edit.content}
    _create(journal, stored.key_of(old), content, marks, instead_of=old.info.run_id)
    _patiently(partial(journal.client.delete_run, old.info.run_id))


def _log(journal: Journal, run_id: str, content: Content, when: int | None = None) -> None:
    """Write cells to a run, the tags last; scores as of `when`, by default now."""
    at = delivery.now() if when is None else when
    metrics = [Metric(name, float(v), at, 0) for name, v in _of(content, "metrics").items()]
    params = [Param(name, str(value)) for name, value in _of(content, "params").items()]
    tags = [RunTag(name, str(value)) for name, value in _of(content, "tags").items()]
    batches = range(0, max(len(metrics), len(params), len(tags)), _BATCH)
    for batch in [slice(start, start + _BATCH) for start in reversed(batches)]:
        given = (metrics[batch], params[batch], tags[batch])
        _patiently(partial(journal.client.log_batch, run_id, *given, synchronous=True))


def _patiently(call: Callable[[], object]) -> None:
    """Make a call again while the server is away, for half a minute: done twice it does no harm."""
    server.create_once(lambda: None, call)


def _of(content: Content, place: str) -> Content:
    prefix = f"{place}."
    return {cell.removeprefix(prefix): v for cell, v in content.items() if cell.startswith(prefix)}
