"""Checks that an image is in its registry, as far as possible without credentials."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

import requests

from ranzcr.errors import ConfigError

_SECONDS = 5
_KINDS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_IMAGE = re.compile(
    r"(?P<host>[^/]+\.[^/]+|[^/]+:\d+|localhost)/(?P<name>[^@]+)@(?P<digest>\w+:\w+)"
)


class Presence(Enum):
    """The answer of a registry about an image."""

    PRESENT = "is in its registry"
    MISSING = "is not in its registry"
    UNKNOWN = "cannot be checked: its registry requires a login, or does not answer"


@dataclass(frozen=True)
class Image:
    """A pinned image: host/name[:tag]@digest."""

    host: str
    name: str
    digest: str

    @property
    def manifest(self) -> str:
        """Return the URL of its manifest; without TLS on loopback, as in container engines."""
        local = urlsplit(f"//{self.host}").hostname in ("localhost", "127.0.0.1")
        scheme = "http" if local else "https"
        return f"{scheme}://{self.host}/v2/{self.name}/manifests/{self.digest}"


def parse(text: str) -> Image | None:
    """Parse an image; None if it has no registry's host or no digest."""
    match = _IMAGE.fullmatch(text)
    if match is None:
        return None
    return Image(match["host"], match["name"].partition(":")[0], match["digest"])


def presence(text: str) -> Presence:
    """Ask the registry for an image's manifest without credentials."""
    image = parse(text)
    if image is None:
        return Presence.UNKNOWN
    try:
        answer = _head(image.manifest)
        if answer.status_code == 401:
            answer = _head(image.manifest, _anonymous_token(answer))
    except (requests.RequestException, ValueError):
        return Presence.UNKNOWN
    if answer.status_code == 404 and "json" in answer.headers.get("Content-Type", ""):
        return Presence.MISSING  # a 404 of a registry, not of another web server
    return Presence.PRESENT if answer.ok else Presence.UNKNOWN


def require(images: list[str]) -> None:
    """Raise ConfigError for an image that is missing in its registry."""
    for image in images:
        if presence(image) is Presence.MISSING:
            raise ConfigError(
                f"image {image} is not in its registry; push it, or name another with --image"
            )


def _head(url: str, token: str = "") -> requests.Response:
    headers = {"Accept": _KINDS, **({"Authorization": f"Bearer {token}"} if token else {})}
    return requests.head(url, headers=headers, timeout=_SECONDS, allow_redirects=True)


def _anonymous_token(refused: requests.Response) -> str:
    """Return the token for anonymous access; "" if the challenge names no server for it."""
    challenge = refused.headers.get("WWW-Authenticate", "")
    values = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    if not challenge.startswith("Bearer ") or "realm" not in values:
        return ""
    realm = values.pop("realm")
    answer = requests.get(realm, params=values, timeout=_SECONDS)
    return str(answer.json().get("token", "")) if answer.ok else ""
