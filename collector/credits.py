"""Credits: whom to name for a picture, what its license asks for, and the list as Markdown and CSV.

Titles and names are strangers' text: they stay text in Markdown, in a spreadsheet and on a terminal. What each version
of the licenses asks for is in the table of https://wiki.creativecommons.org/wiki/License_Versions.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from collector.catalog.sightings import Seen
from collector.licenses import OURS, title
from collector.records import License, Sighting

UNCHANGED = "none: original bytes"
COLUMNS = (
    "sha256",
    "title",
    "creator",
    "creator_url",
    "page",
    "source",
    "license",
    "license_code",
    "license_version",
    "license_url",
    "changes",
    "state",
    "lacks",
    "also_stated",
)
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+.!|~&:=$^-])")
_FORMULA = tuple("=+-@")
_TURNING = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)])  # embeddings, overrides and isolates


class Credit(NamedTuple):
    """What is owed for one image. `also` are other licenses that its other sightings state; `state` is the sighting's.

    `page` is where it was shown, or the file itself; addresses that lead to no web page are empty.
    """

    image: str
    title: str
    creator: str
    creator_url: str
    page: str
    source: str
    license: License
    state: str = "live"
    also: tuple[str, ...] = ()
    changes: str = UNCHANGED

    @property
    def license_title(self) -> str:
        """`CC BY-SA 3.0 Germany`."""
        return title(self.license)

    @property
    def lacks(self) -> tuple[str, ...]:
        """What the license asks for and the source did not say."""
        there = {"title": self.title, "creator": self.creator, "page": self.page, "license": self.license.url}
        return tuple(part for part in required(self.license) if not there.get(part, self.changes))


def required(license: License) -> tuple[str, ...]:
    """The parts that a license wants to see in a credit; nothing for the public domain, and for no license."""
    if not license.attribution_required:
        return ()
    if license.version == "1.0":
        return ("title", "creator", "license", "changes")
    if license.version == "4.0":
        return ("creator", "page", "license", "changes")
    return ("title", "creator", "page", "license", "changes")


def credit(image: str, found: Sighting, *, state: str = "live", also: Iterable[str] = ()) -> Credit:
    """The credit of an image, from the sighting that speaks for it."""
    return Credit(
        image=image,
        title=plain(found.title),
        creator=plain(found.creator),
        creator_url=web_link(found.creator_url),
        page=web_link(found.page) or web_link(found.url),
        source=plain(found.source),
        license=found.license,
        state=state,
        also=tuple(sorted(set(also) - {title(found.license)})),
    )


def of_sightings(origins: dict[str, Seen], every: Iterable[Seen]) -> list[Credit]:
    """The credits of images, each by its origin; licenses that other living sightings state are noted beside it."""
    stated: dict[str, set[str]] = {}
    for seen in every:
        if seen.state in ("live", "license-changed"):
            stated.setdefault(seen.image, set()).add(title(seen.found.license))
    return in_order(
        credit(image, seen.found, state=seen.state, also=stated.get(image, ())) for image, seen in origins.items()
    )


def in_order(credits: Iterable[Credit]) -> list[Credit]:
    """By license, then creator and title; what needs no name comes last."""
    return sorted(
        credits, key=lambda each: (_silent(each), each.license_title, each.creator, each.title, each.page, each.image)
    )


def lacking(credits: Iterable[Credit]) -> dict[str, int]:
    """Part -> credits whose license asks for it and whose source does not give it."""
    return dict(sorted(Counter(part for each in credits for part in each.lacks).items()))


def to_markdown(name: str, credits: Sequence[Credit]) -> bytes:
    """ATTRIBUTION.md: a heading for each license and a line for each image."""
    people = len({each.creator for each in credits if each.creator})
    lines = [
        f"# Credits: {_text(name)}",
        "",
        f"{len(credits)} pictures by {people} named creators. Changes made: {UNCHANGED}.",
    ]
    for license, group in groupby(credits, key=lambda each: each.license_title):
        some = list(group)
        link = web_link(some[0].license.url)
        lines += ["", f"## {_text(license)}", "", f"{len(some)} pictures. {_linked('The license', link)}".rstrip(), ""]
        if some[0].license.code == "unlicensed":
            lines += ["Nobody has licensed these pictures: never publish them.", ""]
        lines += [_line(each) for each in some]
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def to_csv(credits: Iterable[Credit]) -> bytes:
    """attribution.csv in UTF-8 with the mark that Excel wants; no cell can be taken for a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for each in credits:
        license = each.license
        row = (each.image, each.title, each.creator, each.creator_url, each.page, each.source, each.license_title,
               license.code, license.version, web_link(license.url), each.changes, each.state, " ".join(each.lacks),
               "; ".join(each.also))  # fmt: skip
        writer.writerow([no_formula(cell) for cell in row])
    return text.getvalue().encode("utf-8-sig", "replace")


def web_link(url: str) -> str:
    """`url` if it leads to a web page, else an empty string: `javascript:`, `data:` and `file:` never become links."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    whole = len(parts.netloc.split()) == 1
    return url if parts.scheme in ("http", "https") and parts.hostname and whole else ""


def plain(text: str) -> str:
    """A stranger's text on one line, without control characters and those that turn the direction of what follows."""
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    spaced = (" " if unicodedata.category(letter) in ("Cc", "Cs") else letter for letter in text.translate(_TURNING))
    return " ".join("".join(spaced).split())


def no_formula(cell: str) -> str:
    """Spreadsheets run cells that begin so (OWASP, "CSV Injection"); a leading quote makes them text."""
    start = unicodedata.normalize("NFKC", cell.lstrip())[:1]
    return f"'{cell}" if start in _FORMULA or cell[:1] in tuple("\t\r\n") else cell


def _silent(each: Credit) -> int:
    return OURS.index(each.license.code) + 1 if each.license.code in OURS else 0


def _line(each: Credit) -> str:
    named = f"“{_text(each.title)}”" if each.title else "untitled"
    parts = [_linked(named, each.page)]
    if each.creator:
        parts.append(f"by {_linked(_text(each.creator), each.creator_url)}")
    elif "creator" in each.lacks:
        parts.append("by a creator whom the source does not name")
    license = _linked(_text(each.license_title), web_link(each.license.url))
    said = [" ".join(parts), license, f"via {_text(each.source)}"]
    if each.state not in ("live", "license-changed"):
        said.append(f"since then {'withdrawn by its source' if each.state == 'withdrawn' else 'gone from its page'}")
    if each.also:
        said.append(f"elsewhere also {_text(' and '.join(each.also))}")
    return f"- {', '.join(said)}. Changes: {each.changes}. sha256 `{each.image}`"


def _text(text: str) -> str:
    """Text that Markdown and HTML take as it is written."""
    return _MARKDOWN.sub(r"\\\1", plain(text))


def _linked(text: str, url: str) -> str:
    return f"[{text}](<{quote(url, safe=_IN_LINKS)}>)" if url else text


_IN_LINKS = "/:?#@!$&'*+,;=%-._~"
