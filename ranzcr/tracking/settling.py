"""The state of runs that no living process reports: experiments, and runs whose process died."""

from __future__ import annotations

import time

from mlflow import MlflowClient
from mlflow.entities import Metric as MetricValue
from mlflow.entities import Run as MlflowRun
from mlflow.entities import RunTag

from ranzcr.tracking import server
from ranzcr.tracking.names import Metric, Tag

BEAT = 60.0  # seconds between two signs of life
_DEAD = 15 * BEAT


def settle(client: MlflowClient, root: str) -> None:
    """Set the state of an experiment's run from its folds, with their number and GPU hours."""
    uri = client.tracking_uri
    with server.hurried(), server.exclusive(uri):
        written: object = None
        # A server has no lock: look again after each write whether it still holds.
        while (folds := _folds(client, root)) and (state := _state(folds)) != written:
            _write(client, root, *state)
            written = state


def reap(client: MlflowClient) -> list[str]:
    """Mark runs as KILLED whose process gave no sign of life for 15 minutes; return their ids.

    If the process is alive after all, cut off from the server, it marks its run as RUNNING again.
    """
    with server.hurried():
        running = client.search_runs(
            [server.experiment_id(client)], "attributes.status = 'RUNNING'", max_results=5000
        )
        dead = [run for run in running if _last_sign(run) < time.time() - _DEAD]
        for run in dead:
            kill(client, run, int(_last_sign(run) * 1000))
    return [run.info.run_id for run in dead]


def kill(client: MlflowClient, run: MlflowRun, at: int | None = None) -> None:
    """Mark a run as KILLED, at a time in milliseconds, and settle its experiment."""
    client.set_terminated(run.info.run_id, "KILLED", end_time=at)
    if Tag.PARENT_RUN in run.data.tags:
        settle(client, run.data.tags[Tag.PARENT_RUN])


def beat(client: MlflowClient, run_id: str) -> None:
    """Record that the process of a run is alive."""
    with server.hurried():
        client.update_run(run_id, status="RUNNING")
        client.set_tag(run_id, Tag.ALIVE_AT, sign())


def sign() -> str:
    """Return the present value of the tag ALIVE_AT."""
    return str(int(time.time()))


def _last_sign(run: MlflowRun) -> float:
    """Return the time of a run's last sign of life; now for runs of others, which give none."""
    return float(run.data.tags.get(Tag.ALIVE_AT, time.time()))


def _folds(client: MlflowClient, root: str) -> list[MlflowRun]:
    """Return the newest run of each fold and seed.

    All MLflow experiments are searched, because KFP's plugin may keep the folds in another one.
    """
    key = client.get_run(root).data.tags.get(Tag.RUN_KEY, "")
    found = client.search_runs(
        [experiment.experiment_id for experiment in client.search_experiments()],
        f"tags.{Tag.ROOT_KEY} = '{key}'",
        order_by=["attributes.start_time ASC"],
        max_results=1000,
    )
    newest = {(run.data.tags.get(Tag.FOLD), run.data.tags.get(Tag.SEED)): run for run in found}
    return list(newest.values())


def _state(folds: list[MlflowRun]) -> tuple[int, float | None, str]:
    """Return the number of finished folds, their GPU hours, and the state of the experiment."""
    states = {fold.info.status for fold in folds}
    finished = {fold.data.tags.get(Tag.FOLD) for fold in folds if fold.info.status == "FINISHED"}
    hours = [
        fold.data.metrics[Metric.GPU_HOURS]
        for fold in folds
        if Metric.GPU_HOURS in fold.data.metrics
    ]
    end = "FINISHED" if states == {"FINISHED"} else "FAILED"
    state = "RUNNING" if "RUNNING" in states else end
    return len(finished), sum(hours) if hours else None, state


def _write(client: MlflowClient, root: str, folds: int, hours: float | None, state: str) -> None:
    now = int(time.time() * 1000)
    metrics = [] if hours is None else [MetricValue(Metric.GPU_HOURS, hours, now, 0)]
    client.log_batch(root, metrics, tags=[RunTag(Tag.FOLDS, str(folds))], synchronous=True)
    if state == "RUNNING":
        client.update_run(root, status=state)
    else:
        client.set_terminated(root, state)
