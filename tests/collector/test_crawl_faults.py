"""The crawl against servers that misbehave: one reason each, and good manners in return."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from collector.errors import ServiceDown
from collector.spiders.runner import crawl
from collector.workspace import Workspace
from pipelines.demo.site import Answer, Site
from tests.collector.crawls import MakeWorkspace, adds_up, pictures, settings
from tests.conftest import REPOSITORY, jpeg

CC_BY = "https://creativecommons.org/licenses/by/4.0/"


class Faults:
    """A source with one Openverse page of results that a test lists, and the files behind them.

    A file is (status, headers, body); the body None sends the headers and then nothing, for ever.
    """

    def __init__(self, files: dict[str, tuple[int, dict[str, str], bytes | None]]) -> None:
        self.files = files
        self.titles: dict[str, str] = {}
        self.asked: list[tuple[float, str]] = []
        self.agents: set[str] = set()
        handler = type("Handler", (_Handler,), {"faults": self})
        self.server = _Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def count(self, path: str) -> int:
        return sum(each == path for _, each in self.asked)

    def search(self) -> bytes:
        results = [
            {
                "id": path,
                "url": path if "://" in path else self.url + path,
                "title": self.titles.get(path, path),
                "license": "by",
                "license_version": "4.0",
                "license_url": CC_BY,
            }
            for path in self.files
            if not path.startswith("/hidden/")
        ]
        return json.dumps({"page_count": 1, "results": results}).encode()

    def __enter__(self) -> Faults:
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Silent: clients hang up on this server."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    faults: Faults

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.faults.asked.append((time.monotonic(), path))
        self.faults.agents.add(self.headers.get("User-Agent", ""))
        status, headers, body = self.faults.files.get(path, (404, {}, b""))
        if path == "/v1/images/":
            status, headers, body = 200, {"Content-Type": "application/json"}, self.faults.search()
        if path == "/robots.txt":
            status, headers, body = 200, {}, b"User-agent: *\nDisallow: /private/\nDisallow: /v1/\n"
        try:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(1000 if body is None else len(body)))
            self.end_headers()
            self.wfile.write(body or b"")
            if body is None or len(body) < int(headers.get("Content-Length", 0)) < 10_000_000:
                self.wfile.flush()
                time.sleep(8 if body is None else 0)
                self.close_connection = True
        except ConnectionError:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


def faulty(server: Faults) -> str:
    return f"""
[intake]
max_bytes = 100000
[crawl]
timeout = 2.0
retries = 1
[sources.openverse]
base_url = "{server.url}"
[sources.wikimedia]
enabled = false
[concepts.horse]
labels = ["horse", "not-horse"]
exclude = ["rocking horse"]
"""


def good(seed: int) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "image/jpeg"}, jpeg(seed, (160, 120))


def test_every_fault_is_one_rejection_with_its_reason(make_workspace: MakeWorkspace) -> None:
    expected = {
        "/gone": "dead-link",
        "/nowhere": "dead-link",
        "/error": "http-error",
        "/forbidden": "http-error",
        "/stalls": "timeout",
        "/loop": "http-error",
        "/to-a-file": "http-error",
        "/short": "connection",
        "/large": "too-large",
        "/opted-out": "opted-out",
        "/private/1": "robots",  # two of them, because they wait for robots.txt together
        "/private/2": "robots",
        "/html": "not-an-image",
        "/rocking": "excluded-word",
        "file:///etc/hostname": "bad-address",
    }
    with Faults(
        {
            "/gone": (410, {}, b""),
            "/nowhere": (404, {}, b""),
            "/error": (500, {}, b""),
            "/forbidden": (403, {}, b""),
            "/stalls": (200, {}, None),
            "/loop": (302, {"Location": "/loop"}, b""),
            "/to-a-file": (302, {"Location": "file:///etc/hostname"}, b""),
            "/short": (200, {"Content-Length": "5000"}, b"x" * 100),
            "/large": (200, {"Content-Length": "10000000000"}, b"x"),
            "/opted-out": (200, {"X-Robots-Tag": "somebot: noai"}, None),  # the body never comes: the headers suffice
            "/private/1": good(1),
            "/html": (200, {}, b"<!doctype html><p>no"),
            "/private/2": good(6),
            "/rocking": good(2),
            "file:///etc/hostname": good(3),
            "/moved": (301, {"Location": "/hidden/4"}, b""),
            "/hidden/4": good(4),
            "/fine": good(5),
        }
    ) as server:
        server.titles["/rocking"] = "A Rocking Horse"
        ws = make_workspace(faulty(server))
        summary = crawl(ws, "horse", limit=50)
        rows = ws.catalog.frame("rejections")
        assert dict(zip(rows["source_id"], rows["reason"], strict=True)) == expected
        assert set(ws.catalog.frame("sightings")["source_id"]) == {"/moved", "/fine"}
        assert adds_up(summary)
        assert server.count("/private/1") == server.count("/private/2") == server.count("/rocking") == 0
        assert server.count("/error") == 2
        assert server.agents == {"collect/0.1.0"}

        before = Counter(path for _, path in server.asked)
        crawl(ws, "horse", limit=50)
        more = Counter(path for _, path in server.asked) - before
        transient = {path for path, reason in expected.items() if reason in ("http-error", "timeout", "connection")}
        assert {path for path in more if path not in ("/v1/images/", "/robots.txt")} == transient
        assert len(ws.catalog.frame("rejections")) == len(expected)


def test_retry_after_is_obeyed_to_the_second_by_the_whole_host(make_workspace: MakeWorkspace) -> None:
    asked: list[float] = []

    class Busy_(Site):
        def answer(self, target: str, user_agent: str) -> Answer:
            if target.startswith("/files/"):
                asked.append(time.monotonic())
                if len(asked) == 8:
                    return 429, {"Retry-After": "3"}, b""
            return super().answer(target, user_agent)

    with Busy_(pictures(30)) as busy:
        summary = crawl(make_workspace(settings(busy.url)), "horse", limit=20)
    assert summary.kept == 20
    gaps = [later - earlier for earlier, later in pairwise(asked)]
    # what was on its way when the 429 left may still arrive, at most one request for each other connection
    pause = max(gaps)
    assert 2.9 <= pause < 4.5
    assert gaps.index(pause) - 7 <= 3


def test_a_host_that_asks_for_too_long_a_pause_is_left_alone(make_workspace: MakeWorkspace) -> None:
    with Faults({"/busy": (429, {"Retry-After": "9000"}, b""), "/other": good(1)}) as server:
        ws = make_workspace(faulty(server))
        began = time.monotonic()
        summary = crawl(ws, "horse", limit=5)
        assert time.monotonic() - began < 30
        assert summary.rejected["http-error"] >= 1
        assert server.count("/busy") == 1
        rows = ws.catalog.frame("rejections")
        assert "asks to be left alone for" in rows["detail"].str.cat()


def test_all_sources_down_is_an_error_and_one_stops_short(make_workspace: MakeWorkspace, tmp_path: Path) -> None:
    with closing(socket.socket()) as taken, Site(pictures(9)) as site:
        taken.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
        ws = make_workspace(settings(nobody, "retries = 0"), name="down")
        with pytest.raises(ServiceDown, match=r"openverse: it does not answer.*wikimedia"):
            crawl(ws, "horse", limit=5)
        half = settings(site.url, "retries = 0").replace(f'"{site.url}/v1"', f'"{nobody}"')
        summary = crawl(make_workspace(half, name="half"), "horse", limit=500)
        assert summary.sources.keys() == {"wikimedia"}
        assert "openverse: it does not answer" in summary.warnings[0]
        assert summary.down == ("openverse",)
        config = str(tmp_path / "half" / "config.toml")
        command = [sys.executable, "-m", "pipelines.cli", "crawl", "horse", "--config", config]
        typed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120)
    assert typed.returncode == 3
    assert "the same command continues later" in typed.stderr


# -- Scrapy's settings --------------------------------------------------------------------------------------------

PROBE = """
import json, sys
from collector.spiders import process
from collector.spiders.openverse import Openverse

class Probe(Openverse):
    async def start(self):
        get = self.crawler.settings
        engine = self.crawler.engine
        told = {
            "certificates": engine.downloader.handlers._get_handler("https")._contextFactory.__class__.__name__,
            "verify": get.getbool("DOWNLOAD_VERIFY_CERTIFICATES"),
            "schemes": [s for s in ("http", "https", "file", "data", "ftp", "s3")
                        if engine.downloader.handlers._get_handler(s)],
            "extensions": [type(each).__name__ for each in self.crawler.extensions.middlewares],
            "max_bytes": get.getint("DOWNLOAD_MAXSIZE"),
            "timeout": get.getfloat("DOWNLOAD_TIMEOUT"),
            "redirects": get.getint("REDIRECT_MAX_TIMES"),
            "downloader": [type(each).__name__ for each in engine.downloader.middleware.middlewares],
            "spider": [type(each).__name__ for each in engine.scraper.spidermw.middlewares],
            "agent": get["USER_AGENT"],
            "wikimedia": get.getdict("DOWNLOAD_SLOTS")["upload.wikimedia.org"]["concurrency"],
            "reactor": get["TWISTED_REACTOR"],
        }
        process._tell("progress", text=json.dumps(told), done=0, total=1)
        self._end("probed")
        return
        yield

process.load_object = lambda path: Probe
process.main()
"""


def test_a_running_crawler_has_none_of_the_defaults_that_trust_everybody(ws: Workspace) -> None:
    ws.concept("horse", create=True)
    order = {
        "config": str(ws.settings.path), "concept": "horse", "queries": [["horse", "horse"]], "license": "open",
        "sources": ["openverse"], "limit": 1, "dry_run": False, "log": str(ws.data / "probe.log"),
    }  # fmt: skip
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COLLECT__CRAWL__CONTACT": "me@localhost"}
    with subprocess.Popen(
        [sys.executable, "-c", PROBE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
        told = json.loads(json.loads(process.stdout.readline())["text"])
        process.stdout.read()
    assert told["verify"] is True
    assert told["schemes"] == ["http", "https"]
    assert not {"TelnetConsole", "RemoteControl"} & set(told["extensions"])
    assert (told["max_bytes"], told["timeout"], told["redirects"]) == (40_000_000, 30.0, 5)
    assert {"RobotsMiddleware", "RetryAfterMiddleware", "OptOutMiddleware"} <= set(told["downloader"])
    unwanted = ("Cookies", "MetaRefresh", "HttpCache", "Retry", "RobotsTxt")
    assert not {f"{name}Middleware" for name in unwanted} & set(told["downloader"])
    assert "RefererMiddleware" not in told["spider"]
    assert told["agent"] == "collect/0.1.0 (+me@localhost)"
    assert told["wikimedia"] == 2
    assert told["reactor"].endswith("AsyncioSelectorReactor")
