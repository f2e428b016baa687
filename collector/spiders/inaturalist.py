"""iNaturalist: photographs of living things, found by taxon.

API: https://api.inaturalist.org/v1/docs/ ; 60 requests a minute and 10,000 a day are asked for
(https://www.inaturalist.org/pages/api+recommended+practices). A word is looked up as the name of a taxon, because its
free search of "horse" finds horse flies and horsetails. Observations are not licensed as a whole: each photograph is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from collector import licenses
from collector.records import License, Sighting
from collector.spiders.asking import Gone
from collector.spiders.base import ImageSpider, NothingToAsk, Page
from collector.spiders.config import INaturalistConfig
from collector.spiders.facets import Facets
from collector.spiders.reading import date, first_day, last_day, mapping, number, objects, same_name, stated, text

PER_PAGE = 100
LICENSES = ("cc0", "by", "by-sa", "by-nc", "by-nc-sa", "by-nd", "by-nc-nd")
VERSION = "4.0"  # of all Creative Commons licenses there (https://www.inaturalist.org/pages/help#license)
LOGIN = re.compile(r"[A-Za-z0-9_-]+")
OWNER = re.compile(r"(?:\(c\)|©)?\s*(.+?), (?:[^,]*\(CC[^)]*\)|all rights)")  # (c) Ana, some rights reserved (CC BY)


class INaturalist(ImageSpider):
    """Photographs of observations of one taxon, wild and captive."""

    name = "inaturalist"
    gives = "photographs of animals, plants and fungi, at most 2,048 pixels wide or high"
    terms = "each photograph its own Creative Commons license; name photographer and license"
    limits = "60 requests a minute; only words that are a taxon's name, or are in sources.inaturalist.taxa"
    config: INaturalistConfig

    async def page(self, words: str, cursor: Any) -> Page:
        """A page of 100 observations, oldest first; the cursor is [taxon, id of the last observation].

        Raises:
            NothingToAsk: no taxon has this name, or drawings are wanted.
        """
        if self.job.facets.kind == "illustration":
            raise NothingToAsk("it has photographs only")
        taxon, above = cursor or (await self._taxon(words), 0)
        answer = await self.api(
            "/v1/observations",
            {
                "taxon_id": taxon,
                "photos": "true",
                "photo_license": ",".join(_code(code) for code in LICENSES if code in self.job.allowed),
                "quality_grade": "research,casual",  # animals that are kept by people are never of research grade
                "order_by": "id",
                "order": "asc",
                "id_above": above,  # pages by number end at 10,000 observations
                "per_page": PER_PAGE,
                **asked_facets(self.job.facets),
            },
        )
        observations = self.entries(answer, "results", "id", "photos")
        photos = [photo for each in observations for photo in objects(each.get("photos"))]
        self.entries({"photos": photos}, "photos", "id", "url", "license_code")
        found = [photo for each in observations for photo in read_observation(each)]
        full = len(observations) >= min(PER_PAGE, self.part(answer, "per_page", int))
        return Page(found, [taxon, observations[-1]["id"]] if full else None)

    async def recheck(self, found: Sighting) -> Sighting | None:
        """What iNaturalist says of the photograph today."""
        try:
            answer = await self.api(f"/v1/observations/{found.source_id.partition('/')[0]}", {})
        except Gone:
            return None
        photos = [photo for each in self.entries(answer, "results") for photo in read_observation(each)]
        return next((photo for photo in photos if photo.source_id == found.source_id), None)

    async def _taxon(self, words: str) -> int:
        for word, taxon in self.config.taxa.items():
            if same_name(word, words):
                self.note(f"{words} is taxon {taxon}, by sources.inaturalist.taxa")
                return taxon
        answer = await self.api("/v1/taxa/autocomplete", {"q": words})
        taxa = self.entries(answer, "results", "id", "name")
        named = taxa_named(words, taxa)
        choose = f"another one can be chosen by sources.inaturalist.taxa, as in {words.replace(' ', '-')} = ID"
        if not named:
            near = f"; it knows {titles(taxa)}" if taxa else ""
            raise NothingToAsk(f"no taxon is called {words}{near}; {choose.removeprefix('another ')}")
        others = [taxon for taxon in taxa if taxon is not named[0]]
        self.note(f"{words} is taxon {titles(named[:1])}" + (f", not {titles(others)}; {choose}" if others else ""))
        return int(named[0]["id"])


def taxa_named(words: str, taxa: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The taxa that are called so, best first: by scientific or preferred name, then by any other common name."""
    active = [taxon for taxon in taxa if taxon.get("is_active") is not False]
    known = ("name", "preferred_common_name", "english_common_name")
    chosen = [taxon for taxon in active if any(same_name(words, taxon.get(name)) for name in known)]
    return chosen + [taxon for taxon in active if taxon not in chosen and same_name(words, taxon.get("matched_term"))]


def titles(taxa: Sequence[Mapping[str, Any]]) -> str:
    """The first three taxa for people: `43327 Equus (genus, Horses)`."""
    told = []
    for taxon in taxa[:3]:
        about = ", ".join(filter(None, (text(taxon.get("rank")), text(taxon.get("preferred_common_name")))))
        told.append(f"{taxon.get('id')} {text(taxon.get('name'))} ({about})")
    return ", ".join(told)


def asked_facets(facets: Facets) -> dict[str, str]:
    """Facets in the API's words; a photographer can be asked for by login only."""
    asked = {
        "d1": first_day(facets.since) if facets.since else "",
        "d2": last_day(facets.until) if facets.until else "",
        "user_login": facets.creator if LOGIN.fullmatch(facets.creator) else "",
    }
    return {name: value for name, value in asked.items() if value}


def read_observation(observation: Mapping[str, Any]) -> list[Sighting]:
    """Every photograph of an observation, in its original size and under its own license."""
    taxon = mapping(observation.get("taxon"))
    names = [text(taxon.get(name)) for name in ("preferred_common_name", "name")]
    user = mapping(observation.get("user"))
    found = []
    for photo in objects(observation.get("photos")):
        if not photo.get("id"):
            continue
        size = mapping(photo.get("original_dimensions"))
        creator, login = owner(photo, user), text(user.get("login"))
        observer = creator.casefold() in (text(user.get("name")).casefold(), login.casefold())
        found.append(
            Sighting(
                source=INaturalist.name,
                source_id=f"{observation.get('id')}/{photo['id']}",
                url=text(photo.get("url")).replace("/square.", "/original."),
                license=read_license(photo),
                page=f"https://www.inaturalist.org/observations/{observation.get('id')}",
                title=names[0] or names[1] or text(observation.get("species_guess")),
                creator=creator,
                creator_url=f"https://www.inaturalist.org/people/{login}" if observer and login else "",
                facts=stated(
                    width=number(size.get("width")),
                    height=number(size.get("height")),
                    date=date(observation.get("observed_on")),
                    kind="photograph",
                    tags=[*filter(None, names), *(["captive"] if observation.get("captive") else [])],
                ),
            )
        )
    return found


def read_license(photo: Mapping[str, Any]) -> License:
    """The license of a photograph; null is all rights reserved, and a photograph that was flagged is in dispute."""
    code = text(photo.get("license_code"))
    evidence = f"photos[].license_code={photo.get('license_code')!r}"
    open_flags = [flag for flag in objects(photo.get("flags")) if not flag.get("resolved")]
    if open_flags:
        return License("contradictory", evidence=f"{evidence} photos[].flags={open_flags!r}"[:300])
    if code not in map(_code, LICENSES):
        return License("unknown" if code else "missing", evidence=evidence)
    return licenses.from_code(code, "" if code == "cc0" else VERSION, evidence=evidence)


def owner(photo: Mapping[str, Any], user: Mapping[str, Any]) -> str:
    """Who owns a photograph: named by its attribution, else the observer."""
    found = OWNER.match(text(photo.get("attribution")))
    return found[1] if found else text(user.get("name")) or text(user.get("login"))


def _code(code: str) -> str:
    return code if code == "cc0" else f"cc-{code}"
