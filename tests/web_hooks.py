"""A real HTTP server that takes notifications, and refuses the first ones if told so."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(slots=True)
class Received:
    """What came to a server."""

    url: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    """Those that it took."""
    requests: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    """(path, headers) of all, refused ones as well."""


@contextmanager
def web_hook(*, answers: tuple[int, ...] = (), headers: Mapping[str, str] | None = None) -> Iterator[Received]:
    """A server on this machine; ``answers`` are the first status codes that it gives, 0: it hangs up; then 200."""
    received, left, lock = Received(), list(answers), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """What would come if somebody followed a redirect."""
            received.requests.append((self.path, dict(self.headers)))
            self.send_response(200)
            self.end_headers()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                received.requests.append((self.path, dict(self.headers)))
                status = left.pop(0) if left else 200
                if status == 200:
                    received.events.append(json.loads(body))
            if status == 0:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received.url = f"http://127.0.0.1:{server.server_port}/hook?key=secret"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
