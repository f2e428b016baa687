"""Europeana: pictures of Europe's museums, archives and libraries, https://europeana.atlassian.net/wiki/spaces/EF

The files lie on the hosts of the institutions. The rights of an item are an address, of Creative Commons or of
rightsstatements.org; the latter are statements, and no licenses. Answers repeat the key in several of their addresses.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from collector import licenses
from collector.records import License, Sighting
from collector.spiders.asking import Gone
from collector.spiders.base import ImageSpider, Page
from collector.spiders.facets import Facets
from collector.spiders.reading import date, stated, text

ROWS = 100
ASPECTS = {"tall": "portrait", "wide": "landscape"}


class Europeana(ImageSpider):
    """Pictures of Europe's cultural heritage, as its institutions show them."""

    name = "europeana"
    gives = "art, photographs and prints of Europe's museums, archives and libraries"
    terms = "each picture its own rights statement; name creator and institution, link to its page"
    limits = "none that is published"
    key = "COLLECT_EUROPEANA_KEY"

    async def page(self, words: str, cursor: Any) -> Page:
        """A page of 100 items; the cursor is the API's."""
        answer = await self._call(
            "search.json",
            {
                "query": words,
                "reusability": reusability(self.job.allowed),
                "media": "true",
                "qf": ["TYPE:IMAGE", *asked_facets(self.job.facets)],
                "profile": "rich",
                "rows": ROWS,
                "cursor": str(cursor or "*"),
            },
        )
        items = self.entries(answer, "items", "id", "rights", "edmIsShownBy")
        found = [each for item in items if (each := read_item(item))]
        return Page(found, text(answer.get("nextCursor")) or None)

    async def recheck(self, found: Sighting) -> Sighting | None:
        """What Europeana says of the item today."""
        try:
            answer = await self._call(f"{found.source_id.lstrip('/')}.json", {})
        except Gone:
            return None
        return read_record(self.part(answer, "object", dict), found)

    async def _call(self, path: str, params: Mapping[str, object]) -> dict[str, Any]:
        return await self.api(f"/record/v2/{path}", params, secret={"wskey": self.secrets()})


def reusability(allowed: Collection[str]) -> list[str]:
    """The groups of rights to ask for; the restricted ones are licenses with nc or nd, and statements."""
    return sorted({"restricted" if License(code).nc or License(code).nd else "open" for code in allowed})


def asked_facets(facets: Facets) -> list[str]:
    """Facets in the API's words: filters that all hold."""
    asked = []
    if facets.aspect in ASPECTS:
        asked.append(f"IMAGE_ASPECTRATIO:{ASPECTS[facets.aspect]}")
    if facets.language:
        asked.append(f"LANGUAGE:{facets.language[:2]}")
    if facets.since or facets.until:
        asked.append(f"YEAR:[{facets.since[:4] or '*'} TO {facets.until[:4] or '*'}]")
    return asked


def read_item(item: Mapping[str, Any]) -> Sighting | None:
    """An item as a sighting; None for one without id."""
    name = text(item.get("id"))
    if not name:
        return None
    return Sighting(
        source=Europeana.name,
        source_id=name,
        url=_first(item.get("edmIsShownBy")),
        license=read_license(item.get("rights")),
        page=_first(item.get("edmIsShownAt")) or f"https://www.europeana.eu/item{name}",
        title=_first(item.get("title")),
        creator=_creators(item) or _first(item.get("dataProvider")),
        facts=stated(
            date=date(_first(item.get("year"))),
            language=_first(item.get("language")) if len(item.get("language") or ()) == 1 else "",
            tags=_tags(item),
        ),
    )


def read_license(rights: Any) -> License:
    """The license of an item; several that differ contradict each other."""
    urls = list(dict.fromkeys(map(text, rights if isinstance(rights, list) else filter(None, [rights]))))
    said = f"rights={urls!r}"
    if len(urls) > 1:
        return License("contradictory", evidence=said[:300])
    return licenses.from_code("", url=urls[0] if urls else "", evidence=said)


def read_record(record: Mapping[str, Any], before: Sighting) -> Sighting | None:
    """A record of the Record API as a sighting at the address that it had before; None when it lost its picture."""
    shown = [each for each in record.get("aggregations") or () if text(each.get("edmIsShownBy")) == before.url]
    if not shown:
        return None
    rights = [url for each in shown for url in (each.get("edmRights") or {}).get("def") or ()]
    return Sighting(
        before.source,
        before.source_id,
        before.url,
        read_license(rights),
        page=text(shown[0].get("edmIsShownAt")) or before.page,
        title=before.title,
        creator=before.creator,
        facts=before.facts,
    )


def _creators(item: Mapping[str, Any]) -> str:
    """Who made it; creators may be addresses, whose names stand in the same place of another list."""
    agents, labels = item.get("edmAgent") or [], item.get("edmAgentLabel") or []
    named = {}
    if len(agents) == len(labels):
        named = {agent: text(label.get("def")) for agent, label in zip(agents, labels, strict=True)}
    names = [named.get(each, "" if "://" in text(each) else text(each)) for each in item.get("dcCreator") or ()]
    return "; ".join(dict.fromkeys(filter(None, names)))


def _tags(item: Mapping[str, Any]) -> list[str]:
    labels: dict[str, list[str]] = item.get("edmConceptPrefLabelLangAware") or {}
    spoken = labels.get("en") or labels.get("def") or next(iter(labels.values()), [])
    return [text(each) for each in spoken]


def _first(values: Any) -> str:
    return text(values[0]) if isinstance(values, list) and values else text(values) if isinstance(values, str) else ""
