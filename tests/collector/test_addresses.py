"""Which addresses are public: the whole table, both ways, and what a person may allow."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.errors import UsageError
from collector.spiders.addresses import METADATA, NOT_PUBLIC, Guard, endpoint, literal, refusal
from collector.spiders.config import CrawlConfig
from collector.workspace import Workspace

NEVER = {
    "0.0.0.0": "this network",
    "10.0.0.1": "private network",
    "100.64.0.1": "shared by a provider's customers",
    "100.100.100.200": "metadata service of Alibaba",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "168.63.129.16": "metadata service of Azure",
    "169.254.169.254": "metadata service of AWS, Azure, Google and others",
    "172.16.0.1": "private network",
    "192.0.0.1": "protocol assignments",
    "192.0.2.1": "documentation",
    "192.88.99.1": "6to4 relays",
    "192.168.1.1": "private network",
    "198.18.0.1": "benchmarking",
    "224.0.0.1": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "reserved",
    "::": "unspecified",
    "::1": "loopback",
    "::127.0.0.1": "IPv4 inside IPv6",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:169.254.169.254": "metadata service of AWS, Azure, Google and others",
    "64:ff9b::7f00:1": "loopback",
    "64:ff9b:1::7f00:1": "local translation to IPv4",
    "2001:0:7f00:1::": "Teredo",
    "2001:db8::1": "documentation",
    "2002:7f00:1::1": "6to4",
    "3fff::1": "documentation",
    "5f00::1": "segment routing",
    "fd00:ec2::254": "metadata service of AWS",
    "fe80::1": "link-local",
    "fec0::1": "site-local",
}
MORE = {
    "172.31.255.255": "private network",
    "198.51.100.1": "documentation",
    "203.0.113.1": "documentation",
    "192.0.0.192": "metadata service of Oracle",
    "100::1": "discard only",
    "2001:10::1": "protocol assignments",
    "fc00::1": "private network",
    "fe80::1%eth0": "link-local",
    "ff02::1": "multicast",
    "4000::1": "reserved",
    "64:ff9b::a9fe:a9fe": "metadata service of AWS, Azure, Google and others",
}
PUBLIC = (
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
    "128.0.0.1", "169.253.255.255", "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0",
    "198.17.255.255", "198.20.0.0", "208.80.154.240", "223.255.255.255", "2001:4860:4860::8888", "2606:4700::1111",
    "2620:0:861:ed1a::2:b", "2a02:ec80:300:ed1a::2:b", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8",
)  # fmt: skip


def test_the_table_has_32_addresses_and_ipaddress_alone_misses_some() -> None:
    assert len(NEVER) == 32
    missed = [address for address in NEVER if not ipaddress.ip_address(address).is_private]
    assert {"100.64.0.1", "192.88.99.1", "::127.0.0.1", "64:ff9b::7f00:1", "fec0::1", "5f00::1"} <= set(missed)
    assert ipaddress.ip_address("224.0.0.1").is_global


@pytest.mark.parametrize(("address", "why"), (NEVER | MORE).items())
def test_an_address_that_is_not_public_is_refused_with_its_reason(address: str, why: str) -> None:
    assert refusal(address) == why


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_not_refused(address: str) -> None:
    assert refusal(address) is None


def test_no_version_of_python_is_relied_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which addresses `ipaddress` calls global changes with each release; the table stands without it."""
    for kind in (ipaddress.IPv4Address, ipaddress.IPv6Address):
        monkeypatch.setattr(kind, "is_global", True)
        monkeypatch.setattr(kind, "is_private", False)
    assert [address for address in NEVER | MORE if refusal(address) is None] == []


@given(st.ip_addresses(v=4))
def test_every_ipv6_form_of_a_refused_ipv4_address_is_refused(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    high, low = divmod(number, 1 << 16)
    through = [f"::ffff:{address}", f"::ffff:{high:x}:{low:x}", f"64:ff9b::{address}"]
    assert {refusal(form) for form in through} == {refusal(str(address))}
    never = [f"::{address}", f"64:ff9b:1::{address}", f"2002:{high:x}:{low:x}::1", f"2001:0:{high:x}:{low:x}::"]
    assert all(refusal(form) for form in never)


@given(st.one_of(*(st.ip_addresses(network=network) for network in NOT_PUBLIC)))
def test_every_address_of_every_listed_network_is_refused(address: ipaddress.IPv4Address) -> None:
    assert refusal(str(address)) is not None


@given(st.ip_addresses())
def test_what_ipaddress_calls_special_is_never_called_public(address: ipaddress.IPv4Address) -> None:
    if refusal(str(address)) is None and "." in str(address):
        assert address.is_global
        assert not address.is_multicast
        assert not address.is_reserved


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "1.2.3", "::g", "127.0.0.1:80"])
def test_what_is_no_address_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        refusal(text)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0", "0.0.0.0"),
        ("127.0.0.1.", "127.0.0.1"),
        ("[::1]", "::1"),
        ("::ffff:127.0.0.1", "::ffff:7f00:1"),
        ("localhost", None),
        ("a.example", None),
        ("", None),
    ],
)
def test_spellings_of_addresses_are_read_as_the_system_reads_them(host: str, address: str | None) -> None:
    assert literal(host) == address


# -- what a person allows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("localhost", ("localhost", None)),
        ("LocalHost.:8080", ("localhost", 8080)),
        ("127.0.0.1", ("127.0.0.1", None)),
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("[::1]", ("::1", None)),
        ("[0:0::1]:443", ("::1", 443)),
        ("fd00::5", ("fd00::5", None)),
        ("::ffff:10.0.0.1", ("10.0.0.1", None)),
    ],
)
def test_an_allowed_host_is_read_in_every_spelling(text: str, read: tuple[str, int | None]) -> None:
    assert endpoint(text) == read


@pytest.mark.parametrize("text", ["", "http://a", "a/b", "me@a", "a:b", "a:99999", "[::1", "a b/c"])
def test_what_is_no_host_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        endpoint(text)


def test_a_setting_that_names_no_host_is_one_clear_sentence(make_workspace: Callable[..., Workspace]) -> None:
    ws = make_workspace('[crawl]\nallow_private_hosts = ["127.0.0.1:80", "http://nas.example/"]')
    with pytest.raises(UsageError, match=r"allow_private_hosts.*`http://nas.example/` is not a host or host:port"):
        ws.section(CrawlConfig)


def test_the_guard_says_who_where_and_what_to_do() -> None:
    guard = Guard()
    assert guard.refusal("a.example", 80, "93.184.216.34") is None
    assert guard.refusal("a.example", 80, "169.254.169.254") == (
        "`a.example` has the address 169.254.169.254, which is not public (metadata service of AWS, Azure, Google and "
        "others); `crawl.allow_private_hosts` can name it"
    )
    assert guard.refusal("10.0.0.1", 80, "10.0.0.1") == (
        "10.0.0.1 is not public (private network); `crawl.allow_private_hosts` can name it"
    )


def test_only_what_is_allowed_is_allowed() -> None:
    guard = Guard(["nas.example:8080", "10.0.0.7", "[::1]:9"])
    assert guard.refusal("10.9.9.9", 8080, "10.9.9.9")
    assert guard.refusal("NAS.example.", 8080, "10.9.9.9") is None
    assert guard.refusal("10.9.9.9", 8080, "10.9.9.9") is None  # the socket of that name
    assert guard.refusal("nas.example", 8081, "10.9.9.9")
    assert guard.refusal("nas.example", 8080, "10.9.9.8") is None  # a name may have several addresses
    assert guard.refusal("other.example", 5, "10.0.0.7") is None
    assert guard.refusal("::1", 9, "::1") is None
    assert guard.refusal("::1", 8, "::1")
    assert guard.refusal("other.example", 8080, "127.0.0.1")


def test_a_proxy_may_be_connected_to_and_not_asked_for() -> None:
    guard = Guard(["127.0.0.1:9"], ["http://me:pass@127.0.0.1:3128", "http://10.0.0.1"])
    assert guard.refusal("127.0.0.1", 3128, "127.0.0.1") is None
    assert guard.refusal("10.0.0.1", 80, "10.0.0.1") is None
    assert guard.refusal_of_url("http://127.0.0.1:3128/manager") == (
        "127.0.0.1 is not public (loopback); `crawl.allow_private_hosts` can name it"
    )
    assert guard.refusal_of_url("http://127.0.0.1:9/") is None


@pytest.mark.parametrize("host", ["127.1", "2130706433", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "0"])
def test_an_address_in_an_url_is_refused_however_it_is_spelled(host: str) -> None:
    guard = Guard()
    assert guard.refusal_of_url(f"https://{host}/a.jpg")
    assert guard.refusal_of_url(f"http://user:word@{host}:8080")
    assert guard.refusal_of_url("https://a.example/a.jpg") is None
    assert guard.refusal_of_url("https://1.1.1.1/a.jpg") is None


def test_metadata_services_are_known_by_name() -> None:
    assert all(refusal(address) == f"metadata service of {whose}" for address, whose in METADATA.items())
