"""Which MLflow, is it there, and every failure of it in one line.

MLFLOW_TRACKING_URI wins where it is set; else the journal is SQLite in ranzcr's home folder, and
needs no server.
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
# Where MLflow's client gives up a call it tells the status, and drops what the server said.
_STATUS = re.compile(r"(?:failed with error code|too many) (\d{3})")
_FULL = re.compile("No space left on device|disk is full|could not extend file|quota exceeded")
_hurrying = 0  # how many are within `hurried`
_hurry_lock = threading.Lock()
_unhurried: dict[str, str | None] = {}  # the settings to put back
_CHATTY = ("alembic", "mlflow.store.db.utils", "mlflow.store.model_registry", "mlflow.tracking")

T = TypeVar("T")
Client = MlflowClient  # for rooms that must not import mlflow


def connect() -> MlflowClient:
    """A client of the journal, which is known to answer. Makes the local journal where none is.

    Raises TrackingError within 10 s where MLflow does not answer, refuses, or its file is damaged.
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
    """A client that asks nothing yet and makes nothing, as `connect` does."""
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
    return http_request(
        credentials, path, "GET", extra_headers=headers, raise_on_status=False, params=params
    )


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
    """The user name that requests to `uri` carry, None where they carry none."""
    return get_default_host_creds(uri).username


def experiment_id(client: MlflowClient) -> str:
    """The id of the MLflow experiment that is the journal."""
    with translated(client.tracking_uri):
        found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        raise TrackingError(f"MLflow at {shown(client.tracking_uri)} lost experiment {EXPERIMENT}")
    return found.experiment_id


def identity() -> str:
    """16 hex digits that name this journal: another one, or one made anew, has another name.

    Raises TrackingError where MLflow does not answer.
    """
    client = connect()
    with translated(client.tracking_uri):
        experiment = client.get_experiment(experiment_id(client))
    return hash_json([shown(client.tracking_uri), experiment.creation_time])[:16]


@contextmanager
def exclusive(uri: str, name: str = "write") -> Iterator[None]:
    """Hold the local journal's lock `name`; nothing to hold where a server orders its clients."""
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

    MLflow reads its settings from the environment at each call, so this holds for all threads. Of
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
    """What `find` finds, else what `create` makes; never made twice by one caller.

    An answer can be lost after the server has done its work, and MLflow's client would then send
    the request again and make a second one. So it is sent once, and after a failure we look first
    whether it was made. Gives up after _PATIENCE seconds without an answer.
    """
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            with hurried():
                found = find()
                return create() if found is None else found
        except (mlflow.exceptions.MlflowException, requests.RequestException) as error:
            if not is_away(error) or time.monotonic() > end:
                raise
            time.sleep(1)


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Turn what MLflow raises into a TrackingError of one line, without credentials."""
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
    """What happened and what to do, to go on after "MLflow at ..."."""
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
    """The HTTP status behind an error, 0 where there is none."""
    response = getattr(error, "response", None)  # of the artifacts' requests
    if response is not None:
        return response.status_code
    told = _STATUS.search(str(error))  # also of an error that MLflow's client wrapped in another
    return int(told[1]) if told else getattr(error, "get_http_status_code", lambda: 0)()


def _refusal(status: int, text: str, name: str | None) -> str:
    """Who was refused what, and who may do it."""
    if status == 401 and name is None:
        return "asks who you are; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if status == 401:
        return f"does not take the password of {name}; check MLFLOW_TRACKING_PASSWORD"
    if not _ENDPOINT.search(text):
        return f"refuses access (403): {_short(shown(text))}"
    endpoint = _endpoint(text)
    if endpoint.startswith(("registered-models/", "model-versions/")):
        may = f"{EXPERIMENT} is written by an approver, {EXPERIMENT}-candidates by a trainer"
    else:
        may = "the journal is written by a trainer, read by a viewer, and has no unknown run"
    return f"refuses {name or 'you'} the call {endpoint} (403): {may}; ask its admin for the role"


def _endpoint(text: str) -> str:
    found = _ENDPOINT.search(text)
    assert found is not None
    return found["artifacts"] or found["name"]


def is_away(error: Exception) -> bool:
    """Whether the server did not answer or was too busy: worth another try later."""
    busy = "database is locked" in str(error)
    return busy or _unreachable(error) is not None or _status(error) in (429, 502, 503, 504)


def _unreachable(error: BaseException) -> str | None:
    """Why there was no answer, or None where there was one."""
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
    """No usage reports to mlflow.org, no "View run at", no bars, no migration log."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    set_telemetry_client()  # mlflow asked when it was imported; ask again
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _prepare_sqlite(uri: str) -> None:
    """Make the schema under a lock: two first processes would otherwise migrate at once."""
    file = sqlite_file(uri)
    assert file is not None
    with exclusive(uri, "schema"):
        file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(file)
        try:
            # Readers and a writer do not block each other: folds log while the journal is read.
            connection.execute("PRAGMA journal_mode=WAL")
        finally:
            connection.close()
        MlflowClient(uri, registry_uri=uri)


def _ensure_experiment(client: MlflowClient, uri: str) -> None:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return
    file = sqlite_file(uri)
    artifacts = (file.parent / "artifacts").as_uri() if file else None
    try:
        client.create_experiment(EXPERIMENT, artifact_location=artifacts)
    except mlflow.exceptions.MlflowException:
        # Another process may have made it in between.
        if client.get_experiment_by_name(EXPERIMENT) is None:
            raise
