"""The Internet Archive: items of type image whose license is stated.

API: https://archive.org/advancedsearch.php finds the first 10,000 items, https://archive.org/services/search/v1/scrape
all of them, and https://archive.org/metadata/IDENTIFIER lists the files of one (https://archive.org/developers/).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from collector import licenses
from collector.records import License, Rejected, Sighting
from collector.spiders.base import ImageSpider, Job, Page, SourceDown
from collector.spiders.config import SourceConfig
from collector.spiders.facets import Facets
from collector.spiders.reading import date, mapping, number, objects, stated, text, wrong_digest

ROWS, SCRAPED, LAST = 50, 100, 10_000  # items in a page of either search; the first search ends at the last
FIELDS = "identifier,title,creator,licenseurl,date"
FORMATS = ("JPEG", "PNG", "TIFF", "GIF", "Animated GIF", "WebP", "JPEG 2000", "Windows Bitmap")
DOWNLOADS = "https://archive.org/download"


class InternetArchive(ImageSpider):
    """The original pictures of items, with the digests that the archive states."""

    name = "internetarchive"
    gives = "scans and photographs that people and institutions uploaded, in original files"
    terms = "the license that the uploader states, which the archive does not check; name creator and license"
    limits = "few items state a license"

    def __init__(self, job: Job, config: SourceConfig) -> None:
        super().__init__(job, config)
        self._given: set[str] = set()  # the second search begins with all that the first one gave

    async def page(self, words: str, cursor: Any) -> Page:
        """The pictures of the next items; the cursor is the page's number, beyond 10,000 items that of the scrape API.

        A dry run shows the items themselves, without asking for their files.
        """
        docs, following = await self._items(search_words(words, self.job.facets), cursor)
        docs = [doc for doc in docs if text(doc.get("identifier")) not in self._given]
        self._given.update(text(doc.get("identifier")) for doc in docs)
        items = await asyncio.gather(*map(self._pictures, docs))
        unknown = [each for each in items if isinstance(each, SourceDown)]
        if unknown and len(unknown) == len(items):
            raise unknown[0]
        return Page([picture for each in items if not isinstance(each, SourceDown) for picture in each], following)

    async def recheck(self, found: Sighting) -> Sighting | None:
        """What the archive says of the file today."""
        answer = await self.api(f"/metadata/{quote(found.source_id.partition('/')[0])}", {})
        pictures = read_item(answer, self.downloads)
        return next((each for each in pictures if each.source_id == found.source_id), None)

    def verify(self, found: Sighting, data: bytes) -> Rejected | None:
        """The sha1 and md5 that the archive states must be those of the bytes."""
        return wrong_digest(found, data)

    @property
    def downloads(self) -> str:
        """Where files lie: beside the API."""
        return f"{self.base_url}/download"

    async def _items(self, query: str, cursor: Any) -> tuple[list[dict[str, Any]], Any]:
        if isinstance(cursor, str):
            asked = {"q": query, "fields": FIELDS, "count": SCRAPED, **({"cursor": cursor} if cursor else {})}
            answer = await self.api("/services/search/v1/scrape", asked)
            return self.entries(answer, "items", "identifier"), text(answer.get("cursor")) or None
        page = int(cursor or 1)
        answer = await self.api(
            "/advancedsearch.php", {"q": query, "fl[]": FIELDS, "rows": ROWS, "page": page, "output": "json"}
        )
        docs = self.entries(answer, "response.docs", "identifier")
        seen = page * ROWS
        following = None if seen >= self.part(answer, "response.numFound", int) else page + 1 if seen < LAST else ""
        return docs, following

    async def _pictures(self, doc: Mapping[str, Any]) -> list[Sighting] | SourceDown:
        """The pictures of an item, or why they are not known; the item alone where its license is refused."""
        item = read_doc(doc, self.downloads)
        if self.job.dry_run or licenses.judge(item.license, self.job.allowed):
            return [item]
        try:
            answer = await self.api(f"/metadata/{quote(item.source_id)}", {})
            if answer and not answer.get("is_dark"):
                self.entries(answer, "files", "name", "source", "format")
        except SourceDown as error:
            self.note(f"the files of {item.source_id} are not known: {error}"[:200])
            return error
        return read_item(answer, self.downloads)


def search_words(words: str, facets: Facets) -> str:
    """A search in the archive's words: every word, pictures only, with a Creative Commons address as license."""
    plain = " AND ".join(re.findall(r"\w+", words))
    parts = [f"({plain})", "mediatype:image", "licenseurl:*creativecommons*"]
    if facets.creator:
        parts.append('creator:"{}"'.format(facets.creator.replace('"', " ")))
    if facets.since or facets.until:
        parts.append(f"date:[{facets.since or '*'} TO {facets.until or '*'}]")
    return " AND ".join(parts)


def read_doc(doc: Mapping[str, Any], downloads: str = DOWNLOADS) -> Sighting:
    """An item of a search's answer, as far as it is known without its files."""
    identifier = text(doc.get("identifier"))
    return Sighting(
        source=InternetArchive.name,
        source_id=identifier,
        url=f"{downloads}/{quote(identifier)}",
        license=read_license(doc),
        page=f"https://archive.org/details/{quote(identifier)}",
        title=text(doc.get("title")),
        creator=text(doc.get("creator")),
        facts=stated(date=date(doc.get("date"))),
    )


def read_item(answer: Mapping[str, Any], downloads: str = DOWNLOADS) -> list[Sighting]:
    """The original pictures of an item; none of one that is withdrawn, whose answer is empty or says `is_dark`."""
    about = mapping(answer.get("metadata"))
    identifier = text(about.get("identifier"))
    if not identifier or answer.get("is_dark"):
        return []
    subjects = text(about.get("subject")).split(";")
    found = []
    for file in objects(answer.get("files")):
        name = str(file.get("name") or "")
        wanted = file.get("source") == "original" and file.get("format") in FORMATS and file.get("private") != "true"
        if not name or not wanted:
            continue
        found.append(
            Sighting(
                source=InternetArchive.name,
                source_id=f"{identifier}/{name}",
                url=f"{downloads}/{quote(identifier)}/{quote(name)}",
                license=read_license(about),
                page=f"https://archive.org/details/{quote(identifier)}",
                title=text(file.get("title")) or text(about.get("title")),
                creator=text(about.get("creator")),
                facts=stated(
                    width=number(file.get("width")),
                    height=number(file.get("height")),
                    bytes=number(file.get("size")),
                    sha1=text(file.get("sha1")),
                    md5=text(file.get("md5")),
                    date=date(about.get("date")),
                    tags=[subject.strip() for subject in subjects if subject.strip()],
                ),
            )
        )
    return found


def read_license(about: Mapping[str, Any]) -> License:
    """The license of an item: one address; several different ones contradict each other."""
    said = about.get("licenseurl")
    evidence = f"licenseurl={said!r}"[:300]
    urls = {text(each) for each in said} if isinstance(said, list) else {text(said)}
    if len(urls) > 1:
        return License("contradictory", evidence=evidence)
    return licenses.from_code("", url="".join(urls), evidence=evidence)
