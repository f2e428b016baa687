"""Repeating requests that failed: never before the host wants it, and with growing pauses where it says nothing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import uniform
from time import monotonic

from scrapy import Request, Spider
from scrapy.downloadermiddlewares.retry import RetryMiddleware
from scrapy.http import Response

from collector.spiders.throttle import ThrottleMiddleware

FIRST_PAUSE_S = 0.5  # before the first repetition; doubles each time
MOST_S = 1e9  # a Retry-After above this is read as this
AGAIN = "not_before"  # request.meta: when this request may be repeated, on time.monotonic's clock


def retry_after(value: bytes | None, now: datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks for (a number or a date), None when it says nothing readable."""
    text = (value or b"").decode("ascii", "replace").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), MOST_S)
    try:
        when = parsedate_to_datetime(text)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return None


def pause(tries: int) -> float:
    """Seconds before a request is repeated that has been repeated `tries` times; spread, lest all come back at once."""
    return FIRST_PAUSE_S * 2.0**tries * uniform(0.5, 1.5)


class RetryAfterMiddleware(RetryMiddleware):
    """Scrapy's retries, but the host is left alone for as long as it asks, and a request waits before it comes again.

    What a host asked for is kept at its gate, so it holds for all spiders. Who waits here waits outside the gate and
    takes nobody's place.
    """

    async def process_request(self, request: Request) -> None:
        """Wait until a repeated request is due."""
        wait = request.meta.get(AGAIN, 0.0) - monotonic()
        if wait > 0:
            await asyncio.sleep(wait)

    def process_response(
        self, request: Request, response: Response, spider: Spider | None = None
    ) -> Request | Response:
        """Hold the host back when it is overloaded, and repeat the request."""
        if response.status in (429, 503):
            asked = retry_after(response.headers.get("Retry-After"))
            gate = ThrottleMiddleware.gates.get(request.meta.get("download_slot", ""))
            if gate is not None:
                gate.hold(pause(request.meta.get("retry_times", 0) + 1) if asked is None else asked)
        return super().process_response(request, response)

    def _retry(self, request: Request, reason: str | Exception | type[Exception]) -> Request | None:
        again = super()._retry(request, reason)
        if again is not None:
            again.meta[AGAIN] = monotonic() + pause(request.meta.get("retry_times", 0))
        return again
