"""What the tests of the download handler share: a handler outside a crawl, and requests to it."""

from __future__ import annotations

import asyncio
from typing import Any

from scrapy import Request, Spider
from scrapy.crawler import Crawler
from scrapy.http import Response
from scrapy.settings import Settings

from collector.spiders.handler import HttpHandler
from collector.spiders.middlewares import PICTURE

LOOPBACK = ("127.0.0.1", "127.0.0.2")


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
