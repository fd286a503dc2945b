"""A proxy that drops chosen answers of a server after the server has done its work."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_HOP_HEADERS = ("connection", "transfer-encoding", "content-length")


class LossyProxy:
    """Forwards requests to a server; drops one answer to each path given to `lose`."""

    def __init__(self, port: int) -> None:
        self.lost: list[str] = []
        self._server_port = port
        self._to_lose: set[str] = set()
        self._listening = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._listening.daemon_threads = True

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._listening.server_address[1]}"

    def lose(self, *endings: str) -> None:
        """Drop the next answer to a request whose path has one of these endings."""
        self._to_lose.update(endings)

    @contextmanager
    def serving(self) -> Iterator[LossyProxy]:
        thread = threading.Thread(target=self._listening.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._listening.shutdown()
            self._listening.server_close()
            thread.join()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        body = _body(request)
        upstream = http.client.HTTPConnection("127.0.0.1", self._server_port, timeout=60)
        try:
            headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP_HEADERS}
            upstream.request(request.command, request.path, body, headers)
            answer = upstream.getresponse()
            content = answer.read()
        finally:
            upstream.close()
        request.close_connection = True
        if self._loses(request.path.split("?")[0]):
            return
        request.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP_HEADERS:
                request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def _loses(self, path: str) -> bool:
        for ending in list(self._to_lose):
            if path.endswith(ending):
                self._to_lose.discard(ending)
                self.lost.append(ending)
                return True
        return False

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                proxy._answer(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

            def log_message(self, *_arguments: object) -> None:
                pass

        return Handler


def _body(request: BaseHTTPRequestHandler) -> bytes:
    """Return what the client sent; it sends chunks if it did not know the length beforehand."""
    if request.headers.get("Transfer-Encoding") != "chunked":
        return request.rfile.read(int(request.headers.get("Content-Length") or 0))
    body = b""
    while size := int(request.rfile.readline(), 16):
        body += request.rfile.read(size)
        request.rfile.readline()
    request.rfile.readline()
    return body
