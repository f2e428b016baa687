"""Reading what strangers wrote: text, numbers, dates, names and digests in the answers of all sources."""

from __future__ import annotations

import calendar
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

from collector.records import Rejected, Sighting

_DATE = re.compile(r"([0-9]{4})(?:[-:]([0-9]{2})(?:[-:]([0-9]{2}))?)?(?![0-9])")
_WORD = re.compile(r"[^\W_]+")


def stated(**facts: Any) -> dict[str, Any]:
    """The facts (`Sighting.facts`) that a source really states."""
    return {name: value for name, value in facts.items() if value not in (None, "", [], ())}


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; nothing where there is none."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def mapping(value: Any) -> dict[str, Any]:
    """An object; an empty one where there is none."""
    return value if isinstance(value, dict) else {}


def text(value: Any) -> str:
    """A text; of a list its parts, separated by semicolons; nothing for what is neither."""
    if isinstance(value, list):
        return "; ".join(filter(None, map(text, value)))
    return " ".join(str(value).split()) if isinstance(value, str | int) else ""


def number(value: Any) -> int | None:
    """A whole number above zero that may be written as text, else None."""
    digits = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return int(digits) or None if digits.isascii() and digits.isdigit() and len(digits) < 19 else None


def date(value: Any) -> str:
    """The date at the beginning of a text as far as it is exact (`2015`, `2015-02`, `2015-02-04`), else nothing."""
    found = _DATE.match(text(value))
    if found is None or found[1] == "0000":
        return ""
    year, month, day = int(found[1]), int(found[2] or 0), int(found[3] or 0)
    if not 1 <= month <= 12:
        return found[1]
    fits = 1 <= day <= calendar.monthrange(year, month)[1]
    return f"{found[1]}-{found[2]}-{found[3]}" if fits else f"{found[1]}-{found[2]}"


def first_day(when: str) -> str:
    """The first day of a year, a month or a day."""
    return f"{when}-01-01"[:10] if len(when) == 4 else f"{when}-01"[:10]


def last_day(when: str) -> str:
    """The last day of a year, a month or a day."""
    if len(when) == 4:
        return f"{when}-12-31"
    if len(when) == 7:
        return f"{when}-{calendar.monthrange(int(when[:4]), int(when[5:]))[1]}"
    return when


def plain(markup: str) -> tuple[str, str]:
    """(text without tags, address of the first link) of a piece of HTML."""
    reader = _Text()
    reader.feed(markup)
    reader.close()
    return " ".join("".join(reader.words).split()), reader.link


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.words: list[str] = []
        self.link = ""

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get("href") or ""
        address = f"https:{address}" if address.startswith("//") else address
        if tag == "a" and not self.link and address.startswith(("http://", "https://")):
            self.link = address


def same_name(one: Any, other: Any) -> bool:
    """Whether two names are equal but for case, hyphens and a simple English plural: `horses` is `Horse`."""
    return bool(_forms(_words(text(one))) & _forms(_words(text(other))))


def mentions(wanted: str, *texts: Any) -> bool:
    """Whether every word of `wanted`, or its simple plural or singular, is a whole word of the texts."""
    there = {form for each in texts for word in _words(text(each)).split() for form in _forms(word)}
    return all(_forms(word) & there for word in _words(wanted).split())


def _words(value: str) -> str:
    return " ".join(_WORD.findall(value.casefold()))


def _forms(name: str) -> set[str]:
    """A name and what it could be the plural of."""
    ends = (("s", ""), ("es", ""), ("ies", "y"))
    return {name, *(name.removesuffix(end) + rest for end, rest in ends if name.endswith(end))} - {""}


def wrong_digest(found: Sighting, data: bytes) -> Rejected | None:
    """`hash-mismatch` when the bytes have another sha1 or md5 than their source states."""
    for name in ("sha1", "md5"):
        promised = str(found.facts.get(name) or "").lower()
        actual = hashlib.new(name, data, usedforsecurity=False).hexdigest()
        if promised and promised != actual:
            return Rejected("hash-mismatch", f"{found.source} says {name} {promised}, the bytes have {actual}")
    return None
