"""Facets: what a wanted picture must be like, judged from what the source says and again from the picture itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from collector.errors import UsageError
from collector.records import Rejected, Sighting
from collector.registry import did_you_mean

if TYPE_CHECKING:
    from collector.decoding import Decoded

ASPECTS = ("tall", "wide", "square")
KINDS = ("photograph", "illustration")
COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "white", "black", "gray")
DATE = re.compile(r"[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?")
SQUARE = 1.1  # sides of a square picture differ by less than this factor
FLAT = 0.5  # share of equal neighbors from which a picture is drawn rather than photographed


@dataclass(frozen=True, slots=True, kw_only=True)
class Facets:
    """Wishes for pictures; an empty field wishes nothing. Dates are ISO 8601 and may be only a year.

    `min_side` is the shorter side in pixels, `aspect` one of ASPECTS, `kind` one of KINDS, `color` one of COLORS;
    `safe` leaves out what the source calls mature; `creator` is compared without case.
    """

    min_side: int = 0
    aspect: str = ""
    kind: str = ""
    color: str = ""
    since: str = ""
    until: str = ""
    safe: bool = True
    language: str = ""
    creator: str = ""

    def of_answer(self, found: Sighting) -> Rejected | None:
        """Why a candidate is not wanted, from what its source states; None when nothing speaks against it."""
        facts = found.facts
        if self.safe and facts.get("mature") is True:
            return Rejected("facet-safe", "the source calls it mature")
        if self.kind and facts.get("kind") and facts["kind"] != self.kind:
            return Rejected("facet-kind", f"the source calls it {facts['kind']}, not {self.kind}")
        if self.language and facts.get("language") and str(facts["language"])[:2] != self.language[:2]:
            return Rejected("facet-language", f"its language is {facts['language']}")
        if self.creator and found.creator.casefold() != self.creator.casefold():
            return Rejected("facet-creator", f"it is by {found.creator or 'somebody who is not named'}"[:300])
        if facts.get("date") and (why := self._date(str(facts["date"]))):
            return why
        if facts.get("width") and facts.get("height"):
            return self._size(int(facts["width"]), int(facts["height"]))
        return None

    def of_picture(self, decoded: Decoded, facts: dict[str, Any]) -> Rejected | None:
        """Why a decoded picture is not wanted: what the source did not state is read from its pixels and its EXIF."""
        if why := self._size(decoded.width, decoded.height):
            return why
        if self.color and decoded.color != self.color:
            return Rejected("facet-color", f"it is mostly {decoded.color}")
        if self.kind and not facts.get("kind"):
            seems = "illustration" if decoded.flat >= FLAT else "photograph"
            if seems != self.kind:
                return Rejected("facet-kind", f"its pixels look like those of an {seems}".replace("an p", "a p"))
        if (self.since or self.until) and not facts.get("date"):
            if not decoded.taken:
                return Rejected("facet-date", "neither its source nor its EXIF says when it was made")
            return self._date(decoded.taken)
        return None

    @property
    def needs_picture(self) -> bool:
        """Whether `of_picture` can refuse anything."""
        return bool(self.min_side or self.aspect or self.color or self.kind or self.since or self.until)

    def _size(self, width: int, height: int) -> Rejected | None:
        if min(width, height) < self.min_side:
            return Rejected("facet-size", f"{width} x {height}, shorter side below {self.min_side} pixels")
        if self.aspect and (seems := aspect(width, height)) != self.aspect:
            return Rejected("facet-aspect", f"{width} x {height} is {seems}")
        return None

    def _date(self, date: str) -> Rejected | None:
        # ISO dates compare as text; a shorter one is compared as far as it goes, so 2020-05 is within "until 2020".
        if self.since and date[: len(self.since)] < self.since[: len(date)]:
            return Rejected("facet-date", f"made {date}, before {self.since}")
        if self.until and date[: len(self.until)] > self.until[: len(date)]:
            return Rejected("facet-date", f"made {date}, after {self.until}")
        return None


def facets_of(**wishes: Any) -> Facets:
    """Facets from what a person typed. Raises `UsageError` for a color, an aspect or a date that is none."""
    facets = Facets(**wishes)
    for name, known in (("color", COLORS), ("aspect", ASPECTS), ("kind", KINDS)):
        value = getattr(facets, name)
        if value and value not in known:
            raise UsageError(f"`{value}` is no {name}{did_you_mean(value, known)}", hint=f"one of {', '.join(known)}")
    for value in (facets.since, facets.until):
        if value and not DATE.fullmatch(value):
            raise UsageError(f"`{value}` is no date", hint="write a year, or a day as in 2019-05-30")
    return facets


def aspect(width: int, height: int) -> str:
    """`tall`, `wide` or `square`."""
    if width >= SQUARE * height:
        return "wide"
    return "tall" if height >= SQUARE * width else "square"
