"""What is written to a run: entries of JSON, and how they are handed to MLflow.

An entry is `{"kind": ..., ...}`; each kind can be handed over again without harm:

    metrics    values by name, a step, and the time at which they were measured
    params     settings by name
    tags       texts by name
    artifacts  a folder of copies below the queue, and where they go in the run
    dataset    what the run learned from
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
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from ranzcr.tracking import server, settings, settling

Entry = dict[str, Any]

# MLflow's limits, per value and per request.
TAG = 8000  # characters
_PARAM, _NAME = 6000, 250
METRICS, _PARAMS, _TAGS = 1000, 100, 100


def metrics(values: Mapping[str, float | None], step: int = 0) -> Entry:
    """Metrics measured now; None is left out."""
    known = {name: float(value) for name, value in values.items() if value is not None}
    return {"kind": "metrics", "time": now(), "step": step, "values": known}


def params(values: Mapping[str, Any]) -> Entry:
    return {
        "kind": "params",
        "values": {name: settings.text(value) for name, value in values.items()},
    }


def tags(values: Mapping[str, str]) -> Entry:
    return {"kind": "tags", "values": dict(values)}


def artifacts(folder: str, path: str | None) -> Entry:
    """The files of `folder`, a path below the queue's, for `path` in the run."""
    return {"kind": "artifacts", "folder": folder, "path": path}


def dataset(name: str, digest: str, source: str | None, profile: Mapping[str, Any]) -> Entry:
    """What the run learned from; `source` is a URI."""
    told = {"name": name, "digest": digest, "source": source, "profile": dict(profile)}
    return {"kind": "dataset", **told}


def status(ended: str, at: int | None = None) -> Entry:
    """FINISHED, FAILED or KILLED, at a time in milliseconds; now if not given."""
    return {"kind": "status", "status": ended, "time": at or now()}


def settle(root: str) -> Entry:
    return {"kind": "settle", "root": root}


def now() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


def deliver(
    client: MlflowClient, run_id: str, entries: Sequence[Entry], folder: Path
) -> list[tuple[Entry, str]]:
    """Hand entries to MLflow, whole batches at a time.

    Args:
        entries: in the order they were written.
        folder: the queue's, which has the artifacts.

    Returns what MLflow refuses for good, with its reason: it would block all that comes after.
    Raises what MLflow's client raises where the server is away or wants other credentials.
    """
    refused: list[tuple[Entry, str]] = []
    for kind, (size, send) in _BATCHED.items():
        singles = [one for entry in entries if entry["kind"] == kind for one in _singles(entry)]
        with server.hurried():
            _in_batches(singles, size, partial(send, client, run_id), refused)
    for entry in entries:
        if entry["kind"] in _SINGLE:
            act = _SINGLE[entry["kind"]]
            _in_batches([entry], 1, partial(act, client, run_id, folder), refused)
    return refused


def is_refusal(error: Exception) -> bool:
    """Whether MLflow will never take it: neither away, nor short of a disk or of credentials."""
    status = getattr(error, "get_http_status_code", lambda: 0)()
    return 400 <= status < 500 and status not in (401, 403, 408, 429) and not server.is_away(error)


def _singles(entry: Entry) -> list[Entry]:
    """One entry for each value, so that a batch can be filled up and a refusal be narrowed down."""
    return [{**entry, "values": {name: value}} for name, value in entry["values"].items()]


def _in_batches(
    entries: Iterable[Entry],
    size: int,
    send: Callable[[Sequence[Entry]], None],
    refused: list[tuple[Entry, str]],
) -> None:
    waiting = iter(entries)
    while batch := list(islice(waiting, size)):
        try:
            send(batch)
        except MlflowException as error:
            if not is_refusal(error):
                raise
            if len(batch) == 1 or _is_gone(error):
                reason = " ".join(str(error).split())
                refused += [(entry, reason) for entry in batch]
            else:
                _in_batches(batch, 1, send, refused)


def _is_gone(error: MlflowException) -> bool:
    """Whether the run was deleted: then MLflow takes nothing more of it."""
    return (
        "must be in the 'active' state" in str(error)
        or (error.error_code) == "RESOURCE_DOES_NOT_EXIST"
    )


def _send_tags(client: MlflowClient, run_id: str, batch: Sequence[Entry]) -> None:
    values = _merged(batch)  # of two values of one tag the later counts
    texts = [RunTag(safe_name(name), value[:TAG]) for name, value in values.items()]
    client.log_batch(run_id, tags=texts, synchronous=True)


def _send_params(client: MlflowClient, run_id: str, batch: Sequence[Entry]) -> None:
    values = _merged(batch)
    texts = [Param(safe_name(name), value[:_PARAM]) for name, value in values.items()]
    client.log_batch(run_id, params=texts, synchronous=True)


def _merged(batch: Sequence[Entry]) -> dict[str, str]:
    return {name: value for entry in batch for name, value in entry["values"].items()}


def _send_metrics(client: MlflowClient, run_id: str, batch: Sequence[Entry]) -> None:
    values = [
        Metric(safe_name(name), value, entry["time"], entry["step"])
        for entry in batch
        for name, value in entry["values"].items()
    ]
    client.log_batch(run_id, metrics=values, synchronous=True)


def _send_artifacts(
    client: MlflowClient, run_id: str, folder: Path, batch: Sequence[Entry]
) -> None:
    (entry,) = batch
    copies = folder / entry["folder"]
    if not copies.exists():  # sent already, but the process died before it could note that
        return
    # Found out quickly whether the server is there; the upload itself may take its time.
    with server.hurried():
        client.get_run(run_id)
    client.log_artifacts(run_id, str(copies), entry["path"])


def _send_dataset(client: MlflowClient, run_id: str, _folder: Path, batch: Sequence[Entry]) -> None:
    (entry,) = batch
    source = entry["source"]
    noted = Dataset(
        name=entry["name"],
        digest=entry["digest"],
        source_type="local" if source else "code",
        source=json.dumps({"uri": source or "unknown"}),
        profile=json.dumps(entry["profile"]),
    )
    used = DatasetInput(noted, [InputTag("mlflow.data.context", "training")])
    with server.hurried(), server.exclusive(client.tracking_uri):
        try:
            client.log_inputs(run_id, [used])
        except MlflowException as error:
            # Two folds that note the same data set at once: MLflow lets one of them fail.
            if not re.search("unique constraint|duplicate", str(error), re.IGNORECASE):
                raise
            client.log_inputs(run_id, [used])


def _send_status(client: MlflowClient, run_id: str, _folder: Path, batch: Sequence[Entry]) -> None:
    (entry,) = batch
    with server.hurried():
        client.set_terminated(run_id, entry["status"], end_time=entry["time"])


def _settle(client: MlflowClient, _run_id: str, _folder: Path, batch: Sequence[Entry]) -> None:
    (entry,) = batch
    settling.settle(client, entry["root"])


_BATCHED = {
    "tags": (_TAGS, _send_tags),
    "params": (_PARAMS, _send_params),
    "metrics": (METRICS, _send_metrics),
}
_SINGLE: dict[str, Callable[[MlflowClient, str, Path, Sequence[Entry]], None]] = {
    "artifacts": _send_artifacts,
    "dataset": _send_dataset,
    "status": _send_status,
    "settle": _settle,
}


def safe_name(name: str) -> str:
    """`name` with what MLflow does not take in a name replaced by "_"."""
    allowed = re.sub(r"[^\w\-. /:]", "_", name).strip("/ ")[:_NAME]
    # MLflow reads a name as a path, too, and refuses "a//b", "./a" and "..".
    parts = [part for part in allowed.split("/") if part not in (".", "..")]
    return "/".join(part.strip() or "_" for part in parts) or "_"
