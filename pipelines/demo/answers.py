"""The two search APIs as the demo's site answers them: the fields, paging and limits of Openverse and of Commons.

Shapes follow recorded answers of the real services; every word in them is invented.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.demo.entries import Entry

Json = dict[str, Any]
Params = Mapping[str, str]

PAGE_SIZE, MAX_PAGE, MAX_RESULTS = 20, 20, 240
INDEXED, UPLOADED = "2024-03-05T08:17:26.137708Z", "2024-03-05T08:17:26Z"
ALL_CC = {"by", "by-sa", "by-nd", "by-nc", "by-nc-sa", "by-nc-nd"}
GROUPS = {
    "all": ALL_CC | {"cc0", "pdm", "sampling+", "nc-sampling+"},
    "all-cc": ALL_CC | {"cc0"},
    "commercial": {"by", "by-sa", "by-nd", "cc0", "pdm", "sampling+"},
    "modification": {"by", "by-sa", "by-nc", "by-nc-sa", "cc0", "pdm", "sampling+", "nc-sampling+"},
}
DEPRECATED = {"li": "license", "lt": "license_type", "pagesize": "page_size", "provider": "source"}


def matches(entry: Entry, query: str) -> bool:
    """Whether every word of the query, search operators aside, is in the entry's title or tags."""
    words = re.findall(r"[^\s\"]+", query.lower())
    text = f"{entry.picture.title} {' '.join(entry.picture.tags)}".lower()
    return all(word.rstrip("s") in text for word in words if ":" not in word)


def openverse_answer(entries: Sequence[Entry], params: Params, base: str) -> tuple[int, Json]:
    """(HTTP status, body) of `GET /v1/images/` for an anonymous client."""
    for old, new in DEPRECATED.items():
        if old in params:
            return _invalid(old, f"Parameter '{old}' is deprecated in this release of the API. Use '{new}' instead.")
    try:
        size, page = int(params.get("page_size", PAGE_SIZE)), int(params.get("page", 1))
    except ValueError:
        return _invalid("page", "A valid integer is required.")
    if size > PAGE_SIZE:
        return 401, {"detail": f"Ensure this value is less than or equal to {PAGE_SIZE}."}
    if not 1 <= page <= MAX_PAGE or size < 1:
        return _invalid("page", f"Ensure this value is less than or equal to {MAX_PAGE}.")
    try:
        codes = _license_codes(params)
    except ValueError as error:
        return _invalid("license", str(error))
    found = [e for e in entries if e.terms.code in codes and matches(e, params.get("q", "")[:200])][:MAX_RESULTS]
    return 200, {
        "result_count": len(found),
        "page_count": -(-len(found) // size),
        "page_size": size,
        "page": page,
        "results": [_openverse_result(entry, base) for entry in found[(page - 1) * size : page * size]],
    }


def _license_codes(params: Params) -> set[str]:
    codes = set(GROUPS["all"])
    for kind in filter(None, params.get("license_type", "").lower().split(",")):
        if kind not in GROUPS:
            raise ValueError(f"License type '{kind}' does not exist.")
        codes &= GROUPS[kind]
    asked = set(filter(None, params.get("license", "").lower().split(",")))
    if unknown := asked - GROUPS["all"]:
        raise ValueError(f"License '{min(unknown)}' does not exist.")
    return codes & asked if asked else codes


def _invalid(name: str, why: str) -> tuple[int, Json]:
    return 400, {"detail": {name: [why]}}


def _openverse_result(entry: Entry, base: str) -> Json:
    terms, creator = entry.terms, entry.creator
    name = str(uuid.uuid5(uuid.NAMESPACE_URL, entry.path))
    page = f"{base}/v1/images/{name}/"
    named = f"CC {terms.code.upper()}" if terms.code not in ("cc0", "pdm", "sampling+") else terms.code.upper()
    sized = entry.number % 3 > 0  # the real index knows the size of some files only
    return {
        "id": name,
        "title": entry.picture.title,
        "indexed_on": INDEXED,
        "foreign_landing_url": f"{base}/photos/{entry.number}",
        "url": base + entry.path,
        "creator": creator,
        "creator_url": f"{base}/people/{creator.replace(' ', '-').lower()}",
        "license": terms.code,
        "license_version": terms.version,
        "license_url": terms.url,
        "provider": "demo",
        "source": "demo",
        "category": None,
        "filesize": len(entry.stated) if sized else None,
        "filetype": "jpg" if sized else None,
        "tags": [{"name": tag, "accuracy": None} for tag in entry.picture.tags],
        "attribution": f'"{entry.picture.title}" by {creator} is licensed under {named} {terms.version}. '
        f"To view a copy of this license, visit {terms.url}.",
        "fields_matched": ["title"],
        "mature": False,
        "height": entry.height if sized else None,
        "width": entry.width if sized else None,
        "thumbnail": f"{page}thumb/",
        "detail_url": page,
        "related_url": f"{page}related/",
        "unstable__sensitivity": [],
    }


def commons_answer(entries: Sequence[Entry], params: Params, base: str) -> Json:
    """Body of `GET /w/api.php?action=query&generator=search`; the first batch comes in two parts.

    In the first part the second half of the pages has no `imageinfo` yet; `continue` leads to the part that has it.
    """
    if params.get("action") != "query" or params.get("format") != "json" or params.get("generator") != "search":
        return _mediawiki_error("badvalue", "This site only answers action=query, format=json, generator=search.")
    if "gsrsearch" not in params:
        return _mediawiki_error("missingparam", 'The "gsrsearch" parameter must be set.')
    if float(params.get("maxlag", 1)) < 0:  # documented way to see the lag: every answer is refused
        return _mediawiki_error("maxlag", "Waiting for 127.0.0.1: 0.2 seconds lagged.")
    found = [entry for entry in entries if matches(entry, params["gsrsearch"])]
    limit, offset = min(500, int(params.get("gsrlimit", 10))), int(params.get("gsroffset", 0))
    batch = found[offset : offset + limit]
    if not batch:
        return {"batchcomplete": True}
    half = len(batch) // 2 if offset == 0 else len(batch)
    later = "iicontinue" in params
    pages = [
        _commons_page(entry, offset + i + 1, params, base, told=(i >= half) == later or half == len(batch))
        for i, entry in enumerate(batch)
    ]
    body: Json = {"query": {"pages": sorted(pages, key=lambda page: int(page["pageid"]))}}
    if half < len(batch) and not later:
        return {"continue": {"iicontinue": f"{batch[half].number}|{UPLOADED}", "continue": "||"}, **body}
    if offset + limit < len(found):
        body = {"continue": {"gsroffset": offset + limit, "continue": "gsroffset||"}, **body}
    return {"batchcomplete": True, **body}


def _mediawiki_error(code: str, info: str) -> Json:
    return {"error": {"code": code, "info": info, "docref": "See the API help for usage."}, "servedby": "demo"}


def _commons_page(entry: Entry, rank: int, params: Params, base: str, *, told: bool) -> Json:
    title = f"File:{entry.picture.title} ({entry.number}).jpg"
    page: Json = {"pageid": 700_000 + entry.number, "ns": 6, "title": title, "index": rank}
    if told and entry.described:
        page |= {"imagerepository": "local", "imageinfo": [_image_info(entry, title, params, base)]}
    return page


def _image_info(entry: Entry, title: str, params: Params, base: str) -> Json:
    wanted = params.get("iiprop", "timestamp|user").split("|")
    where = f"{base}/wiki/{title.replace(' ', '_')}"
    parts: dict[str, Json] = {
        "timestamp": {"timestamp": UPLOADED},
        "user": {"user": "DemoUploadBot"},
        "size": {"size": len(entry.stated), "width": entry.width, "height": entry.height},
        "url": {
            "url": base + entry.path,
            "descriptionurl": where,
            "descriptionshorturl": f"{base}/w/index.php?curid={700_000 + entry.number}",
        },
        "sha1": {"sha1": hashlib.sha1(entry.stated, usedforsecurity=False).hexdigest()},
        "mime": {"mime": "image/jpeg"},
        "extmetadata": {"extmetadata": _extmetadata(entry, base)},
    }
    info: Json = {}
    for name in wanted:
        info |= parts.get(name, {})
    return info


def _extmetadata(entry: Entry, base: str) -> Json:
    terms, free = entry.terms, entry.terms.code == "pd"
    artist = f'<a href="{base}/wiki/User:{entry.number % 17 + 1}" title="User:{entry.creator}">{entry.creator}</a>'
    values = {
        "ObjectName": entry.picture.title,
        "ImageDescription": f"<p>{entry.picture.title}. <b>A picture of the demo</b>, not of the real Commons.\n</p>",
        "Artist": artist if entry.number % 5 else entry.creator,
        "Credit": '<span class="int-own-work" lang="en">Own work</span>',
        "Categories": "|".join(entry.picture.tags),
        "DateTimeOriginal": "2024-03-05",
        "LicenseShortName": terms.short,
        "UsageTerms": terms.short,
        "AttributionRequired": "false" if free else "true",
        "Copyrighted": "False" if free else "True",
        "Restrictions": "",
    }
    values |= {"License": terms.code} if terms.code else {}
    values |= {"LicenseUrl": terms.url} if terms.url else {}
    return {name: {"value": value, "source": "commons-desc-page"} for name, value in values.items()}
