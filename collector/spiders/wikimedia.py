"""Wikimedia Commons by the MediaWiki API: https://commons.wikimedia.org/w/api.php

Its rules: a contact in the User-Agent, `maxlag`, Retry-After, at most two connections to the host of the files.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping
from html.parser import HTMLParser
from typing import Any

from collector import licenses
from collector.records import License, Rejected, Sighting
from collector.spiders.base import ImageSpider, Job, SourceDown

BATCH = 50
LAG_S, LAG_TRIES = 5.0, 5
SEARCH: dict[str, object] = {
    "action": "query",
    "format": "json",
    "formatversion": 2,
    "generator": "search",
    "gsrnamespace": 6,
    "gsrlimit": BATCH,
    "prop": "imageinfo",
    "iiprop": "url|size|mime|sha1|user|timestamp|extmetadata",
    "iiextmetadatalanguage": "en",
    "maxlag": 5,
}


class Wikimedia(ImageSpider):
    """Pictures of Wikimedia Commons, the originals, by its search."""

    name = "wikimedia"
    gives = "photographs, art and scans of Wikimedia Commons in original size, up to 10,000 for one search"
    terms = "each file its own free license; name author and license; set crawl.contact"

    def __init__(self, job: Job, base_url: str) -> None:
        super().__init__(job, base_url)
        self.sha1: dict[str, str] = {}

    async def search(self, words: str) -> AsyncIterator[Sighting]:
        """Batches of 50 files; a batch may come in several parts, which belong together by page id."""
        asked = {**SEARCH, "gsrsearch": f"{words} filetype:bitmap"}
        more: Mapping[str, object] = {}
        pages: dict[str, dict[str, Any]] = {}
        while True:
            answer = await self._ask({**asked, **more})
            for page in listed(answer):
                pages.setdefault(str(page.get("pageid", "")), {}).update(page)
            more = answer.get("continue") or {}
            if "batchcomplete" in answer or not more:
                for page in sorted(pages.values(), key=lambda page: int(page.get("index", 0))):
                    if found := read_page(page):
                        self.sha1[found.source_id] = str(page["imageinfo"][0].get("sha1") or "")
                        yield found
                pages.clear()
                if not more or self.job.dry_run:
                    return

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
        stated = self.sha1.get(found.source_id)
        actual = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        if not stated or stated == actual:
            return None
        return Rejected("hash-mismatch", f"Commons says sha1 {stated}, the bytes have {actual}")


def listed(answer: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """The pages of an answer: a list in format version 2, an object by page id in version 1."""
    pages = (answer.get("query") or {}).get("pages") or ()
    return pages.values() if isinstance(pages, dict) else pages


def read_page(page: Mapping[str, Any]) -> Sighting | None:
    """A page as a sighting; None for a page whose file is missing."""
    info = (page.get("imageinfo") or [{}])[0]
    if not info.get("url") or "pageid" not in page:
        return None
    about = info.get("extmetadata") or {}
    artist, link = plain(_value(about, "Artist"))
    wanted, other_link = plain(_value(about, "Attribution"))  # how the author wants to be named
    return Sighting(
        source=Wikimedia.name,
        source_id=str(page["pageid"]),
        url=str(info["url"]),
        license=read_license(about),
        page=str(info.get("descriptionurl") or ""),
        title=str(page.get("title") or "").removeprefix("File:"),
        creator=wanted or artist,
        creator_url=link or other_link,
    )


def read_license(about: Mapping[str, Any]) -> License:
    """The license of a file: its code, confirmed by its URL; public domain has a code, or is not copyrighted.

    "No restrictions" (Flickr Commons) has neither code nor a URL that we know, and is refused.
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


def plain(markup: str) -> tuple[str, str]:
    """(text without tags, address of the first link) of a piece of HTML."""
    reader = _Text()
    reader.feed(markup)
    reader.close()
    return " ".join("".join(reader.words).split()), reader.link


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.words: list[str] = []
        self.link = ""

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get("href") or ""
        address = f"https:{address}" if address.startswith("//") else address
        if tag == "a" and not self.link and address.startswith(("http://", "https://")):
            self.link = address


def _value(about: Mapping[str, Any], name: str) -> str:
    return str((about.get(name) or {}).get("value") or "")
