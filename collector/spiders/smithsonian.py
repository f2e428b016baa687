"""Smithsonian Open Access: objects and specimens of 21 museums, https://edan.si.edu/openaccess/apidocs/

A record has several media, and each has its own conditions: only those whose `usage.access` is CC0 may be taken.
Keys are those of https://api.data.gov/signup/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from collector import licenses
from collector.records import License, Sighting
from collector.spiders.asking import Gone
from collector.spiders.base import ImageSpider, Page
from collector.spiders.reading import date, number, stated, text

ROWS = 100
WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
MAKERS = ("artist", "creator", "photographer", "maker", "author", "illustrator", "painter", "sculptor", "designer",
          "engraver", "printer", "architect")  # fmt: skip
KINDS = (("photograph", "photograph"), ("drawing", "artwork"), ("painting", "artwork"), ("print", "artwork"))


class Smithsonian(ImageSpider):
    """Pictures of the Smithsonian's collections that are in the public domain."""

    name = "smithsonian"
    gives = "art, objects and specimens of the Smithsonian's museums"
    terms = "CC0: no duty, but the museum likes to be named"
    limits = "1,000 requests an hour"
    key = "COLLECT_SMITHSONIAN_KEY"

    async def page(self, words: str, cursor: Any) -> Page:
        """A page of 100 records; the cursor is the number of records before it."""
        start = int(cursor or 0)
        answer = await self._call("search", q=query(words), rows=ROWS, start=start)
        rows = self.entries(answer, "response.rows", "id", "content.descriptiveNonRepeating")
        found = [each for row in rows for each in read_row(row)]
        following = start + len(rows)
        more = rows and following < (number(self.part(answer, "response.rowCount", object)) or 0)
        return Page(found, following if more else None)

    async def recheck(self, found: Sighting) -> Sighting | None:
        """What the Smithsonian says of the picture today."""
        try:
            answer = await self._call(f"content/{found.source_id.partition('/')[0]}")
        except Gone:
            return None
        media = read_row(self.part(answer, "response", dict))
        return next((each for each in media if each.source_id == found.source_id), None)

    async def _call(self, path: str, **params: object) -> dict[str, Any]:
        return await self.api(f"/openaccess/api/v1.0/{path}", params, secret={"api_key": self.secrets()})


def query(words: str) -> str:
    """Words in the search language of the API: all of them, in records with pictures that are CC0."""
    wanted = [word if word.casefold() not in ("and", "or", "not") else f'"{word}"' for word in WORD.findall(words)]
    return " AND ".join([*wanted, 'online_media_type:"Images"', 'media_usage:"CC0"'])


def read_row(row: Mapping[str, Any]) -> list[Sighting]:
    """The pictures of a record, each with the conditions that it has itself."""
    content = row.get("content") or {}
    about, says = content.get("descriptiveNonRepeating") or {}, content.get("freetext") or {}
    indexed = content.get("indexedStructured") or {}
    record = text(row.get("url")) or f"edanmdm:{text(about.get('record_ID'))}"
    media = (about.get("online_media") or {}).get("media") or ()
    facts = stated(date=_date(says), kind=_kind(indexed), tags=_texts(indexed.get("topic")))
    found = []
    for place, medium in enumerate(each for each in media if each.get("type") == "Images"):
        found.append(
            Sighting(
                source=Smithsonian.name,
                source_id=f"{record}/{text(medium.get('idsId')) or place}",
                url=text(medium.get("content")),
                license=read_license(medium),
                page=text(about.get("record_link")) or text(about.get("guid")) or text(medium.get("guid")),
                title=text(row.get("title")) or text((about.get("title") or {}).get("content")),
                creator=_creator(says) or text(about.get("data_source")),
                facts=facts,
            )
        )
    return found


def read_license(medium: Mapping[str, Any]) -> License:
    """CC0 if the medium itself says so; that of its record does not count."""
    access = text((medium.get("usage") or {}).get("access"))
    said = f"online_media.media[].usage.access={access!r}"
    if access == "CC0":
        return licenses.from_code("cc0", evidence=said)
    return License("unknown" if access else "missing", evidence=said)


def _creator(says: Mapping[str, Any]) -> str:
    """Who made it, by the labels of the names; those of subjects, donors and collectors are no makers."""
    names = [
        text(name.get("content"))
        for name in says.get("name") or ()
        if any(maker in text(name.get("label")).casefold().split() for maker in MAKERS)
    ]
    return "; ".join(dict.fromkeys(filter(None, names)))


def _date(says: Mapping[str, Any]) -> str:
    """The first date that is nothing but a date: `1919`, not `ca. 1920-1924`."""
    dates = [text(each.get("content")) for each in says.get("date") or ()]
    return next((each for each in dates if each and date(each) == each), "")


def _kind(indexed: Mapping[str, Any]) -> str:
    types = " ".join(_texts(indexed.get("object_type"))).casefold()
    return next((kind for word, kind in KINDS if word in types), "")


def _texts(values: Any) -> list[str]:
    """The texts of a list whose entries may be objects with a `content`."""
    listed = values if isinstance(values, Sequence) and not isinstance(values, str) else ()
    return [text(each.get("content") if isinstance(each, Mapping) else each) for each in listed]
