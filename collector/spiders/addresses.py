"""Which addresses of the network are public, and which others a person has allowed. Nothing is sent here.

A crawl asks addresses that strangers wrote, from a place that strangers cannot reach: without a guard, a redirect to
`http://169.254.169.254/` reads the keys of a cloud machine. `ipaddress` alone does not do: on Python 3.11 to 3.13 its
`is_private` misses 7 to 9 of the 32 addresses in tests/collector/test_addresses.py, so the registries stand here too:
https://www.iana.org/assignments/iana-ipv4-special-registry and .../iana-ipv6-special-registry.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from urllib.parse import urlsplit

_Address = IPv4Address | IPv6Address

METADATA = {  # services that give keys away to whoever asks from inside; the first lies in a public network
    "168.63.129.16": "Azure",
    "169.254.169.254": "AWS, Azure, Google and others",
    "100.100.100.200": "Alibaba",
    "192.0.0.192": "Oracle",
    "fd00:ec2::254": "AWS",
}
NOT_PUBLIC = {
    "0.0.0.0/8": "this network",
    "10.0.0.0/8": "private network",
    "100.64.0.0/10": "shared by a provider's customers",
    "127.0.0.0/8": "loopback",
    "169.254.0.0/16": "link-local",
    "172.16.0.0/12": "private network",
    "192.0.0.0/24": "protocol assignments",
    "192.0.2.0/24": "documentation",
    "192.88.99.0/24": "6to4 relays",
    "192.168.0.0/16": "private network",
    "198.18.0.0/15": "benchmarking",
    "198.51.100.0/24": "documentation",
    "203.0.113.0/24": "documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
    "::/128": "unspecified",
    "::1/128": "loopback",
    "::/96": "IPv4 inside IPv6",
    "64:ff9b:1::/48": "local translation to IPv4",
    "100::/64": "discard only",
    "2001::/32": "Teredo",
    "2001::/23": "protocol assignments",
    "2001:db8::/32": "documentation",
    "2002::/16": "6to4",
    "3fff::/20": "documentation",
    "5f00::/16": "segment routing",
    "fc00::/7": "private network",
    "fe80::/10": "link-local",
    "fec0::/10": "site-local",
    "ff00::/8": "multicast",
}
_NETWORKS = [(ipaddress.ip_network(network), why) for network, why in NOT_PUBLIC.items()]
_METADATA = {ipaddress.ip_address(address): f"metadata service of {whose}" for address, whose in METADATA.items()}
_GLOBAL_UNICAST = IPv6Network("2000::/3")  # all that is given out of IPv6; the rest is reserved
_NAT64 = IPv6Network("64:ff9b::/96")  # how networks without IPv4 show the IPv4 world


def refusal(address: str) -> str | None:
    """Why an IP address is not public, in a few words; None when it is.

    An IPv4 address inside an IPv4-mapped or a NAT64 address is judged by itself; other mixtures are refused.
    Raises ValueError when `address` is no IP address.
    """
    ip = _judged(ipaddress.ip_address(address))
    if ip in _METADATA:
        return _METADATA[ip]
    for network, why in _NETWORKS:
        if ip.version == network.version and ip in network:
            return why
    if isinstance(ip, IPv6Address) and ip not in _GLOBAL_UNICAST:
        return "reserved"
    return None if ip.is_global else "not global"  # what a later Python knows and we do not


def literal(host: str) -> str | None:
    """The IP address that a host spells, also as `127.1`, `0x7f.1` or `2130706433`; None for a name."""
    plain = host.strip("[]").rstrip(".")
    with suppress(ValueError):
        return str(ipaddress.ip_address(plain))
    with suppress(OSError):
        return socket.inet_ntoa(socket.inet_aton(plain))
    return None


def endpoint(text: str) -> tuple[str, int | None]:
    """Host and port of `host`, `host:port`, `[::1]:port` or `::1`; port None: any. Raises ValueError."""
    with suppress(ValueError):
        return str(_judged(ipaddress.ip_address(text))), None
    parts = urlsplit(f"//{text}")
    if not parts.hostname or text != parts.netloc or "@" in text:
        raise ValueError(f"`{text}` is not a host or host:port")
    return _spelled(parts.hostname), parts.port


class Guard:
    """Decides whether a connection may be made: to public addresses, and to what `crawl.allow_private_hosts` names.

    An entry without a port allows every port; one with an address allows names that stand for it, too. `proxies` are
    addresses (`http://host:port`) that may be connected to, but not asked for by an address in a page.
    """

    def __init__(self, allowed: Iterable[str] = (), proxies: Iterable[str] = ()) -> None:
        self._allowed = {endpoint(text) for text in allowed}
        parts = [urlsplit(proxy) for proxy in proxies]
        # What may be connected to: connections carry no name, so the addresses of allowed names are added in passing.
        self._open = self._allowed | {(_spelled(each.hostname or ""), each.port or 80) for each in parts}

    def refusal(self, host: str, port: int, address: str) -> str | None:
        """Why connecting to `address`, which `host` stands for, is refused, in one sentence; None allows it.

        Without a name, as in a look at a socket, `host` is the address. Raises ValueError when `address` is none.
        """
        why = refusal(address)
        if why is None:
            return None
        name, place = _spelled(host), _spelled(address)
        if {(name, None), (name, port), (place, None), (place, port)} & self._open:
            self._open.add((place, port))
            return None
        what = f"`{host}` has the address {address}, which is" if name != place else f"{address} is"
        return f"{what} not public ({why}); `crawl.allow_private_hosts` can name it"

    def refusal_of_url(self, url: str) -> str | None:
        """Why a web address is refused before any connection: its host spells an IP address that is not public.

        This is all that can be known of a request through a proxy, which finds the address of a name itself.
        """
        parts = urlsplit(url)
        address = literal(parts.hostname or "")
        if address is None or (why := refusal(address)) is None:
            return None
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if {(_spelled(address), None), (_spelled(address), port)} & self._allowed:
            return None
        return f"{parts.hostname} is not public ({why}); `crawl.allow_private_hosts` can name it"


def _judged(ip: _Address) -> _Address:
    """The IPv4 address inside of an IPv6 one, where that is the one that is reached."""
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is not None:
            return ip.ipv4_mapped
        if ip in _NAT64:
            return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip


def _spelled(host: str) -> str:
    """One spelling for each host."""
    plain = host.casefold().rstrip(".")
    with suppress(ValueError):
        return str(_judged(ipaddress.ip_address(plain.strip("[]"))))
    return plain
