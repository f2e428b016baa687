"""The Metropolitan Museum of Art: photographs of its objects.

API: https://metmuseum.github.io/ ; a search gives the numbers of all objects at once, each object is asked for alone,
at most 80 a second. Pictures of objects in the public domain are CC0 by the museum's policy
(https://www.metmuseum.org/hubs/open-access); those of others have no address.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from collector import licenses
from collector.records import License, Rejected, Sighting
from collector.spiders.asking import Gone
from collector.spiders.base import ImageSpider, Job, Page
from collector.spiders.config import SourceConfig
from collector.spiders.facets import Facets
from collector.spiders.reading import date, mentions, objects, stated, text

OBJECTS = 40  # in a page
MEDIUMS = {"photograph": "Photographs", "illustration": "Drawings|Prints"}
FIRST_YEAR, LAST_YEAR = "-8000", "2100"  # the API wants both ends of a range


class Met(ImageSpider):
    """Pictures of objects whose title, tags, name or class mention the words; the search itself is much broader."""

    name = "met"
    gives = "photographs of paintings, prints and objects in the public domain"
    terms = "CC0; naming the museum is a courtesy"
    limits = "80 requests a second, one for each object"

    def __init__(self, job: Job, config: SourceConfig) -> None:
        super().__init__(job, config)
        self._ids: dict[str, list[int]] = {}

    async def page(self, words: str, cursor: Any) -> Page:
        """The next 40 objects; the cursor is their place in the search's answer. A dry run asks for none of them."""
        if words not in self._ids:
            self._ids[words] = await self._search_ids(words)
        ids = self._ids[words]
        if self.job.dry_run:
            self.note(f"{words} finds {len(ids)} objects; a crawl asks for the license of each")
            return Page([])
        begin = int(cursor or 0)
        asked = ids[begin : begin + OBJECTS]
        objects = [each for each in await asyncio.gather(*map(self._object, asked)) if each]
        if len(objects) < len(asked):
            self.note(f"{len(asked) - len(objects)} objects are listed but gone, from place {begin} on")
        self.entries({"objects": objects}, "objects", "objectID", "isPublicDomain", "primaryImage", "title")
        found = [picture for each in objects for picture in read_object(each)]
        return Page(found, begin + OBJECTS if begin + OBJECTS < len(ids) else None)

    async def recheck(self, found: Sighting) -> Sighting | None:
        """What the museum says of the picture today."""
        pictures = read_object(await self._object(found.source_id.partition("/")[0]) or {})
        return next((each for each in pictures if each.source_id == found.source_id), None)

    async def _search_ids(self, words: str) -> list[int]:
        answer = await self.api(
            "/public/collection/v1/search", {"q": words, "hasImages": "true", **asked_facets(self.job.facets)}
        )
        nothing = self.part(answer, "total", int) == 0 and answer.get("objectIDs") is None
        return [] if nothing else self.part(answer, "objectIDs", list)

    async def _object(self, number: object) -> dict[str, Any] | None:
        try:
            return await self.api(f"/public/collection/v1/objects/{number}", {})
        except Gone:
            return None

    def judge(self, found: Sighting) -> Rejected | None:
        """As always, and whether the object is about the words at all."""
        return super().judge(found) or off_topic(found)


def off_topic(found: Sighting) -> Rejected | None:
    """Why an object is none of those that were searched for: the search looks into artists and places as well."""
    if mentions(found.query, found.title, *found.facts.get("tags", ())):
        return None
    return Rejected("off-topic", f"neither its title nor its tags mention {found.query}: {found.title}"[:300])


def asked_facets(facets: Facets) -> dict[str, str]:
    """Facets in the API's words: dates are years."""
    asked = {"medium": MEDIUMS[facets.kind]} if facets.kind else {}
    if facets.since or facets.until:
        asked |= {"dateBegin": facets.since[:4] or FIRST_YEAR, "dateEnd": facets.until[:4] or LAST_YEAR}
    return asked


def read_object(record: Mapping[str, Any]) -> list[Sighting]:
    """All pictures of an object; of one that is not in the public domain one candidate, which is refused."""
    key, public = text(record.get("objectID")), record.get("isPublicDomain")
    more = record.get("additionalImages")
    urls = [text(record.get("primaryImage")), *(map(text, more) if isinstance(more, list) else ())]
    if not key:
        return []
    if public is not True:
        urls = urls[:1]
    names = [text(record.get(name)) for name in ("objectName", "classification")]
    terms = [text(tag.get("term")) for tag in objects(record.get("tags"))]
    made = text(record.get("objectEndDate"))
    return [
        Sighting(
            source=Met.name,
            source_id=f"{key}/{unquote(urlsplit(url).path).rpartition('/')[2]}".rstrip("/"),
            url=url,
            license=read_license(public),
            page=text(record.get("objectURL")) or f"https://www.metmuseum.org/art/collection/search/{key}",
            title=text(record.get("title")),
            creator=text(record.get("artistDisplayName")),
            creator_url=text(record.get("artistULAN_URL")) or text(record.get("artistWikidata_URL")),
            facts=stated(
                date=date(made.zfill(4)) if made == text(record.get("objectBeginDate")) else "",
                kind=kind_of(names[1]),
                tags=list(dict.fromkeys(filter(None, (*terms, *names)))),
            ),
        )
        for url in dict.fromkeys(urls)
        if url or public is not True
    ]


def read_license(public: object) -> License:
    """CC0, by the museum's policy, for an object in the public domain; no license for any other."""
    evidence = f"isPublicDomain={public!r}"
    return licenses.from_code("cc0" if public is True else "", evidence=evidence)


def kind_of(classification: str) -> str:
    """What a class of the museum's catalog is: `Photographs`, `Drawings`, `Prints`; else a picture of an artwork."""
    if classification.startswith("Photographs"):
        return "photograph"
    return "illustration" if classification.startswith(("Drawings", "Prints")) else "artwork"
