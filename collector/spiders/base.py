"""`ImageSpider`: what every source shares, so that a source only has to implement `search`.

A spider walks through the answers of its source and judges every candidate without a request where it can: stored
already, license, excluded words, refused earlier for good. What remains takes a place of the budget, is fetched by
Scrapy, goes through intake in a worker thread, and reports what became of its place. Nothing is dropped silently: a
candidate that is not stored is one rejection row.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

from scrapy import Request, Spider
from scrapy.exceptions import (
    DownloadCancelledError,
    DownloadTimeoutError,
    IgnoreRequest,
    ResponseDataLossError,
    StopDownload,
)
from scrapy.http import Response
from scrapy.spidermiddlewares.httperror import HttpError
from twisted.python.failure import Failure

from collector import licenses
from collector.catalog import images
from collector.intake import take_in
from collector.records import Concept, Known, Outcome, Rejected, Sighting
from collector.spiders.budget import Budget
from collector.spiders.middlewares import PICTURE, HostAsksToWait
from collector.spiders.settings import API_BYTES
from collector.workspace import Workspace

T = TypeVar("T")
TRANSIENT = ("timeout", "http-error", "connection", "robots")
"""Refusals that the next run looks at again; all other refusals of a file are final."""


class SourceDown(Exception):
    """The source cannot be asked any further; the message says why."""


@dataclass
class Job:
    """One crawl: what its spiders share. `ended` tells why each source stopped; `planned` is filled by a dry run."""

    ws: Workspace
    concept: Concept
    queries: tuple[tuple[str, str], ...]
    preset: str
    budget: Budget
    workers: ThreadPoolExecutor
    progress: Callable[[str, int, int], None]
    dry_run: bool = False
    ended: dict[str, str] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)
    looked_at: int = 0
    planned: list[str] = field(default_factory=list)
    error: Exception | None = None

    async def in_worker(self, function: Callable[..., T], *args: Any) -> T:
        """Run something that decodes or writes off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self.workers, function, *args)

    def fail(self, error: Exception) -> None:
        """Stop the whole crawl because of an error that is not one picture's: a full disk, or a mistake of ours."""
        self.error = self.error or error
        self.budget.close()


class ImageSpider(Spider):
    """Base of all spiders. A subclass sets `name`, `gives` and `terms`, and implements `search`."""

    gives: str
    terms: str

    def __init__(self, job: Job, base_url: str) -> None:
        super().__init__(self.name)
        self.job = job
        self.base_url = base_url
        self.stored = images.seen_images(job.ws.catalog, job.concept.name, self.name)
        self.elsewhere = images.stored_files(job.ws.catalog, self.name)
        self.refused = images.refused_for(job.ws.catalog, job.concept.name, self.name)
        self.handled: set[str] = set()

    def search(self, words: str) -> AsyncIterator[Sighting]:
        """Candidates for a search, best first; raises `SourceDown` when the source cannot be asked."""
        raise TypeError(f"{type(self).__name__} does not implement `search`")

    def verify(self, found: Sighting, data: bytes) -> Rejected | None:
        """Whether downloaded bytes are what the source promised; called in a worker thread."""
        return None

    # -- from the search to the request -----------------------------------------------------------------------------

    async def start(self) -> AsyncIterator[Request]:
        """A request for every candidate that is wanted, as long as the budget has places."""
        budget = self.job.budget
        try:
            async for found in self._candidates():
                if not await self._wanted(found):
                    continue
                if self.job.dry_run:
                    self.job.planned.append(f"{self.name}  {found.license.code}  {found.url}  {found.title}")
                    continue
                if not await budget.take(self.name):
                    self._end("")
                    return
                if known := self.elsewhere.get((found.source_id, found.url)):
                    await self._store_known(found, known)
                    continue
                yield self._request(found)
            self._end("it has no more to give")
        except SourceDown as error:
            self.job.down.add(self.name)
            self._end(str(error))
        except Exception as error:
            self._end("an error")
            self.job.fail(error)

    async def _candidates(self) -> AsyncIterator[Sighting]:
        """Sightings of all queries, one of each in turn; each source id once."""
        turns = [(label, words, self.search(words)) for label, words in self.job.queries]
        while turns:
            for turn in list(turns):
                label, words, answers = turn
                found = await anext(answers, None)
                if found is None:
                    turns.remove(turn)
                elif found.source_id not in self.handled:
                    self.handled.add(found.source_id)
                    self.job.looked_at += 1
                    yield self._placed(found, label, words)

    def _placed(self, found: Sighting, label: str, words: str) -> Sighting:
        return replace(found, concept=self.job.concept.name, label=label, query=words)

    async def _wanted(self, found: Sighting) -> bool:
        """Judge a candidate without asking for its file."""
        if found.source_id in self.stored:
            return False
        why = licenses.judge(found.license, self.job.preset) or self._excluded(found) or _bad_address(found)
        if why is not None:
            if not self.job.dry_run:
                await self.job.in_worker(self._refuse, found, why)
            return False
        earlier = self.refused.get(found.source_id, set())
        return all(reason in TRANSIENT or _judged_from_answer(reason) for reason in earlier)

    def _excluded(self, found: Sighting) -> Rejected | None:
        title = found.title.casefold()
        word = next((word for word in self.job.concept.exclude if word.casefold() in title), None)
        return Rejected("excluded-word", f"the title has `{word}`") if word else None

    def _request(self, found: Sighting) -> Request:
        return Request(
            found.url,
            callback=self.keep,
            errback=self.refuse,
            cb_kwargs={"found": found},
            headers={"Accept": "image/*", "Accept-Encoding": "identity"},
            meta={PICTURE: True},
            dont_filter=True,
        )

    def _end(self, why: str) -> None:
        self.job.ended[self.name] = why
        self.job.budget.leave(self.name)

    # -- from the response to the catalog ---------------------------------------------------------------------------

    async def keep(self, response: Response, found: Sighting) -> None:
        """Give downloaded bytes to intake."""
        await self._settle(self._take_in, response.body, found)

    async def refuse(self, failure: Failure) -> None:
        """Write down why a file could not be fetched."""
        found: Sighting = failure.request.cb_kwargs["found"]  # type: ignore[attr-defined]
        await self._settle(self._refuse, found, reason_of(failure.value))

    async def _store_known(self, found: Sighting, image: str) -> None:
        await self._settle(self._see_again, found, image)

    async def _settle(self, work: Callable[..., Outcome], *args: Any) -> None:
        outcome: Outcome = Rejected("error")
        try:
            outcome = await self.job.in_worker(work, *args)
        except Exception as error:
            self.job.fail(error)
        budget = self.job.budget
        budget.settle(self.name, outcome)
        self.job.progress(f"crawling {self.job.concept.name}: {self.name}", len(budget.held), budget.limit)

    def _take_in(self, data: bytes, found: Sighting) -> Outcome:
        why = self.verify(found, data)
        return take_in(self.job.ws, data, found) if why is None else self._refuse(found, why)

    def _see_again(self, found: Sighting, image: str) -> Outcome:
        images.add_sighting(self.job.ws.catalog, image, found)
        return Known(image)

    def _refuse(self, found: Sighting, why: Rejected) -> Rejected:
        if why.reason not in self.refused.get(found.source_id, ()):
            images.reject(self.job.ws.catalog, found, why)
        return why

    # -- asking an API ----------------------------------------------------------------------------------------------

    async def api(
        self, path: str, params: Mapping[str, object], headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """The JSON object that the source's API answers.

        APIs are made for programs, so robots.txt is not asked (that of Commons closes /w/ to all); the pauses that
        a source asks for hold here as well. Raises `SourceDown`.
        """
        engine = self.crawler.engine
        assert engine is not None
        request = Request(
            f"{self.base_url}{path}?{urlencode({key: str(value) for key, value in params.items()})}",
            headers={"Accept": "application/json", **(headers or {})},
            meta={
                "dont_obey_robotstxt": True,
                "dont_redirect": True,  # a token must not travel to another host
                "download_slot": f"{self.name} API",
                "download_maxsize": API_BYTES,
            },
            dont_filter=True,
        )
        try:
            response = await engine.download_async(request)
        except HostAsksToWait as error:
            raise SourceDown(str(error)) from error
        except Exception as error:
            raise SourceDown(f"it does not answer ({reason_of(error).detail})") from error
        if response.status == 429:
            raise SourceDown("its limit of requests is reached (HTTP 429)")
        try:
            body = json.loads(response.body)
        except ValueError:
            body = None
        if response.status != 200 or not isinstance(body, dict):
            raise SourceDown(f"it answered HTTP {response.status}: {response.body[:120].decode('utf-8', 'replace')}")
        return body


def reason_of(error: BaseException | None) -> Rejected:
    """The fixed word, and the detail, for an error of the download."""
    detail = f"{type(error).__name__}: {error}"[:300]
    if isinstance(error, HttpError):
        status = error.response.status
        return Rejected("dead-link" if status in (404, 410) else "http-error", f"HTTP {status}")
    if isinstance(error, StopDownload):
        return Rejected("opted-out", "the X-Robots-Tag header opts out")
    if isinstance(error, HostAsksToWait):
        return Rejected("http-error", str(error))
    if isinstance(error, IgnoreRequest):
        robots = "robots.txt" in str(error)  # Scrapy has one class for this and for too many redirects
        return Rejected("robots" if robots else "http-error", str(error))
    if isinstance(error, DownloadTimeoutError):
        return Rejected("timeout", detail)
    if isinstance(error, DownloadCancelledError):  # Scrapy cancels a download for its size only
        return Rejected("too-large", detail)
    if isinstance(error, ResponseDataLossError):
        return Rejected("connection", f"the body was cut short: {error}"[:300])
    return Rejected("connection", detail)


def _bad_address(found: Sighting) -> Rejected | None:
    try:
        parts = urlsplit(found.url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        fine = False
    return None if fine else Rejected("bad-address", found.url[:300])


def _judged_from_answer(reason: str) -> bool:
    """Whether a refusal came from the answer alone: it has just been judged anew, under today's settings."""
    return reason.startswith("license-") or reason in ("excluded-word", "bad-address")
