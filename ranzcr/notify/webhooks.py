"""Receives MLflow's webhooks: proves that MLflow sent them, and tells the chat what they say.

MLflow signs each delivery with the secret that the webhook was registered with (HMAC-SHA256 of
"<delivery id>.<time>.<body>"). A delivery is refused whose signature is another one, or whose time
is not within FRESH seconds of ours; one that was told already is not told again, whoever repeats
it. MLflow itself repeats a delivery with the same id where the answer is an error of ours, so an
event that the chat did not take is told later.

MLflow sends only what changes in versions and aliases: of rejections and of runs that ended, it is
`polling` that tells.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from mlflow import MlflowClient
from mlflow.entities.webhook import Webhook, WebhookEvent, WebhookEventStr
from mlflow.exceptions import MlflowException
from mlflow.webhooks.constants import (
    WEBHOOK_DELIVERY_ID_HEADER,
    WEBHOOK_SIGNATURE_HEADER,
    WEBHOOK_SIGNATURE_VERSION,
    WEBHOOK_TIMESTAMP_HEADER,
)

from ranzcr.errors import ConfigError, TrackingError
from ranzcr.notify import notify
from ranzcr.notify.notify import Event
from ranzcr.registry import ledger
from ranzcr.registry.candidates import CANDIDATES, CHAMPION, REPORT, REQUEST, Request
from ranzcr.registry.gates import FAIL, GateReport
from ranzcr.registry.ledger import PRODUCTION
from ranzcr.registry.sealed import unseal
from ranzcr.tracking import place, server

SECRET = "RANZCR_WEBHOOK_SECRET"
NAME = "ranzcr"  # of our webhook in MLflow
FRESH = 300.0  # seconds; MLflow gives up a delivery after about a minute
_MADE: Final = "model_version.created"
_TAGGED: Final = "model_version_tag.set"
_MOVED: Final = "model_version_alias.created"
_LARGEST = 1 << 20  # bytes of a body; MLflow's tags have 8,000 characters
_SILENCE = 10.0  # seconds that a client may take to say something

Tell = Callable[[Event], None]  # raises TrackingError where the chat does not take it


class RefusedError(Exception):
    """A delivery that is not taken, with the HTTP status that says so."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True)
class Delivery:
    """What was posted, and its headers, "" where they are missing."""

    body: bytes
    id: str
    sent: str  # seconds since 1970
    signature: str  # "v1,<base64>"


@dataclass(frozen=True)
class Registered:
    """The webhook in MLflow. `problem` says why its test did not reach us, "" where it did."""

    created: bool
    problem: str


def register(url: str, secret: str) -> Registered:
    """Have MLflow send the registry's events to `url`; the webhook it has already is changed.

    Args:
        url: of `serve`, as the MLflow server reaches it.
        secret: by which MLflow signs and `serve` verifies.

    Raises ConfigError for the local journal, which has no server that could send, TrackingError
    where MLflow refuses the URL or us.
    """
    client = server.connect()
    uri = client.tracking_uri
    if place.sqlite_file(uri) is not None:
        raise ConfigError("the local journal sends no webhooks; use ranzcr notify poll")
    with server.translated(uri):
        with server.hurried():
            known = _known(client)
            webhook = _write(client, known, url, secret)
        tested = client.test_webhook(webhook.webhook_id)
    answer = f"answer {tested.response_status}" if tested.response_status else tested.error_message
    return Registered(known is None, "" if tested.success else str(answer))


def _write(client: MlflowClient, known: Webhook | None, url: str, secret: str) -> Webhook:
    events: list[WebhookEventStr | WebhookEvent] = [_MADE, _TAGGED, _MOVED]
    if known is None:
        return client.create_webhook(NAME, url, events, secret=secret)
    return client.update_webhook(
        known.webhook_id, url=url, events=events, secret=secret, status="ACTIVE"
    )


def _known(client: MlflowClient) -> Webhook | None:
    """Our webhook. Raises TrackingError where the server cannot read the ones it has."""
    token = None
    while True:
        try:
            page = client.list_webhooks(page_token=token)
        except MlflowException as error:
            if error.get_http_status_code() != 500:
                raise
            raise TrackingError(
                "MLflow cannot read its webhooks: their secrets are encrypted with another key. "
                "Start it with the MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY of the time they were made"
            ) from None
        for webhook in page:
            if webhook.name == NAME:
                return webhook
        token = page.token
        if not token:
            return None


class Receiver:
    """Verifies deliveries and tells their events, each once."""

    def __init__(self, secret: str, tell: Tell) -> None:
        self._secret = secret.encode()
        self._tell = tell
        self._told: dict[str, float] = {}  # delivery id -> its time
        self._translator = Translator()
        self._lock = threading.Lock()  # one at a time: a repetition waits for the first

    def receive(self, delivery: Delivery) -> None:
        """Take a delivery. Raises RefusedError where it is not MLflow's, or the chat is away."""
        self._verify(delivery)
        with self._lock:
            self._told = {known: at for known, at in self._told.items() if _is_fresh(at)}
            if delivery.id in self._told:
                return
            event = self._translator.event_of(delivery.body)
            if event is not None:
                try:
                    self._tell(event)
                except TrackingError as problem:
                    raise RefusedError(502, str(problem)) from None
            self._told[delivery.id] = float(delivery.sent)

    def _verify(self, delivery: Delivery) -> None:
        signed = f"{delivery.id}.{delivery.sent}.".encode() + delivery.body
        digest = hmac.new(self._secret, signed, hashlib.sha256).digest()
        expected = f"{WEBHOOK_SIGNATURE_VERSION},{base64.b64encode(digest).decode()}"
        if not hmac.compare_digest(expected.encode(), delivery.signature.encode()):
            raise RefusedError(401, f"wrong or no signature; is {SECRET} that of the webhook?")
        if not _is_fresh(float(delivery.sent)):
            raise RefusedError(
                401, f"sent at {delivery.sent}, now it is {time.time():.0f}; set the clocks"
            )


class Translator:
    """Says what MLflow's deliveries mean.

    A promotion first makes a production version, which carries its ledger line, and then moves the
    alias to it. One that lost against another never gets there, so it is the alias that counts.
    """

    def __init__(self) -> None:
        self._acts: dict[str, ledger.LedgerLine] = {}  # by production version

    def event_of(self, body: bytes) -> Event | None:
        """What a delivery tells, None where it is of no interest."""
        try:
            told = json.loads(body)
            return self._event(f"{told['entity']}.{told['action']}", told["data"])
        except (ValueError, TypeError, KeyError, AttributeError) as problem:
            notify.warn(f"a webhook of MLflow was not understood ({type(problem).__name__})")
            return None

    def _event(self, what: str, data: Mapping[str, Any]) -> Event | None:
        model, version = data["name"], data.get("version", "")
        if (what, model) == (_MADE, PRODUCTION):
            entry = ledger.parse(data["tags"].get(ledger.TAG))
            if entry is not None:
                self._acts[version] = replace(entry, version=version)
        elif (what, model, data.get("alias")) == (_MOVED, PRODUCTION, CHAMPION):
            entry = self._acts.get(version)
            return notify.act(entry) if entry else notify.champion_is(version)
        elif (what, model) == (_MADE, CANDIDATES):
            return _failure(version, data["tags"].get(REPORT))
        elif (what, model, data.get("key")) == (_TAGGED, CANDIDATES, REPORT):
            return _failure(version, data["value"])
        elif (what, model, data.get("key")) == (_TAGGED, CANDIDATES, REQUEST):
            stored = unseal(data["value"])
            return notify.asked(version, Request(**stored)) if stored else None
        return None


def _failure(version: str, stored: str | None) -> Event | None:
    held = unseal(stored)
    report = GateReport.from_json(held) if held else None
    return notify.gates_failed(version, report) if report and report.result == FAIL else None


class Server(ThreadingHTTPServer):
    """POST / takes deliveries, GET /health answers probes. Not yet serving.

    Raises ConfigError where the address is not free.
    """

    def __init__(self, receiver: Receiver, host: str, port: int) -> None:
        self.receiver = receiver
        try:
            super().__init__((host, port), _Handler)
        except OSError as problem:
            raise ConfigError(
                f"cannot listen on {host} port {port} ({problem.strerror}); choose another"
            ) from None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away in the middle; one line in place of a traceback."""
        notify.warn(f"webhook from {client_address[0]} failed: {type(sys.exception()).__name__}")


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = _SILENCE
    server_version, sys_version = "ranzcr", ""

    def do_GET(self) -> None:
        self._answer(200 if self.path == "/health" else 404)

    def do_POST(self) -> None:
        headers = (WEBHOOK_DELIVERY_ID_HEADER, WEBHOOK_TIMESTAMP_HEADER, WEBHOOK_SIGNATURE_HEADER)
        try:
            told = (self.headers.get(name, "") for name in headers)
            self.server.receiver.receive(Delivery(self._body(), *told))
        except RefusedError as refused:
            notify.warn(f"webhook from {self.client_address[0]} refused: {refused}")
            self._answer(refused.status)
        else:
            self._answer(204)

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise RefusedError(411, "no Content-Length")
        if int(length) > _LARGEST:
            raise RefusedError(413, f"{length} bytes; MLflow's deliveries have at most {_LARGEST}")
        return self.rfile.read(int(length))

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *values: Any) -> None:
        """Nothing per request: what was refused is warned of, what was taken is in the chat."""


def _is_fresh(at: float) -> bool:
    return abs(time.time() - at) <= FRESH
