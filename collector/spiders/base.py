"""`ImageSpider`: what every source shares, so that a source only has to implement `page`.

A spider walks through the answers of its source and judges every candidate without a request where it can: stored
already, license, excluded words, facets, caps, refused earlier for good. What remains takes a place of the budget, is
fetched by Scrapy, goes through intake, and reports what became of its place. Nothing is dropped silently: a candidate
that is not stored is one rejection row.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import urlsplit

from scrapy.crawler import Crawler
from scrapy.http import Response
from scrapy.utils.misc import load_object

from collector import licenses
from collector.catalog import crawls, images
from collector.catalog.forgotten import REASON as FORGOTTEN
from collector.records import Kept, Known, Outcome, Rejected, Sighting
from collector.spiders import reasons
from collector.spiders.asking import Asking, NothingToAsk, SchemaDrift, SourceDown
from collector.spiders.config import SourceConfig
from collector.spiders.job import Job
from collector.spiders.middlewares import PICTURE
from collector.spiders.refusals import reason_of
from collector.spiders.search import Candidate, Page, Search

__all__ = ["ImageSpider", "Job", "NothingToAsk", "Page", "SchemaDrift", "SourceDown"]
PLACEHOLDER = 4  # addresses of one host that show the same bytes under different names
FULL_S = 0.01  # how often a full intake is looked at
PICTURE_HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity"}


class ImageSpider(Asking):
    """Base of all spiders. A subclass sets `name`, `gives` and `terms`, and implements `page`.

    `limits` says how much the source gives, `key` names the environment variable of its API key. With `spread`, every
    process of a crawl runs the spider, for the hosts that are its own; else one does. With `looks_inside`, candidates
    without a license are fetched and judged by what `inside` reads.
    """

    gives: ClassVar[str]
    terms: ClassVar[str]
    limits: ClassVar[str] = ""
    base: ClassVar[str] = ""
    spread: ClassVar[bool] = False
    looks_inside: ClassVar[bool] = False

    def __init__(self, job: Job, config: SourceConfig) -> None:
        super().__init__(self.name)
        self.job = job
        self.config: Any = config
        self.base_url = (config.base_url or self.base).rstrip("/").removesuffix("/v1").rstrip("/")
        self.handled: set[int] = set()

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> ImageSpider:
        """As Scrapy's; without a `job`, which is how `scrapy crawl` makes spiders, the spider gets one of its own."""
        if not kwargs.get("job"):
            kwargs = load_object(crawler.settings["COLLECT_JOB"])(crawler, cls, kwargs)
        return super().from_crawler(crawler, *args, **kwargs)

    async def page(self, words: str, cursor: Any) -> Page:
        """The search results at `cursor`, best first; None is the beginning.

        Cursors are kept for days: a page must be found by its cursor alone.

        Raises:
            SourceDown: the source cannot be asked.
            NothingToAsk: it has nothing for these words.
        """
        raise TypeError(f"{type(self).__name__} does not implement `page`")

    def verify(self, found: Sighting, data: bytes) -> Rejected | None:
        """Whether downloaded bytes are what the source promised; called in a worker thread."""
        return None

    def inside(self, found: Sighting, data: bytes) -> Sighting:
        """The candidate with the license that its bytes state; called in a worker thread."""
        return found

    async def recheck(self, found: Sighting) -> Sighting | None:
        """What the source says today of a picture that it showed once; None when it has it no more."""
        raise NotImplementedError

    def asks(self, words: str) -> str:
        """What tells one search from another beside words, license and facets: for lists, which file it was."""
        return words

    # -- from the search to the request -----------------------------------------------------------------------------

    async def start(self) -> AsyncIterator[Any]:
        """Take a place of the budget for every wanted candidate and send it on its way."""
        flights: set[asyncio.Task[None]] = set()
        job = self.job
        try:
            async for candidate in self._candidates():
                found = candidate.found
                if not await self._wanted(candidate):
                    await candidate.settled()
                elif job.dry_run:
                    job.planned.append(f"{self.name}  {found.license.code}  {found.url}  {found.title}")
                elif await self._take_place():
                    job.count(found, +1)
                    flight = asyncio.create_task(self._fly(candidate))
                    flights.add(flight)
                    flight.add_done_callback(flights.discard)
                else:
                    self._end("")
                    break
        except NothingToAsk as error:
            self._end(str(error))
        except SourceDown as error:
            job.down.add(self.name)
            self._end(str(error))
        except Exception as error:
            self._end("an error")
            job.fail(error)
        finally:
            await asyncio.gather(*flights)
            job.budget.leave(self.name)
        for item in list[Any]():  # Scrapy wants a generator, and gets nothing: intake is our pipeline
            yield item

    async def _take_place(self) -> bool:
        """Wait for intake, slower than the network, and for a place of the budget; False: the crawl is over."""
        while self.job.intake.full and not self.job.budget.over:
            await asyncio.sleep(FULL_S)
        return await self.job.budget.take(self.name)

    async def _candidates(self) -> AsyncIterator[Candidate]:
        """Candidates of all queries, one of each in turn; each source id once."""
        queries = self.job.queries[:1] if self.job.dry_run else self.job.queries
        searches = [self._search(words) for _, words in queries]
        turns = [
            (label, words, search.candidates(self.handled, first_page_only=self.job.dry_run))
            for (label, words), search in zip(queries, searches, strict=True)
        ]
        while turns:
            for turn in list(turns):
                label, words, candidates = turn
                candidate = await anext(candidates, None)
                if candidate is None:
                    turns.remove(turn)
                    continue
                self.job.seen[self.name] += 1
                found = candidate.found
                placed = replace(found, concept=self.job.concept.name, label=found.label or label, query=words)
                yield candidate._replace(found=placed)
        self._end("; ".join(dict.fromkeys(filter(None, (search.ended for search in searches)))))

    def _search(self, words: str) -> Search:
        job, crawl = self.job, self.job.crawl
        told = [self.asks(words), job.preset, job.allowed, repr(job.facets), crawl.per_creator, crawl.per_site]
        asked = hashlib.sha256(json.dumps([*told, job.concept.exclude, job.shard], default=str).encode()).hexdigest()
        catalog, concept = job.ws.catalog, job.concept.name
        before = crawls.progress(catalog, concept, self.name, asked)
        afresh = before.exhausted or job.dry_run or bool(job.options.get("retry_failed"))
        stop_after = int(job.options.get("until_known") or (crawl.until_known if before.exhausted else 0))
        return Search(
            lambda cursor: self.page(words, cursor),
            lambda found: crawls.known_of(catalog, concept, self.name, found),
            lambda to: None if job.dry_run else crawls.reached(catalog, concept, self.name, asked, to),
            cursor=None if afresh else before.cursor,
            until_known=0 if job.options.get("retry_failed") else stop_after,
        )

    async def _wanted(self, candidate: Candidate) -> bool:
        """Judge a candidate without asking for its file."""
        found, known = candidate.found, candidate.known
        if found.source_id in known.stored:
            return False
        earlier = known.refused.get(found.source_id, set())
        if found.source_id in known.forgotten:
            why: Rejected | None = Rejected(FORGOTTEN, "its address or its creator was forgotten")
        else:
            why = self.judge(found) or self.job.over_cap(found)
        if why is not None:
            if why.reason not in earlier and not self.job.dry_run:
                await asyncio.wrap_future(self.job.intake.reject(found, why))
            return False
        again = bool(self.job.options.get("retry_failed"))
        if found.license.code == "missing" and not again and any(reason.startswith("license-") for reason in earlier):
            return False  # its bytes have been looked into, and the source says no more than then
        return all(reasons.is_judged_anew(reason) or (again and reasons.is_transient(reason)) for reason in earlier)

    def judge(self, found: Sighting) -> Rejected | None:
        """Why a candidate is not wanted, from what its source says of it; None when it is."""
        why = licenses.judge(found.license, self.job.allowed)
        if why is not None and not (self.looks_inside and found.license.code == "missing"):
            return why
        return self._excluded(found) or _bad_address(found) or self.job.facets.of_answer(found)

    def _excluded(self, found: Sighting) -> Rejected | None:
        title = found.title.casefold()
        word = next((word for word in self.job.concept.exclude if word.casefold() in title), None)
        return Rejected("excluded-word", f"the title has `{word}`") if word else None

    def _end(self, why: str) -> None:
        self.job.ended.setdefault(self.name, why)
        self.job.budget.leave(self.name)

    # -- from the request to the catalog ----------------------------------------------------------------------------

    async def _fly(self, candidate: Candidate) -> None:
        """Everything that happens to a candidate that has a place."""
        job, found = self.job, candidate.found
        fills = False
        try:
            image = candidate.known.elsewhere.get(found.source_id)
            if image is not None:
                outcome: Outcome = await asyncio.wrap_future(job.intake.again(image, found))
            else:
                outcome = await self._fetch(found)
            fills = isinstance(outcome, Kept) or (isinstance(outcome, Known) and outcome.new_here)
            if isinstance(outcome, Known) and await asyncio.to_thread(self._is_placeholder, outcome.image):
                fills = False
        except Exception as error:
            job.fail(error)
        job.budget.settle(self.name, fills=fills)
        if not fills:
            job.count(found, -1)
        if job.error is None:
            await candidate.settled()
        job.progress(self.name, job)

    async def _fetch(self, found: Sighting) -> Outcome:
        intake = self.job.intake
        why = Rejected("dead-link")
        for url in (found.url, *found.facts.get("fallbacks", ())):
            got = await self._download(url)
            if isinstance(got, Response):
                final = got.url if got.url != url else ""
                found = replace(found, url=url, final_url=final)
                judged = await self._look_inside(found, got.body)
                if isinstance(judged, Rejected):
                    return await asyncio.wrap_future(intake.reject(found, judged))
                self.job.waiting += 1
                try:
                    return await asyncio.wrap_future(intake.take(got.body, judged, self._check(judged), wait=False))
                finally:
                    self.job.waiting -= 1
            why = got
            if why.reason != "dead-link":
                break
        return await asyncio.wrap_future(intake.reject(found, why))

    async def _download(self, url: str) -> Response | Rejected:
        try:
            response = await self.get(url, headers=PICTURE_HEADERS, **{PICTURE: True})
        except Exception as error:
            return reason_of(error)
        return reasons.of_status(response.status) or response

    async def _look_inside(self, found: Sighting, data: bytes) -> Sighting | Rejected:
        """Ask the spider what it thinks of the bytes, in a thread, if it thinks anything of them."""
        if type(self).verify is not ImageSpider.verify and (why := await asyncio.to_thread(self.verify, found, data)):
            return why
        if self.looks_inside and found.license.code == "missing":
            found = await asyncio.to_thread(self.inside, found, data)
            return licenses.judge(found.license, self.job.allowed) or found
        return found

    def _check(self, found: Sighting) -> Any:
        facets = self.job.facets
        return (lambda decoded: facets.of_picture(decoded, dict(found.facts))) if facets.needs_picture else None

    def _is_placeholder(self, image: str) -> bool:
        """Whether an image is what a host shows in place of pictures that are gone; if so, it is buried."""
        places = crawls.places_of(self.job.ws.catalog, image)
        names = {place.title for place in places} | {place.creator for place in places}
        hosts = [crawls.host_of(place.final_url or place.url) for place in places]
        if len({place.url for place in places}) < PLACEHOLDER or len(set(hosts)) > 1 or 1 < len(names) < PLACEHOLDER:
            return False
        if images.bury(self.job.ws.catalog, image, "placeholder"):
            first = next(place for place in places if place.concept == self.job.concept.name)
            self.job.budget.bury(first.source)
        return True


def _bad_address(found: Sighting) -> Rejected | None:
    try:
        parts = urlsplit(found.url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        fine = False
    return None if fine else Rejected("bad-address", found.url[:300])
