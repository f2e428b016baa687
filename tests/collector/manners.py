"""A loopback host that keeps count, and `ask`: a crawl of a list of addresses with all of our middlewares.

It runs in a process of its own (asker.py), as a crawl does, because Scrapy's reactor cannot be started twice.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
LOOPBACK = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "localhost"]
CHUNK = 65_536


@dataclass
class Reply:
    """What a path answers. The body follows the headers in chunks of 64 kB, `wait` seconds before each of them."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    wait: float = 0.0


@dataclass
class Asked:
    """One request that arrived: when, for which host and path, with which headers, and who else was there."""

    at: float
    host: str
    path: str
    headers: dict[str, str]
    at_once: int


class Host:
    """Answers at every loopback address on one port; `replies` by path, or a function of the path."""

    def __init__(self, replies: dict[str, Reply] | Callable[[str], Reply]) -> None:
        self.replies = replies
        self.asked: list[Asked] = []
        self.here: defaultdict[str, set[int]] = defaultdict(set)  # connections that wait for an answer
        self.body_bytes = 0
        self.server = _Server(("0.0.0.0", 0), type("Handler", (_Handler,), {"told": self}))
        self.port = self.server.server_port

    def url(self, path: str, address: str = "127.0.0.1") -> str:
        return f"http://{address}:{self.port}{path}"

    def paths(self) -> list[str]:
        return [each.path for each in self.asked]

    def busiest(self, address: str = "127.0.0.1") -> int:
        return max((each.at_once for each in self.asked if each.host.startswith(address)), default=0)

    def __enter__(self) -> Host:
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Silent: clients hang up on this server."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    told: Host

    def do_GET(self) -> None:
        host, told = self.headers.get("Host", ""), self.told
        here = told.here[host]
        here.add(id(self))
        told.asked.append(Asked(time.monotonic(), host, self.path, dict(self.headers), len(here)))
        missing = Reply(404)
        reply = told.replies(self.path) if callable(told.replies) else told.replies.get(self.path, missing)
        try:
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            if not reply.body:
                here.discard(id(self))
            self.end_headers()
            self.wfile.flush()
            for at in range(0, len(reply.body), CHUNK):
                time.sleep(reply.wait)
                if at + CHUNK >= len(reply.body):  # who has the last byte may be back before we are here again
                    here.discard(id(self))
                self.wfile.write(reply.body[at : at + CHUNK])
                told.body_bytes += CHUNK
        except ConnectionError:
            self.close_connection = True
            here.discard(id(self))

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


class Asker:
    """Sends lists of addresses to the crawling process; a function to call, once it is entered."""

    def __enter__(self) -> Asker:
        command = [sys.executable, "-m", "tests.collector.asker"]
        self.process = subprocess.Popen(
            command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def __call__(
        self,
        *spiders: Sequence[dict[str, Any]],
        data: Path | None = None,
        slots: dict[str, Any] | None = None,
        **config: Any,
    ) -> list[dict[str, Any]]:
        """Let each spider ask for its addresses, all at once, and tell in their order what became of each.

        An address is {"url": ..., "meta": {...}, "after": seconds, "give_up": seconds}, a result {"status", "body",
        "took"} or {"reason", "detail", "took"}.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        with tempfile.TemporaryDirectory() as scratch:
            order = {
                "spiders": spiders,
                "data": str(data or scratch),
                "slots": slots or {},
                "config": {"allow_private_hosts": LOOPBACK, **config},
            }
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        told: list[dict[str, Any]] = json.loads(line)
        return told
