"""Large files that break on their way, or whose crawl was killed, go on where they stopped."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from scrapy.exceptions import (
    DownloadTimeoutError,
    ResponseDataLossError,
)
from scrapy.http import Headers, Response

from collector.spiders.handler import ASKED, RESUMED, STEP, HttpHandler
from collector.spiders.resuming import Partials, Version, continues, version_of
from tests.collector import naive
from tests.collector.fault_server import FaultServer, rendered
from tests.collector.fetching import body_of, crawler_with, fetch, picture
from tests.conftest import REPOSITORY

BODY = os.urandom(2 * RESUMED)
LARGE = os.urandom(3 * STEP)


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
