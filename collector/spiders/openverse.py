"""Openverse: an index of openly licensed pictures of many sites.

API: https://api.openverse.org/v1/ ; at most 240 results for one search, 20 requests a minute and 200 a day without a
token. Its terms ask not to get around the limit by many narrower searches, so we do not.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

from collector import licenses
from collector.records import Sighting
from collector.spiders.base import ImageSpider

PAGE_SIZE, MAX_PAGES, MAX_QUERY = 20, 12, 200
LICENSES = {  # preset -> what the API is asked for; every answer is judged again by us
    "open": {"license_type": "commercial,modification"},
    "public-domain": {"license": "cc0,pdm"},
    "noncommercial": {"license_type": "modification"},
    "any-cc": {"license_type": "all"},
}


class Openverse(ImageSpider):
    """Pictures that Openverse found on Flickr, museums' sites and others, by its search API."""

    name = "openverse"
    gives = "photographs and art of many sites, at most 240 for one search"
    terms = "each picture its own Creative Commons license or public domain; name creator and license"

    async def search(self, words: str) -> AsyncIterator[Sighting]:
        """Up to 12 pages of 20 results."""
        for page in range(1, MAX_PAGES + 1):
            params = {
                "q": words[:MAX_QUERY],
                "page": page,
                "page_size": PAGE_SIZE,
                "filter_dead": "true",
                **LICENSES[self.job.preset],
            }
            answer = await self.api("/v1/images/", params, headers=_authorization())
            for result in answer.get("results") or ():
                if sighting := read_result(result):
                    yield sighting
            if self.job.dry_run or page >= int(answer.get("page_count") or 0):
                return


def read_result(result: dict[str, Any]) -> Sighting | None:
    """One result as a sighting; None for one without id."""
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
        title=str(result.get("title") or ""),
        creator=str(result.get("creator") or ""),
        creator_url=str(result.get("creator_url") or ""),
    )


def _authorization() -> dict[str, str]:
    token = os.environ.get("COLLECT_OPENVERSE_TOKEN", "")
    return {"Authorization": f"Bearer {token}"} if token else {}
