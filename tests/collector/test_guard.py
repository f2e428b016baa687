"""The guard against a canary that listens on every address of this machine: without it the canary is hit."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from collector.spiders.addresses import Guard
from collector.spiders.guard import GuardedResolver, PrivateAddress, guarded_socket, refuse_url
from tests.collector.fault_server import Canary
from tests.conftest import REPOSITORY

SPELLINGS = (
    "127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "0", "[::1]", "[::ffff:127.0.0.1]", "localhost",
    "LOCALHOST.", "１２７.０.０.１", "inside.example",
)  # fmt: skip
NAMES = {
    "inside.example": ["127.0.0.1"],
    "inside6.example": ["::1"],
    "half.example": ["93.184.216.34", "127.0.0.1"],
    "public.example": ["93.184.216.34", "2606:2800:21f:cb07::1"],
    "localhost.": ["127.0.0.1"],  # only some systems know it with its dot
}
Look = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What the names of `NAMES` stand for; a test may change them. Other names are looked up by the system."""
    known, system = {name: list(addresses) for name, addresses in NAMES.items()}, socket.getaddrinfo

    def look_up(host: str, port: int, family: int = 0, *args: Any, **kwargs: Any) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        for address in known.get(str(host).casefold(), [host]):
            found += system(address, port, family, *args, **kwargs)
        return found

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


async def ask(url: str, guard: Guard) -> bytes | Exception:
    """What aiohttp gets from an address, guarded as the crawl's downloader is, or why it gets nothing."""
    connector = aiohttp.TCPConnector(resolver=GuardedResolver(guard), socket_factory=guarded_socket(guard))
    async with aiohttp.ClientSession(connector=connector) as session:
        try:
            refuse_url(guard, url)
            async with session.get(url, timeout=aiohttp.ClientTimeout(total=5)) as response:
                return await response.read()
        except Exception as error:
            return error


def plainly(host: str, port: int) -> None:
    """What a client without any guard does with a host."""
    with socket.create_connection((host.strip("[]"), port), 5) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        connection.recv(100)


def test_the_canary_is_hit_by_every_spelling_where_nothing_guards_it(names: dict[str, list[str]]) -> None:
    with Canary() as canary:
        for n, host in enumerate(SPELLINGS, 1):
            plainly(host, canary.port)
            assert canary.hits == n, host


def test_the_canary_is_not_hit_by_any_spelling_behind_the_guard(names: dict[str, list[str]]) -> None:
    with Canary() as canary:
        got = {host: asyncio.run(ask(f"http://{host}:{canary.port}/", Guard())) for host in SPELLINGS}
        assert canary.hits == 0
    assert {host: error for host, error in got.items() if not isinstance(error, PrivateAddress)} == {}
    assert str(got["inside.example"]) == (
        "`inside.example` has the address 127.0.0.1, which is not public (loopback); "
        "`crawl.allow_private_hosts` can name it"
    )


def test_addresses_are_checked_where_they_are_connected_to_without_a_look_at_the_url(
    names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.refuse_url", lambda guard, url: None)
    with Canary() as canary:
        got = [asyncio.run(ask(f"http://{host}:{canary.port}/", Guard())) for host in SPELLINGS]
        assert all(isinstance(error, PrivateAddress | aiohttp.InvalidURL) for error in got), got
        assert canary.hits == 0


def test_what_is_allowed_is_reached_by_ipv4_and_ipv6(names: dict[str, list[str]]) -> None:
    with Canary() as canary:
        for host in ("127.0.0.1", "[::1]", "inside.example", "inside6.example", "localhost"):
            assert asyncio.run(ask(f"http://{host}:{canary.port}/", Guard([f"{host}:{canary.port}"]))) == b"tweet"
        assert canary.hits == 5


def test_a_name_with_one_bad_address_among_good_ones_is_refused(names: dict[str, list[str]]) -> None:
    async def look_up(name: str) -> list[str]:
        return [found["host"] for found in await GuardedResolver(Guard()).resolve(name, 80)]

    assert asyncio.run(look_up("public.example")) == names["public.example"]
    with pytest.raises(PrivateAddress, match=r"`half.example` has the address 127\.0\.0\.1"):
        asyncio.run(look_up("half.example"))


def test_a_name_is_judged_each_time_that_it_is_looked_up(names: dict[str, list[str]]) -> None:
    """DNS rebinding: the answer to a check is not the answer that the connection uses."""

    async def twice(resolver: GuardedResolver) -> None:
        await resolver.resolve("public.example", 80)
        names["public.example"] = ["127.0.0.1"]
        with pytest.raises(PrivateAddress):
            await resolver.resolve("public.example", 80)

    async def both() -> None:
        await twice(GuardedResolver(Guard()))

    asyncio.run(both())


# -- the last gate ------------------------------------------------------------------------------------------------

CLIENTS = """
import asyncio, http.client, json, os, socket, sys, tempfile, threading, urllib.request
import aiohttp, fsspec.asyn
from collector.spiders.addresses import Guard
from collector.spiders.guard import GuardedResolver, PrivateAddress, guarded_socket, install_last_gate

guarded, closed, opened = sys.argv[1] == "guarded", int(sys.argv[2]), int(sys.argv[3])
guard = Guard([f"localhost:{opened}"])
if guarded:
    install_last_gate(guard)
told = {}

def attempt(name, what):
    try:
        what()
        told[name] = "done"
    except Exception as error:
        while error.__context__ is not None and not isinstance(error, PrivateAddress):
            error = error.__context__
        told[name] = type(error).__name__

async def streams(port):
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()

async def session(port):
    async with aiohttp.ClientSession() as web, web.get(f"http://127.0.0.1:{port}/") as response:
        await response.read()

async def allowed(port):
    make = dict(resolver=GuardedResolver(guard), socket_factory=guarded_socket(guard))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(**make)) as web:
        async with web.get(f"http://localhost:{port}/") as response:
            await response.read()

def local():
    path = tempfile.mkdtemp() + "/socket"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(path)
        server.listen()
        client.connect(path)

def raw(host, kind=socket.SOCK_STREAM, family=socket.AF_INET):
    with socket.socket(family, kind) as each:
        each.connect((host, closed))

def by_number():
    with socket.socket() as each:
        told["code"] = each.connect_ex(("127.0.0.1", closed))

def database():
    import psycopg
    psycopg.connect(f"host=127.0.0.1 port={closed} connect_timeout=2 sslmode=disable", autocommit=True)

attempt("urllib", lambda: urllib.request.urlopen(f"http://127.0.0.1:{closed}/").read())
attempt("http.client", lambda: http.client.HTTPConnection("::1", closed).request("GET", "/"))
attempt("asyncio", lambda: asyncio.run(streams(closed)))
attempt("aiohttp", lambda: asyncio.run(session(closed)))
attempt("socket", lambda: raw("127.0.0.1"))
attempt("a name", lambda: raw("localhost"))
attempt("short", lambda: raw("127.1"))
attempt("IPv6", lambda: raw("::ffff:127.0.0.1", family=socket.AF_INET6))
attempt("datagrams", lambda: raw("127.0.0.1", socket.SOCK_DGRAM))
attempt("connect_ex", by_number)
attempt("thread", lambda: asyncio.run(asyncio.to_thread(raw, "127.0.0.1")))
hits = told.pop("hits", None)
attempt("allowed", lambda: asyncio.run(allowed(opened)))
attempt("local", local)
attempt("store", lambda: fsspec.asyn.sync(fsspec.asyn.get_loop(), streams, opened + 0))
attempt("bucket", lambda: fsspec.asyn.sync(fsspec.asyn.get_loop(), streams, int(sys.argv[4])))
attempt("database", database) if sys.argv[5] == "database" else None
print(json.dumps(told))
"""
OTHERS = ("urllib", "http.client", "asyncio", "aiohttp", "socket", "a name", "short", "IPv6", "datagrams", "thread")


def clients(mode: str, *ports: int, database: bool = False) -> dict[str, Any]:
    """What each client of `CLIENTS` says in a process of its own, because the gate stays for good."""
    command = [sys.executable, "-c", CLIENTS, mode, *map(str, ports), "database" if database else ""]
    done = subprocess.run(command, cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdout=-1)
    assert done.returncode == 0
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_the_last_gate_stops_every_python_library_and_only_where_it_should() -> None:
    with Canary() as canary, Canary() as friend, Canary() as bucket:
        told = clients("free", canary.port, friend.port, bucket.port)
        assert {name: told[name] for name in OTHERS} == dict.fromkeys(OTHERS, "done")
        assert canary.hits == len(OTHERS)  # all but the datagrams, and connect_ex

        before = canary.hits
        told = clients("guarded", canary.port, friend.port, bucket.port)
        assert {name: told[name] for name in OTHERS} == dict.fromkeys(OTHERS, "PrivateAddress")
        assert told["connect_ex"] == "PrivateAddress"
        assert canary.hits == before
        allowed = ("allowed", "local", "store", "bucket")
        assert {name: told[name] for name in allowed} == dict.fromkeys(allowed, "done")
        assert (friend.hits, bucket.hits) == (4, 2)


def test_the_last_gate_lets_the_catalog_reach_its_server() -> None:
    """PostgreSQL is spoken to by a C library; the canary is none, so the answer is an error of its own."""
    pytest.importorskip("psycopg")
    with Canary() as canary:
        told = clients("guarded", canary.port, canary.port, canary.port, database=True)
    assert told["database"] == "OperationalError"


# -- the kernel's word --------------------------------------------------------------------------------------------


def alone() -> list[str]:
    """The command that gives a process a network of its own; skips where that is not possible."""
    enter = ["unshare", "--net", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    for needed in ("unshare", "ip", "nft"):
        if shutil.which(needed) is None:
            pytest.skip(f"`{needed}` is not installed")
    if subprocess.run([*enter, "nft", "list", "ruleset"], capture_output=True).returncode != 0:
        pytest.skip("this account may not have a network of its own (unshare --net)")
    return enter


def test_the_kernel_counts_no_packet_to_an_address_inside(tmp_path: Path) -> None:
    command = [*alone(), sys.executable, "-m", "tests.collector.kernel_count", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert min(said["careless"].values()) > 0, said["careless"]
    assert said["allowed"] > 0
    assert said["counted"] == 0
    assert len(said["kept"]) == 3, said["kept"]
    others = {place: why for place, why in said["refused"].items() if not why.startswith("private-address")}
    assert others == {}
