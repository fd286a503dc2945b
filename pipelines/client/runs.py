"""Runs: find one by id or name, watch it to its end, resume it, cancel it, list them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from uuid import UUID

from kfp_server_api import V2beta1PipelineTaskDetail as Task
from kfp_server_api import V2beta1Run as Run

from pipelines.client.connection import Kfp, where
from pipelines.client.failures import NoAnswerError, NotFoundError
from ranzcr.errors import ClusterError, ConfigError, PipelineError, nearest
from ranzcr.tables import table, to_text

SUCCEEDED = "SUCCEEDED"
TERMINAL = (SUCCEEDED, "FAILED", "CANCELED", "SKIPPED")
ENDING = (*TERMINAL, "CANCELING")  # ended, or about to end
STATES = (*ENDING, "PENDING", "RUNNING", "PAUSED")

SECONDS = 10.0  # between two requests for a run that is watched
_PAGE = 100  # runs per request
_PATIENCE = 600  # seconds that KFP may not answer while a run is watched
# KFP's entries around each task: a driver, an executor, the items of a loop.
_INNER = re.compile(r"(^|-)driver$|^executor\b|^iteration-|^root$")


def find(kfp: Kfp, run: str) -> Run:
    """Return the run of that id or name. Raises NotFoundError with the nearest name."""
    if not _is_id(run):
        newest = by_name(kfp, run)
        if newest is None:
            raise _unknown(kfp, run)
        run = newest.run_id
    try:
        return _get(kfp, run)
    except NotFoundError:
        raise _unknown(kfp, run) from None


def by_name(kfp: Kfp, name: str) -> Run | None:
    """Return the newest run of that name."""
    return next(iter(search(kfp, ("display_name", "EQUALS", name), limit=1)), None)


def search(kfp: Kfp, *conditions: tuple[str, str, str], limit: int) -> list[Run]:
    """Return the newest runs that meet all conditions (key, operation, text)."""
    runs: list[Run] = []
    for page in _pages(kfp, where(*conditions) if conditions else "", limit):
        runs += page
        if len(runs) >= limit:
            break
    return runs[:limit]


def watch(kfp: Kfp, run_id: str, report: Callable[[str], None]) -> Run:
    """Wait for the end of a run; `report` gets a line for each change.

    Keeps waiting while KFP restarts; raises NoAnswerError if that takes too long.
    """
    last, answered = "", time.monotonic()
    while True:
        try:
            run = _get(kfp, run_id)
            answered = time.monotonic()
        except NoAnswerError:
            if time.monotonic() - answered > _PATIENCE:
                raise
        else:
            line = progress(run)
            if line != last:
                report(line)
                last = line
            if run.state in TERMINAL:
                return run
        time.sleep(SECONDS)


def require_success(run: Run) -> None:
    """Raise PipelineError, which names the tasks that failed, unless the run succeeded."""
    if run.state == SUCCEEDED:
        return
    failed = ", ".join(task.display_name for task in tasks(run) if task.state == "FAILED")
    at = f" at {failed}" if failed else ""
    why = f": {run.error.message}" if run.error and run.error.message else ""
    name = run.display_name
    raise PipelineError(
        f"run {name} {run.state}{at}{why}; ranzcr pipeline logs {name} shows more, "
        f"ranzcr pipeline resume {name} continues it"
    )


def resume(kfp: Kfp, run: Run) -> None:
    """Run again the tasks that failed or were cancelled, and those after them."""
    if run.state not in ("FAILED", "CANCELED"):
        raise ConfigError(f"run {run.display_name} is {run.state}; there is nothing to resume")
    try:
        with kfp.translated(f"resuming {run.display_name}"):
            kfp.runs.run_service_retry_run(run.run_id)
    except NoAnswerError:
        if _get(kfp, run.run_id).state in TERMINAL:
            raise


def cancel(kfp: Kfp, run: Run) -> str:
    """Cancel a run unless it has ended; returns its state."""
    if run.state in ENDING:
        return run.state
    try:
        with kfp.translated(f"cancelling {run.display_name}"):
            kfp.runs.run_service_terminate_run(run.run_id)
    except ClusterError:
        # The answer was lost, or the run has just ended.
        if _get(kfp, run.run_id).state not in ENDING:
            raise
    return _get(kfp, run.run_id).state


def address(kfp: Kfp, run_id: str) -> str:
    """Return the address of a run's page."""
    return f"{kfp.settings.pages}/#/runs/details/{run_id}"


def tasks(run: Run) -> list[Task]:
    """Return the tasks of a run that its pipeline names, in the order of their start."""
    details = (run.run_details and run.run_details.task_details) or []
    named = [task for task in details if not _INNER.search(task.display_name or "")]
    return sorted(named, key=lambda task: (task.start_time or _FUTURE, task.display_name))


def progress(run: Run) -> str:
    """Describe a run in one line: its state, finished tasks, running tasks."""
    run_tasks = tasks(run)
    done = [task for task in run_tasks if task.state in (SUCCEEDED, "SKIPPED")]
    now = ", ".join(task.display_name for task in run_tasks if task.state == "RUNNING")
    counted = f", {len(done)} of {len(run_tasks)} tasks done" if run_tasks else ""
    return f"{run.display_name}: {run.state}{counted}{f', now {now}' if now else ''}"


def describe(kfp: Kfp, run: Run) -> str:
    """Return a run, its page and its tasks as tables."""
    rows = [
        [
            task.display_name,
            task.state or "",
            _clock(task.start_time),
            _took(task.start_time, task.end_time),
        ]
        for task in tasks(run)
    ]
    headings = ["task", "state", "began", "took"]
    summary = table(
        f"run {run.display_name}",
        ["", ""],
        [
            ["state", run.state or ""],
            ["began", _clock(run.created_at)],
            ["took", _took(run.created_at, run.finished_at)],
            ["error", (run.error and run.error.message) or ""],
            ["id", run.run_id],
            ["page", address(kfp, run.run_id)],
        ],
    )
    return to_text([summary, *([table("tasks", headings, rows)] if rows else [])])


def render(runs: list[Run]) -> str:
    """Return a table of runs."""
    rows = [
        [
            run.display_name,
            run.state or "",
            _clock(run.created_at),
            _took(run.created_at, run.finished_at),
            run.run_id,
        ]
        for run in runs
    ]
    return to_text([table("runs", ["run", "state", "began", "took", "id"], rows)])


def _get(kfp: Kfp, run_id: str) -> Run:
    with kfp.translated(f"run {run_id}"):
        return kfp.runs.run_service_get_run(run_id)


def _pages(kfp: Kfp, condition: str, limit: int) -> Iterator[list[Run]]:
    token = ""
    while True:
        with kfp.translated("the list of runs"):
            page = kfp.runs.run_service_list_runs(
                page_token=token,
                page_size=min(limit, _PAGE),
                sort_by="created_at desc",
                filter=condition,
                **({"namespace": kfp.namespace} if kfp.namespace else {}),
            )
        yield page.runs or []
        token = page.next_page_token or ""
        if not token:
            return


def _unknown(kfp: Kfp, run: str) -> ClusterError:
    names = [item.display_name for item in search(kfp, limit=_PAGE)]
    hint = nearest(run, names) if names else "it has no runs"
    return NotFoundError(f"KFP at {kfp.settings.host} has no run {run}; {hint}")


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


_FUTURE = datetime.max.replace(tzinfo=UTC)


def _clock(moment: datetime | None) -> str:
    """Format a time in the time zone of this machine."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M") if moment and moment.year > 1970 else ""


def _took(begin: datetime | None, end: datetime | None) -> str:
    """Format a duration, up to now if there is no end, which KFP writes as 1970."""
    if begin is None or begin.year <= 1970:
        return ""
    finish = end if end is not None and end.year > 1970 else datetime.now(UTC)
    minutes, seconds = divmod(max(0, round((finish - begin).total_seconds())), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
