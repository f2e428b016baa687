"""A crawl in a network of its own, where the kernel counts what leaves for an address that is not public.

`kernel_count.py FOLDER`, in its own network and mount namespaces (`unshare --net --mount`), so that all is gone when it
ends. This machine then has two public addresses, at which the site answers; everything else is counted and dropped.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from collector.spiders.runner import crawl
from collector.workspace import Workspace
from tests.collector.fault_server import Answer, Fault, FaultServer, faulty, good

PUBLIC, PUBLIC6 = "93.184.216.34", "2606:2800:21f:cb07::1"
INSIDE = (
    "127.0.0.1", "10.0.0.1", "169.254.169.254", "100.100.100.200", "100.64.0.1", "172.16.0.1", "192.168.1.1",
    "192.88.99.1", "198.18.0.1", "240.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::7f00:1",
    "2002:7f00:1::1", "3fff::1", "5f00::1", "fd00:ec2::254", "fec0::1",
)  # fmt: skip
SPELLINGS = ("127.1", "2130706433", "0x7f.1", "0", "localhost", "inside.example", "half.example")
NETWORK = f"""
ip link set lo up
ip addr add {PUBLIC}/32 dev lo
ip addr add {PUBLIC6}/128 dev lo
ip link add out type veth peer name away
ip link set away up
ip link set out up
ip addr add 10.9.0.1/24 dev out
ip route add default via 10.9.0.2 dev out onlink
ip addr add fd00:9::1/64 dev out nodad
ip route add default via fd00:9::2 dev out onlink
"""
RULES = f"""
table inet crawl {{
    chain leaving {{
        type filter hook output priority 0; policy accept;
        ip daddr {PUBLIC} accept
        ip6 daddr {PUBLIC6} accept
        meta l4proto {{ tcp, udp }} counter drop
    }}
}}
"""
NAMES = f"""
import socket
known = {{
    "inside.example": ["127.0.0.1"],
    "half.example": ["{PUBLIC}", "10.0.0.1"],
    "both.example": ["{PUBLIC}", "{PUBLIC6}"],
}}
first, system = [True], socket.getaddrinfo

def look_up(host, port, *args, **kwargs):
    if host == "rebinds.example":  # public the first time, and then no more
        addresses = ["{PUBLIC}"] if first else ["127.0.0.1"]
        first.clear()
    else:
        addresses = known.get(host, [host])
    return [each for address in addresses for each in system(address, port, *args, **kwargs)]

socket.getaddrinfo = look_up
"""


def main(folder: Path) -> None:
    """Print what was counted for careless connections, for a crawl, and for a crawl that may do it, as JSON."""
    _set_up(folder)
    careless = {}
    for address in INSIDE:
        before = packets()
        _try(address)
        careless[address] = packets() - before
    with FaultServer({}, host=PUBLIC) as server, FaultServer({}, host=PUBLIC, name="rebinds.example") as other:
        server.files = _files(server, other)
        other.files = {"/1": good(101), "/2": good(102)}
        before = packets()
        guarded = _crawl(folder, "guarded", faulty(server, timeout=1.0, retries=0, allow_private_hosts=[]))
        counted = packets() - before
        before = packets()
        allowed = faulty(server, timeout=1.0, retries=0, allow_private_hosts=["10.0.0.1", "::1"])
        _crawl(folder, "allowed", allowed)
        json.dump({"careless": careless, "counted": counted, "allowed": packets() - before, **guarded}, sys.stdout)


def packets() -> int:
    """How many packets the kernel has counted and dropped."""
    said = subprocess.run(["nft", "-j", "list", "chain", "inet", "crawl", "leaving"], capture_output=True, check=True)
    rules = json.loads(said.stdout)["nftables"]
    counters = [each["counter"] for row in rules if "rule" in row for each in row["rule"]["expr"] if "counter" in each]
    return int(counters[0]["packets"])


def _set_up(folder: Path) -> None:
    for line in NETWORK.split("\n"):
        subprocess.run(line.split() or ["true"], check=True)
    subprocess.run(["nft", "-f", "-"], input=RULES, text=True, check=True)
    (folder / "nsswitch.conf").write_text("hosts: files\n")  # no question about a name leaves either
    subprocess.run(["mount", "--bind", str(folder / "nsswitch.conf"), "/etc/nsswitch.conf"], check=True)
    (folder / "names").mkdir()
    (folder / "names" / "sitecustomize.py").write_text(NAMES)
    os.environ["PYTHONPATH"] = str(folder / "names")  # of the crawling process


def _try(address: str) -> None:
    """Send the first packet of a connection, and wait for nothing."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as careless:
        careless.setblocking(False)
        careless.connect_ex((address, 80))


def _files(server: FaultServer, other: FaultServer) -> dict[str, Answer | Fault]:
    """Pictures at public places by address and by name, and at every place inside, directly and by a redirect."""
    hosts = [f"[{host}]" if ":" in host else host for host in INSIDE] + list(SPELLINGS)
    found: dict[str, Answer | Fault] = {"/fine": good(1), f"http://both.example:{server.port}/hidden/2": good(2)}
    found |= {f"http://rebinds.example:{other.port}/1": good(3), f"http://rebinds.example:{server.port}/fine": good(4)}
    found["/hidden/2"] = good(2)
    found |= {f"http://{host}/{n}.jpg": good(n) for n, host in enumerate(hosts)}
    found |= {f"/to/{n}": (302, {"Location": f"http://{host}/{n}.jpg"}, b"") for n, host in enumerate(hosts)}
    return found


def _crawl(folder: Path, name: str, config: str) -> dict[str, Any]:
    (folder / name).mkdir()
    (folder / name / "config.toml").write_text(config)
    with Workspace.open(folder / name / "config.toml", environ={}) as ws:
        crawl(ws, "horse", limit=200)
        rows = ws.catalog.frame("rejections")
        return {
            "kept": sorted(ws.catalog.frame("sightings")["source_id"]),
            "refused": dict(zip(rows["source_id"], rows["reason"] + ": " + rows["detail"], strict=True)),
        }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
