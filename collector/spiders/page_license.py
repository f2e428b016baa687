"""Which license a page states for each of its pictures; a statement that nobody makes is never guessed.

What counts, nearest first: what schema.org/ImageObject or RDFa says of this picture; `rel=license` in the figure or
article around it; `rel=license` for the page, if the page names one license only and the picture is of the same site.
A license is an exact Creative Commons address. Two statements that differ make it `contradictory`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from collector import licenses
from collector.records import License
from collector.spiders.schema_org import ImageObject, image_objects
from collector.spiders.webpage import (
    MAX_LINKS,
    Picture,
    WebPage,
    absolute,
    clean,
    first,
    is_file,
    parse,
    pictures,
    text_of,
    tokens,
    words_of,
)

RELATIONS = {"license", "cc:license", "dct:license", "dcterms:license", "xhv:license"}
SCOPES = ("figure", "article")
NAMES = {"cc:attributionname": "creator", "dct:title": "title", "dc:title": "title", "dcterms:title": "title"}
MAX_FALLBACKS = 3


@dataclass(frozen=True, slots=True)
class Candidate:
    """A picture of a page. `text` is all that is written about it; `link` the page that it leads to, if any."""

    url: str
    page: str
    license: License
    title: str = ""
    creator: str = ""
    creator_url: str = ""
    text: str = ""
    link: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Notes:
    """What is stated for one part of a page: a figure, an article, an address, or the page itself."""

    licenses: list[License] = field(default_factory=list)
    title: str = ""
    creator: str = ""
    creator_url: str = ""


def read_page(html: str, url: str) -> list[Candidate]:
    """The pictures of a page with what it says of them. Never raises; nothing for what is no page."""
    page = parse(html, url)
    return candidates(page) if page else []


def candidates(page: WebPage) -> list[Candidate]:
    """The pictures of a parsed page, in its order."""
    described = image_objects(page)
    by_url: dict[str, list[ImageObject]] = {}
    for each in described:
        for url in each.urls:
            by_url.setdefault(url, []).append(each)
    notes = _notes(page)
    whole = notes.get(None, Notes())
    speakers: list[ImageObject | Notes] = [*described, *notes.values()]
    if len(_distinct([license for speaker in speakers for license in speaker.licenses])) != 1:
        whole = Notes()  # several licenses: which would be the page's?
    shown = pictures(page)
    known = {url for each in shown for url in each.urls}
    for each in described:
        address = each.original or first(url for url in each.urls if is_file(url))
        if address and each.licenses and not known & {*each.urls}:
            shown.append(Picture((address,), None))
            known.update(each.urls)
    shown += _preview(page, known)
    found: dict[str, Candidate] = {}
    for picture in shown:
        about = {id(each): each for url in picture.urls for each in by_url.get(url, ())}
        candidate = _candidate(page, picture, list(about.values()), notes, whole)
        found.setdefault(candidate.url, candidate)
    return list(found.values())


def combine(stated: Sequence[License]) -> License:
    """The license that all statements agree on: `missing` when there are none, `contradictory` when two differ."""
    distinct = _distinct(stated)
    if not distinct:
        return License("missing")
    if len(distinct) == 1:
        return next(iter(distinct.values()))
    return License("contradictory", evidence="; ".join(each.evidence for each in distinct.values())[:1000])


def _distinct(stated: Sequence[License]) -> dict[str, License]:
    return {each.url or f"{each.code} {each.evidence}": each for each in reversed(stated)}


def _candidate(
    page: WebPage, picture: Picture, described: list[ImageObject], notes: dict[Any, Notes], whole: Notes
) -> Candidate:
    around = [up for up in _ancestors(picture) if up in notes]
    figure = next((notes[up] for up in around if up.tag != "article"), Notes())
    article = next((notes[up] for up in around if up.tag == "article"), Notes())
    speakers: list[ImageObject | Notes] = [*described, *(notes[url] for url in picture.urls if url in notes), figure]
    for wider in (article, whole if is_same_site(picture.urls[0], page.url) else Notes()):
        if not any(each.licenses for each in speakers):
            speakers.append(wider)
    original = first(each.original for each in described)
    urls = list(dict.fromkeys([*filter(None, [original]), *picture.urls]))
    facts: dict[str, Any] = {"fallbacks": urls[1 : 1 + MAX_FALLBACKS]} if urls[1:] else {}
    for each in described:
        if each.original and each.width and each.height:
            facts.update(width=each.width, height=each.height)
    title = first([*(each.title for each in speakers), picture.alt, picture.caption, page.title])
    return Candidate(
        url=urls[0],
        page=page.url,
        license=combine([license for each in speakers for license in each.licenses]),
        title=title,
        creator=first(each.creator for each in speakers),
        creator_url=first(each.creator_url for each in speakers),
        text=" ".join(filter(None, [title, picture.alt, picture.caption, page.title, words_of(urls[0])])),
        link=picture.link,
        facts=facts,
    )


def _preview(page: WebPage, known: set[str]) -> list[Picture]:
    """The picture that the page shows when it is shared (`og:image`), unless it is one of the others."""
    about = {each.get("property"): each.get("content") for each in page.root.xpath("//meta[@property][@content]")}
    url = absolute(page.base, about.get("og:image") or "")
    if not url or url in known:
        return []
    return [Picture((url,), None, clean(about.get("og:image:alt") or about.get("og:title") or ""))]


# -- rel=license and the Creative Commons attributes around it --------------------------------------------------------


def _notes(page: WebPage) -> dict[Any, Notes]:
    """What is stated, by the element or address that it is about; None is the page itself."""
    found: dict[Any, Notes] = {}
    query = "//*[(@rel and @href) or @property or (self::meta and @name = 'author' and @content)]"
    for element in islice(page.root.xpath(query), MAX_LINKS):
        about = found.setdefault(_subject(page, element), Notes())
        rel, href = tokens(element, "rel"), element.get("href") or ""
        if rel & RELATIONS and "ugc" not in rel:
            about.licenses.append(_linked(page, element, href))
        if rel & {"cc:attributionurl", "author"}:
            about.creator_url = about.creator_url or page.absolute(href)
        if "author" in rel and element.tag == "a":
            about.creator = about.creator or text_of(element)
        if element.tag == "meta" and (element.get("name") or "").casefold() == "author":
            about.creator = about.creator or clean(element.get("content"))
        for name in tokens(element, "property") & NAMES.keys():
            said = clean(element.get("content") or "") or text_of(element)
            setattr(about, NAMES[name], getattr(about, NAMES[name]) or said)
    return found


def _linked(page: WebPage, element: Any, href: str) -> License:
    evidence = f"<{element.tag} rel={element.get('rel')!r} href={href!r}>"[:500]
    read = licenses.from_url(page.absolute(href))
    return replace(read, evidence=evidence) if read else License("unknown", evidence=evidence)


def _subject(page: WebPage, element: Any) -> Any:
    """What an element speaks of: an address that it or a parent names, the figure or article around it, or the page."""
    for up in (element, *element.iterancestors()):
        if up.get("about") is not None:
            url = page.absolute(up.get("about") or page.url)
            return None if url == page.url else url
        if up is not element and (up.tag in SCOPES or _describes_image(up)):
            return up
    return None


def _ancestors(picture: Picture) -> list[Any]:
    if picture.element is None:
        return []
    return [up for up in picture.element.iterancestors() if up.tag in SCOPES or _describes_image(up)]


def _describes_image(element: Any) -> bool:
    kinds = f"{element.get('itemtype') or ''} {element.get('typeof') or ''}"
    return "ImageObject" in kinds


# -- whose picture it is ----------------------------------------------------------------------------------------------


@cache
def _suffixes() -> Any:
    import tldextract

    return tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None, include_psl_private_domains=True)


def is_same_site(url: str, page: str) -> bool:
    """Whether two addresses belong to one registered domain, as `img.example.org` and `www.example.org` do."""
    one, other = urlsplit(url).hostname or "", urlsplit(page).hostname or ""
    if one == other:
        return True
    domain = _suffixes()(one).top_domain_under_public_suffix
    return bool(domain) and domain == _suffixes()(other).top_domain_under_public_suffix
