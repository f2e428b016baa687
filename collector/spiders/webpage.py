"""A web page of a stranger: its pictures, each at its best address, its links, and what it forbids.

Pure readers of text; nothing here asks for anything. Whatever the text, they do not raise.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

from lxml import etree

from collector.spiders.optout import robots_tag, tdm_reservation

MAX_CHARACTERS, MAX_TAGS = 8_000_000, 300_000
MAX_PICTURES, MAX_LINKS, MAX_TEXT, MAX_ADDRESS = 2_000, 5_000, 500, 2_000
TINY = 48  # pixels; what a page shows smaller than this is a button, a flag or a counter
DRAWN = (".svg", ".ico")  # no pictures of ours
NO_PAGES = (*DRAWN, ".pdf", ".zip", ".gz", ".mp4", ".webm", ".mp3", ".css", ".js", ".json", ".xml", ".rss", ".txt")
FILES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif")
SETS = ("srcset", "data-srcset", "data-lazy-srcset")
SINGLES = ("data-original", "data-src", "data-lazy-src", "src")
BADGES = ("creativecommons.org", "licensebuttons.net")  # hosts of the buttons that name a license
STANDARD = ("robots", "collect")  # names of <meta> that speak to us; those of other robots end in "bot"


class Picture(NamedTuple):
    """A picture of a page: its addresses, best first, what is written about it, and the page that it links to."""

    urls: tuple[str, ...]
    element: Any
    alt: str = ""
    caption: str = ""
    link: str = ""


@dataclass
class WebPage:
    """A parsed page; `base` is what its relative addresses begin with."""

    url: str
    root: Any
    base: str = ""
    title: str = ""
    forbids: str = ""
    follow: bool = True

    def absolute(self, address: str) -> str:
        """An address of the page in full; empty if it is not one of the web."""
        return absolute(self.base, address)


@dataclass
class Links:
    """Pages that a page leads to: `near` are the next page of a gallery and those behind pictures, `far` all others."""

    next: list[str] = field(default_factory=list)
    near: list[str] = field(default_factory=list)
    far: list[str] = field(default_factory=list)


def parse(html: str, url: str, opt_outs: Collection[str] = ()) -> WebPage | None:
    """The page, or None if it is too large or no HTML at all; `opt_outs` are the words that forbid to take pictures."""
    if len(html) > MAX_CHARACTERS or html.count("<") > MAX_TAGS:
        return None
    parser = etree.HTMLParser(recover=True, encoding="utf-8", huge_tree=False, remove_comments=True, remove_pis=True)
    try:
        root = etree.fromstring(html.replace("\0", "").encode("utf-8", "replace"), parser)
    except etree.LxmlError:
        return None
    if root is None:
        return None
    page = WebPage(url, root, url)
    page.base = next((found for at in root.xpath("//base/@href") if (found := absolute(url, at))), url)
    page.title = text_of(next(iter(root.xpath("//title")), None))
    page.forbids, page.follow = _robots(root, opt_outs)
    return page


def _robots(root: Any, opt_outs: Collection[str]) -> tuple[str, bool]:
    """(the statement that forbids to take pictures, whether links may be followed) from `<meta>`."""
    forbids, follow = "", True
    for meta in islice(root.xpath("//meta[@name and @content]"), MAX_LINKS):
        name, content = meta.get("name").strip().casefold(), meta.get("content")[:MAX_TEXT]
        speaks_to_robots = name in STANDARD or name.endswith("bot")
        if name == "tdm-reservation":
            says_no = tdm_reservation([content])
        else:
            says_no = robots_tag([content], opt_outs) if speaks_to_robots else None
        if says_no and not forbids:
            forbids = f"<meta name={name!r} content={content!r}>"
        if speaks_to_robots and {"nofollow", "none"} & set(re.split(r"[\s,;]+", content.casefold())):
            follow = False
    return forbids, follow


# -- pictures ---------------------------------------------------------------------------------------------------------


def pictures(page: WebPage) -> list[Picture]:
    """Pictures of the page's content in its order: `<img>`, and links to files of pictures that show none."""
    found: dict[str, Picture] = {}
    for element in islice(page.root.xpath("//*[self::img or self::a[@href]]"), MAX_LINKS):
        each = _of_image(page, element) if element.tag == "img" else _of_link(page, element)
        if each is not None:
            found.setdefault(each.urls[0], each)
    return list(islice(found.values(), MAX_PICTURES))


def _of_image(page: WebPage, img: Any) -> Picture | None:
    around = {ancestor.tag: ancestor for ancestor in reversed(list(img.iterancestors()))}
    if _is_furniture(img, around):
        return None
    sets = [img.get(name, "") for name in SETS]
    if "picture" in around:
        sets += [source.get(name, "") for source in islice(around["picture"].iter("source"), 20) for name in SETS]
    best = sorted((each for value in sets for each in srcset(value)), key=lambda each: -each[1])
    singles = [img.get(name, "") for name in SINGLES]
    addresses = [singles[0], *(address for address, _ in best), *singles[1:]]
    target = page.absolute(around["a"].get("href", "")) if "a" in around else ""
    if is_file(target):
        addresses.insert(0, target)
    urls = [url for address in addresses if (url := page.absolute(address)) and not _path(url).endswith(DRAWN)]
    if not urls or urlsplit(urls[0]).netloc.endswith(BADGES):
        return None
    figure = around.get("figure")
    caption = text_of(next(figure.iter("figcaption"), None)) if figure is not None else ""
    alt = clean(img.get("alt") or img.get("title") or "")
    return Picture(tuple(dict.fromkeys(urls)), img, alt, caption, "" if is_file(target) else target)


def _of_link(page: WebPage, a: Any) -> Picture | None:
    target = page.absolute(a.get("href"))
    if not is_file(target) or next(a.iter("img"), None) is not None:
        return None
    return Picture((target,), a, text_of(a))


def _is_furniture(img: Any, around: dict[str, Any]) -> bool:
    """Whether an image belongs to the page and not to what it shows: menus, logos, counters, license badges."""
    if "nav" in around or "footer" in around or ("header" in around and not {"article", "main", "figure"} & {*around}):
        return True
    if "a" in around and "license" in tokens(around["a"], "rel"):
        return True
    return any(0 < pixels(img.get(side)) < TINY for side in ("width", "height"))


def srcset(value: str) -> Iterator[tuple[str, float]]:
    """(address, width or density) of each candidate of a `srcset`; addresses may hold commas."""
    words = deque(value[: 8 * MAX_ADDRESS].split())
    while words:
        address = words.popleft().lstrip(",")
        if not address.endswith(",") and words and re.fullmatch(r"[0-9.]{1,9}[wx](,.*)?", words[0], re.DOTALL):
            size, _, rest = words.popleft().partition(",")
            if rest:
                words.appendleft(rest)
            yield address, _number(size[:-1])
        elif address.rstrip(","):
            yield address.rstrip(","), 1.0


def is_file(url: str) -> bool:
    """Whether an address ends like a file of a picture; `/wiki/File:Horse.jpg` is a page about one."""
    path = _path(url)
    return path.endswith(FILES) and ":" not in path.rsplit("/", 1)[-1]


# -- links ------------------------------------------------------------------------------------------------------------


def links(page: WebPage) -> Links:
    """Pages of the same host that may be followed; none when the page or the link says `nofollow`."""
    found = Links()
    if not page.follow:
        return found
    for element in islice(page.root.xpath("//*[@href][self::a or self::area or self::link[@rel]]"), MAX_LINKS):
        rel = tokens(element, "rel")
        url = page.absolute(element.get("href"))
        if not url or "nofollow" in rel or not is_page_of(url, page.url):
            continue
        if "next" in rel:
            found.next.append(url)
        elif element.tag != "link":
            shows = next(element.iter("img"), None) is not None
            (found.near if shows else found.far).append(url)
    return found


def is_page_of(url: str, page: str) -> bool:
    """Whether an address may be a page on the host of `page`, and no picture, film or document."""
    return urlsplit(url).netloc == urlsplit(page).netloc and not is_file(url) and not _path(url).endswith(NO_PAGES)


# -- text and addresses -----------------------------------------------------------------------------------------------


def absolute(base: str, address: str) -> str:
    """An http(s) address in full and without its fragment; empty for anything else."""
    address = re.sub(r"[\t\n\r]", "", address).strip()
    try:
        url = urljoin(base, address).split("#", 1)[0]
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return ""
    return url.replace(" ", "%20") if fine and len(url) <= MAX_ADDRESS and address else ""


def text_of(element: Any) -> str:
    """The text inside an element, in one line and not too long."""
    if element is None:
        return ""
    parts: list[str] = []
    length = 0
    for part in element.itertext():
        parts.append(part)
        length += len(part)
        if length > 4 * MAX_TEXT:
            break
    return clean("".join(parts))


def clean(text: str) -> str:
    """A stranger's text in one line, without control characters, and not too long."""
    text = " ".join(text[: 8 * MAX_TEXT].split())
    return "".join(each for each in text if each.isprintable())[:MAX_TEXT]


def tokens(element: Any, attribute: str) -> set[str]:
    """The words of an attribute such as `rel`."""
    return set(element.get(attribute, "").casefold().split())


def pixels(value: object) -> int:
    """A number of pixels as pages write it (`640`, `"640px"`); 0 if it is none."""
    found = re.match(r"\s*([0-9]{1,6})(?:\.[0-9]+)?\s*(?:px)?\s*$", str(value)[:30]) if value is not None else None
    return int(found[1]) if found else 0


def words_of(url: str) -> str:
    """What the last part of an address says: `red horse 12` for `/a/red-horse_12.jpg`."""
    return clean(re.sub(r"[-_+.]+", " ", unquote(urlsplit(url).path.rsplit("/", 1)[-1])))


def first(values: Iterable[str]) -> str:
    """The first that says something."""
    return next((value for value in values if value), "")


def _path(url: str) -> str:
    return urlsplit(url).path.lower()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
