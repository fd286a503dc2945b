"""A server on loopback that a test can make fail: base of the stand-ins for KFP and Kubernetes."""

from __future__ import annotations

import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Request:
    """A request of a client."""

    method: str
    path: str
    query: dict[str, str]
    headers: Message
    body: bytes

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class Answer:
    """The answer to a request."""

    body: bytes = b"{}"
    status: int = 200
    kind: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class Refusal(Exception):  # noqa: N818, an answer, not an error
    """Raised by a route to refuse with a status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Fault:
    """A failure of the next `times` requests whose line matches `pattern`.

    Attributes:
        how: a status (503); "cut": the answer ends in the middle; "lost": the request is carried
            out but not answered; "silent": no answer in time; "page": a login page.
    """

    pattern: str
    how: int | str
    times: int = 1


@dataclass
class Loopback:
    """Serves `answer` on a port of loopback within `with`, and records the requests.

    With a `certificate`, a PEM file with its key, it speaks TLS.
    """

    certificate: Path | None = None
    faults: list[Fault] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def answer(self, request: Request) -> Answer:
        """Return the answer to a request. Raises Refusal."""
        raise NotImplementedError

    def refused(self, status: int, message: str) -> bytes:
        """Return the body of a refusal, as the real server words it."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        scheme = "https" if self.certificate else "http"
        return f"{scheme}://127.0.0.1:{self._server.server_address[1]}"

    def lines(self, method: str = "") -> list[str]:
        """Return the requests so far, as "GET /path"."""
        return [request.line for request in self.requests if request.method.startswith(method)]

    def fail(self, pattern: str, how: int | str, times: int = 1) -> None:
        self.faults.append(Fault(pattern, how, times))

    def __enter__(self) -> Any:
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def respond(self, request: Request) -> Answer | None:
        """Return the answer to a request; None if none is to be sent."""
        with self._lock:
            self.requests.append(request)
            how = self._fault(request)
            if how in (None, "cut", "lost"):
                answer = self._try(request)
            elif isinstance(how, int):
                return Answer(self.refused(how, f"made to fail with {how}"), how)
            elif how == "page":
                return Answer(b"<html>Log in</html>", kind="text/html")
        if how == "silent":
            self._closing.wait(30)
            return None
        return None if how == "lost" else _Cut(answer) if how == "cut" else answer

    def _try(self, request: Request) -> Answer:
        try:
            return self.answer(request)
        except Refusal as refusal:
            return Answer(self.refused(refusal.status, str(refusal)), refusal.status)

    def _fault(self, request: Request) -> int | str | None:
        for fault in self.faults:
            if fault.times and re.fullmatch(fault.pattern, request.line):
                fault.times -= 1
                return fault.how
        return None


class _Cut(Answer):
    """An answer whose second half never comes."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.body, answer.status, answer.kind)


def routed(routes: Mapping[str, Callable[..., Answer]], request: Request) -> Answer:
    """Call the route whose "METHOD /path/{name}" matches, with the request and the path's parts."""
    for pattern, route in routes.items():
        match = re.fullmatch(re.sub(r"\{\w+\}", "([^/:]+)", pattern), request.line)
        if match:
            return route(request, *map(unquote, match.groups()))
    raise Refusal(404, f"no route {request.line}")


def as_answer(value: Any) -> Answer:
    return Answer(json.dumps(value).encode())


def _handler(server: Loopback) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536  # headers and body in one packet, or each answer takes 40 ms

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Request(self.command, parts.path, query, self.headers, body)
            answer = server.respond(request)
            if answer is None:
                self._hang_up()
                return
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(len(answer.body)))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            if isinstance(answer, _Cut):
                self.wfile.write(answer.body[: len(answer.body) // 2])
                self._hang_up()
                return
            self.wfile.write(answer.body)

        do_GET = do_POST = do_DELETE = do_HEAD = _serve

        def _hang_up(self) -> None:
            self.close_connection = True
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, *arguments: object) -> None:
            """Print nothing."""

    return Handler


def self_signed(path: Path) -> Path:
    """Write a certificate for 127.0.0.1 that nobody trusts, and its key, as one PEM file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    kind, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(key.private_bytes(pem, kind, plain) + certificate.public_bytes(pem))
    return path
