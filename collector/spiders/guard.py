"""The guard at work: no connection of a crawl reaches an address that is not public, whatever name leads there.

What is checked is the address that is being connected to, never the name: so redirects are covered, robots.txt, and
names whose address changes between two looks (DNS rebinding). There are two gates:

    GuardedResolver, guarded_socket   in aiohttp's connector; they know the host and give the reason
    install_last_gate                 an audit hook on `socket.connect`, for every other Python library

An aiohttp connector takes both `resolver=GuardedResolver(guard)` and `socket_factory=guarded_socket(guard)`: it does
not ask its resolver for IP literals. `refuse_url` comes before them for requests through a proxy, which resolves names
out of our sight, and for spellings such as `127.1` that aiohttp refuses with words of its own.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from collector.spiders.addresses import Guard, literal
from collector.spiders.middlewares import Refused

LOOKUPS = 16  # names looked up at once; the C library waits for the answer, so each needs a thread
_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class PrivateAddress(Refused):
    """A connection that is not made, because its address is not public."""

    def __init__(self, why: str) -> None:
        super().__init__("private-address", why)


@cache
def guard_of(allowed: tuple[str, ...], proxies: tuple[str, ...] = ()) -> Guard:
    """The one guard of this process for these `crawl.allow_private_hosts` and `crawl.proxies`.

    It must be one for both gates: the first learns the addresses of allowed names, the last knows addresses only.
    """
    return Guard(allowed, proxies)


def check(guard: Guard, host: str, port: int, address: str) -> None:
    """Raise `PrivateAddress` unless `host` may be asked at `address`."""
    if why := guard.refusal(host, port, address):
        raise PrivateAddress(why)


def refuse_url(guard: Guard, url: str) -> None:
    """Raise `PrivateAddress` if a web address spells an IP address that may not be asked."""
    if why := guard.refusal_of_url(url):
        raise PrivateAddress(why)


class GuardedResolver(AbstractResolver):
    """Looks names up as the system does, IPv4 and IPv6, in threads of its own: slow DNS holds nothing else up.

    A name with several addresses is refused if one of them is; `PrivateAddress` says which.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._threads = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """All addresses of a name. Raises `PrivateAddress`, or OSError when there are none."""

        def look_up() -> list[tuple[Any, ...]]:
            return socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)

        found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        for *_, address in found:
            check(self._guard, host, port, str(address[0]))
        return [
            ResolveResult(hostname=host, host=str(address[0]), port=port, family=family, proto=proto, flags=_NUMERIC)
            for family, _, proto, _, address in found
        ]

    async def close(self) -> None:
        """Let the threads go; one that still waits for an answer is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def guarded_socket(guard: Guard) -> Callable[[tuple[Any, ...]], socket.socket]:
    """A socket factory for aiohttp: checks the very address that the socket is about to be connected to."""

    def make(info: tuple[Any, ...]) -> socket.socket:
        family, kind, proto, _, (address, port, *_) = info
        check(guard, address, port, address)
        return socket.socket(family, kind, proto)

    return make


def install_last_gate(guard: Guard) -> None:
    """From now on and for good, refuse every connection of this process that neither is public nor was allowed.

    Not looked at: local sockets; C libraries, such as the one that speaks to PostgreSQL; and the thread in which
    fsspec speaks to the bucket that the settings name, which may be on a private network and ask for its keys there.
    """

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event != "socket.connect":
            return
        sock, address = args
        if sock.family not in (socket.AF_INET, socket.AF_INET6) or _is_store():
            return
        host, port = str(address[0]), int(address[1])
        spelled = literal(host)
        if spelled is None:  # the C code has found its address already, and does not show which
            raise PrivateAddress(f"`{host}` was not looked up by the crawl, so its address cannot be checked")
        check(guard, host, port, spelled)

    sys.addaudithook(hook)


def _is_store() -> bool:
    loop = sys.modules.get("fsspec.asyn")
    thread = loop.iothread[0] if loop else None
    return thread is not None and thread.ident == threading.get_ident()
