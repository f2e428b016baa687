"""The spiders of `collect recheck`: they ask their source again about pictures that it showed once.

Every answer is written down at once: a change as a new revision of the sighting, no change as the time of the check.
A picture about which nothing can be learned now (a page that does not answer) is left as it is and comes first again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import groupby
from typing import Any

from scrapy import Request

from collector.catalog import sightings
from collector.catalog.sightings import Seen
from collector.records import License, Sighting
from collector.spiders.asking import Gone, SourceDown
from collector.spiders.base import ImageSpider
from collector.spiders.middlewares import PAGE
from collector.spiders.refusals import reason_of

AT_ONCE = 4
GIVE_UP = 5  # questions in a row without an answer, after which a source is left alone
GONE = (404, 410)
NO_HEAD = (405, 501)


class _Dead(Exception):
    """The page of a picture answers 404 or 410."""


def rechecking(spider: type[ImageSpider]) -> type[ImageSpider]:
    """The same spider, but it asks again instead of searching; answers that were kept for searches do not count."""
    settings = {**(spider.custom_settings or {}), "HTTPCACHE_ENABLED": False}
    return type(f"Recheck{spider.__name__}", (_Rechecking, spider), {"custom_settings": settings})


class _Rechecking(ImageSpider):
    async def start(self) -> AsyncIterator[Any]:
        """Ask about the sightings that the order names."""
        job = self.job
        due = set(job.options["due"][self.name])
        try:
            rows = [seen for seen in sightings.latest(job.ws.catalog, job.options["of"], [self.name]) if seen.id in due]
            await recheck_all(self, rows)
        except Exception as error:
            job.fail(error)
        for item in list[Any]():  # Scrapy wants a generator, and gets nothing
            yield item


async def recheck_all(spider: ImageSpider, rows: Sequence[Seen]) -> None:
    """Ask about every picture of `rows` once, oldest check first, and write down what became of its sightings.

    A source that does not answer several questions in a row is given up: `spider.job` is told why.
    """
    questions = _questions(rows)
    silent: list[str] = []

    async def work() -> None:
        for group in questions:  # the workers share the iterator
            if len(silent) >= GIVE_UP or spider.job.error is not None:
                return
            try:
                state, told = await _ask(spider, group[0].found)
            except SourceDown as error:
                silent.append(str(error))
                continue
            silent.clear()
            await asyncio.to_thread(_settle, spider, group, state, told)
            spider.job.seen[spider.name] += len(group)
            spider.job.progress(spider.name, spider.job)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    if len(silent) >= GIVE_UP:
        spider.job.down.add(spider.name)
        spider.job.ended[spider.name] = silent[-1]


def changed(before: License, now: License) -> bool:
    """Whether a source states another license than before; its words for the same one may differ."""
    return (before.code, before.version, before.jurisdiction) != (now.code, now.version, now.jurisdiction)


def _questions(rows: Sequence[Seen]) -> Iterator[list[Seen]]:
    """The sightings of the same picture, which concept it may be for, are one question."""

    def key(seen: Seen) -> tuple[str, str]:
        return seen.found.source_id, seen.found.url

    groups = [list(group) for _, group in groupby(sorted(rows, key=key), key=key)]
    return iter(sorted(groups, key=lambda group: min(seen.read_at for seen in group)))


async def _ask(spider: ImageSpider, found: Sighting) -> tuple[str, Sighting | None]:
    """(`live`, what the source says now), or (`withdrawn` or `dead`, None). Raises `SourceDown`."""
    try:
        told = await spider.recheck(found)
    except NotImplementedError:
        return await _look_at_page(spider, found)
    except Gone:
        return "withdrawn", None
    except SourceDown:
        raise
    except Exception as error:
        raise SourceDown(reason_of(error).detail) from error
    return ("withdrawn", None) if told is None else ("live", told)


async def _look_at_page(spider: ImageSpider, found: Sighting) -> tuple[str, Sighting | None]:
    """Whether the page of a picture, or its file where it has no page, is still there; its license stays as it was."""
    engine = spider.crawler.engine
    assert engine is not None
    url = found.page or found.url
    status = NO_HEAD[0]
    for method in ("HEAD", "GET"):
        if status not in NO_HEAD:
            break
        request = Request(url, method=method, meta={PAGE: True}, dont_filter=True)
        try:
            status = (await engine.download_async(request)).status
        except Exception as error:
            raise SourceDown(f"{url}: {reason_of(error).detail}") from error
    if status in GONE:
        return "dead", None
    if status != 200:
        raise SourceDown(f"{url}: HTTP {status}")
    return "live", found


def _settle(spider: ImageSpider, group: Sequence[Seen], state: str, told: Sighting | None) -> None:
    """Write down the answer about one picture, for each concept that has it."""
    catalog = spider.job.ws.catalog
    for seen in group:
        before = seen.found.license
        if told is None:
            same = seen.state == state
        elif changed(before, told.license):
            state, same = "license-changed", False
        else:
            same = seen.state in ("live", "license-changed")
        if same:
            sightings.confirm(catalog, [seen.id])
        else:
            sightings.revise(catalog, seen, told or seen.found, state)
