"""A chat that accepts messages over HTTP, as Slack's incoming webhooks do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Chat(ThreadingHTTPServer):
    """Keeps the messages posted to `url`; answers `statuses` in turn, then 200."""

    PATH = "/services/T0/B0/s3cr3t"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.messages: list[dict] = []
        self.statuses: list[int] = []
        self.requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}{self.PATH}"

    @property
    def titles(self) -> list[str]:
        return [message["text"] for message in self.messages]


class _Handler(BaseHTTPRequestHandler):
    server: Chat

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests += 1
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        if self.path != Chat.PATH:
            status = 404
        if status == 200:
            self.server.messages.append(json.loads(body))
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def running_chat() -> Iterator[Chat]:
    """A chat that runs for the length of the block."""
    chat = Chat()
    thread = threading.Thread(target=chat.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield chat
    finally:
        chat.shutdown()
        chat.server_close()
        thread.join()
