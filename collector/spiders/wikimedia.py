"""Wikimedia Commons by the MediaWiki API: https://commons.wikimedia.org/w/api.php

Its rules: a contact in the User-Agent, `maxlag`, Retry-After, at most three API requests at once and two connections
to the host of the files (https://www.mediawiki.org/wiki/Wikimedia_APIs/Rate_limits).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from collector import licenses
from collector.records import License, Rejected, Sighting
from collector.spiders.base import ImageSpider, Page, SourceDown
from collector.spiders.facets import Facets
from collector.spiders.reading import date, mapping, number, objects, plain, stated, text, wrong_digest

BATCH = 50
LAG_S, LAG_TRIES = 5.0, 5
MOST_PARTS = 50  # of one batch
FILES: dict[str, object] = {
    "action": "query",
    "format": "json",
    "formatversion": 2,
    "prop": "imageinfo",
    "iiprop": "url|size|mime|sha1|user|timestamp|extmetadata",
    "iiextmetadatalanguage": "en",
    "maxlag": 5,
}
SEARCH: dict[str, object] = {**FILES, "generator": "search", "gsrnamespace": 6, "gsrlimit": BATCH}


class Wikimedia(ImageSpider):
    """Pictures of Wikimedia Commons, the originals, by its search."""

    name = "wikimedia"
    gives = "photographs, art and scans of Wikimedia Commons in original size"
    terms = "each file its own free license; name author and license; set crawl.contact"
    limits = "10,000 files for one search; 3 API requests and 2 file downloads at once"

    async def page(self, words: str, cursor: Any) -> Page:
        """A batch of 50 files; the cursor is the API's `continue`.

        A batch may come in several parts, which belong together by page id: it is whole at `batchcomplete`.
        """
        asked = {**SEARCH, "gsrsearch": search_words(words, self.job.facets)}
        pages: dict[str, dict[str, Any]] = {}
        more, parts = mapping(cursor), 0
        while True:
            answer = await self._ask({**asked, **more})
            for page in listed(answer):
                pages.setdefault(str(page.get("pageid", "")), {}).update(page)
            more, parts = mapping(answer.get("continue")), parts + 1
            if "batchcomplete" in answer:
                break
            if not more or parts == MOST_PARTS:
                self.part(answer, "batchcomplete", bool)
        ranked = sorted(pages.values(), key=lambda page: number(page.get("index")) or 0)
        found = [found for page in ranked if (found := read_page(page))]
        there = [page for page in ranked if "missing" not in page]
        self.entries({"query": {"pages": there}}, "query.pages", "pageid", "title", "imageinfo")
        infos = [info for page in there for info in objects(page.get("imageinfo"))]
        self.entries({"imageinfo": infos}, "imageinfo", "url", "extmetadata")
        return Page(found, more or None)

    async def recheck(self, found: Sighting) -> Sighting | None:
        """What Commons says of the file today."""
        answer = await self._ask({**FILES, "pageids": found.source_id})
        return next(filter(None, map(read_page, listed(answer))), None)

    async def _ask(self, params: Mapping[str, object]) -> dict[str, Any]:
        for _ in range(LAG_TRIES):
            answer = await self.api("/w/api.php", params)
            error = answer.get("error") or {}
            if not error:
                return answer
            if error.get("code") not in ("maxlag", "ratelimited"):
                break
            await asyncio.sleep(LAG_S)
        raise SourceDown(f"it refuses: {error.get('code')}: {error.get('info')}"[:200])

    def verify(self, found: Sighting, data: bytes) -> Rejected | None:
        """The sha1 that Commons states must be that of the bytes."""
        return wrong_digest(found, data)


def search_words(words: str, facets: Facets) -> str:
    """A search in the words of CirrusSearch (https://www.mediawiki.org/wiki/Help:CirrusSearch#File_properties)."""
    least = facets.min_side - 1
    size = [f"filew:>{least}", f"fileh:>{least}"] if facets.min_side else []
    return " ".join([words, "filetype:bitmap", *size])


def listed(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The pages of an answer: a list in format version 2, an object by page id in version 1."""
    pages = mapping(answer.get("query")).get("pages")
    return objects(list(pages.values()) if isinstance(pages, dict) else pages)


def read_page(page: Mapping[str, Any]) -> Sighting | None:
    """A page as a sighting; None for a page whose file is missing."""
    info = next(iter(objects(page.get("imageinfo"))), {})
    if not info.get("url") or "pageid" not in page:
        return None
    about = mapping(info.get("extmetadata"))
    artist, link = plain(_value(about, "Artist"))
    wanted, other_link = plain(_value(about, "Attribution"))  # how the author wants to be named
    return Sighting(
        source=Wikimedia.name,
        source_id=str(page["pageid"]),
        url=str(info["url"]),
        license=read_license(about),
        page=str(info.get("descriptionurl") or ""),
        title=text(page.get("title")).removeprefix("File:"),
        creator=wanted or artist,
        creator_url=link or other_link,
        facts=stated(
            width=number(info.get("width")),
            height=number(info.get("height")),
            bytes=number(info.get("size")),
            sha1=str(info.get("sha1") or ""),
            date=date(plain(_value(about, "DateTimeOriginal"))[0]),
            restrictions=_value(about, "Restrictions"),
            tags=list(filter(None, _value(about, "Categories").split("|"))),
        ),
    )


def read_license(about: Mapping[str, Any]) -> License:
    """The license of a file: its code, confirmed by its URL; public domain has a code, or is not copyrighted.

    "No restrictions" (Flickr Commons) has no code, and its URL is that of no license: it is refused.
    """
    names = ("License", "LicenseUrl", "LicenseShortName", "Copyrighted", "Restrictions")
    told = {name: _value(about, name) for name in names}
    evidence = " ".join(f"{name}={value!r}" for name, value in told.items() if value)
    code, url, copyrighted = told["License"], told["LicenseUrl"], told["Copyrighted"]
    if not code and not url and copyrighted == "False":
        code = "pd"
    if code == "pd" and copyrighted == "True":
        return License("contradictory", evidence=evidence)
    return licenses.from_code(code, url=url, evidence=evidence)


def _value(about: Mapping[str, Any], name: str) -> str:
    return str(mapping(about.get(name)).get("value") or "")
