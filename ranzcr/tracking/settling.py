"""The state of runs that no process of ours speaks for: experiments, and what a dead one left."""

from __future__ import annotations

import time

from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag
from mlflow.entities import Run as MlflowRun

from ranzcr.tracking import server

PARENT = "mlflow.parentRunId"
KEY = "run_key"  # tag by which a retried or resumed task finds its run
ROOT_KEY = "root_key"  # tag of a fold's run: the key of its experiment's run
ALIVE = "alive_at"  # tag: when the run's process was last heard of, in seconds since 1970
BEAT = 60.0  # seconds between two signs of life
_DEAD = 15 * BEAT


def settle(client: MlflowClient, root: str) -> None:
    """Give the run of an experiment the state of its folds, their number and their GPU hours."""
    uri = client.tracking_uri
    with server.hurried(), server.exclusive(uri):
        seen: object = None
        # On a server nobody takes turns: whoever wrote looks again whether it still holds.
        while (folds := _folds(client, root)) and (state := _state(folds)) != seen:
            _write(client, root, *state)
            seen = state


def reap(client: MlflowClient) -> list[str]:
    """Mark runs as KILLED whose process has not been heard of for 15 minutes; their ids.

    A process that lives after all, cut off from the server, marks its run as RUNNING again.
    """
    with server.hurried():
        running = client.search_runs(
            [server.experiment_id(client)], "attributes.status = 'RUNNING'", max_results=5000
        )
        dead = [run for run in running if _heard(run) < time.time() - _DEAD]
        for run in dead:
            kill(client, run, int(_heard(run) * 1000))
    return [run.info.run_id for run in dead]


def kill(client: MlflowClient, run: MlflowRun, at: int | None = None) -> None:
    """Mark a run as KILLED, at a time in milliseconds, and settle its experiment."""
    client.set_terminated(run.info.run_id, "KILLED", end_time=at)
    if PARENT in run.data.tags:
        settle(client, run.data.tags[PARENT])


def beat(client: MlflowClient, run_id: str) -> None:
    """Say that the process of a run is alive."""
    with server.hurried():
        client.update_run(run_id, status="RUNNING")
        client.set_tag(run_id, ALIVE, sign())


def sign() -> str:
    """What the tag ALIVE holds now."""
    return str(int(time.time()))


def _heard(run: MlflowRun) -> float:
    """When a run was last heard of; now where it never says, as those that others made."""
    return float(run.data.tags.get(ALIVE, time.time()))


def _folds(client: MlflowClient, root: str) -> list[MlflowRun]:
    """The newest run of each fold and seed; KFP's plugin may keep them in another experiment."""
    key = client.get_run(root).data.tags.get(KEY, "")
    places = [place.experiment_id for place in client.search_experiments()]
    found = client.search_runs(
        places,
        f"tags.{ROOT_KEY} = '{key}'",
        order_by=["attributes.start_time ASC"],
        max_results=1000,
    )
    newest = {(run.data.tags.get("fold"), run.data.tags.get("seed")): run for run in found}
    return list(newest.values())


def _state(folds: list[MlflowRun]) -> tuple[int, float | None, str]:
    """How many folds are finished, their GPU hours, and the state that follows for the root."""
    states = {fold.info.status for fold in folds}
    finished = {fold.data.tags.get("fold") for fold in folds if fold.info.status == "FINISHED"}
    hours = [fold.data.metrics.get("gpu_hours") for fold in folds]
    known = [spent for spent in hours if spent is not None]
    ended = "FINISHED" if states == {"FINISHED"} else "FAILED"
    return (
        len(finished),
        sum(known) if known else None,
        "RUNNING" if "RUNNING" in states else ended,
    )


def _write(client: MlflowClient, root: str, folds: int, hours: float | None, state: str) -> None:
    spent = [Metric("gpu_hours", hours, int(time.time() * 1000), 0)] if hours is not None else []
    client.log_batch(root, spent, tags=[RunTag("folds", str(folds))], synchronous=True)
    if state == "RUNNING":
        client.update_run(root, status=state)
    else:
        client.set_terminated(root, state)
