"""A web site on loopback: pages and pictures by their paths, and a list of what was asked for."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.conftest import jpeg

BY = "https://creativecommons.org/licenses/by/4.0/"
Answer = tuple[int, dict[str, str], bytes]


class Web:
    """A running site. `pages` maps a path (with its query, or without) to an answer, `requests` counts paths.

    What is not in `pages` is asked of `otherwise`; without an answer it is 404. Each answer takes `delay` seconds.
    """

    def __init__(self) -> None:
        self.pages: dict[str, Answer] = {}
        self.requests: Counter[str] = Counter()
        self.headers: dict[str, dict[str, str]] = {}
        self.otherwise: Callable[[str], Answer | None] = lambda path: None
        self.delay = 0.0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self._server.daemon_threads = True
        self.netloc = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.netloc}"

    def page(self, path: str, body: str, head: str = "", **headers: str) -> None:
        """Serve a page of HTML."""
        text = f"<!doctype html><html><head><title>{path}</title>{head}</head><body>{body}</body></html>"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.pages[path] = (200, {"Content-Type": "text/html; charset=utf-8", **named}, text.encode())

    def picture(self, path: str, seed: int, data: bytes = b"", **headers: str) -> None:
        """Serve a JPEG."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.pages[path] = (200, {"Content-Type": "image/jpeg", **named}, data or jpeg(seed, (160, 120)))

    def gallery(self, path: str, names: range, license: str = BY, more: str = "") -> None:
        """A page of thumbnails that are the pictures, with one license for all."""
        for name in names:
            self.picture(f"/img/horse{name}.jpg", name)
        shown = "".join(f'<img src="/img/horse{name}.jpg" alt="Horse {name}">' for name in names)
        self.page(path, f"{shown}{more}", f'<link rel="license" href="{license}">')

    def answer(self, target: str) -> Answer:
        """What is served at a path."""
        found = self.pages.get(target) or self.pages.get(urlsplit(target).path) or self.otherwise(target)
        return found or (404, {"Content-Type": "text/plain"}, b"nothing here")

    def serve(self) -> None:
        """Answer until `stop`."""
        self._server.serve_forever(poll_interval=0.02)

    def stop(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def serving() -> Iterator[Web]:
    """A site that runs for as long as the block."""
    web = Web()
    thread = threading.Thread(target=web.serve, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        web.stop()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, web: Web, *args: Any) -> None:
        self.web = web
        super().__init__(*args)

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.web.requests[self.path] += 1
        self.web.headers[self.path] = dict(self.headers.items())
        time.sleep(self.web.delay)
        status, headers, body = self.web.answer(self.path)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def settings(web: Web, more: str = "", site: str = "") -> str:
    """A config.toml that lets this site be private."""
    return f"""
[crawl]
contact = "tests@localhost"
allow_private_hosts = ["{web.netloc}"]
cache_hours = 0
per_host = 16
{more}
[sources.site]
{site}
"""
