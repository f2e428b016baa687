"""The process behind `manners.Asker`: crawls lists of addresses, one order after the other, with a crawl's settings.

An order is a line of JSON on stdin, its results are one on stdout. Between two orders all is forgotten that lasts as
long as a process, so each is a crawl of its own.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from scrapy import Request, Spider
from scrapy.crawler import AsyncCrawlerRunner
from scrapy.utils.defer import deferred_from_coro
from scrapy.utils.log import configure_logging
from scrapy.utils.reactor import install_reactor
from twisted.internet import task

from collector.spiders.config import CrawlConfig
from collector.spiders.proxies import ProxyMiddleware
from collector.spiders.refusals import reason_of
from collector.spiders.robots import RobotsMiddleware
from collector.spiders.settings import scrapy_settings
from collector.spiders.throttle import ThrottleMiddleware


class Asker(Spider):
    """Asks for what it is told, through the downloader and its middlewares."""

    name = "asker"
    told: list[dict[str, Any]]
    orders: list[dict[str, Any]]
    number: int

    async def start(self) -> AsyncIterator[Any]:
        await asyncio.gather(*(self._ask(number, order) for number, order in enumerate(self.orders)))
        for request in list[Request]():
            yield request

    async def _ask(self, number: int, order: dict[str, Any]) -> None:
        await asyncio.sleep(order.get("after", 0))
        began = time.monotonic()
        result: dict[str, Any] = {"order": (self.number, number), "url": order["url"]}
        engine = self.crawler.engine
        assert engine is not None
        request = Request(order["url"], meta=order.get("meta", {"picture": True}))
        try:
            response = await asyncio.wait_for(engine.download_async(request), order.get("give_up"))
            result |= {"status": response.status, "body": response.body[:200].decode("latin-1"), "led_to": response.url}
        except Exception as error:
            why = reason_of(error)
            result |= {"reason": why.reason, "detail": why.detail}
        self.told.append({**result, "took": time.monotonic() - began})


async def crawl(order: dict[str, Any]) -> list[dict[str, Any]]:
    ThrottleMiddleware.gates.clear()
    ThrottleMiddleware.everything = None
    RobotsMiddleware.hosts.clear()
    ProxyMiddleware.pool.clear()
    data = Path(order["data"])
    config = CrawlConfig.model_validate(order["config"])
    settings = scrapy_settings(config, max_bytes=10_000_000, log=data / "crawl.log", data=data)
    settings["DOWNLOAD_SLOTS"] = {**settings["DOWNLOAD_SLOTS"], **order["slots"]}
    configure_logging(settings)
    runner = AsyncCrawlerRunner(settings)
    told: list[dict[str, Any]] = []
    for number, orders in enumerate(order["spiders"]):
        runner.crawl(Asker, told=told, orders=orders, number=number)
    await runner.join()
    return sorted(told, key=lambda each: each["order"])


async def serve() -> None:
    while line := await asyncio.to_thread(sys.stdin.readline):
        sys.stdout.write(json.dumps(await crawl(json.loads(line))) + "\n")
        sys.stdout.flush()


def main() -> None:
    install_reactor("twisted.internet.asyncioreactor.AsyncioSelectorReactor")
    task.react(lambda _: deferred_from_coro(serve()))


if __name__ == "__main__":
    main()
