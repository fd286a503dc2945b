"""Kubernetes by its official client, with each failure as one line."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kubernetes
import urllib3
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException

from ranzcr.errors import ClusterError

LIMITS = (5, 30)  # seconds to connect, to answer; of every call
_RETRIES = urllib3.Retry(total=1, backoff_factor=0.2)


class AbsentError(ClusterError):
    """Kubernetes has no such object, or no such kind of object."""


class ForbiddenError(ClusterError):
    """Kubernetes forbids us to read it."""


def connect() -> kubernetes.client.ApiClient:
    """Return a client for the current context of KUBECONFIG, or for the cluster of this pod.

    Raises ClusterError if there is neither. Sends no request yet.
    """
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it logs each retry
    configuration = kubernetes.client.Configuration()
    # The choice in the client itself reads the variable at import, and prints.
    named = os.environ.get("KUBECONFIG", "")
    file = named or str(Path("~/.kube/config").expanduser())
    try:
        if named or Path(file).exists():
            kubernetes.config.load_kube_config(file, client_configuration=configuration)
        else:
            kubernetes.config.load_incluster_config(client_configuration=configuration)
    except (ConfigException, OSError, ValueError) as error:
        raise ClusterError(
            f"no Kubernetes: {error}; set KUBECONFIG to a file with a context of the cluster"
        ) from None
    configuration.retries = _RETRIES
    return kubernetes.client.ApiClient(configuration)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn any failure of the client into one line that names the request."""
    try:
        yield
    except ApiException as error:
        raise _refusal(what, error) from None
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise ClusterError(f"Kubernetes does not answer ({what}): {_reason(error)}") from None


def _refusal(what: str, error: ApiException) -> ClusterError:
    message = _message(error)
    if error.status == 401:
        return ClusterError(f"Kubernetes does not know you (401, {what}); log in again")
    if error.status == 403:
        return ForbiddenError(f"Kubernetes forbids {what} (403): {message}")
    if error.status == 404:
        return AbsentError(f"there is no {what}")
    return ClusterError(f"Kubernetes answers {error.status} ({what}): {message}")


def _message(error: ApiException) -> str:
    try:
        body: Any = json.loads(error.body)
        return str(body["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason)


def _reason(error: Exception) -> str:
    text = str(error)
    signs = {
        "refused": "connection refused",
        "timed out": "no answer in time",
        "CERTIFICATE": "its certificate is not trusted",
        "resolve": "unknown host name",
    }
    return next((reason for sign, reason in signs.items() if sign in text), "no connection")
