"""Flickr: photographs of many people, by its API https://www.flickr.com/services/api/flickr.photos.search.html

A search gives its first 4,000 photographs and repeats them beyond; so after those we ask again by dates of upload, and
halve what still holds more. Flickr says with HTTP 200 that it refuses. A key needs an account of the kind Pro.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from collector import licenses
from collector.records import License, Sighting
from collector.spiders.base import ImageSpider, NothingToAsk, Page, SourceDown
from collector.spiders.facets import Facets
from collector.spiders.reading import date, first_day, last_day, number, stated, text
from collector.spiders.secrets import masked

PER_PAGE, MOST = 500, 4000
BEGAN = 1072915200  # 2004-01-01; Flickr opened in February 2004
NOT_FOUND, NOT_ALLOWED = "1", "2"  # codes of flickr.photos.getInfo
RESERVED = "0"  # the license id of "All Rights Reserved", whose address is a page of help
SIZES = ("o", "6k", "5k", "4k", "3k", "k", "h", "l", "c", "z", "m")  # o: the original, m: 500 pixels
EXTRAS = ("license", "owner_name", "date_taken", "tags", "content_type", "media", *(f"url_{size}" for size in SIZES))
SIDES = ("width", "height")
KINDS = {"0": "photograph", "2": "illustration"}  # 1 are screenshots, 3 virtual photographs
EXACT = {"0": 10, "4": 7, "6": 4}  # granularity of a date -> its characters that are exact; 8 is "circa"
COLORS = {
    "red": "0", "brown": "1", "orange": "2", "yellow": "3,4", "green": "5,6", "blue": "8", "purple": "9",
    "pink": "a,b", "white": "c", "gray": "d", "black": "e",
}  # fmt: skip


class Refused(SourceDown):
    """Flickr answered `stat=fail`; `code` says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"it refuses: {masked(message)} (code {code})")
        self.code = code


class Flickr(ImageSpider):
    """Photographs by free search, the originals where their owners show them."""

    name = "flickr"
    gives = "photographs, the originals where their owners show them"
    terms = (
        "each photograph its own license; name its owner and link to its page; commercial use of the API by permission"
    )
    limits = "3,600 calls an hour; 4,000 results for one search, then by dates of upload"
    key = "COLLECT_FLICKR_KEY"
    _table: dict[str, License] | None = None
    _owner: str | None = None

    async def page(self, words: str, cursor: Any) -> Page:
        """A page of 500; the cursor is [page, windows of upload dates still to ask for], first without windows.

        Raises:
            NothingToAsk: no license that is wanted exists there, or nobody has the wanted name.
        """
        page, windows = cursor or (1, [])
        table = await self._licenses()
        wanted = [name for name, license in table.items() if not licenses.judge(license, self.job.allowed)]
        if not wanted:
            raise NothingToAsk("none of its licenses is wanted")
        answer = await self._call(
            "flickr.photos.search",
            text=words,
            license=",".join(wanted),
            media="photos",
            sort="relevance",
            per_page=PER_PAGE,
            page=page,
            extras=",".join(EXTRAS),
            **asked_facets(self.job.facets),
            **({"user_id": await self._user()} if self.job.facets.creator else {}),
            **({"min_upload_date": windows[-1][0], "max_upload_date": windows[-1][1]} if windows else {}),
        )
        photos = self.entries(answer, "photos.photo", "id", "owner", "license")
        total, per_page = (number(answer["photos"].get(name)) or 0 for name in ("total", "perpage"))
        if windows and total > MOST and page == 1 and windows[-1][0] < windows[-1][1]:
            return Page((), [1, [*windows[:-1], *halves(*windows[-1])]])
        found = [each for photo in photos if (each := read_photo(photo, table))]
        if windows:  # most were in the first 4,000; a page of those is no sign that the search repeats itself
            found = [each for each in found if hash(each.source_id) not in self.handled]
        if page * (per_page or PER_PAGE) < min(total, MOST) and photos:
            return Page(found, [page + 1, windows])
        rest = windows[:-1] if windows else [[BEGAN, int(time.time())]] if total > MOST else []
        return Page(found, [1, rest] if rest else None)

    async def recheck(self, found: Sighting) -> Sighting | None:
        """What Flickr says of the photograph today; None when it is gone or private."""
        try:
            answer = await self._call("flickr.photos.getInfo", photo_id=found.source_id)
        except Refused as error:
            if error.code in (NOT_FOUND, NOT_ALLOWED):
                return None
            raise
        return read_info(self.part(answer, "photo", dict), await self._licenses(), found)

    async def _licenses(self) -> dict[str, License]:
        if self._table is None:
            answer = await self._call("flickr.photos.licenses.getInfo")
            self._table = read_licenses(self.entries(answer, "licenses.license", "id", "name", "url"))
        return self._table

    async def _user(self) -> str:
        """The id of the user who is called as the wanted creator."""
        if self._owner is None:
            wanted = self.job.facets.creator
            try:
                answer = await self._call("flickr.people.findByUsername", username=wanted)
            except Refused as error:
                if error.code == NOT_FOUND:
                    raise NothingToAsk(f"nobody there is called {wanted}") from None
                raise
            self._owner = self.part(answer, "user.nsid", str)
        return self._owner

    async def _call(self, method: str, **params: object) -> dict[str, Any]:
        answer = await self.api(
            "/services/rest/",
            {"method": method, "format": "json", "nojsoncallback": 1, **params},
            secret={"api_key": self.secrets()},
        )
        if answer.get("stat") != "ok":
            raise Refused(text(answer.get("code")), text(answer.get("message")) or "it gives no reason")
        return answer


def halves(first: int, last: int) -> list[list[int]]:
    """A window of seconds, both ends included, as two; the later one is last, and asked for first."""
    middle = (first + last) // 2
    return [[first, middle], [middle + 1, last]]


def asked_facets(facets: Facets) -> dict[str, object]:
    """Facets in the API's words."""
    asked = {
        "content_types": "2" if facets.kind == "illustration" else "0",
        "safe_search": 1 if facets.safe else 3,
        "color_codes": COLORS.get(facets.color),
        "min_taken_date": f"{first_day(facets.since)} 00:00:00" if facets.since else None,
        "max_taken_date": f"{last_day(facets.until)} 23:59:59" if facets.until else None,
    }
    return {name: value for name, value in asked.items() if value is not None}


def read_licenses(table: list[dict[str, Any]]) -> dict[str, License]:
    """License id -> license, from flickr.photos.licenses.getInfo."""
    found = {}
    for row in table:
        code, name, url = text(row.get("id")), text(row.get("name")), text(row.get("url"))
        said = f"license={code!r}, which flickr.photos.licenses.getInfo calls {name!r} {url!r}"
        found[code] = licenses.from_code("", url="" if code == RESERVED else url, evidence=said)
    return found


def read_license(code: str, table: Mapping[str, License]) -> License:
    """The license of an id; ids that the table lacks are unknown."""
    return table.get(code) or License("unknown" if code else "missing", evidence=f"license={code!r}")


def read_photo(photo: Mapping[str, Any], table: Mapping[str, License]) -> Sighting | None:
    """A photograph as a sighting, the largest size first; None for one without id."""
    name, owner = text(photo.get("id")), text(photo.get("owner"))
    if not name:
        return None
    sizes = [size for size in SIZES if photo.get(f"url_{size}")]
    best = sizes[0] if sizes else ""
    known = text(photo.get("datetakenunknown")) != "1"
    width, height = ((photo.get(f"{side}_{best}") or (best == "o" and photo.get(f"o_{side}"))) for side in SIDES)
    return Sighting(
        source=Flickr.name,
        source_id=name,
        url=text(photo.get(f"url_{best}")),
        license=read_license(text(photo.get("license")), table),
        page=f"https://www.flickr.com/photos/{owner}/{name}",
        title=text(photo.get("title")),
        creator=text(photo.get("ownername")),
        creator_url=f"https://www.flickr.com/people/{owner}/",
        facts=stated(
            width=number(width),
            height=number(height),
            date=taken(photo.get("datetaken"), photo.get("datetakengranularity")) if known else "",
            kind=KINDS.get(text(photo.get("content_type"))),
            tags=text(photo.get("tags")).split(),
            fallbacks=[text(photo[f"url_{size}"]) for size in sizes[1:]],
        ),
    )


def taken(when: Any, granularity: Any) -> str:
    """A date taken, as far as it is exact."""
    return date(text(when)[: EXACT.get(text(granularity), 0)])


def read_info(photo: Mapping[str, Any], table: Mapping[str, License], before: Sighting) -> Sighting:
    """What flickr.photos.getInfo says, as a sighting at the address that it had before."""
    owner, title = photo.get("owner") or {}, photo.get("title") or {}
    level = number(photo.get("safety_level"))
    return replace(
        before,
        license=read_license(text(photo.get("license")), table),
        title=text(title.get("_content")) or before.title,
        creator=text(owner.get("username")) or before.creator,
        facts={**before.facts, **({"mature": True} if level else {})},
    )
