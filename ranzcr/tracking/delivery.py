"""Writes to a run as JSON, and how they are sent to MLflow.

A write is `{"kind": ..., ...}`. Each kind can be sent twice without harm:

    metrics    values by name, a step, and the time of measurement
    params     settings by name
    tags       texts by name
    artifacts  a folder of copies below the queue, and their path in the run
    dataset    the data set that the run learned from
    status     how the run ended
    settle     the run of an experiment, which takes the state of its folds
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Required, TypedDict

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from ranzcr.tracking import params as params_of_runs
from ranzcr.tracking import server, settling


class Write(TypedDict, total=False):
    """One line of a queue; the keys depend on `kind`."""

    kind: Required[str]
    values: dict[str, Any]  # of metrics, params and tags
    time: int  # milliseconds since 1970; of metrics and status
    step: int
    folder: str  # of artifacts, below the queue's folder
    path: str | None  # of artifacts, in the run
    name: str  # of a dataset, with the next three
    digest: str
    source: str | None  # a URI
    profile: dict[str, Any]
    status: str
    root: str  # run to settle


# MLflow's limits, per value and per request.
TAG = 8000  # characters
_PARAM, _NAME = 6000, 250
METRICS, _PARAMS, _TAGS = 1000, 100, 100


def metrics(values: Mapping[str, float | None], step: int = 0) -> Write:
    """Metrics measured now; None is left out."""
    numbers = {name: float(value) for name, value in values.items() if value is not None}
    return {"kind": "metrics", "time": now(), "step": step, "values": numbers}


def params(values: Mapping[str, Any]) -> Write:
    return {
        "kind": "params",
        "values": {name: params_of_runs.text(value) for name, value in values.items()},
    }


def tags(values: Mapping[str, str]) -> Write:
    return {"kind": "tags", "values": dict(values)}


def artifacts(folder: str, path: str | None) -> Write:
    """The files of `folder`, a path below the queue's folder, for `path` in the run."""
    return {"kind": "artifacts", "folder": folder, "path": path}


def dataset(name: str, digest: str, source: str | None, profile: Mapping[str, Any]) -> Write:
    """The data set that the run learned from; `source` is a URI."""
    return {
        "kind": "dataset",
        "name": name,
        "digest": digest,
        "source": source,
        "profile": dict(profile),
    }


def status(end: str, at: int | None = None) -> Write:
    """FINISHED, FAILED or KILLED, at a time in milliseconds; now if None."""
    return {"kind": "status", "status": end, "time": at or now()}


def settle(root: str) -> Write:
    return {"kind": "settle", "root": root}


def now() -> int:
    """Return the milliseconds since 1970."""
    return int(time.time() * 1000)


def deliver(
    client: MlflowClient, run_id: str, writes: Sequence[Write], folder: Path
) -> list[tuple[Write, str]]:
    """Send writes to MLflow in batches.

    Args:
        writes: in the order they were made.
        folder: of the queue, which holds the artifacts.

    Returns the writes that MLflow will never accept, with its reason, because they would block all
    later ones. Raises the error of MLflow's client if the server is away or wants other
    credentials.
    """
    refused: list[tuple[Write, str]] = []
    for kind, (size, send_batch) in _BATCHED.items():
        parts = [part for write in writes if write["kind"] == kind for part in _split(write)]
        with server.hurried():
            _in_batches(parts, size, partial(send_batch, client, run_id), refused)
    for write in writes:
        if write["kind"] in _SINGLE:
            send = partial(_SINGLE[write["kind"]], client, run_id, folder)
            _in_batches([write], 1, send, refused)
    return refused


def is_refusal(error: Exception) -> bool:
    """Return whether MLflow will never accept it: not an outage, a full disk or bad credentials."""
    status = getattr(error, "get_http_status_code", lambda: 0)()
    return 400 <= status < 500 and status not in (401, 403, 408, 429) and not server.is_away(error)


def _split(write: Write) -> list[Write]:
    """Return one write per value, to fill batches and to find the value that is refused."""
    return [{**write, "values": {name: value}} for name, value in write["values"].items()]


def _in_batches(
    writes: Iterable[Write],
    size: int,
    send: Callable[[Sequence[Write]], None],
    refused: list[tuple[Write, str]],
) -> None:
    waiting = iter(writes)
    while batch := list(islice(waiting, size)):
        try:
            send(batch)
        except MlflowException as error:
            if not is_refusal(error):
                raise
            if len(batch) == 1 or _is_gone(error):
                reason = " ".join(str(error).split())
                refused += [(write, reason) for write in batch]
            else:
                _in_batches(batch, 1, send, refused)


def _is_gone(error: MlflowException) -> bool:
    """Return whether the run was deleted: then MLflow accepts nothing for it."""
    return (
        "must be in the 'active' state" in str(error)
        or error.error_code == "RESOURCE_DOES_NOT_EXIST"
    )


def _send_tags(client: MlflowClient, run_id: str, batch: Sequence[Write]) -> None:
    values = _merged(batch)  # the later value of a tag wins
    texts = [RunTag(safe_name(name), value[:TAG]) for name, value in values.items()]
    client.log_batch(run_id, tags=texts, synchronous=True)


def _send_params(client: MlflowClient, run_id: str, batch: Sequence[Write]) -> None:
    values = _merged(batch)
    texts = [Param(safe_name(name), value[:_PARAM]) for name, value in values.items()]
    client.log_batch(run_id, params=texts, synchronous=True)


def _merged(batch: Sequence[Write]) -> dict[str, str]:
    return {name: value for write in batch for name, value in write["values"].items()}


def _send_metrics(client: MlflowClient, run_id: str, batch: Sequence[Write]) -> None:
    values = [
        Metric(safe_name(name), value, write["time"], write["step"])
        for write in batch
        for name, value in write["values"].items()
    ]
    client.log_batch(run_id, metrics=values, synchronous=True)


def _send_artifacts(
    client: MlflowClient, run_id: str, folder: Path, batch: Sequence[Write]
) -> None:
    (write,) = batch
    copies = folder / write["folder"]
    if not copies.exists():  # sent, but the process died before it noted that
        return
    # An absent server must show at once; the upload itself may take its time.
    with server.hurried():
        client.get_run(run_id)
    client.log_artifacts(run_id, str(copies), write["path"])


def _send_dataset(client: MlflowClient, run_id: str, _folder: Path, batch: Sequence[Write]) -> None:
    (write,) = batch
    source = write["source"]
    dataset = Dataset(
        name=write["name"],
        digest=write["digest"],
        source_type="local" if source else "code",
        source=json.dumps({"uri": source or "unknown"}),
        profile=json.dumps(write["profile"]),
    )
    used = DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])
    with server.hurried(), server.exclusive(client.tracking_uri):
        try:
            client.log_inputs(run_id, [used])
        except MlflowException as error:
            # If two folds log the same data set at once, MLflow lets one of them fail.
            if not re.search("unique constraint|duplicate", str(error), re.IGNORECASE):
                raise
            client.log_inputs(run_id, [used])


def _send_status(client: MlflowClient, run_id: str, _folder: Path, batch: Sequence[Write]) -> None:
    (write,) = batch
    with server.hurried():
        client.set_terminated(run_id, write["status"], end_time=write["time"])


def _settle(client: MlflowClient, _run_id: str, _folder: Path, batch: Sequence[Write]) -> None:
    (write,) = batch
    settling.settle(client, write["root"])


_BATCHED = {
    "tags": (_TAGS, _send_tags),
    "params": (_PARAMS, _send_params),
    "metrics": (METRICS, _send_metrics),
}
_SINGLE: dict[str, Callable[[MlflowClient, str, Path, Sequence[Write]], None]] = {
    "artifacts": _send_artifacts,
    "dataset": _send_dataset,
    "status": _send_status,
    "settle": _settle,
}


def safe_name(name: str) -> str:
    """Return `name` with the characters that MLflow refuses in a name replaced by "_"."""
    allowed = re.sub(r"[^\w\-. /:]", "_", name).strip("/ ")[:_NAME]
    # MLflow also reads a name as a path, and refuses "a//b", "./a" and "..".
    parts = [part for part in allowed.split("/") if part not in (".", "..")]
    return "/".join(part.strip() or "_" for part in parts) or "_"
