"""What a page says in the words of https://schema.org/ImageObject: JSON-LD, microdata and RDFa Lite.

Nested objects, lists, `@graph` and references by `@id` are followed; how much is read is bounded.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any

from collector import licenses
from collector.records import License
from collector.spiders.webpage import MAX_PICTURES, WebPage, clean, first, pixels, text_of

MAX_NODES, MAX_VALUES = 50_000, 20
KINDS = ("ImageObject", "Photograph")
NAMED, AT = ("value", "name", "url", "@id"), ("contentUrl", "url", "@id")  # what an object stands for: text, address
RESERVED = re.compile(r"all\s+rights\s+reserved", re.IGNORECASE)
_PREFIX = re.compile(r"^(?:https?://schema\.org/|schema:)")
Properties = dict[str, list[Any]]  # values are text, or Properties of a nested object


@dataclass
class ImageObject:
    """A picture as described by its page; `licenses` holds one statement for each that is made."""

    urls: list[str]
    original: str
    licenses: list[License] = field(default_factory=list)
    title: str = ""
    creator: str = ""
    creator_url: str = ""
    width: int = 0
    height: int = 0


def image_objects(page: WebPage) -> list[ImageObject]:
    """The pictures that the page describes, logos left out."""
    found = chain(_in_json(page), _in_attributes(page))
    return [_image_object(page, properties, told) for properties, told in islice(found, MAX_PICTURES)]


def _image_object(page: WebPage, thing: Properties, told: str) -> ImageObject:
    content = [page.absolute(each) for each in _texts(thing, "contentUrl")]
    others = [
        page.absolute(each) for name in ("url", "image", "thumbnailUrl", "@id") for each in _texts(thing, name, AT)
    ]
    urls = list(dict.fromkeys(filter(None, [*content, *others])))
    creators = [each for name in ("creator", "author") for each in thing.get(name, ())]
    people = [each for each in creators if isinstance(each, dict)]
    names = [clean(each) for each in creators if isinstance(each, str) and not each.startswith(("http://", "https://"))]
    return ImageObject(
        urls=urls,
        original=first(content),
        licenses=_licenses(page, thing, told),
        title=clean(first([*_texts(thing, "name"), *_texts(thing, "caption"), *_texts(thing, "headline")])),
        creator=first([*(clean(name) for each in people for name in _texts(each, "name")), *names])
        or clean(first(_texts(thing, "creditText"))),
        creator_url=first(page.absolute(at) for each in people for name in ("url", "@id") for at in _texts(each, name)),
        width=pixels(first(_texts(thing, "width"))),
        height=pixels(first(_texts(thing, "height"))),
    )


def _licenses(page: WebPage, thing: Properties, told: str) -> list[License]:
    """One License for each statement; where a license may be bought, there is one that we do not know."""
    stated = []
    for value in thing.get("license", ()):
        spelled = first([*_texts(value, "url"), *_texts(value, "@id")]) if isinstance(value, dict) else value
        evidence = f"{told}.license={spelled!r}"[:500]
        read = licenses.from_url(page.absolute(spelled)) if isinstance(spelled, str) else None
        stated.append(replace(read or License("unknown"), evidence=evidence))
    if not stated and (sold := first(_texts(thing, "acquireLicensePage"))):
        stated.append(License("unknown", evidence=f"{told}.acquireLicensePage={sold!r}"[:500]))
    notice = first(_texts(thing, "copyrightNotice"))
    if stated and RESERVED.search(notice[:500]):
        stated.append(License("unknown", evidence=f"{told}.copyrightNotice={notice!r}"[:500]))
    return stated


# -- JSON-LD ----------------------------------------------------------------------------------------------------------


def _in_json(page: WebPage) -> Iterator[tuple[Properties, str]]:
    nodes: list[dict[str, Any]] = []
    for script in islice(page.root.xpath("//script[contains(@type, 'ld+json')]"), 100):
        try:
            value = json.loads("".join(script.itertext()), strict=False)
        except (ValueError, RecursionError):
            continue
        nodes.extend(_walk(value))
    by_id: dict[str, dict[str, Any]] = {}
    for node in nodes:
        name = node.get("@id")
        if isinstance(name, str) and len(node) > 1:
            by_id.setdefault(name, node)
    for node in nodes:
        if _is_image(node.get("@type")):
            yield _properties(node, by_id), "JSON-LD ImageObject"


def _walk(value: object) -> Iterator[dict[str, Any]]:
    """All objects in a JSON value but logos, breadth first, as many as MAX_NODES."""
    level = [value]
    seen = 0
    while level and seen < MAX_NODES:
        below: list[object] = []
        for each in islice(level, MAX_NODES - seen):
            seen += 1
            if isinstance(each, dict):
                yield each
                below.extend(under for name, under in each.items() if _PREFIX.sub("", name) != "logo")
            elif isinstance(each, list):
                below.extend(each)
        level = below


def _properties(node: dict[str, Any], by_id: dict[str, dict[str, Any]], depth: int = 0) -> Properties:
    found: Properties = {}
    for name, value in node.items():
        values = value if isinstance(value, list) else [value]
        found[_PREFIX.sub("", name)] = [_value(each, by_id, depth) for each in values[:MAX_VALUES]]
    return found


def _value(value: object, by_id: dict[str, dict[str, Any]], depth: int) -> Any:
    if not isinstance(value, dict):
        return value if isinstance(value, str) else json.dumps(value)[:100] if isinstance(value, int | float) else ""
    if "@value" in value:
        return str(value["@value"])
    name = value.get("@id")
    whole = by_id.get(name, value) if isinstance(name, str) else value
    return _properties(whole, by_id, depth + 1) if depth < 3 else {}


def _is_image(types: object) -> bool:
    stated = types if isinstance(types, list) else [types]
    return any(isinstance(each, str) and _PREFIX.sub("", each) in KINDS for each in stated)


# -- microdata and RDFa Lite ------------------------------------------------------------------------------------------


def _in_attributes(page: WebPage) -> Iterator[tuple[Properties, str]]:
    for scope, item, kind, name_of_kind in (
        ("itemscope", "itemprop", "itemtype", "microdata"),
        ("typeof", "property", "typeof", "RDFa"),
    ):
        things: defaultdict[Any, Properties] = defaultdict(dict)
        for element in islice(page.root.xpath(f"//*[@{item} or @{scope}]"), MAX_NODES):
            own = things[element] if element.get(scope) is not None else None
            subject = element.get("itemid") or element.get("resource") or element.get("about")
            if own is not None and subject:
                own.setdefault("@id", []).append(subject)
            owner = next((up for up in element.iterancestors() if up.get(scope) is not None), None)
            for name in (element.get(item) or "").split()[:MAX_VALUES]:
                values = things[owner].setdefault(_PREFIX.sub("", name), []) if owner is not None else []
                if len(values) < MAX_VALUES:
                    values.append(own if own is not None else _content(element))
        for element, properties in things.items():
            if _is_image((element.get(kind) or "").split()) and not _is_logo(element, item):
                yield properties, f"{name_of_kind} ImageObject"


def _is_logo(element: Any, item: str) -> bool:
    return "logo" in {_PREFIX.sub("", name) for name in (element.get(item) or "").split()}


def _content(element: Any) -> str:
    for name in ("content", "href", "src", "data", "resource"):
        if (value := element.get(name)) is not None:
            return str(value)
    return text_of(element)


def _texts(thing: Properties, name: str, within: tuple[str, ...] = NAMED) -> list[str]:
    """The values of a property as text; of an object, its name, value or address."""
    found = []
    for value in thing.get(name, ()):
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, dict):
            inner = [value.get(key, [""])[0] for key in within if value.get(key)]
            found.extend(each for each in inner[:1] if isinstance(each, str))
    return found
