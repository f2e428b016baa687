"""A source whose files are served by raw sockets, so that everything that can go wrong on a wire goes wrong exactly.

A file is (status, headers, body), or a `Fault`: a function that does with the connection what it likes.
"""

from __future__ import annotations

import gzip
import json
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from tests.conftest import jpeg

CC_BY = "https://creativecommons.org/licenses/by/4.0/"
STALL_S = 30.0  # how long a fault goes on when nobody hangs up

Fault = Callable[[socket.socket], None]
Answer = tuple[int, dict[str, str], bytes]
ON = ("openverse", "wikimedia", "inaturalist", "met", "flickr", "smithsonian", "europeana")  # sources that are asked
LINE = "\n"
IMAGE = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n"


def good(seed: int) -> Answer:
    """A picture, served as it should be."""
    return 200, {"Content-Type": "image/jpeg"}, jpeg(seed, (160, 120))


def faulty(server: FaultServer, *sources: str, **crawl: float | list[str]) -> str:
    """A config.toml for a crawl of the server as each of `sources`, with little patience; `crawl` are settings of it.

    Nothing but the server may be private.
    """
    asked = sources or ("openverse",)
    manners = {"timeout": 2.0, "retries": 1, "cache_hours": 0, "allow_private_hosts": [server.netloc], **crawl}
    others = [name for name in ON if name not in asked]
    return f"""
[intake]
max_bytes = 100000
[crawl]
contact = "tests@localhost"
{LINE.join(f"{name} = {json.dumps(value)}" for name, value in manners.items())}
[sources]
{LINE.join(f"{name} = {{ enabled = false }}" for name in others)}
{LINE.join(f'{name} = {{ base_url = "{server.url}" }}' for name in asked)}
[concepts.horse]
labels = ["horse", "not-horse"]
exclude = ["rocking horse"]
"""


def plugins(folder: Path, bases: Mapping[str, str], *, like: str) -> str:
    """A line for `[sources]` that adds a source for each base address, which speaks like one of our own.

    So one crawl can meet many faults of a source at once.
    """
    lines = [f"from collector.spiders.{like} import {like.title()}"]
    for n, (name, base) in enumerate(bases.items()):
        lines.append(f"class {like.title()}{n}({like.title()}):\n    name, base = {name!r}, {base!r}")
    (folder / f"{like}s.py").write_text(LINE.join(lines))
    return f'plugins = ["{folder / like}s.py"]'


class Canary:
    """Listens on a free port of every IPv4 and IPv6 address of this machine, and counts who comes."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=100)
        self.port: int = self._socket.getsockname()[1]
        self.hits = 0

    def __enter__(self) -> Canary:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.hits += 1
            with connection, suppress(OSError):
                connection.settimeout(1)
                if connection.recv(65536).startswith(b"GET"):
                    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\ntweet")


class FaultServer:
    """One Openverse page with all files that are not below `/hidden/` or `/as/`, robots.txt, and the files.

    `asked` are (time on time.monotonic's clock, path); `heads` the requests as they came; `pages` replaces the answers
    to searches, the last one is given for ever.
    """

    def __init__(
        self,
        files: Mapping[str, Answer | Fault],
        *,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
        name: str = "",
        pages: Sequence[Answer | Fault] = (),
    ) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, 0), family=family, backlog=200)
        self.port: int = self._socket.getsockname()[1]
        self.netloc = f"{name or (f'[{host}]' if ':' in host else host)}:{self.port}"
        self.url = f"{'https' if tls else 'http'}://{self.netloc}"
        self.files = dict(files)
        self.pages = list(pages)
        self.titles: dict[str, str] = {}
        self.asked: list[tuple[float, str]] = []
        self.heads: list[str] = []
        self._tls = tls

    @property
    def agents(self) -> set[str]:
        """All that was sent as User-Agent."""
        return {line for head in self.heads for line in re.findall(r"(?im)^user-agent: *(.*?)\r?$", head)}

    def count(self, path: str) -> int:
        """How often a path was asked for."""
        return sum(each == path for _, each in self.asked)

    def __enter__(self) -> FaultServer:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        plain.settimeout(STALL_S)
        with plain, suppress(OSError):  # also ssl.SSLError: clients hang up on this server
            connection = self._tls.wrap_socket(plain, server_side=True) if self._tls else plain
            with connection:
                while head := _head(connection):
                    answer = self._answer(head)
                    if callable(answer):
                        answer(connection)
                        return
                    connection.sendall(rendered(*answer))

    def _answer(self, head: str) -> Answer | Fault:
        path = urlsplit(head.split(" ", 2)[1]).path
        self.asked.append((time.monotonic(), path))
        self.heads.append(head)
        if path == "/robots.txt" and path not in self.files:
            return 200, {}, b"User-agent: *\nDisallow: /private/\nDisallow: /v1/\n"
        if path == "/v1/images/" and path not in self.files:
            if self.pages:
                return self.pages.pop(0) if len(self.pages) > 1 else self.pages[0]
            return 200, {"Content-Type": "application/json"}, self.search()
        return self.files.get(path, (404, {}, b""))

    def search(self, page_count: int = 1) -> bytes:
        """All files that are not hidden, as an answer of Openverse."""
        results = [
            {
                "id": path,
                "url": path if ":" in path else self.url + path,
                "title": self.titles.get(path, path),
                "license": "by",
                "license_version": "4.0",
                "license_url": CC_BY,
            }
            for path in self.files
            if not path.startswith(("/hidden/", "/as/"))
        ]
        return json.dumps({"page_count": page_count, "results": results}).encode()


def rendered(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """An answer as bytes; its Content-Length is the body's unless the headers say another."""
    known = {status.value: status.phrase for status in HTTPStatus}
    lines = [f"HTTP/1.1 {status} {known.get(status, 'Odd')}", *(f"{name}: {value}" for name, value in headers.items())]
    if not {"content-length", "transfer-encoding"} & {name.lower() for name in headers}:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def _head(connection: socket.socket) -> str:
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        more = connection.recv(65536)
        data += more
        if not more or not data[:1].isupper():  # no HTTP: the beginning of TLS, say
            return ""
    return data.decode("latin-1")


# -- faults of the wire -------------------------------------------------------------------------------------------


def then_hangs_up(data: bytes) -> Fault:
    """Send something, and close the connection."""
    return lambda connection: connection.sendall(data)


def then_is_silent(data: bytes) -> Fault:
    """Send something and nothing more, but do not hang up."""

    def fault(connection: socket.socket) -> None:
        connection.sendall(data)
        _wait_for_hang_up(connection)

    return fault


def then_half_closes(data: bytes) -> Fault:
    """Send something, say that nothing more comes, and yet do not hang up."""

    def fault(connection: socket.socket) -> None:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        _wait_for_hang_up(connection)

    return fault


def then_resets(data: bytes) -> Fault:
    """Send something, and reset the connection as a crashed machine does."""

    def fault(connection: socket.socket) -> None:
        if data:
            connection.sendall(data)
            time.sleep(0.1)  # a reset overtakes what has not been read yet
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return fault


def drips(first: bytes, drop: bytes, pause: float) -> Fault:
    """Send something and then a little every now and then: never silent for long, and never done."""

    def fault(connection: socket.socket) -> None:
        connection.sendall(first)
        end = time.monotonic() + STALL_S
        while time.monotonic() < end:
            connection.sendall(drop)
            time.sleep(pause)

    return fault


def in_turn(*answers: Answer) -> Fault:
    """Another answer each time, the last one for ever."""
    left = list(answers)

    def fault(connection: socket.socket) -> None:
        connection.sendall(rendered(*(left.pop(0) if len(left) > 1 else left[0])))

    return fault


@cache
def bomb(megabytes: int) -> bytes:
    """Zeros that gzip makes a thousand times smaller."""
    return gzip.compress(bytes(megabytes * 1_000_000), 6)


def _wait_for_hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        while connection.recv(65536):
            pass
