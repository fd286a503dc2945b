"""A connection to Kubeflow Pipelines with time limits and a version check."""

from __future__ import annotations

import json
import logging
import re
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import kfp_server_api
import urllib3

from pipelines.client.failures import (
    ExistsError,
    NoAnswerError,
    NotFoundError,
    PageError,
    translated,
)
from pipelines.client.settings import KfpSettings
from ranzcr.errors import ClusterError

OLDEST = (2, 15)  # the first KFP that runs everything that kfp 2.17 compiles
WITH_PLUGINS = (2, 17)  # the first KFP that accepts plugins_input

_LIMITS = (5, 60)  # seconds to connect, to answer
_RETRIES = urllib3.Retry(total=2, read=1, backoff_factor=0.2)  # for requests that only read
T = TypeVar("T")


class _Client(kfp_server_api.ApiClient):
    """The generated client, with time limits and an error for an HTML page."""

    def request(self, method: str, url: str, **rest: Any) -> Any:
        rest["_request_timeout"] = rest.get("_request_timeout") or _LIMITS
        answer = super().request(method, url, **rest)
        if not _is_object(answer.data):
            raise PageError
        return answer


@dataclass(frozen=True)
class Kfp:
    """A Kubeflow Pipelines of a supported version that accepts our credentials."""

    settings: KfpSettings
    version: tuple[int, int] | None  # None if it reports none
    multi_user: bool
    experiments: kfp_server_api.ExperimentServiceApi
    pipelines: kfp_server_api.PipelineServiceApi
    uploads: kfp_server_api.PipelineUploadServiceApi
    runs: kfp_server_api.RunServiceApi
    schedules: kfp_server_api.RecurringRunServiceApi

    @property
    def namespace(self) -> str | None:
        """Return the namespace for requests; None for a KFP for a single user."""
        return self.settings.namespace if self.multi_user else None

    @contextmanager
    def translated(self, what: str) -> Iterator[None]:
        """Turn any failure of the API into one line that names the request."""
        with translated(self.settings.host, what):
            yield


def connect(settings: KfpSettings) -> Kfp:
    """Check the health of KFP, so that problems are reported before anything is done.

    Raises NoAnswerError if it does not answer; ClusterError if it refuses, is not a KFP or too old.
    """
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it logs each retry
    client = _client(settings)
    health = _health(client, settings.host)
    version = _version(health)
    if version is not None and not OLDEST <= version < (3, 0):
        raise ClusterError(
            f"KFP at {settings.host} is version {_tag(health)}; supported is "
            f"{_dotted(OLDEST)} up to 2.x: upgrade it"
        )
    return Kfp(
        settings,
        version,
        bool(health.get("multi_user")),
        kfp_server_api.ExperimentServiceApi(client),
        kfp_server_api.PipelineServiceApi(client),
        kfp_server_api.PipelineUploadServiceApi(client),
        kfp_server_api.RunServiceApi(client),
        kfp_server_api.RecurringRunServiceApi(client),
    )


def once(find: Callable[[], T | None], create: Callable[[], T]) -> T:
    """Return the result of `find`, or of `create` if there is none, without creating it twice.

    An answer can be lost after KFP has done the work, and another user may create the same at the
    same time; so `find` is tried again after such a failure.
    """
    existing = find()
    if existing is not None:
        return existing
    try:
        return create()
    except (NoAnswerError, ExistsError):
        existing = find()
        if existing is None:
            raise
        return existing


def where(*conditions: tuple[str, str, str]) -> str:
    """Return a filter in KFP's JSON for conditions (key, operation, text) that must all hold."""
    predicates = [
        kfp_server_api.V2beta1Predicate(operation=operation, key=key, string_value=text)
        for key, operation, text in conditions
    ]
    return json.dumps(as_json(kfp_server_api.V2beta1Filter(predicates=predicates)))


def as_json(model: Any) -> Any:
    """Return the JSON of a model of the generated API."""
    return kfp_server_api.ApiClient(kfp_server_api.Configuration()).sanitize_for_serialization(
        model
    )


def _client(settings: KfpSettings) -> kfp_server_api.ApiClient:
    configuration = kfp_server_api.Configuration(host=settings.host)
    configuration.retries = _RETRIES
    configuration.ssl_ca_cert = settings.authority and str(settings.authority)
    url = urlsplit(settings.host)
    if not urllib.request.proxy_bypass(url.netloc):
        configuration.proxy = urllib.request.getproxies().get(url.scheme)
    if settings.token:
        configuration.api_key["authorization"] = settings.token
    elif settings.token_file:
        from kfp.client import ServiceAccountTokenVolumeCredentials

        credentials = ServiceAccountTokenVolumeCredentials(str(settings.token_file))
        configuration.api_key["authorization"] = "read for each call"  # without it none is sent
        configuration.refresh_api_key_hook = credentials.refresh_api_key_hook
    configuration.api_key_prefix["authorization"] = "Bearer"
    return _Client(configuration, cookie=settings.cookie or None)


def _health(client: kfp_server_api.ApiClient, host: str) -> dict[str, Any]:
    """Return KFP's health as JSON, because the generated model drops the version."""
    try:
        with translated(host, "its health"):
            kfp_server_api.HealthzServiceApi(client).healthz_service_get_healthz()
    except NotFoundError:
        raise ClusterError(f"{host} has no API of KFP (404); check RANZCR_KFP_HOST") from None
    health = json.loads(client.last_response.data)
    if health.get("apiServerReady") is False:  # KFP's pages answer while the API server is down
        raise NoAnswerError(f"KFP at {host} has its pages up, but its API server is away")
    return health


def _is_object(text: bytes) -> bool:
    """Return True for a JSON object, which each answer of KFP is."""
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _tag(health: dict[str, Any]) -> str:
    # KFP's pages report the health with other keys.
    return str(health.get("tag_name") or health.get("apiServerTagName") or "")


def _version(health: dict[str, Any]) -> tuple[int, int] | None:
    match = re.match(r"v?(\d+)\.(\d+)", _tag(health))
    return (int(match[1]), int(match[2])) if match else None


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
