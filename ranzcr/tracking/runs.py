"""One MLflow run: found again by its key, and written to without ever stopping the work."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mlflow.exceptions
import requests
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.entities import Run as MlflowRun

from ranzcr.errors import TrackingError
from ranzcr.files import hash_json
from ranzcr.tracking import server

KEY = "run_key"  # the tag by which a retried or resumed task finds its run
PARENT = "mlflow.parentRunId"
NOTE = "mlflow.note.content"  # the description that MLflow's pages show

# MLflow's limits, per value and per request.
TAG = 8000  # characters
_PARAM, _NAME = 6000, 250
_METRICS, _PARAMS = 1000, 100

Key = str


def make_key(*parts: object) -> Key:
    """The key of the run that `parts` decide; the same parts, the same run."""
    return hash_json([str(part) for part in parts])[:32]


class Run:
    """An open MLflow run. What could not be sent is kept and tried again with the next call."""

    def __init__(self, client: MlflowClient, run_id: str, *, ours: bool = True) -> None:
        self.client = client
        self.run_id = run_id
        self.ours = ours  # False: KFP's plugin made it and ends it
        self._pending: list[Metric] = []

    def log_epoch(self, step: int, metrics: Mapping[str, float | None]) -> None:
        """Record the metrics of epoch `step`. A server that is away does not stop training."""
        self._pending += _metrics(metrics, step)
        self._send()

    def log_metrics(self, metrics: Mapping[str, float | None]) -> None:
        """Record metrics of the whole run; None is left out."""
        self.log_epoch(0, metrics)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self.write(tags=tags)

    def log_artifacts(self, folder: Path | str, path: str | None = None) -> None:
        """Copy a folder's files, or one file, to the run's artifacts, below `path` where given.

        Raises TrackingError where the server is away.
        """
        self.flush()
        log = self.client.log_artifacts if Path(folder).is_dir() else self.client.log_artifact
        with self._translated():
            log(self.run_id, str(folder), path)

    def log_text(self, text: str, path: str) -> None:
        """Keep `text` as the artifact `path`. Raises TrackingError where the server is away."""
        with self._translated():
            self.client.log_text(self.run_id, text, path)

    def write(self, *, params: Mapping[str, Any] | None = None, tags: Mapping[str, str]) -> None:
        """Write params and tags at once; what is longer than MLflow takes is cut."""
        entries = [Param(safe_name(k), _text(v)[:_PARAM]) for k, v in (params or {}).items()]
        labels = [RunTag(safe_name(k), v[:TAG]) for k, v in tags.items()]
        with self._translated():
            self.client.log_batch(self.run_id, tags=labels, synchronous=True)
            for start in range(0, len(entries), _PARAMS):
                batch = entries[start : start + _PARAMS]
                self.client.log_batch(self.run_id, params=batch, synchronous=True)

    def flush(self) -> None:
        """Send what is still kept. Raises TrackingError where the server is still away."""
        problem = self._send()
        if problem is not None:
            with self._translated():
                raise problem

    def end(self, status: str) -> None:
        """Send what is kept, then mark the run FINISHED, FAILED or KILLED."""
        self.flush()
        if self.ours:
            with self._translated(), server.hurried():
                self.client.set_terminated(self.run_id, status)

    def _send(self) -> Exception | None:
        """Send the kept metrics; the problem where the server is away, and they stay kept."""
        try:
            with server.hurried():
                while self._pending:
                    batch = self._pending[:_METRICS]
                    self.client.log_batch(self.run_id, metrics=batch, synchronous=True)
                    del self._pending[: len(batch)]
        except (mlflow.exceptions.MlflowException, requests.RequestException) as error:
            if server.is_away(error):
                return error
            with self._translated():
                raise
        return None

    def _translated(self) -> contextlib.AbstractContextManager[None]:
        return server.translated(self.client.tracking_uri)


def find(client: MlflowClient, key: Key) -> MlflowRun | None:
    """The run with this key; of several (two processes made it at once) always the same one."""
    runs = client.search_runs([server.experiment_id(client)], f"tags.{KEY} = '{key}'")
    return min(runs, key=lambda run: (run.info.start_time, run.info.run_id), default=None)


def find_or_create(
    client: MlflowClient,
    key: Key,
    name: str,
    tags: Mapping[str, str],
    params: Mapping[str, Any],
    *,
    parent: str | None = None,
) -> Run:
    """The run with this key, marked as running; made where there is none.

    Two processes on a server may both make it: then both search again, the earliest stays and the
    other process deletes its own.
    """
    uri = client.tracking_uri
    known = {**tags, KEY: key, **({PARENT: parent} if parent else {})}
    with server.translated(uri), server.exclusive(uri):
        found = find(client, key) or _create(client, key, name, known)
        client.update_run(found.info.run_id, status="RUNNING")
    if NOTE in found.data.tags:  # people may have added to it since
        known.pop(NOTE, None)
    run = Run(client, found.info.run_id)
    run.write(params=params, tags=known)
    return run


def _create(client: MlflowClient, key: Key, name: str, tags: Mapping[str, str]) -> MlflowRun:
    # With all its tags from the start: who searches finds it whatever happens next.
    cut = {safe_name(tag): value[:TAG] for tag, value in tags.items()}
    own = client.create_run(server.experiment_id(client), tags=cut, run_name=name)
    first = find(client, key) or own
    if first.info.run_id != own.info.run_id:
        client.delete_run(own.info.run_id)
    return first


@contextlib.contextmanager
def ending(run: Run) -> Iterator[Run]:
    """End `run` as FINISHED, as FAILED on an exception, as KILLED where it is interrupted."""
    try:
        yield run
    except BaseException as error:
        status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
        # The work's own error matters more than a server that is away at that moment.
        with contextlib.suppress(TrackingError):
            run.end(status)
        raise
    run.end("FINISHED")


def safe_name(name: str) -> str:
    """`name` with what MLflow does not take in a name replaced by "_"."""
    allowed = re.sub(r"[^\w\-. /:]", "_", name).strip("/ ")[:_NAME]
    # MLflow reads a name as a path, too, and refuses "a//b", "./a" and "..".
    parts = [part for part in allowed.split("/") if part not in (".", "..")]
    return "/".join(part.strip() or "_" for part in parts) or "_"


def _metrics(metrics: Mapping[str, float | None], step: int) -> list[Metric]:
    now = int(time.time() * 1000)  # milliseconds
    return [
        Metric(safe_name(name), float(value), now, step)
        for name, value in metrics.items()
        if value is not None
    ]


def flatten(settings: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Nested settings as {"prefix.key.key": value}; a list of parts is keyed by their names."""
    pairs = (_flat(f"{prefix}.{key}", value) for key, value in settings.items())
    return dict(itertools.chain.from_iterable(pairs))


def _flat(key: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return list(flatten(value, key).items())
    if isinstance(value, list) and value and all(isinstance(part, Mapping) for part in value):
        named = {part["name"]: {k: v for k, v in part.items() if k != "name"} for part in value}
        return list(flatten(named, key).items())
    return [(key, value)]


def _text(value: Any) -> str:
    """A setting as people write it: words bare, lists with commas, the rest as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        return ",".join(map(_text, value))
    return json.dumps(value)
