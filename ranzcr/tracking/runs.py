"""One MLflow run: found again by its key, written to without ever stopping the work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException

from ranzcr.documents import Scores
from ranzcr.errors import TrackingError
from ranzcr.files import hash_json
from ranzcr.tracking import delivery, server, settling
from ranzcr.tracking.delivery import TAG, Write, safe_name
from ranzcr.tracking.names import Metric, Tag
from ranzcr.tracking.outbox import Queue

Key = str


def make_key(*parts: object) -> Key:
    """Return the key of a run; the same parts give the same run."""
    return hash_json([str(part) for part in parts])[:32]


class Run:
    """A run to write to.

    `Run(client, run_id)` writes at once and raises TrackingError if that fails: for commands that
    a person waits for. Runs opened by `find_or_create` write to their outbox, which neither waits
    nor fails: for work that must not stop.
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
            ours: False if KFP's plugin made it and ends it.
        """
        self.client = client
        self.run_id = run_id
        self._root = root
        self._sink: _Sink = queue or _Direct(client, run_id)
        self._ours = ours

    def log_epoch(self, step: int, metrics: Mapping[str, float | None]) -> None:
        """Record the metrics of epoch `step`; None is left out."""
        self._sink.put(delivery.metrics(metrics, step))

    def log_metrics(self, metrics: Mapping[str, float | None]) -> None:
        """Record metrics of the whole run; None is left out."""
        self.log_epoch(0, metrics)

    def log_scores(self, scores: Scores) -> None:
        """Record the scores of an experiment or a blend."""
        numbers = {name: value for name, value in scores if name.startswith(Metric.CV_AUC)}
        labels = {f"{Metric.LABEL_AUC}{label}": auc for label, auc in scores.auc.items()}
        self.log_metrics({**numbers, **labels})

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags; texts are cut at MLflow's limit."""
        self._sink.put(delivery.tags(tags))

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record settings; texts are cut at MLflow's limit."""
        self._sink.put(delivery.params(params))

    def log_dataset(
        self, name: str, digest: str, source: str | None, profile: Mapping[str, Any]
    ) -> None:
        """Record the data set that the run learned from, without mlflow.data reading it."""
        self._sink.put(delivery.dataset(name, digest, source, profile))

    def log_artifacts(self, folder: Path | str, path: str | None = None) -> None:
        """Copy a folder's files, or one file, to the run's artifacts, below `path` if set."""
        self._sink.put_files(Path(folder), path)

    def log_text(self, text: str, path: str) -> None:
        """Keep `text` as the artifact `path`."""
        self._sink.put_text(text, path)

    def flush(self) -> None:
        """Send what waits. Raises TrackingError if MLflow is away."""
        with server.translated(self.client.tracking_uri):
            self._sink.drain()

    def end(self, status: str) -> None:
        """Mark the run FINISHED, FAILED or KILLED, and send what waits."""
        if self._ours:
            self._sink.put(delivery.status(status))
        if self._root is not None:
            self._sink.put(delivery.settle(self._root))
        self.close()

    def settle(self) -> None:
        """Give this run of an experiment the state of its folds."""
        self._sink.put(delivery.settle(self.run_id))

    def close(self) -> None:
        """Send what waits and leave the run's state alone."""
        self._sink.close()


class _Sink(Protocol):
    """Takes the writes to a run."""

    def put(self, *writes: Write) -> None: ...
    def put_files(self, source: Path, path: str | None) -> None: ...
    def put_text(self, text: str, path: str) -> None: ...
    def drain(self) -> None: ...
    def close(self) -> None: ...


class _Direct:
    """Writes at once. Raises TrackingError if MLflow is away or refuses."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._client = client
        self._run_id = run_id

    def put(self, *writes: Write) -> None:
        with self._translated():
            refused = delivery.deliver(self._client, self._run_id, writes, Path())
        if refused:
            raise TrackingError(f"MLflow refused the write: {refused[0][1]}")

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
    """Return the run with this key; of two made at the same time always the earlier one."""
    runs = client.search_runs([server.experiment_id(client)], f"tags.{Tag.RUN_KEY} = '{key}'")
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
    """Return the run with this key, RUNNING and with its outbox; create it if there is none.

    Args:
        parent: the run of the experiment, for the run of a fold.
        ends: False for a run that does not end with this process.

    Two processes may create it on a server at the same time: then both search again, the earlier
    run stays and the other process deletes its own. Raises TrackingError if MLflow does not answer.
    """
    uri = client.tracking_uri
    all_tags = {**tags, Tag.RUN_KEY: key, **({Tag.PARENT_RUN: parent} if parent else {})}
    if ends:
        all_tags[Tag.ALIVE_AT] = settling.sign()
    with server.translated(uri), server.exclusive(uri):
        stored = server.create_once(
            lambda: find(client, key), lambda: _create(client, key, name, all_tags)
        )
        client.update_run(stored.info.run_id, status="RUNNING")
    if Tag.NOTE in stored.data.tags:  # people may have added to it
        all_tags.pop(Tag.NOTE, None)
    queue = Queue.open(client, stored.info.run_id, ends=ends)
    run = Run(client, stored.info.run_id, queue=queue, root=parent)
    run.set_tags(all_tags)
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
    """Return the run that KFP's plugin opened for this task, named and tagged; the plugin ends it.

    The plugin leaves the runs of a loop without names, and a second attempt finds its run ended.
    """
    with server.translated(client.tracking_uri):
        client.update_run(run_id, status="RUNNING", name=name)
    queue = Queue.open(client, run_id, ends=False)
    run = Run(client, run_id, queue=queue, ours=False)
    run.set_tags({**tags, Tag.RUN_KEY: key})
    run.log_params(params)
    return run


def _create(client: MlflowClient, key: Key, name: str, tags: Mapping[str, str]) -> MlflowRun:
    # With all its tags from the start, so that a search finds it whatever happens next.
    cut = {safe_name(tag): value[:TAG] for tag, value in tags.items()}
    created = client.create_run(server.experiment_id(client), tags=cut, run_name=name)
    first = find(client, key) or created
    if first.info.run_id != created.info.run_id:
        _withdraw(client, created)
    return first


def _withdraw(client: MlflowClient, run: MlflowRun) -> None:
    """Delete a run that another process created as well."""
    try:
        client.delete_run(run.info.run_id)
    except MlflowException:  # we may not delete runs: at least no search finds it
        for tag in {Tag.KIND, Tag.RUN_KEY, Tag.ROOT_KEY} & run.data.tags.keys():
            client.delete_tag(run.info.run_id, tag)
        client.set_terminated(run.info.run_id, "KILLED")


@contextlib.contextmanager
def ending(run: Run) -> Iterator[Run]:
    """End `run` as FINISHED, as FAILED on an exception, as KILLED on Ctrl-C."""
    try:
        yield run
    except BaseException as error:
        status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
        run.end(status)
        raise
    run.end("FINISHED")
