"""Google's Programmable Search: https://developers.google.com/custom-search/v1/reference/rest/v1/cse/list

Its facet `rights` is a hint and no evidence: what it finds is taken only if the page around the picture, or the
picture itself, states a license. 100 results for one search is all that Google gives.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urldefrag

from scrapy.http import TextResponse

from collector.records import License, Rejected, Sighting
from collector.spiders.base import Page, SourceDown
from collector.spiders.config import CrawlConfig, GoogleConfig
from collector.spiders.facets import Facets
from collector.spiders.middlewares import PAGE
from collector.spiders.page_license import candidates
from collector.spiders.reading import first_day, number, stated, text
from collector.spiders.reasons import of_status
from collector.spiders.refusals import reason_of
from collector.spiders.secrets import keep_secret
from collector.spiders.stated import FORBIDS, StatedByPage
from collector.spiders.webpage import parse

AT_ONCE, LAST_START = 10, 91
ENGINE = "COLLECT_GOOGLE_ENGINE"
RIGHTS = {  # what Google calls the license codes
    "cc_publicdomain": ("cc0", "pdm", "us-gov"), "cc_attribute": ("by",), "cc_sharealike": ("by-sa", "by-nc-sa"),
    "cc_noncommercial": ("by-nc", "by-nc-sa", "by-nc-nd"), "cc_nonderived": ("by-nd", "by-nc-nd"),
}  # fmt: skip
SIZES = ((2000, "huge"), (1000, "xxlarge"))
TYPES = {"photograph": "photo", "illustration": "clipart"}


class Google(StatedByPage):
    """Pictures of the whole web, or of the sites that a search engine of yours holds."""

    name = "google"
    gives = "pictures of any web site, at most 100 for one search"
    terms = "the license that each picture's own page states; pages without one are refused"
    limits = "100 searches of 10 results a day for free"
    key = "COLLECT_GOOGLE_KEY"
    config: GoogleConfig

    async def page(self, words: str, cursor: Any) -> Page:
        """A page of 10 results; the cursor is the number of its first result, from 1."""
        start = int(cursor or 1)
        answer = await self.api(
            "/customsearch/v1",
            {
                "q": words,
                "searchType": "image",
                "num": AT_ONCE,
                "start": start,
                "rights": rights(self.job.allowed),
                **asked_facets(self.job.facets, datetime.now(UTC).date()),
                **stated(siteSearch=self.config.site, fileType=self.config.file_type),
            },
            secret={"key": self.secrets(), "cx": _engine()},
        )
        items = self.entries(answer, "items", "link", "image.contextLink") if "items" in answer else []
        self.part(answer, "searchInformation" if not items else "queries", dict)
        found = [read_item(item) for item in items]
        if not self.job.dry_run:
            found = list(await asyncio.gather(*map(self._with_license, found)))
        following = start + AT_ONCE
        more = items and following <= LAST_START and (answer.get("queries") or {}).get("nextPage")
        return Page(found, following if more else None)

    async def recheck(self, found: Sighting) -> Sighting | None:
        """What the picture's page says today; None when the page is gone or shows the picture no more."""
        shown, why = await self._on_page(found)
        if why and why.reason != "dead-link":
            raise SourceDown(f"{found.page}: {why.detail}")
        return shown

    async def _with_license(self, found: Sighting) -> Sighting:
        shown, why = await self._on_page(found)
        if why:
            return replace(found, license=License("missing", evidence=f"its page cannot be read: {why.detail}"[:300]))
        return shown or found

    async def _on_page(self, found: Sighting) -> tuple[Sighting | None, Rejected | None]:
        """A result with what its page says of it, None if the page does not show it; or why the page is not read."""
        try:
            response = await self.get(found.page, headers={"Accept": "text/html"}, **{PAGE: True})
        except Exception as error:
            return None, reason_of(error)
        if why := of_status(response.status):
            return None, why
        html = response.text if isinstance(response, TextResponse) else ""
        opt_outs = self.job.ws.section(CrawlConfig).opt_outs
        return await asyncio.to_thread(read_shown, found, html, response.url, opt_outs), None


def _engine() -> str:
    value = os.environ.get(ENGINE, "")
    if not value:
        raise SourceDown(f"it needs the id of a search engine in the environment variable {ENGINE}")
    keep_secret(value)
    return value


def rights(allowed: Collection[str]) -> str:
    """The facet that hints at the wanted licenses."""
    return "|".join(name for name, codes in RIGHTS.items() if set(codes) & set(allowed))


def asked_facets(facets: Facets, today: date) -> dict[str, str]:
    """Facets in the API's words. A picture that was made since a day was found since that day, so that can be asked."""
    days = (today - date.fromisoformat(first_day(facets.since))).days if facets.since else 0
    asked = {
        "safe": "active" if facets.safe else "off",
        "imgSize": next((name for side, name in SIZES if facets.min_side >= side), ""),
        "imgType": TYPES.get(facets.kind, ""),
        "imgDominantColor": facets.color,
        "lr": f"lang_{facets.language[:2]}" if facets.language else "",
        "dateRestrict": f"d{days}" if days > 0 else "",
    }
    return {name: value for name, value in asked.items() if value}


def read_item(item: Mapping[str, Any]) -> Sighting:
    """A result as a sighting without license."""
    image, link = item.get("image") or {}, text(item.get("link"))
    return Sighting(
        source=Google.name,
        source_id=link,
        url=link,
        license=License("missing", evidence="image.contextLink states no license for the picture"),
        page=text(image.get("contextLink")),
        title=text(item.get("title")),
        facts=stated(width=number(image.get("width")), height=number(image.get("height"))),
    )


def read_shown(found: Sighting, html: str, url: str, opt_outs: Collection[str]) -> Sighting | None:
    """A result with what a page says of it; None if the page does not show the picture, in this size or another."""
    page = parse(html, url, opt_outs)
    wanted = urldefrag(found.url).url
    for each in candidates(page) if page else ():
        if wanted in (urldefrag(place).url for place in (each.url, *each.facts.get("fallbacks", ()))):
            return replace(
                found,
                license=each.license if each.license.code != "missing" else found.license,
                title=each.title or found.title,
                creator=each.creator,
                creator_url=each.creator_url,
                facts={**found.facts, **stated(**{FORBIDS: page.forbids if page else ""})},
            )
    return None
