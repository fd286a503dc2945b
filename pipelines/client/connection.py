"""A Kubeflow Pipelines that answers within a time limit, and has a supported version."""

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
from pipelines.client.settings import Settings
from ranzcr.errors import ClusterError

OLDEST = (2, 15)  # the first KFP that runs all that kfp 2.17 compiles
WITH_PLUGINS = (2, 17)  # the first KFP that takes plugins_input

_LIMITS = (5, 60)  # seconds to connect, to answer
_RETRIES = urllib3.Retry(total=2, read=1, backoff_factor=0.2)  # of what only reads
T = TypeVar("T")


class _Client(kfp_server_api.ApiClient):
    """The generated client waits for ever, and takes a page for an empty answer: not this one."""

    def request(self, method: str, url: str, **rest: Any) -> Any:
        rest["_request_timeout"] = rest.get("_request_timeout") or _LIMITS
        answer = super().request(method, url, **rest)
        if not _is_object(answer.data):
            raise PageError
        return answer


@dataclass(frozen=True)
class Kfp:
    """A Kubeflow Pipelines that answers, takes our credentials and has a supported version."""

    settings: Settings
    version: tuple[int, int] | None  # None where it does not say
    multi_user: bool
    experiments: kfp_server_api.ExperimentServiceApi
    pipelines: kfp_server_api.PipelineServiceApi
    uploads: kfp_server_api.PipelineUploadServiceApi
    runs: kfp_server_api.RunServiceApi
    schedules: kfp_server_api.RecurringRunServiceApi

    @property
    def namespace(self) -> str | None:
        """What a request names; a KFP for a single user has none."""
        return self.settings.namespace if self.multi_user else None

    @contextmanager
    def translated(self, what: str) -> Iterator[None]:
        """Turn any failure of the API into one line that says what was asked for."""
        with translated(self.settings.host, what):
            yield


def connect(settings: Settings) -> Kfp:
    """Ask KFP for its health first, so that what is wrong is told before anything is done.

    Raises NoAnswerError where it is away; ClusterError where it refuses, is no KFP or is too old.
    """
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it tells of each retry
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
    """What `find` finds, else what `create` makes: never made twice.

    An answer can be lost after KFP has done its work, and another may make the same at the same
    time; so after such a failure we look again before we fail.
    """
    found = find()
    if found is not None:
        return found
    try:
        return create()
    except (NoAnswerError, ExistsError):
        found = find()
        if found is None:
            raise
        return found


def where(*conditions: tuple[str, str, str]) -> str:
    """A filter in KFP's JSON, from (key, operation, text); all must hold."""
    predicates = [
        kfp_server_api.V2beta1Predicate(operation=operation, key=key, string_value=text)
        for key, operation, text in conditions
    ]
    return json.dumps(as_json(kfp_server_api.V2beta1Filter(predicates=predicates)))


def as_json(model: Any) -> Any:
    """A model of the generated API as it is sent."""
    return kfp_server_api.ApiClient(kfp_server_api.Configuration()).sanitize_for_serialization(
        model
    )


def _client(settings: Settings) -> kfp_server_api.ApiClient:
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
    """KFP's health as it is sent: the generated model drops the version that is in it."""
    try:
        with translated(host, "its health"):
            kfp_server_api.HealthzServiceApi(client).healthz_service_get_healthz()
    except NotFoundError:
        raise ClusterError(f"{host} has no API of KFP (404); check RANZCR_KFP_HOST") from None
    health = json.loads(client.last_response.data)
    if health.get("apiServerReady") is False:  # KFP's pages answer for a server that is away
        raise NoAnswerError(f"KFP at {host} has its pages up, but its API server is away")
    return health


def _is_object(text: bytes) -> bool:
    """Whether it is a JSON object, as each answer of KFP is."""
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _tag(health: dict[str, Any]) -> str:
    # KFP's pages pass the health on under names of their own.
    return str(health.get("tag_name") or health.get("apiServerTagName") or "")


def _version(health: dict[str, Any]) -> tuple[int, int] | None:
    found = re.match(r"v?(\d+)\.(\d+)", _tag(health))
    return (int(found[1]), int(found[2])) if found else None


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
