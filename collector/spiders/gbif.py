"""GBIF: photographs of occurrences of species, from thousands of publishers.

API: https://techdocs.gbif.org/en/openapi/ ; the license of a record and that of its pictures differ, and only that of
each picture counts (https://techdocs.gbif.org/en/openapi/images). Files lie with their publishers; most of them are
those of iNaturalist, which the crawl notices by their bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from collector import licenses
from collector.records import License, Sighting
from collector.spiders.asking import Gone
from collector.spiders.base import ImageSpider, NothingToAsk, Page
from collector.spiders.facets import Facets
from collector.spiders.reading import date, number, objects, same_name, stated, text

LIMIT, LAST = 100, 100_000  # records in a page; the API refuses an offset + limit beyond
NAMES = 100  # taxa that are looked at for a common name
BACKBONE = "d7dddbf4-2cf0-4f39-9b2a-bb099caae36c"  # the data set of GBIF's own taxonomy
RECORDS = {"cc0": "CC0_1_0", "by": "CC_BY_4_0"}  # a record's license has no more codes than these and by-nc


class Gbif(ImageSpider):
    """Photographs of occurrence records of a taxon, or of records that mention the words where no taxon has them."""

    name = "gbif"
    gives = "photographs of living things and specimens from museums and observers, many of them iNaturalist's"
    terms = "each photograph its own license; name creator, rights holder and license"
    limits = "100,000 records for one search"

    async def page(self, words: str, cursor: Any) -> Page:
        """A page of 100 records; the cursor is {what is searched by, offset}.

        Raises:
            NothingToAsk: drawings are wanted.
        """
        facets = self.job.facets
        if facets.kind == "illustration":
            raise NothingToAsk("it has photographs only")
        asked = cursor or {**await self._taxon(words), "offset": 0}
        answer = await self.api(
            "/v1/occurrence/search",
            {
                **asked,
                "mediaType": "StillImage",
                "limit": LIMIT,
                **records_of(self.job.allowed),
                **asked_facets(facets),
            },
        )
        records = self.entries(answer, "results", "key", "media")
        media = [each for record in records for each in objects(record.get("media"))]
        self.entries({"media": media}, "media", "type", "identifier")
        found = [picture for record in records for picture in read_record(record)]
        offset = int(asked["offset"]) + max(1, len(records))
        more = records and not self.part(answer, "endOfRecords", bool) and offset + LIMIT <= LAST
        return Page(found, {**asked, "offset": offset} if more else None)

    async def recheck(self, found: Sighting) -> Sighting | None:
        """What GBIF says of the photograph today."""
        try:
            record = await self.api(f"/v1/occurrence/{found.source_id.partition('/')[0]}", {})
        except Gone:
            return None
        return next((each for each in read_record(record) if each.source_id == found.source_id), None)

    async def _taxon(self, words: str) -> dict[str, Any]:
        """What to search by: the taxon with this name if there is one, else the words themselves."""
        matched = await self._lookup("/v1/species/match", {"name": words})
        named: list[Mapping[str, Any]] = [matched] if is_taxon(words, matched) else []
        if not named:
            asked = {"q": words, "qField": "VERNACULAR", "datasetKey": BACKBONE, "limit": NAMES}
            named = taxa_named(words, objects((await self._lookup("/v1/species/search", asked)).get("results")))
        if not named:
            self.note(f"no taxon is called {words}: searched for in all fields of the records")
            return {"q": words}
        key = key_of(named[0])
        others = f"; called so as well: {', '.join(map(title_of, named[1:4]))}" if named[1:] else ""
        self.note(f"{words} is taxon {key} {title_of(named[0])}{others}")
        return {"taxonKey": key}

    async def _lookup(self, path: str, params: dict[str, object]) -> dict[str, Any]:
        try:
            return await self.api(path, params)
        except Gone:
            return {}


def is_taxon(words: str, match: Mapping[str, Any]) -> bool:
    """Whether GBIF's match of a scientific name is that very name; a DOUBTFUL one is often a homonym."""
    exact = match.get("matchType") == "EXACT" and match.get("status") != "DOUBTFUL"
    return exact and same_name(words, match.get("canonicalName")) and key_of(match) is not None


def key_of(taxon: Mapping[str, Any]) -> int | None:
    """The key of a taxon, or of the accepted one of which it is a synonym."""
    names = ("acceptedKey", "acceptedUsageKey", "key", "usageKey")
    return next((key for name in names if (key := number(taxon.get(name)))), None)


def title_of(taxon: Mapping[str, Any]) -> str:
    """A taxon for people: `Equus caballus (species)`."""
    return f"{text(taxon.get('canonicalName'))} ({text(taxon.get('rank')).lower()})"


def taxa_named(words: str, taxa: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The taxa with this common name, best first: in English, then in any language; synonyms come last.

    The order of the answer counts little: "polar bear" finds a sponge first.
    """

    def rank(taxon: Mapping[str, Any]) -> tuple[bool, bool] | None:
        names = objects(taxon.get("vernacularNames"))
        same = [name for name in names if same_name(words, name.get("vernacularName"))]
        if not same or key_of(taxon) is None:
            return None
        return all(name.get("language") != "eng" for name in same), taxon.get("taxonomicStatus") != "ACCEPTED"

    ranked = [(place, taxon) for taxon in taxa if (place := rank(taxon)) is not None]
    return [taxon for _, taxon in sorted(ranked, key=lambda each: each[0])]


def records_of(allowed: Sequence[str]) -> dict[str, list[str]]:
    """Which records to ask for: only where nc is refused, because a record is rarely stricter than its pictures."""
    if any("nc" in code for code in allowed):
        return {}
    return {"license": [RECORDS[code] for code in RECORDS if code in allowed]}


def asked_facets(facets: Facets) -> dict[str, str]:
    """Facets in the API's words."""
    asked = {"recordedBy": facets.creator} if facets.creator else {}
    if facets.since or facets.until:
        asked["eventDate"] = f"{facets.since or '*'},{facets.until or '*'}"
    return asked


def read_record(record: Mapping[str, Any]) -> list[Sighting]:
    """Every still image of an occurrence record, under its own license."""
    species, key = text(record.get("species") or record.get("scientificName")), text(record.get("key"))
    found = []
    for medium in objects(record.get("media")):
        url = text(medium.get("identifier"))
        if medium.get("type") != "StillImage" or not key or not url:
            continue
        found.append(
            Sighting(
                source=Gbif.name,
                source_id=f"{key}/{_medium(url)}",
                url=url,
                license=read_license(medium),
                page=text(medium.get("references")) or f"https://www.gbif.org/occurrence/{key}",
                title=text(medium.get("title")) or species,
                creator=text(medium.get("creator")) or text(medium.get("rightsHolder")),
                facts=stated(
                    date=date(medium.get("created")) or date(record.get("eventDate")),
                    kind="photograph",
                    tags=list(dict.fromkeys(filter(None, (species, text(record.get("vernacularName")))))),
                ),
            )
        )
    return found


def read_license(medium: Mapping[str, Any]) -> License:
    """The license of a picture, an address or a code; that of its record says nothing about it."""
    said = text(medium.get("license"))
    evidence = f"media[].license={medium.get('license')!r}"[:300]
    if said.startswith(("http://", "https://")):
        return licenses.from_code("", url=said, evidence=evidence)
    return licenses.from_code(said, evidence=evidence)


def _medium(url: str) -> str:
    """Media have no ids of their own, and may change places in a record: the address without https:// names one."""
    return hashlib.sha256(url.partition("://")[2].encode()).hexdigest()[:12]
