"""A web server on loopback that is faster than any crawler: 20,000 distinct photographs behind nginx, without and with
latency. `crawl.py` uses it.

Every picture is a crop of its own out of a few large synthetic scenes, so that no two share pixels or fingerprints.
"""

from __future__ import annotations

import asyncio
import io
import multiprocessing
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

SIZES = ((400, 300, 20_000), (800, 600, 75_000), (1600, 1200, 300_000))  # width, height, bytes: a third each
HOSTS = tuple(f"127.0.0.{last}" for last in range(2, 10))
SCENES = 6
SCENE = (2048, 1536)
STRIDE = 50_021  # a prime, so that crops are taken all over a scene
LATENCY_S = 0.05

# -- pictures -------------------------------------------------------------------------------------------------------


def scene(seed: int) -> Image.Image:
    """A large picture with the spectrum of a photograph (amplitude ~ 1/frequency), in color, with a few hard edges."""
    random = np.random.default_rng(seed)
    width, height = SCENE
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = 1
    gray, *colors = (
        np.fft.irfft2(np.fft.rfft2(random.standard_normal((height, width))) / frequency**power)
        for power in (1.25, 1.6, 1.6)
    )
    picture = np.stack([gray, gray, gray], axis=2) / gray.std() * 42 + 118
    for color, weights in zip(colors, ((1, -0.5, -0.5), (0.3, 0.3, -0.9)), strict=True):
        picture += (color / color.std() * 14)[:, :, None] * np.array(weights)
    for _ in range(60):
        x, y, side = random.integers(0, width), random.integers(0, height), random.integers(20, 240)
        picture[y : y + side, x : x + side] += random.normal(0, 22, 3)
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def draw(folder: Path, number: int) -> list[str]:
    """Make sure that `folder` holds `number` pictures; their names, the sizes in turn."""
    names = [f"{n:06}.jpg" for n in range(number)]
    if missing := [n for n in range(number) if not (folder / names[n]).exists()]:
        folder.mkdir(parents=True, exist_ok=True)
        begun = time.monotonic()
        with multiprocessing.Pool(initializer=_scenes, initargs=(folder,)) as pool:
            for _ in pool.imap_unordered(_draw, missing, chunksize=60):
                pass
        print(f"drew {len(missing)} pictures in {time.monotonic() - begun:.0f} s", file=sys.stderr)
    return names


def _scenes(folder: Path) -> None:
    global _made, _folder
    _folder = folder
    _made = []
    for seed in range(SCENES):
        full = scene(seed)
        for width, height, size in SIZES:
            scaled = full if width == 1600 else full.resize((width * 2, height * 2), Image.Resampling.LANCZOS)
            _made.append((scaled, width, height, _quality(scaled.crop((0, 0, width, height)), size)))


def _quality(picture: Image.Image, size: int) -> int:
    """The JPEG quality at which a picture has about `size` bytes."""
    return min(range(40, 96), key=lambda quality: abs(len(_jpeg(picture, quality)) - size))


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _draw(n: int) -> None:
    picture, width, height, quality = _made[n % (SCENES * len(SIZES))]
    across, down = picture.width - width + 1, picture.height - height + 1
    y, x = divmod(n // (SCENES * len(SIZES)) * STRIDE % (across * down), across)  # no place twice
    data = _jpeg(picture.crop((x, y, x + width, y + height)), quality)
    path = _folder / f"{n:06}.jpg"
    part = path.with_suffix(".part")
    part.write_bytes(data)
    part.rename(path)


_made: list[tuple[Image.Image, int, int, int]]
_folder: Path

# -- the server -----------------------------------------------------------------------------------------------------

NGINX = """
daemon off;
master_process off;
pid {scratch}/nginx.pid;
error_log {scratch}/error.log crit;
events {{ worker_connections 4096; multi_accept on; }}
http {{
  log_format lines "$msec $http_host $uri $status";
  access_log {access};
  client_body_temp_path {scratch}/body; proxy_temp_path {scratch}/proxy; fastcgi_temp_path {scratch}/fastcgi;
  uwsgi_temp_path {scratch}/uwsgi; scgi_temp_path {scratch}/scgi;
  types {{ image/jpeg jpg; }}
  root {root};
  sendfile on; tcp_nopush on; tcp_nodelay on; etag on;
  keepalive_requests 10000000; keepalive_timeout 120s;
  upstream clock {{ server 127.0.0.1:{clock}; keepalive 1024; keepalive_requests 10000000; }}
  server {{ {fast} }}
  server {{
    {slow}
    location / {{ auth_request /wait; }}
    location = /wait {{
      internal; proxy_pass http://clock; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_pass_request_body off; proxy_pass_request_headers off; proxy_set_header Content-Length "";
    }}
  }}
}}
"""


class Served(NamedTuple):
    """The ports on each of HOSTS, and the log of requests (`seconds host path status`) if one is kept."""

    fast: int
    slow: int
    log: Path


@contextmanager
def serving(root: Path, scratch: Path, *, log: bool = False) -> Iterator[Served]:
    """nginx with the files of `root`: at once on one port, after LATENCY_S on the other."""
    fast, slow, clock = free_ports(3)
    scratch.mkdir(parents=True, exist_ok=True)
    requests = scratch / "requests.log"
    config = scratch / "nginx.conf"
    listen = {
        name: " ".join(f"listen {host}:{port} backlog=4096;" for host in HOSTS)
        for name, port in (("fast", fast), ("slow", slow))
    }
    access = f"{requests} lines" if log else "off"
    config.write_text(NGINX.format(scratch=scratch, root=root, access=access, clock=clock, **listen))
    program = shutil.which("nginx")
    if program is None:
        raise SystemExit("nginx is not installed; on Debian: apt-get install nginx-light")
    ticking = multiprocessing.Process(target=_tick, args=(clock,), daemon=True)
    ticking.start()
    nginx = subprocess.Popen([program, "-p", str(scratch), "-e", str(scratch / "error.log"), "-c", str(config)])
    try:
        _wait_for(HOSTS[-1], slow)
        _wait_for("127.0.0.1", clock)
        yield Served(fast, slow, requests)
    finally:
        for process in (nginx, ticking):
            process.terminate()
        nginx.wait()
        ticking.join()


def free_ports(number: int) -> list[int]:
    """Ports of loopback that nobody listens on."""
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _wait_for(host: str, port: int) -> None:
    for _ in range(100):
        with closing(socket.socket()) as probe:
            if probe.connect_ex((host, port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("nginx does not start")


def _tick(port: int) -> None:
    asyncio.run(_ticking(port))


async def _ticking(port: int) -> None:
    """Answer every request after LATENCY_S: nginx has no delay of its own, but asks here whether it may answer."""
    server = await asyncio.get_running_loop().create_server(_Clock, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


class _Clock(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        for _ in range(data.count(b"\r\n\r\n")):
            self.loop.call_later(LATENCY_S, self.transport.write, b"HTTP/1.1 204 No Content\r\n\r\n")


# -- a server that misbehaves ---------------------------------------------------------------------------------------

FAULTS = {"gone": 5, "busy": 2, "hangs": 1, "cut": 1, "html": 1, "opted-out": 2, "again": 10}
"""Of a hundred addresses, how many answer: 404; 503 and then 200; nothing; half a body; HTML as image/jpeg; with
X-Robots-Tag: noai; with the bytes of another address. The rest is well."""


def fault_of(n: int) -> str:
    """What is wrong with the n-th address; empty: nothing."""
    at = n % 100
    for kind, share in FAULTS.items():
        if at < share:
            return kind
        at -= share
    return ""


@contextmanager
def misbehaving(root: Path, names: list[str]) -> Iterator[int]:
    """A server on all HOSTS, at this port, that answers `/NUMBER.jpg` as `fault_of` says."""
    (port,) = free_ports(1)
    serving = multiprocessing.Process(target=_misbehave, args=(port, root, names), daemon=True)
    serving.start()
    try:
        _wait_for(HOSTS[-1], port)
        yield port
    finally:
        serving.terminate()
        serving.join()


def _misbehave(port: int, root: Path, names: list[str]) -> None:
    asyncio.run(_misbehaving(port, root, names))


async def _misbehaving(port: int, root: Path, names: list[str]) -> None:
    asked: set[str] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                path = head.split(b" ", 2)[1].decode()
                number = int(path[1:-4]) if path.endswith(".jpg") else -1
                kind = fault_of(number) if number >= 0 else "gone"
                if kind == "hangs":
                    await asyncio.sleep(60)
                status = b"404 Not Found" if kind == "gone" else b"200 OK"
                more, body = b"", b"no"
                if kind == "busy" and path not in asked:
                    status, more = b"503 Service Unavailable", b"Retry-After: 1\r\n"
                elif kind == "html":
                    body = b"<!doctype html><title>Not here</title>"
                elif kind != "gone":
                    body = (root / names[number + 50 if kind == "again" else number]).read_bytes()
                more += b"X-Robots-Tag: noai\r\n" if kind == "opted-out" else b""
                asked.add(path)
                head = b"HTTP/1.1 %b\r\n%bContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
                writer.write(head % (status, more, len(body)))
                writer.write(body[: len(body) // 2] if kind == "cut" else body)
                await writer.drain()
                if kind == "cut":
                    break
        writer.close()

    servers = [await asyncio.start_server(serve, host, port, backlog=1000) for host in HOSTS]
    await asyncio.gather(*(server.serve_forever() for server in servers))


# -- what the server can do -----------------------------------------------------------------------------------------


def ceiling(port: int, names: list[str], connections: int = 64) -> float:
    """Pictures per second that one bare client gets, who does nothing with them."""
    return asyncio.run(_ceiling(port, names, connections))


async def _ceiling(port: int, names: list[str], connections: int) -> float:
    loop = asyncio.get_running_loop()
    left = iter(names)

    async def ask(host: str) -> None:
        transport, bare = await loop.create_connection(_Bare, host, port)
        for name in left:
            bare.done = loop.create_future()
            transport.write(f"GET /{name} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            await bare.done
        transport.close()

    began = time.monotonic()
    await asyncio.gather(*(ask(HOSTS[n % len(HOSTS)]) for n in range(connections)))
    return len(names) / (time.monotonic() - began)


class _Bare(asyncio.Protocol):
    done: asyncio.Future[None]
    left = 0

    def data_received(self, data: bytes) -> None:
        if not self.left:
            head, _, data = data.partition(b"\r\n\r\n")
            self.left = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        self.left -= len(data)
        if not self.left:
            self.done.set_result(None)
