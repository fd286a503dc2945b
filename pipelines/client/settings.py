"""The address of Kubeflow Pipelines and our credentials, from environment variables.

    RANZCR_KFP_HOST         its URL, else KF_PIPELINES_ENDPOINT; as the browser shows it
    RANZCR_KFP_NAMESPACE    that runs live in, `ranzcr` if not set
    RANZCR_KFP_TOKEN        a bearer token
    RANZCR_KFP_TOKEN_FILE   a file with a token, read for each call because it may be rotated
    KF_PIPELINES_SA_TOKEN_PATH  the same with kfp's name; in a cluster, kfp's default path is tried
    RANZCR_KFP_COOKIE       the cookie of a login page, whole: authservice_session=...
    SSL_CERT_FILE           the certificate authority, if it is a private one

A secret is never an argument, which other users of the machine see, and is never printed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.conventions import NAMESPACE
from ranzcr.errors import ConfigError

_HOSTS = ("RANZCR_KFP_HOST", "KF_PIPELINES_ENDPOINT")
_TOKEN_FILES = ("RANZCR_KFP_TOKEN_FILE", "KF_PIPELINES_SA_TOKEN_PATH")
_POD_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")  # where kfp's manifests project it


@dataclass(frozen=True)
class KfpSettings:
    """One Kubeflow Pipelines and one identity."""

    host: str  # without a slash at the end
    namespace: str
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    cookie: str = field(default="", repr=False)
    authority: Path | None = None

    @property
    def pages(self) -> str:
        """Return the address of its pages: the API's host, unless kfp's variable names another."""
        return os.environ.get("KF_PIPELINES_UI_ENDPOINT", self.host).rstrip("/")


def from_environment() -> KfpSettings:
    """Read the settings. Raises ConfigError for no host, an unreadable file or a damaged secret."""
    return KfpSettings(
        host=_host(),
        namespace=namespace(),
        token=_secret("RANZCR_KFP_TOKEN"),
        token_file=_file(*_TOKEN_FILES) or (_POD_TOKEN if _POD_TOKEN.is_file() else None),
        cookie=_secret("RANZCR_KFP_COOKIE"),
        authority=_file("SSL_CERT_FILE"),
    )


def namespace() -> str:
    """Return the namespace of runs and their secrets."""
    return os.environ.get("RANZCR_KFP_NAMESPACE") or NAMESPACE


def _host() -> str:
    name = next((name for name in _HOSTS if os.environ.get(name)), None)
    if name is None:
        raise ConfigError(
            f"{_HOSTS[0]} is not set: name the URL of Kubeflow Pipelines, "
            "for example http://localhost:8080 of a kubectl port-forward to ml-pipeline-ui"
        )
    url = os.environ[name].partition("#")[0].rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"{name}={url}: begin it with https:// or http://")
    if "@" in url:
        raise ConfigError(f"{name} holds a user or a password; use RANZCR_KFP_TOKEN instead")
    return url


def _secret(name: str) -> str:
    value = os.environ.get(name, "").strip()
    if not (value.isascii() and value.isprintable()):
        raise ConfigError(f"{name} holds a line break or another character that no token has")
    return value


def _file(*names: str) -> Path | None:
    """Return the file in the first of the variables that is set."""
    name = next((name for name in names if os.environ.get(name)), None)
    if name is None:
        return None
    path = Path(os.environ[name])
    if not path.is_file() or not os.access(path, os.R_OK):
        raise ConfigError(f"{name}={path}: no such file, or it may not be read")
    return path
