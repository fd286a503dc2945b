"""Look up an image in its registry without credentials."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from loopback import Answer, Loopback, Refusal, Request, as_answer, routed

from pipelines.client.registry import Presence, parse, presence

DIGEST = f"sha256:{'0' * 64}"


@dataclass
class Registry(Loopback):
    """A registry with one image; it requires `token`, which it issues if `issues_tokens`."""

    token: str = ""
    issues_tokens: bool = True

    def answer(self, request: Request) -> Answer:
        return routed(
            {"HEAD /v2/team/ranzcr/manifests/(.+)": self._manifest, "GET /token": self._token},
            request,
        )

    def refused(self, status: int, message: str) -> bytes:
        return b"{}"

    def _manifest(self, request: Request, digest: str) -> Answer:
        if self.token and request.headers["Authorization"] != f"Bearer {self.token}":
            challenge = f'Bearer realm="{self.url}/token",service="s",scope="repository:team:pull"'
            return Answer(status=401, headers={"WWW-Authenticate": challenge})
        if digest != DIGEST:
            raise Refusal(404, "unknown")
        assert "application/vnd.oci.image.index.v1+json" in request.headers["Accept"]
        return Answer()

    def _token(self, request: Request) -> Answer:
        assert request.query == {"service": "s", "scope": "repository:team:pull"}
        if not self.issues_tokens:
            raise Refusal(403, "log in")
        return as_answer({"token": self.token})


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Registry() as server:
        yield server


def image(registry: Registry, digest: str = DIGEST) -> str:
    return f"{registry.url.removeprefix('http://')}/team/ranzcr:0.1@{digest}"


def test_an_image_is_found_or_missing(registry):
    assert presence(image(registry)) is Presence.PRESENT
    assert presence(image(registry, f"sha256:{'1' * 64}")) is Presence.MISSING


def test_a_token_that_the_registry_issues_to_everyone_is_used(registry):
    registry.token = "for-anyone"
    assert presence(image(registry)) is Presence.PRESENT
    assert presence(image(registry, f"sha256:{'1' * 64}")) is Presence.MISSING
    registry.issues_tokens = False
    assert presence(image(registry)) is Presence.UNKNOWN


@pytest.mark.parametrize("how", [401, 403, 500, "lost"])
def test_an_image_is_unknown_if_the_registry_does_not_answer(registry, how):
    registry.fail("HEAD .*", how, times=9)
    assert presence(image(registry)) is Presence.UNKNOWN


def test_an_image_is_unknown_if_a_web_server_answers_404(registry):
    registry.answer = lambda request: Answer(b"<html>", 404, "text/html")
    assert presence(image(registry)) is Presence.UNKNOWN


def test_an_image_without_a_registry_or_a_digest_is_unknown():
    for text in ("ranzcr:latest", f"ranzcr@{DIGEST}", "registry.example.com/ranzcr:0.1"):
        assert parse(text) is None
        assert presence(text) is Presence.UNKNOWN


def test_registries_on_other_hosts_are_reached_over_tls():
    image = parse(f"registry.example.com/team/ranzcr@{DIGEST}")
    assert image.manifest == f"https://registry.example.com/v2/team/ranzcr/manifests/{DIGEST}"
