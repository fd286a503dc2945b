"""Connecting to MLflow, and its failures as one line each.

The journal is at MLFLOW_TRACKING_URI; if that is not set, in SQLite below ranzcr's home folder,
which needs no server.
"""

from __future__ import annotations

import copy
import logging
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import mlflow.exceptions
import requests
import sqlalchemy.exc
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.telemetry import set_telemetry_client
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from ranzcr.errors import TrackingError
from ranzcr.files import hash_json
from ranzcr.tracking.place import EXPERIMENT, shown, sqlite_file, tracking_uri

_NO_ANSWER = (requests.ConnectionError, requests.Timeout)
_PATIENCE = 30  # seconds
_ENDPOINT = re.compile(  # as the errors of MLflow's client name it
    r"(?:to endpoint|for url:) \S*/api/[\d.]+/"
    r"(?:mlflow/(?P<name>\S+)|mlflow-(?P<artifacts>artifacts)/)"
)
# When MLflow's client gives up a call, it reports the status and drops the server's message.
_STATUS = re.compile(r"(?:failed with error code|too many) (\d{3})")
_FULL = re.compile("No space left on device|disk is full|could not extend file|quota exceeded")
_hurrying = 0  # how many blocks of `hurried` are active
_hurry_lock = threading.Lock()
_unhurried: dict[str, str | None] = {}  # the settings to restore
_CHATTY = ("alembic", "mlflow.store.db.utils", "mlflow.store.model_registry", "mlflow.tracking")

T = TypeVar("T")
Client = MlflowClient  # for rooms that must not import mlflow


def connect() -> MlflowClient:
    """Return a client of the journal after MLflow has answered; create a missing local journal.

    Raises TrackingError within 10 s if MLflow does not answer, refuses, or its file is damaged.
    """
    uri = tracking_uri()
    _quiet()
    with translated(uri), hurried():
        if sqlite_file(uri):
            _prepare_sqlite(uri)
        client = client_of(uri)
        _ensure_experiment(client, uri)
    return client


@contextmanager
def connected() -> Iterator[MlflowClient]:
    """Yield a client of `connect`; within the block errors are `translated`."""
    client = connect()
    with translated(client.tracking_uri):
        yield client


def client_of(uri: str) -> MlflowClient:
    """Return a client without a first request and without creating anything."""
    _quiet()
    return MlflowClient(uri, registry_uri=uri)


def get(
    uri: str,
    path: str,
    *,
    login: tuple[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
) -> requests.Response:
    """Send a GET request with the certificates and credentials of MLflow's client.

    Args:
        uri: of the server.
        path: from the server's root.
        login: name and password instead of our credentials; ("", "") sends none.
        headers: in addition to those of the client.
        params: of the query.
    """
    credentials = copy.copy(get_default_host_creds(uri))
    if login is not None:
        credentials.username, credentials.password = (text or None for text in login)
        credentials.token = None
    response: requests.Response = http_request(
        credentials, path, "GET", extra_headers=headers, raise_on_status=False, params=params
    )
    return response


def delete_experiment(client: MlflowClient, experiment: Experiment) -> None:
    """Delete an experiment and its artifacts; the rest stays in MLflow's trash until `mlflow gc`.

    Raises TrackingError if MLflow refuses.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    uri = client.tracking_uri
    with translated(uri):
        get_artifact_repository(experiment.artifact_location, tracking_uri=uri).delete_artifacts()
        client.delete_experiment(experiment.experiment_id)


def user_name(uri: str) -> str | None:
    """Return the user name that requests to `uri` carry, if any."""
    name: str | None = get_default_host_creds(uri).username
    return name


def experiment_id(client: MlflowClient) -> str:
    """Return the id of the MLflow experiment that is the journal."""
    with translated(client.tracking_uri):
        experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        raise TrackingError(f"MLflow at {shown(client.tracking_uri)} lost experiment {EXPERIMENT}")
    return str(experiment.experiment_id)


def identity() -> str:
    """Return 16 hex digits that identify this journal; one that was deleted and made again differs.

    Raises TrackingError if MLflow does not answer.
    """
    client = connect()
    with translated(client.tracking_uri):
        experiment = client.get_experiment(experiment_id(client))
    return hash_json([shown(client.tracking_uri), experiment.creation_time])[:16]


@contextmanager
def exclusive(uri: str, name: str = "write") -> Iterator[None]:
    """Hold the lock `name` of a local journal; a server needs none, it orders its clients."""
    file = sqlite_file(uri)
    if file is None:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.{name}.lock"):
        yield


@contextmanager
def hurried(seconds: int = 4) -> Iterator[None]:
    """Wait only `seconds` for an answer within the block, and do not retry, instead of 4 minutes.

    MLflow reads these settings from the environment at each call, so they apply to all threads. Of
    nested blocks the outer one counts.
    """
    global _hurrying
    settings = {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(seconds),
    }
    with _hurry_lock:
        if not _hurrying:
            _unhurried.update({key: os.environ.get(key) for key in settings})
            os.environ.update(settings)
        _hurrying += 1
    try:
        yield
    finally:
        with _hurry_lock:
            _hurrying -= 1
            if not _hurrying:
                _restore(_unhurried)


def _restore(environment: Mapping[str, str | None]) -> None:
    for key, value in environment.items():
        os.environ.pop(key, None)
        if value is not None:
            os.environ[key] = value


def create_once(find: Callable[[], T | None], create: Callable[[], T]) -> T:
    """Return the result of `find`, else that of `create`, without ever creating two.

    A server's answer can be lost after it has done the work, and MLflow's client would then send
    the request again and create a second object. So it is sent once, and after a failure `find`
    looks first. Gives up after _PATIENCE seconds without an answer.
    """
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            with hurried():
                existing = find()
                return create() if existing is None else existing
        except (mlflow.exceptions.MlflowException, requests.RequestException) as error:
            if not is_away(error) or time.monotonic() > end:
                raise
            time.sleep(1)


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Turn an error of MLflow into a TrackingError of one line, without credentials."""
    try:
        yield
    except (
        mlflow.exceptions.MlflowException,
        sqlalchemy.exc.SQLAlchemyError,
        sqlite3.Error,
        requests.RequestException,
    ) as error:
        raise TrackingError(f"MLflow at {shown(uri)} {_problem(error, uri)}") from None


def _problem(error: Exception, uri: str) -> str:
    """Return the second half of the line: what happened and what to do."""
    text = " ".join(str(error).split())
    local = "or unset MLFLOW_TRACKING_URI to use the local journal"
    away = _unreachable(error)
    if away is not None:
        return f"does not answer ({away}); start it, {local}"
    status = _status(error)
    if "Invalid Host header" in text:
        return "refuses this host name; start it with --allowed-hosts naming it"
    if status in (401, 403):
        return _refusal(status, text, user_name(uri))
    if status == 404 and _ENDPOINT.search(text):
        return (
            f"does not know {_endpoint(text)}: it is too old, or another server; upgrade it to "
            f"mlflow {mlflow.__version__}, or check MLFLOW_TRACKING_URI"
        )
    if _FULL.search(text):
        return "has no disk space left; make room there, then run it again"
    if status >= 500 and _STATUS.search(text):
        return (
            f"fails inside ({status}): its database may be away or a disk full; see its log, then "
            "run it again"
        )
    if "not a database" in text or "malformed" in text:
        return "is damaged; restore it from a backup, or move it away to start a new journal"
    if "unable to open" in text or "readonly database" in text:
        return "cannot be written; set RANZCR_HOME to a folder that can"
    if "Can't locate revision" in text or "out-of-date database schema" in text:
        return (
            f"was written by another version than mlflow {mlflow.__version__}; install the version "
            f"that wrote it, or back it up and run: mlflow db upgrade {shown(uri)}"
        )
    return f"failed: {_short(shown(text))}"


def _status(error: Exception) -> int:
    """Return the HTTP status of an error, 0 if it has none."""
    response = getattr(error, "response", None)  # of requests for artifacts
    if response is not None:
        return int(response.status_code)
    match = _STATUS.search(str(error))  # also of an error that MLflow's client wrapped in another
    return int(match[1] if match else getattr(error, "get_http_status_code", lambda: 0)())


def _refusal(status: int, text: str, name: str | None) -> str:
    """Return which call was refused to whom, and which role allows it."""
    if status == 401 and name is None:
        return "asks for a user name; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if status == 401:
        return f"rejects the password of {name}; check MLFLOW_TRACKING_PASSWORD"
    if not _ENDPOINT.search(text):
        return f"refuses access (403): {_short(shown(text))}"
    endpoint = _endpoint(text)
    if endpoint.startswith(("registered-models/", "model-versions/")):
        rule = f"an approver writes {EXPERIMENT}, a trainer writes {EXPERIMENT}-candidates"
    else:
        rule = "a trainer writes the journal, a viewer reads it; the run may also not exist"
    return f"refuses {name or 'you'} the call {endpoint} (403): {rule}; ask its admin for the role"


def _endpoint(text: str) -> str:
    match = _ENDPOINT.search(text)
    assert match is not None
    return match["artifacts"] or match["name"]


def is_away(error: Exception) -> bool:
    """Return whether the server did not answer or was too busy, so that a later try may succeed."""
    busy = "database is locked" in str(error)
    return busy or _unreachable(error) is not None or _status(error) in (429, 502, 503, 504)


def _unreachable(error: BaseException) -> str | None:
    """Return why there was no answer; None if there was one."""
    chain = _chain(error)
    if not any(isinstance(link, _NO_ANSWER) for link in chain):
        return None
    text = " ".join(map(str, chain))
    reasons = {
        "timed out": "no answer in time",
        "Connection refused": "connection refused",
        "Failed to resolve": "unknown host name",
        "Name or service not known": "unknown host name",
        "Connection aborted": "connection closed",
    }
    return next((reason for sign, reason in reasons.items() if sign in text), "no connection")


def _chain(error: BaseException | None) -> list[BaseException]:
    links: list[BaseException] = []
    while error is not None and error not in links:
        links.append(error)
        error = error.__cause__ or error.__context__
    return links


def _short(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:297]}..."


@cache
def _quiet() -> None:
    """Turn off usage reports to mlflow.org, "View run at", bars and the migration log."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    set_telemetry_client()  # mlflow read the variable when it was imported
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _prepare_sqlite(uri: str) -> None:
    """Create the tables under a lock, because two first processes would both migrate."""
    file = sqlite_file(uri)
    assert file is not None
    with exclusive(uri, "schema"):
        file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(file)
        try:
            # Readers and a writer do not block each other: folds log while people read.
            connection.execute("PRAGMA journal_mode=WAL")
        finally:
            connection.close()
        MlflowClient(uri, registry_uri=uri)


def _ensure_experiment(client: MlflowClient, uri: str) -> None:
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is not None:
        if experiment.lifecycle_stage == "deleted":
            client.restore_experiment(experiment.experiment_id)
        return
    file = sqlite_file(uri)
    artifacts = (file.parent / "artifacts").as_uri() if file else None
    try:
        client.create_experiment(EXPERIMENT, artifact_location=artifacts)
    except mlflow.exceptions.MlflowException:
        # Another process may have created it in the meantime.
        if client.get_experiment_by_name(EXPERIMENT) is None:
            raise
