"""Any web site or gallery page: `collect crawl horse --url https://example.org/horses [--browser]`.

Pages are read breadth first from the ones that a person names, on their hosts only. A picture is offered when something
that is written about it has one of the words that are searched for, or when it stands on a named page and nothing
speaks for another label. A thumbnail without a license that links to a page is looked for on that page.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from scrapy import Request
from scrapy.http import HtmlResponse, Response

from collector.errors import UsageError
from collector.records import License, Rejected, Sighting
from collector.spiders import reasons, refusals
from collector.spiders.asking import Gone
from collector.spiders.base import PICTURE_HEADERS, Job, Page, SourceDown
from collector.spiders.browser import Browser, Rendering
from collector.spiders.config import CrawlConfig, SiteConfig, SourceConfig
from collector.spiders.frontier import Frontier, Stop
from collector.spiders.middlewares import PAGE, PICTURE, SEARCH
from collector.spiders.page_license import Candidate, candidates
from collector.spiders.settings import user_agent
from collector.spiders.stated import FORBIDS, StatedByPage
from collector.spiders.webpage import Links, absolute, is_page_of, links, parse, words_of

PAGE_BYTES = 8_000_000
BATCH = 20  # pictures of a rendered page that are handed on before it is scrolled further
HTML_HEADERS = {"Accept": "text/html,application/xhtml+xml"}
MARKUP = ("text/html", "application/xhtml+xml")


class Look(NamedTuple):
    """What a page shows: its pictures, its links, and the statement by which it forbids to take the pictures."""

    found: Sequence[Candidate]
    links: Links = Links()
    forbids: str = ""


class Site(StatedByPage):
    """Pictures of web pages whose license the page or the file itself states."""

    name = "site"
    gives = "the pictures of any web site or gallery page that you name, rendered in Chromium with `--browser`"
    terms = "the license that the page or the file states for each picture; a picture without one is refused"
    limits = "the pages of one host, `sources.site.pages` of them, `sources.site.depth` links away; robots.txt holds"
    config: SiteConfig

    def __init__(self, job: Job, config: SourceConfig) -> None:
        super().__init__(job, config)
        self.rendered: dict[str, tuple[Rendering, Stop, int]] = {}  # words -> the page that is open, and how far
        self.offered: defaultdict[str, set[str]] = defaultdict(set)
        self.unread: Counter[str] = Counter()
        self.renders = bool(job.options.get("browser") or self.config.browser)
        agent = user_agent(job.ws.section(CrawlConfig).contact)
        self.browser = Browser(self._fetch_for_page, chromium=self.config.chromium, agent=agent)

    def addresses(self) -> list[str]:
        """The pages that a person named. Raises `UsageError`."""
        told = self.job.options.get("url") or self.config.urls
        given = [told] if isinstance(told, str) else list(told)
        if not given:
            raise UsageError("`site` needs a page to begin at", hint="add --url https://...")
        for each in given:
            if not absolute("", each):
                raise UsageError(f"`{each}` is not the address of a page", hint="it begins with https:// or http://")
        return [absolute("", each) for each in given]

    def asks(self, words: str) -> str:
        """The words, and where and how we look for them."""
        config = self.config
        return json.dumps([words, self.addresses(), self.renders, config.pages, config.depth, config.scrolls])

    async def page(self, words: str, cursor: Any) -> Page:
        """The pictures of the next page, or of the next screens of a rendered one."""
        frontier = Frontier.load(self.config.pages, cursor) if cursor else Frontier(self.config.pages)
        if not cursor:
            frontier.add(frontier.near, self.addresses(), 0, named=True)
        stop = frontier.turn()
        if stop is None:
            return Page([])
        offered = self.offered[words]
        look = await self._look(words, frontier, stop)
        fresh = [each for each in look.found if each.url not in offered]
        offered.update(each.url for each in fresh)
        if fresh:
            frontier.barren = 0
        elif frontier.open is None:
            frontier.barren += 1
        followed = self._follow(frontier, stop, look.links)
        found = [
            self._sighting(each, look.forbids)
            for each in fresh
            if self._fits(each, words, stop) and not (each.license.code == "missing" and each.link in followed)
        ]
        over = frontier.why_over()
        if over is not None:
            self._finish(over)
        return Page(found, None if over is not None else frontier.dump())

    def _follow(self, frontier: Frontier, stop: Stop, found: Links) -> set[str]:
        """Queue the links of a page; returns the pages behind its thumbnails."""
        frontier.add(frontier.near, found.next, stop.depth, named=stop.named)
        if stop.depth >= self.config.depth:
            return set()
        frontier.add(frontier.near, found.near, stop.depth + 1)
        frontier.add(frontier.far, found.far, stop.depth + 1)
        return set(found.near)

    def _fits(self, candidate: Candidate, words: str, stop: Stop) -> bool:
        label = next((label for label, each in self.job.queries if each == words), "")
        mine = [each for of, each in self.job.queries if of == label] or [words]
        others = [each for of, each in self.job.queries if of != label]
        return _speaks_of(candidate.text, mine) or (stop.named and not _speaks_of(candidate.text, others))

    def _sighting(self, found: Candidate, forbids: str) -> Sighting:
        facts = {**found.facts, FORBIDS: forbids} if forbids else found.facts
        return Sighting(
            source=self.name,
            source_id=found.url,
            url=found.url,
            license=found.license,
            page=found.page,
            title=found.title,
            creator=found.creator,
            creator_url=found.creator_url,
            facts=facts,
        )

    def _finish(self, why: str) -> None:
        unread = ", ".join(f"{number} {reason}" for reason, number in self.unread.most_common())
        self.job.notes[self.name].append(f"{why}; not read: {unread}" if unread else why)

    async def closed(self, reason: str) -> None:
        """End Chromium with the spider; called by Scrapy."""
        await self.browser.close()

    async def recheck(self, found: Sighting) -> Sighting | None:
        """Read the page again; None when the picture is not on it any more."""
        if self.renders:
            raise NotImplementedError
        response = await self._get_page(found.page)
        if response.status in (404, 410):
            raise Gone(f"{found.page}: HTTP {response.status}")
        look = await asyncio.to_thread(self._read, _text(response), response.url)
        for each in look.found:
            if found.url in (each.url, *each.facts.get("fallbacks", ())):
                if each.license.code != "missing":
                    return replace(found, license=each.license)
                file = await self.get(found.url, headers=PICTURE_HEADERS, **{PICTURE: True})
                return await asyncio.to_thread(self.inside, found, file.body)
        return None

    # -- reading pages ------------------------------------------------------------------------------------------------

    async def _look(self, words: str, frontier: Frontier, stop: Stop) -> Look:
        """Read a page, or the next screens of a rendered one; `frontier.open` says whether there is more of it."""
        rendering, *at = self.rendered.pop(words, (None, None, None))
        if rendering is not None and at == [stop, frontier.scrolls]:
            return await self._scroll(words, rendering, frontier, stop)
        if rendering is not None:
            await rendering.close()
        scrolls, frontier.open, frontier.scrolls = frontier.scrolls, None, 0
        response = await self._good_page(stop)
        if isinstance(response, Response) and self.renders and _is_markup(response):
            opened = await self._render(response)
            if isinstance(opened, Rendering):
                frontier.read += 1
                for _ in range(scrolls):
                    await opened.more()
                frontier.scrolls = scrolls
                return await self._scroll(words, opened, frontier, stop)
            response = opened
        if isinstance(response, Rejected):
            self.unread[response.reason] += 1
            if not frontier.read and not frontier.near and not frontier.far:
                raise SourceDown(f"{stop.url} cannot be read: {response.detail}")
            return Look([])
        frontier.read += 1
        if _is_markup(response):
            return await asyncio.to_thread(self._read, _text(response), response.url)
        title = words_of(response.url)
        return Look([Candidate(response.url, stop.url, License("missing"), title, text=title)])

    async def _good_page(self, stop: Stop) -> Response | Rejected:
        """A page, or a picture that is linked like one; or why it is neither."""
        try:
            response = await self._get_page(stop.url)
        except Exception as error:
            return refusals.reason_of(error)
        if why := reasons.of_status(response.status):
            return why
        if not stop.named and not is_page_of(response.url, stop.url):
            return Rejected("elsewhere", f"it leads to {response.url}")
        if not _is_markup(response) and not _kind(response).startswith("image/"):
            return Rejected("not-html", f"it is {_kind(response)}")
        return response

    async def _render(self, response: Response) -> Rendering | Rejected:
        try:
            return await self.browser.open(response)
        except UsageError:
            raise
        except Exception as error:  # Chromium has died, maybe of this page
            await self.browser.close()
            return Rejected("not-rendered", f"{error}"[:300])

    async def _scroll(self, words: str, rendering: Rendering, frontier: Frontier, stop: Stop) -> Look:
        """Scroll until there are enough new pictures, or no more."""
        found: dict[str, Candidate] = {}
        while True:
            look = await asyncio.to_thread(self._read, rendering.html, rendering.url)
            found.update((each.url, each) for each in look.found if each.url not in self.offered[words])
            if frontier.scrolls >= self.config.scrolls or not await rendering.more():
                await rendering.close()
                frontier.open = None
                break
            frontier.scrolls += 1
            if len(found) >= BATCH:
                frontier.open = stop
                self.rendered[words] = (rendering, stop, frontier.scrolls)
                break
        return look._replace(found=list(found.values()))

    def _read(self, html: str, url: str) -> Look:
        page = parse(html, url, self.job.ws.section(CrawlConfig).opt_outs)
        return Look(candidates(page), links(page), page.forbids) if page else Look([])

    async def _get_page(self, url: str) -> Response:
        self.job.asked[self.name].append(url)
        marks = {PAGE: True, SEARCH: True, "download_maxsize": PAGE_BYTES}
        return await self.get(url, headers=HTML_HEADERS, **marks)

    async def _fetch_for_page(self, url: str, method: str, headers: Mapping[str, str], body: bytes) -> Response:
        engine = self.crawler.engine
        assert engine is not None
        meta = {"download_maxsize": PAGE_BYTES}
        request = Request(url, method=method, headers=dict(headers), body=body, meta=meta, dont_filter=True)
        return await engine.download_async(request)


def _kind(response: Response) -> str:
    return (response.headers.get("Content-Type") or b"text/html").decode("latin-1").lower()


def _is_markup(response: Response) -> bool:
    return _kind(response).startswith(MARKUP)


def _text(response: Response) -> str:
    return HtmlResponse(response.url, headers=response.headers, body=response.body).text


def _speaks_of(text: str, queries: Sequence[str]) -> bool:
    """Whether a text has a word that begins with one of the queries; scripts without spaces: anywhere."""
    text = text.casefold()
    for each in queries:
        word = re.escape(each.casefold())
        if re.search(rf"(?<![^\W_]){word}" if each.isascii() else word, text):
            return True
    return False
