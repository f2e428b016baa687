"""Runs Label Studio so that it can connect to nothing but the addresses it was given.

    python -I confined.py 127.0.0.1:8331,db.example:5432 start --port 8330 ...

Started by `environment.command` with Label Studio's own interpreter, so nothing but the standard library is here.

Label Studio's protection against requests to inner addresses (import from a URL, webhooks, live backends, storages)
knows addresses but no ports: opening it for one backend on 127.0.0.1 opens it for every service of the machine.
Python's audit hooks see each connection of the process, whatever library makes it and wherever a redirect or a second
DNS answer leads, so here the exact port is asked for. (PostgreSQL's library is C: it is not seen and needs nothing.)
It also keeps Label Studio away from a Redis on this machine, which it would use unasked as its job queue.
"""

from __future__ import annotations

import errno
import importlib
import ipaddress
import socket
import sys
from typing import Any

CONNECTS = ("socket.connect", "socket.sendto", "socket.sendmsg")
LOOKUPS = ("socket.getaddrinfo", "socket.gethostbyname")


def confine(allowed: frozenset[tuple[str, int]]) -> None:
    """From now on this process connects to `allowed` only, and asks for the address of no other name; for good."""
    names = {host for host, _ in allowed} | {"localhost", ""}

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        if event in CONNECTS:
            address = arguments[1]
            if address is not None and (not isinstance(address, tuple) or address[:2] not in allowed):
                raise ConnectionRefusedError(errno.ECONNREFUSED, f"collect lets Label Studio not connect to {address}")
        elif event in LOOKUPS and not _is_address(name := _text(arguments[0])) and name not in names:
            raise socket.gaierror(socket.EAI_NONAME, f"collect lets Label Studio not look for {name}")

    sys.addaudithook(look)


def _text(host: object) -> str:
    return host.decode("ascii", "replace") if isinstance(host, bytes) else str(host or "")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def main() -> None:
    """`confined.py ADDRESSES ARGUMENT...`: the addresses are HOST:PORT, with commas; `-` stands for none."""
    places = [each.rpartition(":") for each in sys.argv[1].split(",") if each != "-"]
    server = importlib.import_module("label_studio.server")
    vars(server)["_get_free_port"] = lambda port, debug: port  # it would silently take another port than ours
    confine(frozenset((host, int(port)) for host, _, port in places))
    sys.argv[1:] = sys.argv[2:]
    server.main()


if __name__ == "__main__":
    main()
