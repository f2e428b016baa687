"""What the demo's site knows: pictures with licenses, and among them everything that goes wrong on the real web.

Half of the trouble is in the answers (licenses that must be refused, facts that contradict each other), half in the
files (dead links, reposts, near-copies, HTML named .jpg, ...). All of it is planted by position, never at random.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image

COPY_QUALITY = 72


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that the site shows: a name for log and truth, the title and tags that a search finds, the bytes."""

    name: str
    title: str
    data: bytes
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Terms:
    """What a source says of a license. `code` is in that source's own spelling; empty where it says none."""

    code: str
    version: str = ""
    url: str = ""
    short: str = ""


@dataclass(frozen=True, slots=True)
class File:
    """What the site sends for a path; `busy_once` answers the first request with 429 and `Retry-After: 1`."""

    body: bytes
    status: int = 200
    mime: str = "image/jpeg"
    headers: tuple[tuple[str, str], ...] = ()
    busy_once: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One search result of one source. `stated` are the bytes that its size and hash speak of, whatever `file` sends.

    `described` is false for a page that has lost its file (Commons).
    """

    number: int
    picture: Picture
    path: str
    terms: Terms
    stated: bytes
    file: File
    width: int
    height: int
    described: bool = True

    @property
    def creator(self) -> str:
        """An invented name that cannot be taken for a person's."""
        return f"Demo creator {self.number % 17 + 1}"


@dataclass(frozen=True, slots=True)
class Listing:
    """All entries of the two sources, in the order of relevance, and the files behind their paths."""

    openverse: list[Entry] = field(default_factory=list)
    commons: list[Entry] = field(default_factory=list)

    def files(self) -> dict[str, File]:
        """Every path that the site serves."""
        return {entry.path: entry.file for entry in (*self.openverse, *self.commons)}

    def shown(self) -> dict[str, str]:
        """sha256 of every whole picture that is served, near-copies too, to the name of the picture that it shows."""
        return {
            hashlib.sha256(entry.stated).hexdigest(): entry.picture.name for entry in (*self.openverse, *self.commons)
        }


def _cc(code: str, version: str) -> Terms:
    return Terms(code, version, f"https://creativecommons.org/licenses/{code}/{version}/")


OPEN = (
    _cc("by", "2.0"), _cc("by-sa", "2.0"), _cc("by", "4.0"), _cc("by-sa", "4.0"),
    Terms("cc0", "1.0", "https://creativecommons.org/publicdomain/zero/1.0/"),
    Terms("pdm", "1.0", "https://creativecommons.org/publicdomain/mark/1.0/"),
)  # fmt: skip
# By-nd-nc is a path that never existed, seen in production (WordPress/openverse PR #3440): once beside its own code,
# once beside a code that it contradicts.
NOT_OPEN = (
    _cc("by-nc", "2.0"), _cc("by-nc-sa", "2.0"), _cc("by-nd", "2.0"),
    Terms("by-nc-nd", "2.0", "https://creativecommons.org/licenses/by-nd-nc/2.0/jp/"),
    Terms("by", "2.0", "https://creativecommons.org/licenses/by-nd-nc/2.0/jp/"),
    Terms("sampling+", "1.0", "https://creativecommons.org/licenses/sampling+/1.0/"),
)  # fmt: skip
COMMONS_OPEN = (
    Terms("cc-by-sa-4.0", "", "https://creativecommons.org/licenses/by-sa/4.0", "CC BY-SA 4.0"),
    Terms("cc-by-4.0", "", "https://creativecommons.org/licenses/by/4.0", "CC BY 4.0"),
    Terms("pd", "", "", "Public domain"),
    Terms("cc0", "", "http://creativecommons.org/publicdomain/zero/1.0/deed.en", "CC0"),
    Terms("cc-by-sa-3.0-de", "", "https://creativecommons.org/licenses/by-sa/3.0/de/deed.en", "CC BY-SA 3.0 de"),
    Terms("cc-by-2.0", "", "http://creativecommons.org/licenses/by/2.0", "CC BY 2.0"),
)
COMMONS_NOT_OPEN = (
    Terms("", "", "https://www.flickr.com/commons/usage/", "No restrictions"),
    Terms("cc-by-nc-sa-4.0", "", "https://creativecommons.org/licenses/by-nc-sa/4.0", "CC BY-NC-SA 4.0"),
    Terms("", "", "", "All rights reserved"),
    Terms("", "", "https://www.flickr.com/commons/usage/", "No restrictions"),
)
HTML = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Sign in to see this picture</body></html>"

# What is wrong with the files, in the order in which each source lists it.
OPENVERSE_TROUBLE = (
    "html", "dead", "copy", "truncated", "busy", "repost", "noai", "empty", "gone", "repost", "copy", "dead",
)  # fmt: skip
COMMONS_TROUBLE = ("repost", "copy", "repost", "dead", "undescribed", "repost", "copy", "repost", "copy")


def listing(pictures: Sequence[Picture]) -> Listing:
    """Spread the pictures over the two sources, five to Openverse for four to Commons, with the trouble among them."""
    found = Listing()
    first = [picture for i, picture in enumerate(pictures) if i % 9 < 5]
    second = [picture for i, picture in enumerate(pictures) if i % 9 >= 5]
    makers = (
        (found.openverse, first, first, "photo", OPEN, NOT_OPEN, OPENVERSE_TROUBLE),
        (found.commons, second, first, "commons", COMMONS_OPEN, COMMONS_NOT_OPEN, COMMONS_TROUBLE),
    )
    for entries, own, seen, folder, good, bad, trouble in makers:
        oddities = [("license", terms) for terms in bad]
        oddities = _riffle([(name, good[i % len(good)]) for i, name in enumerate(trouble)], oddities)
        regular = [("", good[i % len(good)]) for i in range(len(own))]
        fresh = iter(own)
        for number, (what, terms) in enumerate(_riffle(regular, oddities)):
            picture = seen[number // 2 % len(seen)] if what in ("repost", "copy", "license") else next(fresh, None)
            if picture is not None:
                path = f"/files/{folder}/{number:04d}-{picture.name}.jpg"
                entries.append(_entry(number, picture, path, terms, what))
    return found


def _riffle(many: list[tuple[str, Terms]], few: list[tuple[str, Terms]]) -> list[tuple[str, Terms]]:
    """Deal `few` among the first four fifths of `many`, evenly."""
    step = max(1, len(many) * 4 // 5 // max(1, len(few)))
    mixed = []
    rest = iter(few)
    for i, item in enumerate(many):
        mixed.append(item)
        if i % step == step - 1:
            mixed += [odd for odd in (next(rest, None),) if odd is not None]
    return [*mixed, *rest]


def _entry(number: int, picture: Picture, path: str, terms: Terms, what: str) -> Entry:
    body = picture.data
    if what in ("copy", "license"):
        # a license entry shows a re-encoded copy: should it be fetched against the rule, it would count as a new image
        body = resaved(body, 0.6 if what == "copy" else 0.9)
    files = {
        "dead": File(b"Not Found", 404, "text/plain"),
        "gone": File(b"Gone", 410, "text/plain"),
        "truncated": File(body[: len(body) // 3]),
        "html": File(HTML, mime="text/html; charset=utf-8"),
        "empty": File(b""),
        "noai": File(body, headers=(("X-Robots-Tag", "noai"),)),
        "busy": File(body, busy_once=True),
    }
    with Image.open(io.BytesIO(body)) as opened:
        width, height = opened.size
    file = files.get(what, File(body))
    return Entry(number, picture, path, terms, body, file, width, height, what != "undescribed")


def resaved(data: bytes, scale: float) -> bytes:
    """A near-copy: the same picture at `scale` of its size, encoded again as JPEG."""
    with Image.open(io.BytesIO(data)) as opened:
        picture = opened.convert("RGB")
    size = (max(100, round(picture.width * scale)), max(100, round(picture.height * scale)))
    buffer = io.BytesIO()
    picture.resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=COPY_QUALITY)
    return buffer.getvalue()
