"""Openverse: an index of openly licensed pictures of many sites.

API: https://api.openverse.org/v1/ ; at most 240 results for one search, 20 requests a minute and 200 a day without a
token. Its terms ask not to get around the limit by many narrower searches, so we do not.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from collector import licenses
from collector.records import Sighting
from collector.spiders.asking import Gone
from collector.spiders.base import ImageSpider, Page
from collector.spiders.facets import Facets
from collector.spiders.reading import number, objects, stated, text
from collector.spiders.secrets import keep_secret

PAGE_SIZE, MAX_PAGES, MAX_QUERY = 20, 12, 200
LICENSES = ("by", "by-sa", "by-nd", "by-nc", "by-nc-sa", "by-nc-nd", "cc0", "pdm")  # codes that the API knows
KINDS = {"photograph": "photograph", "illustration": "illustration", "digitized_artwork": "artwork"}
SMALL, MEDIUM = 640 * 480, 1600 * 1200  # pixels up to which the API calls a picture small, medium


class Openverse(ImageSpider):
    """Pictures that Openverse found on Flickr, museums' sites and others, by its search API."""

    name = "openverse"
    gives = "photographs and art of many sites, at most 240 for one search"
    terms = "each picture its own Creative Commons license or public domain; name creator and license"
    limits = "20 requests a minute, 200 a day; more with a token in COLLECT_OPENVERSE_TOKEN"

    async def page(self, words: str, cursor: Any) -> Page:
        """One of up to 12 pages of 20 results; the cursor is the page's number."""
        number_of_page = int(cursor or 1)
        params = {
            "q": words[:MAX_QUERY],
            "page": number_of_page,
            "page_size": PAGE_SIZE,
            "filter_dead": "true",
            "license": ",".join(code for code in LICENSES if code in self.job.allowed),
            **asked_facets(self.job.facets),
        }
        answer = await self.api("/v1/images/", params, headers=_authorization())
        results = self.entries(answer, "results", "id", "url", "license")
        last = min(self.part(answer, "page_count", int), MAX_PAGES)
        following = number_of_page + 1 if number_of_page < last else None
        return Page([found for result in results if (found := read_result(result))], following)

    async def recheck(self, found: Sighting) -> Sighting | None:
        """What Openverse says of the picture today."""
        try:
            answer = await self.api(f"/v1/images/{found.source_id}/", {}, headers=_authorization())
        except Gone:
            return None
        return read_result(answer)


def asked_facets(facets: Facets) -> dict[str, str]:
    """Facets in the API's words. Its sizes are those of areas, so only a size that cannot fit is left out."""
    area = facets.min_side**2
    asked = {
        "mature": "" if facets.safe else "true",
        "aspect_ratio": facets.aspect,
        "category": facets.kind,
        "size": "large" if area >= MEDIUM else "medium,large" if area >= SMALL else "",
    }
    return {name: value for name, value in asked.items() if value}


def read_result(result: Mapping[str, Any]) -> Sighting | None:
    """One result as a sighting; None for one without id. Any other field may be null, or missing in old answers."""
    code, version = str(result.get("license") or ""), str(result.get("license_version") or "")
    link = str(result.get("license_url") or "")
    if not result.get("id"):
        return None
    return Sighting(
        source=Openverse.name,
        source_id=str(result["id"]),
        url=str(result.get("url") or ""),
        license=licenses.from_code(
            code, version, link, f"license={code!r} license_version={version!r} license_url={link!r}"
        ),
        page=str(result.get("foreign_landing_url") or ""),
        title=text(result.get("title")),
        creator=text(result.get("creator")),
        creator_url=str(result.get("creator_url") or ""),
        facts=stated(
            width=number(result.get("width")),
            height=number(result.get("height")),
            kind=KINDS.get(str(result.get("category"))),
            mature=True if result.get("unstable__sensitivity") else result.get("mature"),
            tags=list(filter(None, (text(tag.get("name")) for tag in objects(result.get("tags"))))),
        ),
    )


def _authorization() -> dict[str, str]:
    token = os.environ.get("COLLECT_OPENVERSE_TOKEN", "")
    keep_secret(token)
    return {"Authorization": f"Bearer {token}"} if token else {}
