"""Licenses as facts: what a source said, read strictly, and judged by what the person accepts.

Everything that is not exactly known is refused: a license that is missing, unknown, or contradicted by its own URL
becomes a `License` whose code is that word, and `judge` refuses it. Pure functions, printable ASCII only. What counts
as open and why: docs/decisions/0005-what-open-means.md.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from urllib.parse import urlsplit

from collector.errors import UsageError
from collector.records import License, Rejected
from collector.registry import did_you_mean

PUBLIC = {  # code -> the license
    "cc0": License("cc0", "1.0", "https://creativecommons.org/publicdomain/zero/1.0/"),
    "pdm": License("pdm", "1.0", "https://creativecommons.org/publicdomain/mark/1.0/"),
    "us-gov": License("us-gov", "", "https://www.usa.gov/government-copyright", "us"),
}
CODES = (*PUBLIC, "by", "by-sa", "by-nc", "by-nc-sa", "by-nd", "by-nc-nd")
OURS = ("own", "unlicensed")
REFUSED = ("missing", "unknown", "contradictory")
VERSIONS = ("1.0", "2.0", "2.1", "2.5", "3.0", "4.0")
PRESETS: dict[str, tuple[str, ...]] = {
    "open": (*PUBLIC, "by", "by-sa"),
    "public-domain": tuple(PUBLIC),
    "noncommercial": (*PUBLIC, "by", "by-sa", "by-nc", "by-nc-sa"),
    "any-cc": CODES,
}
STATEMENTS = {  # said of rights, but no license: refused by name. All but the first are those of rightsstatements.org
    "no-known-restrictions": "No known copyright restrictions",
    "inc": "In Copyright",
    "inc-ow-eu": "In Copyright - EU Orphan Work",
    "inc-edu": "In Copyright - Educational Use Permitted",
    "inc-nc": "In Copyright - Non-Commercial Use Permitted",
    "inc-ruu": "In Copyright - Rights-holder(s) Unlocatable or Unidentifiable",
    "noc-cr": "No Copyright - Contractual Restrictions",
    "noc-nc": "No Copyright - Non-Commercial Use Only",
    "noc-oklr": "No Copyright - Other Known Legal Restrictions",
    "noc-us": "No Copyright - United States",
    "cne": "Copyright Not Evaluated",
    "und": "Copyright Undetermined",
    "nkc": "No Known Copyright",
}
PORTS = {  # jurisdictions of versions 1.0 to 3.0
    "ar": "Argentina", "at": "Austria", "au": "Australia", "az": "Azerbaijan", "be": "Belgium", "bg": "Bulgaria",
    "br": "Brazil", "ca": "Canada", "ch": "Switzerland", "cl": "Chile", "cn": "China Mainland", "co": "Colombia",
    "cr": "Costa Rica", "cz": "Czech Republic", "de": "Germany", "dk": "Denmark", "ec": "Ecuador", "ee": "Estonia",
    "eg": "Egypt", "es": "Spain", "fi": "Finland", "fr": "France", "ge": "Georgia", "gr": "Greece", "gt": "Guatemala",
    "hk": "Hong Kong", "hr": "Croatia", "hu": "Hungary", "ie": "Ireland", "igo": "IGO", "il": "Israel", "in": "India",
    "it": "Italy", "jp": "Japan", "kr": "Korea", "lu": "Luxembourg", "mk": "North Macedonia", "mt": "Malta",
    "mx": "Mexico", "my": "Malaysia", "nl": "Netherlands", "no": "Norway", "nz": "New Zealand", "pe": "Peru",
    "ph": "Philippines", "pl": "Poland", "pr": "Puerto Rico", "pt": "Portugal", "ro": "Romania", "rs": "Serbia",
    "scotland": "UK: Scotland", "se": "Sweden", "sg": "Singapore", "si": "Slovenia", "th": "Thailand", "tw": "Taiwan",
    "ug": "Uganda", "uk": "UK: England & Wales", "us": "United States", "ve": "Venezuela", "vn": "Vietnam",
    "za": "South Africa",
}  # fmt: skip

_TITLES = {
    "own": "own work", "unlicensed": "no license", "missing": "no license stated", "unknown": "unknown license",
    "contradictory": "contradictory license", "cc0": "CC0", "pdm": "Public Domain Mark",
    "us-gov": "United States Government Work", **STATEMENTS,
}  # fmt: skip
_MISSPELT = {"by-nd-nc": "by-nc-nd"}  # a path of version 1.0 that sources still write (WordPress/openverse PR #3440)
_PRINTABLE = re.compile(r"[!-~]+")  # urlsplit drops tabs and line breaks from the middle of an address
_QUERY = re.compile(r"(?:ref=[a-z0-9-]+)?", re.ASCII)  # Creative Commons' own license chooser adds one
_DEED = r"(?:/(?:deed|legalcode)(?:\.[a-zA-Z_-]{2,12})?)?/?"
_LICENSE = re.compile(rf"/licenses/([a-z-]+)/([0-9]\.[0-9])(?:/(?!deed|legalcode)([a-z]+))?{_DEED}", re.ASCII)
_PUBLIC = re.compile(rf"/publicdomain/(zero|mark)/1\.0{_DEED}", re.ASCII)
_RIGHTS = re.compile(r"/(?:vocab|page)/([A-Za-z-]+)/1\.0/?", re.ASCII)
_SPELLED = re.compile(r"(?:cc[- ])?(by(?:-(?:nc|sa|nd))*)(?:[- ]([0-9]\.[0-9])(?:[- ]([a-z]+))?)?", re.ASCII)
_US_GOV = ("/copyright.shtml", "/government-works", "/government-copyright")  # the first is Flickr's; pages of usa.gov
_SPELLED_PUBLIC = {
    "pd": "pdm", "pdm": "pdm", "cc-pdm": "pdm", "pdm-1.0": "pdm", "us-gov": "us-gov",
    "cc0": "cc0", "cc-zero": "cc0", "cc0-1.0": "cc0", "cc0 1.0": "cc0",
}  # fmt: skip
_BLANK = " \t\r\n"


def from_url(url: str) -> License | None:
    """What the exact address of a license or statement says, else None.

    Known are Creative Commons' deeds, legal codes and jurisdiction ports, the page of usa.gov on government works,
    and, so that they are refused by name, the statements of rightsstatements.org and of Flickr Commons.
    """
    if not _PRINTABLE.fullmatch(url):
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or parts.fragment or not _QUERY.fullmatch(parts.query):
        return None
    host, path = parts.netloc.lower().removeprefix("www."), parts.path  # not `hostname`: no user, no port
    if host == "creativecommons.org":
        return _creative_commons(url, path)
    code = ""
    if host == "usa.gov" and path.removesuffix("/") in _US_GOV:
        return replace(PUBLIC["us-gov"], evidence=url)
    if host == "flickr.com" and path.removesuffix("/") == "/commons/usage":
        code = "no-known-restrictions"
    elif host == "rightsstatements.org" and (found := _RIGHTS.fullmatch(path)):
        code = found[1].lower()
    return License(code, url=url, evidence=url) if code in STATEMENTS else None


def _creative_commons(url: str, path: str) -> License | None:
    if found := _PUBLIC.fullmatch(path):
        return replace(PUBLIC["cc0" if found[1] == "zero" else "pdm"], evidence=url)
    if found := _LICENSE.fullmatch(path):
        code, version, port = _MISSPELT.get(found[1], found[1]), found[2], found[3] or ""
        if _exists(code, version, port):
            return License(code, version, _url(code, version, port), port, evidence=url)
    return None


def from_code(code: str, version: str = "", url: str = "", evidence: str = "") -> License:
    """The license of a code such as `by-sa`, `cc-by-sa-3.0-de`, `cc0`, `pd` or `us-gov`, confirmed by version and URL.

    What cannot be read gets the code `missing`, `unknown` or `contradictory`, which `judge` refuses.
    """
    code, version, url = code.strip(_BLANK), version.strip(_BLANK), url.strip(_BLANK)
    told = evidence or f"code={code!r} version={version!r} url={url!r}"
    linked = from_url(url) if url else None
    if not code:
        return replace(linked or License("unknown" if url else "missing"), evidence=told)
    spelled = _read_code(code)
    if spelled is None or (url and linked is None):
        return License("unknown", evidence=told)
    named, number, port = spelled
    if (number and version and number != version) or (named in PUBLIC and version not in ("", PUBLIC[named].version)):
        return License("contradictory", evidence=told)
    stated = PUBLIC.get(named) or License(named, number or version, jurisdiction=port)
    if linked is not None:
        agrees = linked.code == named and stated.version in ("", linked.version)
        if not agrees or stated.jurisdiction not in ("", linked.jurisdiction):
            return License("contradictory", evidence=told)
        return replace(linked, evidence=told)
    if named in PUBLIC:
        return replace(stated, evidence=told)
    if not _exists(named, stated.version, port):
        return License("unknown", evidence=told)
    return License(named, stated.version, _url(named, stated.version, port), port, told)


def allowed(preset: str, *, commercial: bool = False, modify: bool = False) -> tuple[str, ...]:
    """The codes that a preset takes, without those that forbid commercial use (nc) or changed copies (nd).

    Raises:
        UsageError: there is no such preset.
    """
    chosen = (License(code) for code in PRESETS[check_preset(preset)])
    return tuple(each.code for each in chosen if not (commercial and each.nc) and not (modify and each.nd))


def judge(license: License, accepted: str | Collection[str]) -> Rejected | None:
    """None when the license is among the accepted ones, else why not.

    `accepted` is a preset (`open`, `public-domain`, `noncommercial`, `any-cc`) or the codes that `allowed` gave.
    """
    codes = PRESETS[accepted] if isinstance(accepted, str) else accepted
    if license.code in REFUSED:
        return Rejected(f"license-{license.code}", license.evidence)
    if license.code not in (*CODES, *STATEMENTS):
        return Rejected("license-unknown", license.evidence or license.code)
    if license.code not in CODES or license.code not in codes:
        return Rejected("license-not-allowed", f"{title(license)} is not among {', '.join(codes)}: {license.evidence}")
    return None


def title(license: License) -> str:
    """The license as people write it: `CC BY-SA 3.0 Germany`, `CC0 1.0`, `United States Government Work`."""
    place = PORTS.get(license.jurisdiction, "") if license.code not in PUBLIC else ""
    name = _TITLES.get(license.code) or f"CC {license.code.upper()}"
    return " ".join(filter(None, (name, license.version, place)))


def check_preset(name: str) -> str:
    """`name` if it is a preset; a `UsageError` otherwise."""
    if name not in PRESETS:
        raise UsageError(
            f"`{name}` is not a license preset{did_you_mean(name, PRESETS)}", hint=f"known: {', '.join(PRESETS)}"
        )
    return name


def from_person(text: str) -> License:
    """The license that a person states for pictures of their own: a code with or without version, `own`, `unlicensed`.

    Raises:
        UsageError: it is none of these.
    """
    evidence = f"stated at import: {text}"
    code = text.strip().lower()
    if code in OURS:
        return License(code, evidence=evidence)
    spelled = _read_code(text.strip())
    if spelled is not None:
        named, version, port = spelled
        if named in PUBLIC:
            return replace(PUBLIC[named], evidence=evidence)
        if not version:
            return License(named, evidence=evidence)
        if _exists(named, version, port):
            return License(named, version, _url(named, version, port), port, evidence)
    known = (*CODES, *OURS)
    raise UsageError(
        f"`{text}` is not a license code{did_you_mean(code, known)}",
        hint=f"one of {', '.join(known)}; a version may follow, as in by-sa-4.0",
    )


OPENNESS = ("unlicensed", "by-nc-nd", "by-nc-sa", "by-nc", "by-nd", "by-sa", "by", "us-gov", "pdm", "cc0", "own")


def openness(code: str) -> int:
    """How much a license lets people do, for choosing among copies: higher is more open, 0 is nothing."""
    return OPENNESS.index(code) if code in OPENNESS else 0


def _read_code(code: str) -> tuple[str, str, str] | None:
    """(code, version, jurisdiction) of a spelled code, with empty parts where it says nothing."""
    if not code.isascii():
        return None  # before `lower`: the Kelvin sign becomes a k
    code = code.lower()
    if named := _SPELLED_PUBLIC.get(code):
        return named, "", ""
    found = _SPELLED.fullmatch(code)
    if not found:
        return None
    named = _MISSPELT.get(found[1], found[1])
    return (named, found[2] or "", found[3] or "") if named in CODES else None


def _exists(code: str, version: str, port: str) -> bool:
    """Whether Creative Commons has published the license; version 2.1 has ports only, 4.0 has none."""
    if code in PUBLIC or code not in CODES or version not in VERSIONS or (port and port not in PORTS):
        return False
    return not (version == "2.1" and not port) and not (version == "4.0" and port)


def _url(code: str, version: str, port: str) -> str:
    return f"https://creativecommons.org/licenses/{code}/{version}/" + (f"{port}/" if port else "")
