"""Whether an image is in its registry, as far as can be seen from here without credentials."""

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
    """What a registry says of an image."""

    THERE = "is in its registry"
    MISSING = "is not in its registry"
    UNSEEN = "cannot be seen from here: its registry asks for a login, or is away"


@dataclass(frozen=True)
class Image:
    """An image that is pinned: host/name[:tag]@digest."""

    host: str
    name: str
    digest: str

    @property
    def manifest(self) -> str:
        """The URL of its manifest; loopback has no TLS, as container engines have it, too."""
        local = urlsplit(f"//{self.host}").hostname in ("localhost", "127.0.0.1")
        scheme = "http" if local else "https"
        return f"{scheme}://{self.host}/v2/{self.name}/manifests/{self.digest}"


def parse(text: str) -> Image | None:
    """None for an image without a registry's host or without a digest."""
    found = _IMAGE.fullmatch(text)
    if found is None:
        return None
    return Image(found["host"], found["name"].partition(":")[0], found["digest"])


def presence(text: str) -> Presence:
    """Ask the registry for an image's manifest, as nobody."""
    image = parse(text)
    if image is None:
        return Presence.UNSEEN
    try:
        answer = _head(image.manifest)
        if answer.status_code == 401:
            answer = _head(image.manifest, _anonymous_token(answer))
    except (requests.RequestException, ValueError):
        return Presence.UNSEEN
    if answer.status_code == 404 and "json" in answer.headers.get("Content-Type", ""):
        return Presence.MISSING  # not some web server's page
    return Presence.THERE if answer.ok else Presence.UNSEEN


def require(images: list[str]) -> None:
    """Raise ConfigError for an image that its registry says it has not."""
    for image in images:
        if presence(image) is Presence.MISSING:
            raise ConfigError(
                f"image {image} is not in its registry; push it, or name another with --image"
            )


def _head(url: str, token: str = "") -> requests.Response:
    headers = {"Accept": _KINDS, **({"Authorization": f"Bearer {token}"} if token else {})}
    return requests.head(url, headers=headers, timeout=_SECONDS, allow_redirects=True)


def _anonymous_token(refused: requests.Response) -> str:
    """The token that a registry gives anyone, where its challenge names who gives it."""
    challenge = refused.headers.get("WWW-Authenticate", "")
    told = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    if not challenge.startswith("Bearer ") or "realm" not in told:
        return ""
    realm = told.pop("realm")
    answer = requests.get(realm, params=told, timeout=_SECONDS)
    return str(answer.json().get("token", "")) if answer.ok else ""
