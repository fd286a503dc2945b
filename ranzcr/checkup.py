"""What a check is, what it finds, and the visit that all checks of one examination share."""

from __future__ import annotations

import copy
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from urllib.parse import unquote, urlparse

import requests
from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.entities.model_registry import RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import MlflowHostCreds, http_request

from ranzcr.tracking import server

OK, WARN, FAIL, SKIP = "ok", "warn", "fail", "skip"

SCRATCH = "ranzcr-doctor-"  # what all that a doctor makes is called, and ends in a random word
_CRASHED = 3600  # seconds after which what another doctor made was left by a crash
_ONE_TRY = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "60"}


@dataclass(frozen=True)
class Finding:
    """What one check found. `fix` says what to do, "" where there is nothing to do."""

    name: str
    outcome: str
    text: str
    seconds: float
    fix: str = ""


class CheckError(Exception):
    """Raised by a check that did not find what it wants: its outcome and one line."""

    def __init__(self, text: str, outcome: str = FAIL) -> None:
        super().__init__(text)
        self.outcome = outcome


def require(condition: bool, text: str) -> None:
    """Raise `CheckError` with what was seen unless the condition holds."""
    if not condition:
        raise CheckError(text)


@dataclass(frozen=True, kw_only=True)
class Check:
    """One question to a deployment."""

    name: str
    fix: str  # what to do where it fails
    look: Callable[[Visit], str]  # what was seen, where that is right; else raises
    http: bool = False  # without a server there is nothing to look at
    needs: tuple[str, ...] = ()  # names of checks that must not have failed


class Checks(list[Check]):
    """Checks in the order in which their functions are written."""

    def __call__(
        self, name: str, fix: str, *, http: bool = False, needs: tuple[str, ...] = ()
    ) -> Callable[[Callable[[Visit], str]], Callable[[Visit], str]]:
        def note(look: Callable[[Visit], str]) -> Callable[[Visit], str]:
            self.append(Check(name=name, fix=fix, look=look, http=http, needs=needs))
            return look

        return note


@dataclass
class Visit:
    """One examination of one MLflow. All that it makes there is below its own names."""

    uri: str
    artifact_mb: int
    word: str = field(default_factory=lambda: SCRATCH + secrets.token_hex(4))

    @property
    def http(self) -> bool:
        """Whether there is a server: a journal can be a database, too."""
        return self.uri.startswith(("http://", "https://"))

    @cached_property
    def client(self) -> MlflowClient:
        """Makes nothing on a server; a local journal is made where there is none, as always."""
        return server.client_of(self.uri) if self.http else server.connect()

    @cached_property
    def place(self) -> str:
        """The id of an experiment of the visit's own."""
        file = server.sqlite_file(self.uri)
        artifacts = (file.parent / self.word).as_uri() if file else None
        return self.client.create_experiment(self.word, artifact_location=artifacts)

    @cached_property
    def run_id(self) -> str:
        """A run of the visit's own."""
        return self.client.create_run(self.place, run_name=self.word).info.run_id

    def ask(
        self,
        path: str,
        *,
        creds: MlflowHostCreds | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """GET a path, counted from the server's root, as who we are or with other credentials."""
        return http_request(
            creds or get_default_host_creds(self.uri),
            path,
            "GET",
            extra_headers=headers,
            raise_on_status=False,
        )

    def stranger(self, name: str | None = None, password: str | None = None) -> MlflowHostCreds:
        """Credentials that are not ours; of nobody if there is no name."""
        creds = copy.copy(get_default_host_creds(self.uri))
        creds.token, creds.username, creds.password = None, name, password
        return creds

    def clean(self) -> int:
        """Delete what this visit made, and what others left by a crash; how many things.

        A model is gone at once; an experiment lies without its artifacts in MLflow's trash, which
        `mlflow gc` empties.
        """
        wanted = f"name LIKE '{SCRATCH}%'"
        models = self.client.search_registered_models(wanted)
        experiments = self.client.search_experiments(filter_string=wanted)
        deletions = [
            *((m.name, m.creation_timestamp, partial(self._delete_model, m)) for m in models),
            *((e.name, e.creation_time, partial(self._delete_place, e)) for e in experiments),
        ]
        before = (time.time() - _CRASHED) * 1000  # milliseconds
        done = 0
        for name, made, delete in deletions:
            own = name.startswith(self.word)
            if own or made < before:
                # Another user's may not be ours to delete.
                with nullcontext() if own else suppress(MlflowException, requests.HTTPError):
                    delete()
                    done += 1
        return done

    def _delete_model(self, model: RegisteredModel) -> None:
        self.client.delete_registered_model(model.name)

    def _delete_place(self, experiment: Experiment) -> None:
        location = urlparse(experiment.artifact_location)
        if location.scheme == "file":
            shutil.rmtree(unquote(location.path), ignore_errors=True)
        else:
            get_artifact_repository(
                experiment.artifact_location, tracking_uri=self.uri
            ).delete_artifacts()
        self.client.delete_experiment(experiment.experiment_id)


@contextmanager
def one_try() -> Iterator[None]:
    """Within it MLflow's client asks once and waits up to a minute, so that a fault is seen."""
    before = {name: os.environ.get(name) for name in _ONE_TRY}
    os.environ.update(_ONE_TRY)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
