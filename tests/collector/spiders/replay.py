"""A loopback server that answers like the sources: with the samples that come with the spiders, or changed ones.

A sample maps the paths of an API to its answers. Pictures have the address https://files.example.org in it. A server
with `files` puts its own address there, and has at each another JPEG of 320 x 240.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, unquote, urlsplit
from urllib.request import Request, urlopen
from zlib import crc32

import pytest
from scrapy.http import Response

import collector.spiders
from collector.licenses import allowed
from collector.records import Concept
from collector.spiders.base import ImageSpider, Job, Page
from collector.spiders.budget import Budget
from collector.spiders.facets import Facets
from collector.spiders.load import load, source_config
from collector.workspace import Workspace
from tests.conftest import SHARED, jpeg

SAMPLES = Path(collector.spiders.__file__).parent / "samples"
RECORDED = SHARED / "api-samples"
FILES = "https://files.example.org"
Params = Mapping[str, list[str]]
realdata = pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded answers in ../shared are not here")
Answers = dict[str, Any]


def sample(name: str) -> Answers:
    """The sample of a source: path -> answer."""
    answers: Answers = json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    return answers


def recorded(path: str) -> dict[str, Any]:
    """The body of a recorded answer in ../shared."""
    answer: dict[str, Any] = json.loads((RECORDED / path).read_text(encoding="utf-8"))
    body: dict[str, Any] = answer.get("body", answer)
    return body


def settings(url: str, *names: str, more: str = "") -> str:
    """A config.toml in which these sources are at `url`."""
    sources = "\n".join(f'[sources.{name}]\nbase_url = "{url}"' for name in names)
    return f"""
[crawl]
contact = "tests@localhost"
allow_private_hosts = ["127.0.0.1"]
retries = 0
per_host = 64
{more}
{sources}
"""


class Replay:
    """The server, running between `__enter__` and `__exit__`.

    An answer is JSON, lines of a CSV file, bytes, a page, a number for a status without a body, or a function that
    makes one of these of the parameters. `asked` has every path with its query, in order.
    """

    def __init__(self, answers: Answers, *, files: bool = False) -> None:
        self.answers = answers
        self.files = files
        self.asked: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.replay = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Replay:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def to(self, path: str) -> list[str]:
        """The requests to a path and what is below it."""
        return [each for each in self.asked if urlsplit(each).path.startswith(path)]

    def answer(self, target: str) -> tuple[int, str, bytes]:
        """(status, media type, body) for a request target."""
        parts = urlsplit(target)
        path = unquote(parts.path)
        if path.startswith(("/files/", "/download/")):
            return 200, "image/jpeg", file_at(path)
        answer = self.answers.get(path, 404)
        if isinstance(answer, Callable):  # type: ignore[arg-type]
            answer = answer(parse_qs(parts.query))
        if isinstance(answer, int):
            return answer, "text/plain", b""
        if isinstance(answer, bytes):
            return 200, "application/octet-stream", answer
        if isinstance(answer, str):
            return 200, "text/html", self._here(answer)
        if isinstance(answer, list):
            return 200, "text/csv", self._here("\n".join(answer) + "\n")
        return 200, "application/json", self._here(json.dumps(answer))

    def _here(self, text: str) -> bytes:
        return (text.replace(FILES, f"{self.url}/files") if self.files else text).encode()


def file_at(path: str) -> bytes:
    """The picture that the server has at a path."""
    return jpeg(crc32(path.encode()))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self) -> None:
        replay: Replay = self.server.replay  # type: ignore[attr-defined]
        replay.asked.append(self.path)
        status, kind, body = replay.answer(self.path)
        headers = {"Content-Type": kind}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        if wanted and status == 200 and kind == "text/csv":
            begin, whole = int(wanted[1]), body
            body = whole[begin : int(wanted[2]) + 1]
            headers |= {"Content-Range": f"bytes {begin}-{begin + len(body) - 1}/{len(whole)}"}
            headers |= {"ETag": f'"{crc32(whole):x}"'}
            status = 206
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def spider_at(replay: Replay, ws: Workspace, name: str, *, dry_run: bool = False, **facets: Any) -> ImageSpider:
    """The spider of a source as it is in a crawl of `horse`, without a crawl around it: `get` is urllib's."""
    spider_class = load(ws, name)
    job = Job(
        ws=ws,
        concept=Concept("horse", ("horse", "not-horse")),
        queries=(("horse", "horse"),),
        preset="open",
        budget=Budget(1, [name], {}, at_once=1),
        intake=None,  # type: ignore[arg-type]
        progress=lambda source, job: None,
        allowed=allowed("open"),
        facets=Facets(**facets),
        dry_run=dry_run,
    )
    config = source_config(ws, name).model_copy(update={"base_url": replay.url})
    direct = type("Direct", (spider_class,), {"get": _get})
    spider: ImageSpider = direct(job, config)
    return spider


def pages(spider: ImageSpider, words: str = "horse", most: int = 50) -> list[Page]:
    """All pages of a search, each asked for by a spider that knows nothing but the cursor before."""

    async def walk() -> list[Page]:
        found, cursor = [], None
        for _ in range(most):
            page = await spider.page(words, cursor)
            found.append(page)
            if page.cursor is None:
                break
            cursor = json.loads(json.dumps(page.cursor))
        return found

    return asyncio.run(walk())


async def _get(self: ImageSpider, url: str, *, headers: Mapping[str, str] | None = None, **meta: Any) -> Response:
    def fetch() -> Response:
        try:
            with urlopen(Request(url, headers=dict(headers or {})), timeout=10) as answer:
                return Response(url, status=answer.status, headers=dict(answer.headers), body=answer.read())
        except HTTPError as error:
            with error:
                return Response(url, status=error.code, body=error.read())

    return await asyncio.to_thread(fetch)
