"""The demo's own web: one loopback server that answers like Openverse, like Wikimedia Commons, and serves the files.

    with Site(pictures) as site:
        ...  # sources' base_url = site.url
    site.requests  # how often each file was asked for

Nothing here leaves the machine: it binds to 127.0.0.1 only.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qsl, urlsplit

from pipelines.demo.answers import commons_answer, openverse_answer
from pipelines.demo.entries import Picture, listing

BURST, BURST_S, SUSTAINED = 20, 60.0, 200
Headers = dict[str, str]
Answer = tuple[int, Headers, bytes]


class Site:
    """The server, running in threads of this process between `__enter__` and `__exit__`.

    `requests` counts the file requests of this process, `searches` are the targets of its searches in order. With
    `log`, each file request is a line `STATUS PATH` of that file too, so that a killed and repeated run can be checked.
    Port 0 takes a free one.
    """

    def __init__(self, pictures: Sequence[Picture], *, port: int = 0, log: Path | None = None) -> None:
        self.listing = listing(pictures)
        self.requests: Counter[str] = Counter()
        self.searches: list[str] = []
        self._files = self.listing.files()
        self._log = log
        self._lock = threading.Lock()
        self._searches: list[float] = []
        self._server = _Server(("127.0.0.1", port), self)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Site:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, target: str, user_agent: str) -> Answer:
        """(status, headers, body) for a request target such as `/v1/images/?q=horse`."""
        parts = urlsplit(target)
        params = dict(parse_qsl(parts.query, keep_blank_values=True))
        if parts.path in ("/v1/images/", "/w/api.php"):
            self.searches.append(target)
        if parts.path == "/v1/images/":
            return self._openverse(params)
        if parts.path == "/w/api.php":
            return self._commons(params, user_agent)
        if parts.path == "/robots.txt":
            return 200, {"Content-Type": "text/plain"}, b"User-agent: *\nAllow: /\n"
        if parts.path in self._files:
            return self._file(parts.path)
        return 404, {"Content-Type": "text/plain"}, b"Not Found"

    def _openverse(self, params: dict[str, str]) -> Answer:
        now = time.monotonic()
        with self._lock:
            self._searches = [when for when in self._searches if now - when < BURST_S]
            left = BURST - len(self._searches)
            wait = BURST_S - (now - self._searches[0]) if left <= 0 else 0.0
            if left > 0:
                self._searches.append(now)
        headers = {
            "x-ratelimit-limit-anon_burst": f"{BURST}/min",
            "x-ratelimit-available-anon_burst": str(max(0, left - 1)),
            "x-ratelimit-limit-anon_sustained": f"{SUSTAINED}/day",
            "x-ratelimit-available-anon_sustained": str(SUSTAINED - len(self._searches)),
        }
        if wait:
            detail = {"detail": f"Request was throttled. Expected available in {wait:.0f} seconds."}
            return _json(429, detail, headers | {"Retry-After": str(int(wait) + 1)})
        status, body = openverse_answer(self.listing.openverse, params, self.url)
        return _json(status, body, headers)

    def _commons(self, params: dict[str, str], user_agent: str) -> Answer:
        if "@" not in user_agent and "http" not in user_agent:
            text = b"Please set a user-agent with contact information."
            return 403, {"Content-Type": "text/plain"}, text
        return _json(200, commons_answer(self.listing.commons, params, self.url), {})

    def _file(self, path: str) -> Answer:
        file = self._files[path]
        with self._lock:
            self.requests[path] += 1
            busy = file.busy_once and self.requests[path] == 1
            status = 429 if busy else file.status
            if self._log:
                with self._log.open("a", encoding="utf-8") as log:
                    log.write(f"{status} {path}\n")
        if busy:
            return 429, {"Content-Type": "text/plain", "Retry-After": "1"}, b"Too Many Requests"
        return status, {"Content-Type": file.mime, **dict(file.headers)}, file.body


def _json(status: int, body: object, headers: Headers) -> Answer:
    return status, {"Content-Type": "application/json", **headers}, json.dumps(body).encode()


class _Server(ThreadingHTTPServer):
    """Closes its kept-alive connections when it ends, so that nothing waits for a client to hang up."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], site: Site) -> None:
        super().__init__(address, _Handler)
        self.site = site
        self.open: set[socket.socket] = set()

    def handle_error(self, request: object, client_address: object) -> None:
        """Silent where a client hung up, which crawlers do when they have seen enough."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def server_close(self) -> None:
        super().server_close()
        for connection in list(self.open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # the client was quicker


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet: two would wait 40 ms for the client's delayed acknowledgement
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.open.add(self.connection)

    def finish(self) -> None:
        self.server.open.discard(self.connection)
        super().finish()

    def do_GET(self) -> None:
        try:
            status, headers, body = self.server.site.answer(self.path, self.headers.get("User-Agent", ""))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()
        except ConnectionError:
            self.close_connection = True  # a client that was killed

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the demo's terminal belongs to its progress."""
