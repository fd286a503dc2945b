"""One MLflow run: found again by its key, and written to without ever stopping the work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException

from ranzcr.errors import TrackingError
from ranzcr.files import hash_json
from ranzcr.tracking import delivery, server
from ranzcr.tracking.delivery import TAG, Entry, safe_name
from ranzcr.tracking.outbox import Queue
from ranzcr.tracking.settling import ALIVE, KEY, PARENT, ROOT_KEY, sign

NOTE = "mlflow.note.content"  # the description that MLflow's pages show

Key = str


def make_key(*parts: object) -> Key:
    """The key of the run that `parts` decide; the same parts, the same run."""
    return hash_json([str(part) for part in parts])[:32]


class Run:
    """A run to write to.

    `Run(client, run_id)` writes at once, and raises TrackingError where MLflow does not take it:
    for what a person just asked for. Runs that `find_or_create` opens write to their outbox, which
    neither waits nor fails: for work that must not stop.
    """

    def __init__(
        self,
        client: MlflowClient,
        run_id: str,
        *,
        queue: Queue | None = None,
        root: str | None = None,
        ours: bool = True,
    ) -> None:
        """
        Args:
            queue: of the run; None to write at once.
            root: the run of the experiment, which is settled when this run ends.
            ours: False where KFP's plugin made it and ends it.
        """
        self.client = client
        self.run_id = run_id
        self._root = root
        self._out: _Out = queue or _Direct(client, run_id)
        self._ours = ours

    def log_epoch(self, step: int, metrics: Mapping[str, float | None]) -> None:
        """Record the metrics of epoch `step`; None is left out."""
        self._out.put(delivery.metrics(metrics, step))

    def log_metrics(self, metrics: Mapping[str, float | None]) -> None:
        """Record metrics of the whole run; None is left out."""
        self.log_epoch(0, metrics)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags; what is longer than MLflow takes is cut."""
        self._out.put(delivery.tags(tags))

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record settings; what is longer than MLflow takes is cut."""
        self._out.put(delivery.params(params))

    def log_dataset(
        self, name: str, digest: str, source: str | None, profile: Mapping[str, Any]
    ) -> None:
        """Note what the run learned from, without mlflow.data reading any of it."""
        self._out.put(delivery.dataset(name, digest, source, profile))

    def log_artifacts(self, folder: Path | str, path: str | None = None) -> None:
        """Copy a folder's files, or one file, to the run's artifacts, below `path` where given."""
        self._out.put_files(Path(folder), path)

    def log_text(self, text: str, path: str) -> None:
        """Keep `text` as the artifact `path`."""
        self._out.put_text(text, path)

    def flush(self) -> None:
        """Send what waits. Raises TrackingError where MLflow is away."""
        with server.translated(self.client.tracking_uri):
            self._out.drain()

    def end(self, status: str) -> None:
        """Mark the run FINISHED, FAILED or KILLED, and send what waits."""
        if self._ours:
            self._out.put(delivery.status(status))
        if self._root is not None:
            self._out.put(delivery.settle(self._root))
        self.close()

    def settle(self) -> None:
        """Give this run of an experiment the state of its folds."""
        self._out.put(delivery.settle(self.run_id))

    def close(self) -> None:
        """Send what waits and leave the run's state as it is."""
        self._out.close()


class _Out(Protocol):
    """Where a run's entries go."""

    def put(self, *entries: Entry) -> None: ...
    def put_files(self, source: Path, path: str | None) -> None: ...
    def put_text(self, text: str, path: str) -> None: ...
    def drain(self) -> None: ...
    def close(self) -> None: ...


class _Direct:
    """Writes at once. Raises TrackingError where MLflow is away or refuses."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._client = client
        self._run_id = run_id

    def put(self, *entries: Entry) -> None:
        with self._translated():
            refused = delivery.deliver(self._client, self._run_id, entries, Path())
        if refused:
            raise TrackingError(f"MLflow refused it: {refused[0][1]}")

    def put_files(self, source: Path, path: str | None) -> None:
        log = self._client.log_artifacts if source.is_dir() else self._client.log_artifact
        with self._translated():
            log(self._run_id, str(source), path)

    def put_text(self, text: str, path: str) -> None:
        with self._translated():
            self._client.log_text(self._run_id, text, path)

    def drain(self) -> None:
        pass

    def close(self) -> None:
        pass

    def _translated(self) -> contextlib.AbstractContextManager[None]:
        return server.translated(self._client.tracking_uri)


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
    ends: bool = True,
) -> Run:
    """The run with this key, marked as running, with its outbox; made where there is none.

    Args:
        parent: the run of the experiment, for the run of a fold.
        ends: False for a run that does not end with this process.

    Two processes on a server may both make it: then both search again, the earliest stays and the
    other process deletes its own. Raises TrackingError where MLflow does not answer.
    """
    uri = client.tracking_uri
    known = {**tags, KEY: key, **({PARENT: parent} if parent else {})}
    if ends:
        known[ALIVE] = sign()
    with server.translated(uri), server.exclusive(uri):
        found = server.create_once(
            lambda: find(client, key), lambda: _create(client, key, name, known)
        )
        client.update_run(found.info.run_id, status="RUNNING")
    if NOTE in found.data.tags:  # people may have added to it since
        known.pop(NOTE, None)
    queue = Queue.open(client, found.info.run_id, ends=ends)
    run = Run(client, found.info.run_id, queue=queue, root=parent)
    run.set_tags(known)
    run.log_params(params)
    return run


def attach(
    client: MlflowClient,
    run_id: str,
    key: Key,
    name: str,
    tags: Mapping[str, str],
    params: Mapping[str, Any],
) -> Run:
    """The run that KFP's plugin opened for this task, named and described; the plugin ends it.

    Its siblings have no names, and a second attempt finds it as the first one ended.
    """
    with server.translated(client.tracking_uri):
        client.update_run(run_id, status="RUNNING", name=name)
    queue = Queue.open(client, run_id, ends=False)
    run = Run(client, run_id, queue=queue, ours=False)
    run.set_tags({**tags, KEY: key})
    run.log_params(params)
    return run


def _create(client: MlflowClient, key: Key, name: str, tags: Mapping[str, str]) -> MlflowRun:
    # With all its tags from the start: who searches finds it whatever happens next.
    cut = {safe_name(tag): value[:TAG] for tag, value in tags.items()}
    own = client.create_run(server.experiment_id(client), tags=cut, run_name=name)
    first = find(client, key) or own
    if first.info.run_id != own.info.run_id:
        _withdraw(client, own)
    return first


def _withdraw(client: MlflowClient, run: MlflowRun) -> None:
    """Delete a run that another process made as well."""
    try:
        client.delete_run(run.info.run_id)
    except MlflowException:  # we may write runs, but not delete them: at least nobody finds it
        for tag in {"kind", KEY, ROOT_KEY} & run.data.tags.keys():
            client.delete_tag(run.info.run_id, tag)
        client.set_terminated(run.info.run_id, "KILLED")


@contextlib.contextmanager
def ending(run: Run) -> Iterator[Run]:
    """End `run` as FINISHED, as FAILED on an exception, as KILLED where it is interrupted."""
    try:
        yield run
    except BaseException as error:
        status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
        run.end(status)
        raise
    run.end("FINISHED")
