"""The download handler on loopback: what arrives, what breaks and goes on, and what is not waited for."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from scrapy import Request, Spider
from scrapy import signals as scrapy_signals
from scrapy.crawler import Crawler
from scrapy.exceptions import (
    CannotResolveHostError,
    DownloadCancelledError,
    DownloadConnectionRefusedError,
    DownloadFailedError,
    DownloadTimeoutError,
    ResponseDataLossError,
)
from scrapy.http import Headers, Response
from scrapy.settings import Settings

from collector.spiders.guard import PrivateAddress
from collector.spiders.handler import ASKED, RESUMED, STEP, HttpHandler
from collector.spiders.middlewares import PICTURE, OptedOut, Refused
from collector.spiders.resuming import Partials, Version, continues, version_of
from tests.collector import naive
from tests.collector.certificates import DAY, NOW, Authority
from tests.collector.fault_server import FaultServer, drips, rendered, then_hangs_up, then_resets
from tests.conftest import REPOSITORY

LOOPBACK = ("127.0.0.1", "127.0.0.2")
BODY = os.urandom(2 * RESUMED)
LARGE = os.urandom(3 * STEP)


def crawler_with(**settings: Any) -> Crawler:
    """A crawler as the handler needs it: its settings and its signals."""
    defaults = {"DOWNLOAD_MAXSIZE": 40_000_000, "DOWNLOAD_TIMEOUT": 10.0, "COLLECT_PRIVATE_HOSTS": LOOPBACK}
    return Crawler(Spider, Settings({**defaults, **settings}))


def fetch(*requests: Request, crawler: Crawler | None = None, **settings: Any) -> list[Response | BaseException]:
    """What becomes of requests that are sent at once."""

    async def run() -> list[Response | BaseException]:
        handler = HttpHandler(crawler or crawler_with(**settings))
        try:
            return await asyncio.gather(*map(handler.download_request, requests), return_exceptions=True)
        finally:
            await handler.close()

    return asyncio.run(run())


def picture(url: str, **meta: Any) -> Request:
    return Request(url, headers={"Accept-Encoding": "identity"}, meta={PICTURE: True, **meta})


def body_of(answer: Response | BaseException) -> bytes:
    assert isinstance(answer, Response), repr(answer)
    assert answer.status == 200
    assert int(answer.headers["Content-Length"] or 0) == len(answer.body)
    return answer.body


class Breaking:
    """A file whose connections break after some bytes each, and which can be asked for in parts."""

    def __init__(self, data: bytes, *, after: int, headers: dict[str, str] | None = None) -> None:
        self.data = data
        self.after = after
        self.headers = {"ETag": '"one"', "Accept-Ranges": "bytes"} if headers is None else headers
        self.server: FaultServer | None = None
        self.rest: Callable[[int], bytes] = self.part

    def part(self, begin: int) -> bytes:
        """The right answer for what is missing from `begin` on."""
        whole = len(self.data)
        headers = {**self.headers, "Content-Range": f"bytes {begin}-{whole - 1}/{whole}"}
        return rendered(206, headers, self.data[begin:])

    def __call__(self, connection: socket.socket) -> None:
        assert self.server is not None
        asked = re.search(r"(?i)\r\nrange: bytes=(\d+)-\r\n", self.server.heads[-1])
        answer = self.rest(int(asked[1])) if asked else rendered(200, self.headers, self.data)
        head, _, body = answer.partition(b"\r\n\r\n")
        connection.sendall(head + b"\r\n\r\n" + body[: self.after])


def serving(file: Breaking) -> FaultServer:
    file.server = FaultServer({"/file": file})
    return file.server


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


# -- what breaks and goes on --------------------------------------------------------------------------------------


def test_a_large_body_that_breaks_goes_on_where_it_broke() -> None:
    file = Breaking(BODY, after=RESUMED + 1000)
    with serving(file) as server:
        assert naive.fetch(f"{server.url}/file") == "IncompleteRead"
        server.heads.clear()
        assert body_of(fetch(picture(f"{server.url}/file"))[0]) == BODY
        assert len(server.heads) == 2
        assert f'Range: bytes={RESUMED + 1000}-\r\nIf-Range: "one"' in server.heads[1]


@pytest.mark.parametrize("what", ["changed", "says so by 416", "sends another part", "has another size", "says 503"])
def test_parts_of_two_versions_are_never_put_together(what: str) -> None:
    other = os.urandom(2 * RESUMED)
    file = Breaking(BODY, after=RESUMED + 1000)
    fresh = {"ETag": '"two"', "Accept-Ranges": "bytes"}

    def rest(begin: int) -> bytes:
        file.data, file.headers, file.after = other, fresh, len(other)
        if what == "changed":
            return rendered(200, fresh, other)
        if what == "says so by 416":
            return rendered(416, {"Content-Range": f"bytes */{len(other)}"}, b"")
        if what == "sends another part":
            return rendered(206, {"ETag": '"one"', "Content-Range": f"bytes 0-{len(other) - 1}/{len(other)}"}, other)
        if what == "has another size":
            end = len(other)
            return rendered(206, {"Content-Range": f"bytes {begin}-{end - 2}/{end - 1}"}, other[begin : end - 1])
        return rendered(503, {}, b"busy")

    file.rest = rest
    with serving(file) as server:
        (told,) = fetch(picture(f"{server.url}/file"))
        if what == "says 503":
            assert isinstance(told, Response)
            assert (told.status, told.body) == (503, b"busy")
        else:
            assert body_of(told) == other


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": '"one"'},
        {"Accept-Ranges": "bytes"},
        {"ETag": 'W/"one"', "Accept-Ranges": "bytes"},
        {"ETag": '"one"', "Accept-Ranges": "none"},
    ],
)
def test_what_cannot_be_continued_safely_is_not(headers: dict[str, str]) -> None:
    with serving(Breaking(BODY, after=RESUMED + 1000, headers=headers)) as server:
        assert isinstance(fetch(picture(f"{server.url}/file"))[0], ResponseDataLossError)
        assert len(server.heads) == 1


def test_a_rest_that_is_not_what_it_says_is_no_rest() -> None:
    file = Breaking(BODY, after=RESUMED + 1000)

    def rest(begin: int) -> bytes:
        file.after = len(BODY)
        part = f"bytes {begin}-{len(BODY) - 1}/{len(BODY)}"
        headers = {"ETag": '"one"', "Content-Range": part, "Transfer-Encoding": "chunked"}
        return rendered(206, headers, b"3\r\nabc\r\n0\r\n\r\n")

    file.rest = rest
    with serving(file) as server:
        assert isinstance(fetch(picture(f"{server.url}/file"))[0], ResponseDataLossError)


def test_a_body_that_breaks_again_and_again_is_given_up() -> None:
    with serving(Breaking(os.urandom(10 * RESUMED), after=RESUMED + 1)) as server:
        assert isinstance(fetch(picture(f"{server.url}/file"))[0], ResponseDataLossError)
        assert len(server.heads) == ASKED


def test_only_versions_that_cannot_be_mistaken_are_continued() -> None:
    def version(**headers: str) -> Version | None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return version_of(Headers({"Content-Length": "9", "Accept-Ranges": "bytes", **named}))

    old, young = "Mon, 19 Oct 2026 10:00:00 GMT", "Mon, 19 Oct 2026 10:00:01 GMT"
    assert version(ETag='"a"') == Version('"a"', 9)
    assert version(Last_Modified=old, Date=young) == Version(old, 9)
    assert version(Last_Modified=young, Date=young) is None
    assert version(Last_Modified=old, Date="soon") is None
    assert version(ETag='W/"a"', Last_Modified=old, Date=young) is None
    part = Headers({"Content-Range": "bytes 4-8/9", "ETag": '"a"'})
    assert continues(part, Version('"a"', 9), 4)
    assert not continues(part, Version('"a"', 9), 5)
    assert not continues(part, Version('"b"', 9), 4)
    assert not continues(part, Version('"a"', 10), 4)
    assert not continues(Headers({"Content-Range": "bytes 4-8/*"}), Version('"a"', 9), 4)


# -- what a killed crawl leaves -----------------------------------------------------------------------------------

CHILD = """
import asyncio, sys
from scrapy import Request, Spider
from scrapy.crawler import Crawler
from scrapy.settings import Settings
from collector.spiders.handler import HttpHandler
settings = {"COLLECT_PRIVATE_HOSTS": ["127.0.0.1"], "COLLECT_PARTIAL": sys.argv[2], "DOWNLOAD_TIMEOUT": 60}
request = Request(sys.argv[1], meta={"picture": True})
asyncio.run(HttpHandler(Crawler(Spider, Settings(settings))).download_request(request))
"""


def killed_while_fetching(url: str, folder: Path) -> int:
    """Fetch in another process, kill it when some of the file is kept, and tell how many bytes."""
    with subprocess.Popen([sys.executable, "-c", CHILD, url, str(folder)], cwd=REPOSITORY) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            with suppress(StopIteration, ValueError):
                kept = json.loads(next(folder.glob("*.json")).read_bytes())["kept"]
                process.kill()
                return int(kept)
            time.sleep(0.02)
        process.kill()
    raise AssertionError("nothing was kept")


def stalling(file: Breaking) -> Callable[[socket.socket], None]:
    """The same file from a server that stops in the middle of it."""

    def fault(connection: socket.socket) -> None:
        connection.sendall(rendered(200, file.headers, file.data)[: 2 * STEP])
        connection.recv(1)  # until the client is gone

    return fault


def test_after_a_kill_the_next_run_asks_only_for_what_is_missing(tmp_path: Path) -> None:
    file = Breaking(LARGE, after=len(LARGE))
    with serving(file) as server:
        server.files["/file"] = stalling(file)
        request = picture(f"{server.url}/file")
        kept = killed_while_fetching(request.url, tmp_path / "one")
        shutil.copytree(tmp_path / "one", tmp_path / "two")
        assert kept >= STEP
        server.files["/file"] = file
        server.heads.clear()
        assert body_of(fetch(request, COLLECT_PARTIAL=str(tmp_path / "one"))[0]) == LARGE
        assert len(server.heads) == 1
        assert f"Range: bytes={kept}-" in server.heads[0]

        file.data, file.headers = LARGE[::-1], {"ETag": '"two"', "Accept-Ranges": "bytes"}
        file.rest = lambda begin: rendered(200, file.headers, file.data)
        assert body_of(fetch(request, COLLECT_PARTIAL=str(tmp_path / "two"))[0]) == LARGE[::-1]
    assert not list((tmp_path / "one").iterdir())
    assert not list((tmp_path / "two").iterdir())


def test_a_download_that_fails_goes_on_at_its_next_try_in_the_same_run(tmp_path: Path) -> None:
    file = Breaking(LARGE, after=len(LARGE))

    async def run() -> tuple[BaseException | None, Response]:
        handler = HttpHandler(crawler_with(COLLECT_PARTIAL=str(tmp_path)))
        failed = None
        try:
            await handler.download_request(picture(url, download_timeout=1.0))
        except DownloadTimeoutError as error:
            failed = error
        server.files["/file"] = file
        try:
            return failed, await handler.download_request(picture(url))
        finally:
            await handler.close()

    with serving(file) as server:
        server.files["/file"] = stalling(file)
        url = f"{server.url}/file"
        failed, answer = asyncio.run(run())
        assert isinstance(failed, DownloadTimeoutError)
        assert body_of(answer) == LARGE
        assert "Range: bytes=" in server.heads[-1]


def test_two_processes_do_not_mix_what_they_keep_of_one_file(tmp_path: Path) -> None:
    file = Breaking(LARGE, after=len(LARGE))
    with serving(file) as server:
        others = Partials(tmp_path).begin(f"{server.url}/file")
        assert others is not None
        others.add(b"theirs", Version('"one"', len(LARGE)))
        assert body_of(fetch(picture(f"{server.url}/file"), COLLECT_PARTIAL=str(tmp_path))[0]) == LARGE
        assert others.read() == b"theirs"
        assert len(list(tmp_path.iterdir())) == 2
        others.close()


def test_what_is_damaged_or_old_is_not_used(tmp_path: Path) -> None:
    url = "http://example.org/1.jpg"
    version = Version('"one"', 100)

    def left(damage: Callable[[Path], object]) -> bool:
        partial = Partials(tmp_path).begin(url)
        assert partial is not None
        partial.add(b"0123456789", version)
        partial.close()
        for path in tmp_path.iterdir():
            damage(path)
        again = Partials(tmp_path).left_of(url)
        if again is not None:
            again.close()
        return again is not None

    def is_note(path: Path) -> bool:
        return path.suffix == ".json"

    assert left(lambda path: None)
    assert not left(lambda path: path.write_bytes(b"{") if is_note(path) else None)
    assert not left(lambda path: None if is_note(path) else path.write_bytes(b"short"))
    assert not left(lambda path: None if is_note(path) else path.unlink())
    assert not left(lambda path: os.utime(path, (0, time.time() - 8 * 86_400)))
    assert not list(tmp_path.iterdir())
