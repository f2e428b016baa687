"""The download handler on loopback: what arrives, and what is not waited for."""

from __future__ import annotations

import asyncio
import gzip
import os
import socket
import ssl
import time
import warnings
from contextlib import ExitStack
from pathlib import Path

import pytest
from scrapy import Request
from scrapy import signals as scrapy_signals
from scrapy.exceptions import (
    CannotResolveHostError,
    DownloadCancelledError,
    DownloadConnectionRefusedError,
    DownloadFailedError,
    DownloadTimeoutError,
    ResponseDataLossError,
)
from scrapy.http import Headers, Response

from collector.spiders.guard import PrivateAddress
from collector.spiders.handler import RESUMED, HttpHandler
from collector.spiders.middlewares import PICTURE, OptedOut, Refused
from tests.collector import naive
from tests.collector.certificates import DAY, NOW, Authority
from tests.collector.fault_server import FaultServer, drips, then_hangs_up, then_resets
from tests.collector.fetching import body_of, crawler_with, fetch, picture

BODY = os.urandom(2 * RESUMED)


class Counting(FaultServer):
    """Counts connections."""

    connections = 0

    def _serve(self, plain: socket.socket) -> None:
        self.connections += 1
        super()._serve(plain)


# -- what arrives -------------------------------------------------------------------------------------------------


def test_a_body_arrives_as_it_was_sent_and_connections_are_kept() -> None:
    files = {"/1": (200, {"X-Odd": "a", "Content-Type": "image/jpeg"}, b"one"), "/2": (404, dict[str, str](), b"no")}
    with (server := Counting(files)):

        async def run() -> list[Response]:
            one, other = HttpHandler(crawler_with()), HttpHandler(crawler_with())  # of two spiders
            try:
                return [
                    await each.download_request(picture(server.url + path))
                    for path in ("/1", "/2")
                    for each in (one, other)
                ]
            finally:
                await one.close()
                await other.close()

        first, _, second, _ = asyncio.run(run())
        assert (first.status, first.body, first.headers["X-Odd"]) == (200, b"one", b"a")
        assert (second.status, second.body) == (404, b"no")
        assert server.connections == 1
        assert "Accept-Encoding: identity" in server.heads[0]
        assert HttpHandler.session is None


def test_an_address_is_sent_as_it_is_written() -> None:
    with FaultServer({}) as server:
        fetch(Request(f"{server.url}/a%2Fb%20c/%E2%82%AC?q=%2B+%26&x=a%7Cb#end"))
        assert server.heads[0].startswith("GET /a%2Fb%20c/%E2%82%AC?q=%2B+%26&x=a%7Cb HTTP/1.1")


def test_an_api_gets_its_body_even_so_and_a_page_its_class() -> None:
    squeezed = gzip.compress(b"{}")
    with FaultServer(
        {"/": (200, {"Content-Type": "text/html"}, b"<p>"), "/z": (200, {"Content-Encoding": "gzip"}, squeezed)}
    ) as server:
        page, answer = fetch(Request(f"{server.url}/"), Request(f"{server.url}/z"))
        assert type(page).__name__ == "HtmlResponse"
        assert body_of(answer) == squeezed  # Scrapy's HttpCompressionMiddleware opens it, with a bound


def test_a_picture_that_was_compressed_on_the_way_is_refused() -> None:
    with FaultServer(
        {"/": (200, {"Content-Encoding": "br, GZip"}, b"x"), "/s3": (200, {"Content-Encoding": "aws-chunked"}, b"x")}
    ) as server:
        refused, fine = fetch(picture(f"{server.url}/"), picture(f"{server.url}/s3"))
        assert isinstance(refused, Refused)
        assert refused.refusal.reason == "encoded"
        assert body_of(fine) == b"x"


def test_a_proxy_gets_its_password_and_the_host_behind_it_does_not() -> None:
    with FaultServer({"/1.jpg": (200, {}, b"x")}) as proxy:
        through = {"proxy": proxy.url}
        password = {"Proxy-Authorization": "Basic bWU6c2VjcmV0"}
        requests = [
            Request("http://pictures.example/1.jpg", headers=password, meta={PICTURE: True, **through}),
            Request("https://pictures.example/2.jpg", headers=password, meta={PICTURE: True, **through}),
            Request("http://169.254.169.254/key", meta=through),
            Request(f"{proxy.url}/1.jpg", headers=password),
        ]
        told = fetch(*requests, COLLECT_PROXIES=(proxy.url,))
        heads = {head.split(" HTTP", 1)[0]: "Proxy-Authorization: Basic bWU6c2VjcmV0" in head for head in proxy.heads}
        assert heads == {
            "GET http://pictures.example/1.jpg": True,
            "CONNECT pictures.example:443": True,
            "GET /1.jpg": False,
        }
        assert body_of(told[0]) == body_of(told[3]) == b"x"
        assert [type(each) for each in told[1:3]] == [DownloadFailedError, PrivateAddress]


# -- what is not waited for ---------------------------------------------------------------------------------------


def test_the_deadline_is_for_everything() -> None:
    with FaultServer({"/": drips(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n", b"x", 0.05)}) as server:
        assert naive.fetch(f"{server.url}/") == "stuck"
        began = time.monotonic()
        (told,) = fetch(picture(f"{server.url}/"), DOWNLOAD_TIMEOUT=0.5)
        assert isinstance(told, DownloadTimeoutError)
        assert time.monotonic() - began < 3


def test_a_body_that_is_announced_or_becomes_too_large_is_not_read() -> None:
    flood = bytes(65536)
    with FaultServer(
        {
            "/announced": drips(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n", flood, 0),
            "/endless": drips(b"HTTP/1.1 200 OK\r\n\r\n", flood, 0),
        }
    ) as server:
        for path in ("/announced", "/endless"):
            (told,) = fetch(picture(server.url + path), DOWNLOAD_MAXSIZE=1_000_000)
            assert isinstance(told, DownloadCancelledError), path


def test_who_listens_to_headers_can_refuse_the_body() -> None:
    with FaultServer(
        {"/": drips(b"HTTP/1.1 200 OK\r\nX-Robots-Tag: noai\r\nContent-Length: 9\r\n\r\n", b"", 1)}
    ) as server:
        crawler = crawler_with()

        def listen(headers: Headers, request: Request) -> None:
            raise OptedOut(f"X-Robots-Tag: {(headers['X-Robots-Tag'] or b'').decode()}")

        crawler.signals.connect(listen, signal=scrapy_signals.headers_received)
        began = time.monotonic()
        (told,) = fetch(picture(f"{server.url}/"), crawler=crawler)
        assert isinstance(told, OptedOut)
        assert told.refusal.detail == "X-Robots-Tag: noai"
        assert isinstance(told.response, Response)
        assert time.monotonic() - began < 5


def test_each_way_not_to_arrive_has_its_error() -> None:
    files = {
        "/short": then_hangs_up(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nxx"),
        "/reset": then_resets(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nxx"),
        "/reset-at-the-end": then_resets(b"HTTP/1.1 200 OK\r\n\r\nxx"),
        "/chunk": then_hangs_up(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nxx"),
        "/odd": then_hangs_up(b"220 mail.example.org ESMTP\r\n\r\n"),
        "/nothing": then_resets(b""),
    }
    with FaultServer(files) as server, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        expected: dict[str, type[BaseException]] = {
            f"{server.url}/short": ResponseDataLossError,
            f"{server.url}/reset": ResponseDataLossError,
            f"{server.url}/reset-at-the-end": ResponseDataLossError,
            f"{server.url}/chunk": ResponseDataLossError,
            f"{server.url}/odd": DownloadFailedError,
            f"{server.url}/nothing": DownloadFailedError,
            f"http://127.0.0.1:{nobody.getsockname()[1]}/": DownloadConnectionRefusedError,
            "http://nobody.invalid/": CannotResolveHostError,
            "http://10.0.0.1/": PrivateAddress,
            "http://10.1/": PrivateAddress,
            f"http://{'a' * 64}.example/": Refused,
        }
        told = fetch(*map(picture, expected))
    assert {url: type(each) for url, each in zip(expected, told, strict=True)} == expected


def test_certificates_are_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trusted, other = Authority(tmp_path), Authority(tmp_path, "other")
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted.file))
    contexts = {
        "good": trusted.server("127.0.0.1"),
        "unknown": other.server("127.0.0.1"),
        "another host": trusted.server("127.0.0.2"),
        "expired": trusted.server("127.0.0.1", until=NOW - DAY),
        "old": trusted.server("127.0.0.1"),
    }
    with warnings.catch_warnings(action="ignore"):  # that this version is old is what the test is about
        contexts["old"].maximum_version = ssl.TLSVersion.TLSv1_1
    with ExitStack() as stack:
        servers = [stack.enter_context(FaultServer({"/": (200, {}, b"x")}, tls=each)) for each in contexts.values()]
        told = dict(zip(contexts, fetch(*(picture(f"{each.url}/") for each in servers)), strict=True))
    assert body_of(told.pop("good")) == b"x"
    assert {name: each.refusal.reason for name, each in told.items() if isinstance(each, Refused)} == dict.fromkeys(
        told, "tls"
    )


# -- a host's budget of bytes -------------------------------------------------------------------------------------


def test_a_host_gives_no_more_bytes_in_a_second_than_its_budget_however_many_ask() -> None:
    with (
        FaultServer({"/": (200, {}, bytes(300_000))}) as server,
        FaultServer({"/": (200, {}, bytes(300_000))}, host="127.0.0.2") as other,
    ):
        began = time.monotonic()
        free = fetch(picture(f"{other.url}/"), COLLECT_BYTES_PER_SECOND={"127.0.0.1": 400_000})
        assert time.monotonic() - began < 0.7
        began = time.monotonic()
        bound = fetch(
            *[picture(f"{server.url}/")] * 3, COLLECT_BYTES_PER_SECOND={"127.0.0.1": 400_000}, DOWNLOAD_TIMEOUT=1.5
        )
        took = time.monotonic() - began
        assert {len(body_of(each)) for each in free + bound} == {300_000}
        assert (
            900_000 / 400_000 - 0.3 <= took < 6
        )  # longer than the deadline: to wait for the budget is not the host's fault
