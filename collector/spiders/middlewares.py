"""Manners that Scrapy lacks: Retry-After, robots.txt for requests that wait together, opt-outs before the body."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import ClassVar
from urllib.parse import urlsplit

from scrapy import Request, Spider, signals
from scrapy.crawler import Crawler
from scrapy.downloadermiddlewares.retry import RetryMiddleware
from scrapy.downloadermiddlewares.robotstxt import RobotsTxtMiddleware
from scrapy.exceptions import IgnoreRequest, StopDownload
from scrapy.http import Headers, Response
from scrapy.robotstxt import RobotParser
from scrapy.settings import BaseSettings

OPT_OUTS = ("noai", "noimageai", "noindex", "noimageindex", "noml")
PICTURE = "picture"  # request.meta: this request is for a picture, not for an API or robots.txt
TICK = 0.001  # seconds; Scrapy looks at a slot's `lastseen` only where its delay is not 0


class HostAsksToWait(IgnoreRequest):
    """A host asked for a longer pause than `crawl.patience`."""


def retry_after(value: bytes | None, now: datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks for (a number or a date), None when it says nothing readable."""
    text = (value or b"").decode("ascii", "replace").strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        when = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())


class RetryAfterMiddleware(RetryMiddleware):
    """Scrapy's retries, but the host is left alone for as long as it asks; without a word, twice as long each time.

    What a host asked for is shared by all spiders of the process, because two of them may fetch from one host.
    """

    held: ClassVar[dict[str, float]] = {}  # downloader slot (a host, or the API of a source) -> not before
    crawlers: ClassVar[list[Crawler]] = []

    def __init__(self, settings: BaseSettings) -> None:
        super().__init__(settings)
        self.patience = settings.getfloat("COLLECT_PATIENCE")

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> RetryAfterMiddleware:
        """As Scrapy's, and remember the crawler."""
        cls.crawlers.append(crawler)
        return super().from_crawler(crawler)

    async def process_request(self, request: Request) -> None:
        """Wait until the host may be asked again."""
        engine = self.crawler.engine
        assert engine is not None
        slot = engine.downloader.get_slot_key(request)
        while (wait := self.held.get(slot, 0.0) - time.monotonic()) > 0:
            if wait > self.patience:
                raise HostAsksToWait(f"{slot} asks to be left alone for {wait:.0f} s")
            await asyncio.sleep(wait)

    def process_response(
        self, request: Request, response: Response, spider: Spider | None = None
    ) -> Request | Response:
        """Hold the host back when it is overloaded, and repeat the request."""
        if response.status in (429, 503):
            tries = int(request.meta.get("retry_times", 0))
            asked = retry_after(response.headers.get("Retry-After"))
            self._hold(request.meta["download_slot"], 2.0**tries if asked is None else asked)
        return super().process_response(request, response)

    def _hold(self, slot: str, wait: float) -> None:
        until = max(time.monotonic() + wait, self.held.get(slot, 0.0))
        self.held[slot] = until
        for crawler in self.crawlers:  # requests that wait in a slot's queue have passed process_request already
            queue = crawler.engine.downloader.slots.get(slot) if crawler.engine else None
            if queue is not None:
                queue.delay = max(queue.delay, TICK)
                queue.lastseen = until


class RobotsMiddleware(RobotsTxtMiddleware):
    """Scrapy's robots.txt, for requests that wait for it together as well.

    Scrapy 2.13 to 2.19 tell the rules to the first waiting request only: the others see None, which means "allowed",
    because a Deferred that is awaited twice gives its result once (scrapy/scrapy PR #6802).
    """

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        self.locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def robot_parser(self, request: Request) -> RobotParser | None:
        """The rules of the request's host, fetched once."""
        async with self.locks[urlsplit(request.url).netloc]:
            return await super().robot_parser(request)


class OptOutMiddleware:
    """Stops a download whose X-Robots-Tag opts out of indexing or of machine learning, whoever it is addressed to."""

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> OptOutMiddleware:
        """Listen to the headers of every response."""
        middleware = cls()
        crawler.signals.connect(middleware.headers_received, signal=signals.headers_received)
        # The signal holds its receivers weakly; Scrapy keeps every middleware for as long as the crawler lives.
        return middleware

    def headers_received(self, headers: Headers, request: Request) -> None:
        """Refuse a picture before its body is read."""
        if request.meta.get(PICTURE) and opted_out(headers.getlist("X-Robots-Tag")):
            raise StopDownload(fail=True)


def opted_out(tags: list[bytes]) -> bool:
    """Whether X-Robots-Tag values hold an opt-out, alone, in a list, or after a name as in `somebot: noai`."""
    words = ",".join(tag.decode("latin-1") for tag in tags).lower().split(",")
    return any(word.rsplit(":", 1)[-1].strip() in OPT_OUTS for word in words)
