"""robots.txt and tdmrep.json: who may be asked for what, learned once for each host by all spiders together.

RFC 9309: no robots.txt (4xx) allows all; one that cannot be had (5xx, no answer) forbids all, until it can. A host that
has too much to do (429) counts as the second. What a host said is kept for `crawl.cache_hours`, and never used for
longer than a day.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar
from urllib.parse import urlsplit

from protego import Protego
from scrapy import Request
from scrapy.crawler import Crawler
from scrapy.http import Response
from scrapy.utils.httpobj import urlparse_cached

from collector.records import Rejected
from collector.spiders.cache import RULES
from collector.spiders.middlewares import PAGE, PICTURE, OptedOut, Refused
from collector.spiders.optout import RESERVED, Rule, forbidden_by, tdmrep_rules, usage_rules
from collector.spiders.refusals import reason_of
from collector.spiders.throttle import ThrottleMiddleware

PARSED_BYTES = 500 * 1024  # RFC 9309, 2.5
MOST_BYTES = 8_000_000
DAY_S = 86_400.0
AGAIN_S = 600.0  # a host that could not tell its rules is asked again after this
SMALL = 20_000  # bytes of robots.txt that are parsed on the spot, in a millisecond or two
MOST_HOSTS = 20_000
NO_HOST = ("private-address", "dns", "tls")  # nothing there can be asked, so it is not its rules that are missing


@dataclass(frozen=True, slots=True)
class Rules:
    """What one host says; `unreachable` is why nobody knows. `until` is when it must be asked again."""

    until: float
    robots: Protego | None = None  # None: all is allowed
    usage: Sequence[Rule] = ()
    reserved: Sequence[Rule] = ()
    delay: float = 0.0
    unreachable: Rejected | None = None


class RobotsMiddleware:
    """Lets no request pass that the host's rules forbid."""

    hosts: ClassVar[dict[str, asyncio.Task[Rules]]] = {}  # scheme://host:port -> what it says, or will have said

    def __init__(self, crawler: Crawler) -> None:
        self.crawler = crawler
        self.agent: str = crawler.settings["ROBOTSTXT_USER_AGENT"]
        self.patience = crawler.settings.getfloat("COLLECT_PATIENCE")

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> RobotsMiddleware:
        """One for each crawler; what hosts said is shared."""
        return cls(crawler)

    async def process_request(self, request: Request) -> None:
        """Raise `Refused` where the host does not want this request, `OptedOut` where it opts out of its use."""
        if request.meta.get("dont_obey_robotstxt"):
            return
        parts = urlparse_cached(request)
        host = f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"
        rules = await self.rules(host)
        if rules.unreachable:
            raise Refused(rules.unreachable.reason, rules.unreachable.detail)
        if rules.robots is not None and not rules.robots.can_fetch(request.url, self.agent):
            raise Refused("robots", f"robots.txt of {host} forbids it")
        if rules.delay > self.patience:
            raise Refused("busy", f"robots.txt of {host} wants {rules.delay:.0f} s between requests")
        if PICTURE in request.meta or PAGE in request.meta:
            path = parts._replace(scheme="", netloc="", fragment="").geturl() if rules.usage or rules.reserved else "/"
            if signal := forbidden_by(rules.usage, path or "/"):
                raise OptedOut(signal)
            request.meta[RESERVED] = forbidden_by(rules.reserved, path or "/")

    async def rules(self, host: str) -> Rules:
        """What a host says; those who ask while it is being asked wait for the same answer."""
        task = self.hosts.get(host)
        if task is None or (task.done() and task.result().until < time.monotonic()):
            if len(self.hosts) >= MOST_HOSTS:
                for old in list(islice(self.hosts, MOST_HOSTS // 2)):
                    del self.hosts[old]
            task = self.hosts[host] = asyncio.ensure_future(self._learn(host))
        return task.result() if task.done() else await asyncio.shield(task)

    async def _learn(self, host: str) -> Rules:
        try:
            response = await self._fetch(f"{host}/robots.txt")
        except Exception as error:  # whatever it was, nobody knows the rules
            why = reason_of(error)
            if why.reason not in NO_HOST:
                why = Rejected("robots-unreachable", f"robots.txt of {host} cannot be had: {error or why.detail}")
            return Rules(time.monotonic() + AGAIN_S, unreachable=why)
        if response.status == 429 or (not 200 <= response.status < 300 and not 400 <= response.status < 500):
            why = Rejected("robots-unreachable", f"robots.txt of {host} cannot be had: HTTP {response.status}")
            return Rules(time.monotonic() + AGAIN_S, unreachable=why)
        until = time.monotonic() + DAY_S - (time.time() - response.meta.get("cache_timestamp", time.time()))
        text = text_of(response.body) if response.status < 300 else ""
        robots = await self._parsed(text)
        delay = (robots and robots.crawl_delay(self.agent)) or 0.0
        if 0 < delay <= self.patience:
            throttle = self.crawler.get_downloader_middleware(ThrottleMiddleware)
            assert throttle is not None
            throttle.gate(urlsplit(host).hostname or "").set_rate(1, delay)
        return Rules(until, robots, usage_rules(text, self.agent), await self._reserved(host, robots), delay)

    async def _parsed(self, text: str) -> Protego | None:
        if not re.search(r"(?i)\b(dis)?allow|crawl-delay", text):
            return None
        return await asyncio.to_thread(Protego.parse, text) if len(text) > SMALL else Protego.parse(text)

    async def _reserved(self, host: str, robots: Protego | None) -> Sequence[Rule]:
        """The rules of tdmrep.json. One that is missing or cannot be had reserves nothing."""
        url = f"{host}/.well-known/tdmrep.json"
        if robots is not None and not robots.can_fetch(url, self.agent):
            return ()
        try:
            response = await self._fetch(url, dont_retry=True)
        except Exception:
            return ()
        return tdmrep_rules(response.body) if response.status == 200 else ()

    async def _fetch(self, url: str, **meta: bool) -> Response:
        engine = self.crawler.engine
        assert engine is not None
        marks = {"dont_obey_robotstxt": True, RULES: True, "download_maxsize": MOST_BYTES, **meta}
        return await engine.download_async(Request(url, meta=marks, dont_filter=True))


def text_of(body: bytes) -> str:
    """As much of a robots.txt as is read, in whole lines."""
    if len(body) > PARSED_BYTES:
        body = body[:PARSED_BYTES].rpartition(b"\n")[0]
    return body.decode("utf-8-sig", "ignore")
