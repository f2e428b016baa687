"""The crawl against files that go wrong: one refusal each, with its reason, in bounded time and memory.

Each fault first meets a client without care (naive.py), which shows that it bites.
"""

from __future__ import annotations

import email.utils
import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from collector.spiders.runner import crawl
from tests.collector import naive
from tests.collector.crawls import MakeWorkspace, adds_up
from tests.collector.fault_server import (
    IMAGE,
    Answer,
    Canary,
    Fault,
    FaultServer,
    bomb,
    drips,
    faulty,
    good,
    in_turn,
    rendered,
    then_half_closes,
    then_hangs_up,
    then_is_silent,
    then_resets,
)
from tests.conftest import REPOSITORY, jpeg

PICTURE = jpeg(1, (160, 120))
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
CHUNK = b"2000\r\n" + bytes(0x2000) + b"\r\n"
AS_IMAGE = {"Content-Type": "image/jpeg"}


class Case(NamedTuple):
    """A fault, what a careless client makes of it, and the one word that a crawl must have for it."""

    fault: Answer | Fault
    naively: str
    reason: str


FAULTS = {
    # what a server says
    "/gone": Case((410, {}, b""), "HTTP 410", "dead-link"),
    "/nowhere": Case((404, {}, b""), "HTTP 404", "dead-link"),
    "/forbidden": Case((403, {}, b""), "HTTP 403", "http-error"),
    "/error": Case((500, {}, b""), "HTTP 500", "http-error"),
    "/nothing": Case((204, {}, b""), "0 bytes", "http-error"),
    "/part": Case((206, {"Content-Range": "bytes 0-499/9000"}, PICTURE[:500]), "500 bytes", "broken"),
    "/not-http": Case(then_hangs_up(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "BadStatusLine", "connection"),
    # time
    "/silent": Case(then_is_silent(b""), "TimeoutError", "timeout"),
    "/stalls": Case(then_is_silent(IMAGE + b"Content-Length: 9000\r\n\r\n" + PICTURE[:99]), "TimeoutError", "timeout"),
    "/drips": Case(drips(IMAGE + b"Content-Length: 9000\r\n\r\n", b"\xff", 0.3), "stuck", "timeout"),
    "/headers": Case(drips(b"HTTP/1.1 200 OK\r\n", b"X-More: 1\r\n", 0.3), "stuck", "timeout"),
    # bodies cut short
    "/reset": Case(then_resets(b""), "ConnectionResetError", "connection"),
    "/reset-in-body": Case(
        then_resets(IMAGE + b"Content-Length: 9000\r\n\r\n" + PICTURE[:99]), "ConnectionResetError", "connection"
    ),
    "/short": Case(then_hangs_up(IMAGE + b"Content-Length: 9000\r\n\r\n" + PICTURE), "IncompleteRead", "connection"),
    "/half-closed": Case(
        then_half_closes(IMAGE + b"Content-Length: 9000\r\n\r\n" + PICTURE), "IncompleteRead", "connection"
    ),
    "/bad-chunk": Case(
        then_hangs_up(IMAGE + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + PICTURE), "IncompleteRead", "connection"
    ),
    "/cut": Case(then_hangs_up(IMAGE + b"Content-Length: 500\r\n\r\n" + PICTURE[:500]), "500 bytes", "broken"),
    "/more": Case(then_hangs_up(IMAGE + b"Content-Length: 500\r\n\r\n" + PICTURE), "500 bytes", "connection"),
    # sizes
    "/banana": Case(
        then_hangs_up(IMAGE + b"Content-Length: banana\r\n\r\n" + PICTURE), f"{len(PICTURE)} bytes", "connection"
    ),
    "/two": Case(
        then_hangs_up(IMAGE + b"Content-Length: 500\r\nContent-Length: 9\r\n\r\n" + PICTURE), "500 bytes", "connection"
    ),
    "/large": Case(drips(IMAGE + b"Content-Length: 10000000000\r\n\r\n", bytes(9999), 0), "flooded", "too-large"),
    "/endless": Case(drips(IMAGE + b"\r\n", bytes(9999), 0), "flooded", "too-large"),
    "/chunks": Case(drips(IMAGE + b"Transfer-Encoding: chunked\r\n\r\n", CHUNK, 0), "flooded", "too-large"),
    "/bomb": Case((200, {**AS_IMAGE, "Content-Encoding": "gzip"}, bomb(50)), "50000000 bytes", "encoded"),
    # not a picture
    "/html": Case((200, AS_IMAGE, b"<!doctype html><p>no"), "20 bytes", "not-an-image"),
    "/svg": Case((200, AS_IMAGE, SVG), f"{len(SVG)} bytes", "not-an-image"),
    "/empty": Case((200, AS_IMAGE, b""), "0 bytes", "empty"),
    # elsewhere
    "/loop": Case((302, {"Location": "/loop"}, b""), "HTTP 302", "http-error"),
    "/to-a-file": Case((302, {"Location": "file:///etc/hostname"}, b""), "HTTP 302", "http-error"),
    "/to-data": Case((302, {"Location": "data:image/png;base64,iVBORw0KGgo="}, b""), "HTTP 302", "http-error"),
    "http://nobody.invalid/1.jpg": Case((404, {}, b""), "gaierror", "dns"),
}


def test_every_fault_bites_and_is_one_refusal_with_its_reason(make_workspace: MakeWorkspace) -> None:
    files: dict[str, Answer | Fault] = {path: case.fault for path, case in FAULTS.items()}
    files |= {"/moved": (301, {"Location": "/hidden/4"}, b""), "/hidden/4": good(4), "/fine": good(5)}
    with FaultServer(files) as server:
        said = naive.fetch_all([path if ":" in path else server.url + path for path in FAULTS])
        assert dict(zip(FAULTS, said, strict=True)) == {path: case.naively for path, case in FAULTS.items()}

        ws = make_workspace(faulty(server, timeout=1.0, retries=0, per_host=16))
        began = time.monotonic()
        summary = crawl(ws, "horse", limit=50)
        assert time.monotonic() - began < 30
        rows = ws.catalog.frame("rejections")
        assert dict(zip(rows["source_id"], rows["reason"], strict=True)) == {
            path: case.reason for path, case in FAULTS.items()
        }
        assert len(rows) == len(FAULTS)
        assert rows["detail"].str.len().between(1, 300).all()
        assert adds_up(summary)
        sightings = ws.catalog.frame("sightings")
        assert dict(zip(sightings["source_id"], sightings["final_url"], strict=True)) == {
            "/moved": f"{server.url}/hidden/4",
            "/fine": "",
        }
        assert server.agents - {naive.AGENT} == {"collect/0.1.0 (+tests@localhost)"}

        before = Counter(path for _, path in server.asked)
        again = crawl(ws, "horse", limit=50)
        assert not {path for _, path in server.asked[sum(before.values()) :]} & set(FAULTS)
        assert again.rejected == summary.rejected
        crawl(ws, "horse", limit=50, retry_failed=True)
        asked = Counter(path for _, path in server.asked) - before
        passing = {path for path, case in FAULTS.items() if case.reason in ("http-error", "timeout", "connection")}
        assert asked.keys() & FAULTS.keys() == passing
        assert len(ws.catalog.frame("rejections")) == len(FAULTS)


def test_what_is_judged_without_the_file_is_never_asked_for(make_workspace: MakeWorkspace) -> None:
    expected = {
        "/opted-out": "opted-out",
        "/private/1": "robots",  # two of them, because they wait for robots.txt together
        "/private/2": "robots",
        "/rocking": "excluded-word",
        "file:///etc/hostname": "bad-address",
        "data:image/png;base64,iVBORw0KGgo=": "bad-address",
    }
    never_ends = then_is_silent(IMAGE + b"X-Robots-Tag: somebot: noai\r\nContent-Length: 9\r\n\r\n")
    with FaultServer({path: good(n) for n, path in enumerate(expected)} | {"/opted-out": never_ends}) as server:
        server.titles["/rocking"] = "A Rocking Horse"
        ws = make_workspace(faulty(server))
        crawl(ws, "horse", limit=50)
        rows = ws.catalog.frame("rejections")
        assert dict(zip(rows["source_id"], rows["reason"], strict=True)) == expected
        about = {"/robots.txt", "/.well-known/tdmrep.json"}
        assert {path for _, path in server.asked} - about == {"/v1/images/", "/opted-out"}


MEASURED = """
import json, resource, sys
from collector.spiders.runner import crawl
from collector.workspace import Workspace
with Workspace.open(sys.argv[1], environ={}) as ws:
    print(json.dumps(crawl(ws, "horse", limit=9).rejected))
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""


def test_bombs_and_floods_cost_no_memory(make_workspace: MakeWorkspace) -> None:
    """400 MB that are 400 kB on the wire: as a picture, as robots.txt, and as the answer of an API."""
    squeezed: Answer = (200, {"Content-Encoding": "gzip"}, bomb(400))
    flood = drips(IMAGE + b"\r\n", bytes(99_999), 0)
    with (
        FaultServer({"/bomb": squeezed, "/1": flood, "/2": flood}) as server,
        FaultServer({}, host="127.0.0.2") as other,
    ):
        server.files[f"{other.url}/fine"] = good(1)
        other.files["/robots.txt"] = squeezed
        assert naive.fetch(server.url + "/bomb") in ("400000000 bytes", "stuck")
        ws = make_workspace(faulty(server, "openverse", "met", allow_private_hosts=["127.0.0.1", "127.0.0.2"]))
        server.pages = [(200, {}, server.search())]
        server.files["/public/collection/v1/search"] = squeezed
        environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-c", MEASURED, str(ws.settings.path)]
        done = subprocess.run(command, capture_output=True, text=True, env=environ, check=True)
        assert server.count("/public/collection/v1/search") > 0
        assert other.count("/robots.txt") > 0
    rejected, megabytes = done.stdout.splitlines()
    assert json.loads(rejected) == {"too-large": 3, "robots-unreachable": 1}
    assert int(megabytes) < 250


# -- failures that pass -------------------------------------------------------------------------------------------


def test_what_works_the_second_time_is_kept(make_workspace: MakeWorkspace) -> None:
    files = {
        "/busy": in_turn((503, {}, b""), good(1)),
        "/broken": in_turn((500, {}, b""), good(2)),
        "/seconds": in_turn((429, {"Retry-After": "1"}, b""), good(3)),
    }
    with FaultServer(files) as server:
        summary = crawl(make_workspace(faulty(server)), "horse", limit=3)
        assert summary.kept == 3
        assert [server.count(path) for path in files] == [2, 2, 2]


def test_retry_after_is_obeyed_to_the_second_by_the_whole_host(make_workspace: MakeWorkspace) -> None:
    """Three seconds, told as a number by one host and as a date by the other."""

    def busy(server: FaultServer, asked: Callable[[], str]) -> Fault:
        def fault(connection: socket.socket) -> None:
            server.files["/6"] = good(6)
            connection.sendall(rendered(429, {"Retry-After": asked()}, b""))

        return fault

    def date() -> str:
        return email.utils.formatdate(time.time() + 4, usegmt=True)  # of whole seconds, so at least 3 from now

    with ExitStack() as stack:
        site = stack.enter_context(FaultServer({}))
        hosts = [stack.enter_context(FaultServer({}, host=f"127.0.0.{n}")) for n in (2, 3)]
        for seed, (server, asked) in enumerate(zip(hosts, (lambda: "3", date), strict=True)):
            server.files |= {f"/{n}": good(100 * seed + n) for n in range(12)} | {"/6": busy(server, asked)}
            site.files |= {f"{server.url}{path}": good(0) for path in server.files}
        allowed = [f"127.0.0.{n}" for n in (1, 2, 3)]
        summary = crawl(make_workspace(faulty(site, per_host=2, allow_private_hosts=allowed)), "horse", limit=30)
        assert (summary.seen, summary.rejected) == (24, {})
        for server in hosts:
            moments = [moment for moment, path in server.asked if path[1:].isdigit()]
            # what was on its way when the 429 left may still arrive, at most one request for each other connection
            assert 2.9 <= max(later - earlier for earlier, later in pairwise(moments)) < 6
            assert server.count("/6") == 2


def test_a_host_may_ask_for_too_long_a_pause_and_for_one_that_means_nothing(make_workspace: MakeWorkspace) -> None:
    too_long = ["9000", "1000000000", "Fri, 31 Dec 9999 23:59:59 GMT"]
    means_nothing = ["-5", "soon", "", "Thu, 01 Jan 1970 00:00:00 GMT"]
    with ExitStack() as stack:
        site = stack.enter_context(FaultServer({}))
        hosts: dict[str, FaultServer] = {}
        for n, asked in enumerate([*too_long, *means_nothing]):
            busy = in_turn((503, {"Retry-After": asked}, b""), good(n))
            hosts[asked] = stack.enter_context(FaultServer({"/busy": busy}, host=f"127.0.0.{n + 2}"))
            site.files[f"{hosts[asked].url}/busy"] = good(n)
        ws = make_workspace(faulty(site, allow_private_hosts=[f"127.0.0.{n}" for n in range(1, 10)]))
        began = time.monotonic()
        summary = crawl(ws, "horse", limit=9)
        assert time.monotonic() - began < 30
        assert summary.kept == len(means_nothing)
        assert summary.rejected == {"busy": len(too_long)}
        assert [server.count("/busy") for server in hosts.values()] == [1, 1, 1, 2, 2, 2, 2]
        assert ws.catalog.frame("rejections")["detail"].str.contains("asks to be left alone for").all()


# -- addresses that are not public --------------------------------------------------------------------------------

FAKE_NAMES = """
import socket
known = {"inside.example": ["127.0.0.1"], "half.example": ["93.184.216.34", "127.0.0.1"], "localhost.": ["127.0.0.1"]}
system = socket.getaddrinfo

def look_up(host, port, *args, **kwargs):
    found = []
    for address in known.get(str(host).casefold(), [host]):
        found += system(address, port, *args, **kwargs)
    return found

socket.getaddrinfo = look_up
"""
HOSTS = (
    "127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "0", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
    "[64:ff9b::7f00:1]", "[::127.0.0.1]", "localhost", "LOCALHOST.", "１２７.０.０.１", "inside.example",
    "half.example", "169.254.169.254", "10.0.0.1", "[fd00:ec2::254]", "user:word@127.0.0.1",
)  # fmt: skip


def test_no_address_inside_is_reached_by_any_spelling_or_redirect(
    make_workspace: MakeWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(FAKE_NAMES)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Canary() as canary, FaultServer({}) as server:
        place = f"127.0.0.1:{canary.port}/"
        redirects = {
            "/r/full": f"http://{place}",
            "/r/relative": f"//{place}",
            "/r/shouting": f"HTTP://{place}",
            "/r/name": f"http://inside.example:{canary.port}/",
            "/r/metadata": "http://169.254.169.254/latest/meta-data/",
        }
        assert naive.fetch(f"http://{place}") == "5 bytes"
        server.files |= {f"http://{host}:{canary.port}/{n}.jpg": good(n) for n, host in enumerate(HOSTS)}
        server.files |= {path: (302, {"Location": target}, b"") for path, target in redirects.items()}
        server.files["/fine"] = good(1)
        assert naive.fetch(server.url + "/r/full") == "5 bytes"
        assert canary.hits == 2

        ws = make_workspace(faulty(server))
        summary = crawl(ws, "horse", limit=50)
        rows = ws.catalog.frame("rejections")
        assert canary.hits == 2
        assert summary.kept == 1
        others = rows[rows["reason"] != "private-address"]
        assert not len(others), others[["source_id", "reason", "detail"]].to_string()
        assert len(rows) == len(HOSTS) + len(redirects)
        assert rows["detail"].str.contains("crawl.allow_private_hosts").all()


def test_an_ipv6_server_is_asked_like_any_other(make_workspace: MakeWorkspace) -> None:
    with FaultServer({"/fine": good(1)}, host="::1") as server:
        assert crawl(make_workspace(faulty(server)), "horse", limit=5).kept == 1
