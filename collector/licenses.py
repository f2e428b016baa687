"""Licenses as facts: what a source said, read strictly, and judged by a preset.

Everything that is not exactly known is refused: a license that is missing, unknown, or contradicted by its own URL
becomes a `License` whose code is that word, and `judge` refuses it. Pure functions, ASCII only.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from collector.errors import UsageError
from collector.records import License, Rejected
from collector.registry import did_you_mean

PUBLIC = ("cc0", "pdm")
CODES = (*PUBLIC, "by", "by-sa", "by-nc", "by-nc-sa", "by-nd", "by-nc-nd")
OURS = ("own", "unlicensed")
REFUSED = ("missing", "unknown", "contradictory")
VERSIONS = ("1.0", "2.0", "2.1", "2.5", "3.0", "4.0")
PORTS = re.compile(
    "ar|at|au|az|be|bg|br|ca|ch|cl|cn|co|cr|cz|de|dk|ec|ee|eg|es|fi|fr|ge|gr|gt|hk|hr|hu|ie|igo|il|in|it|jp|kr|lu|mk|"
    "mt|mx|my|nl|no|nz|pe|ph|pl|pr|pt|ro|rs|scotland|se|sg|si|th|tw|ug|uk|us|ve|vn|za"
)
PRESETS: dict[str, tuple[str, ...]] = {
    "open": ("cc0", "pdm", "by", "by-sa"),
    "public-domain": PUBLIC,
    "noncommercial": ("cc0", "pdm", "by", "by-sa", "by-nc", "by-nc-sa"),
    "any-cc": CODES,
}

_MISSPELT = {"by-nd-nc": "by-nc-nd"}  # a path of version 1.0 that sources still write (WordPress/openverse PR #3440)
_HOSTS = ("creativecommons.org", "www.creativecommons.org")
_DEED = r"(?:/(?:deed|legalcode)(?:\.[a-zA-Z_-]{2,12})?)?/?"
_LICENSE = re.compile(rf"/licenses/([a-z-]+)/([0-9]\.[0-9])(?:/([a-z]+))?{_DEED}", re.ASCII)
_PUBLIC = re.compile(rf"/publicdomain/(zero|mark)/1\.0{_DEED}", re.ASCII)
_SPELLED = re.compile(r"(?:cc[- ])?(by(?:-(?:nc|sa|nd))*)(?:-([0-9]\.[0-9])(?:-([a-z]+))?)?", re.ASCII)


def from_url(url: str) -> License | None:
    """The license of an exact Creative Commons URL (a deed, a legal code or a jurisdiction port), else None."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return None
    if not url.isascii() or parts.scheme not in ("http", "https") or host not in _HOSTS:
        return None
    if found := _PUBLIC.fullmatch(parts.path):
        code = "cc0" if found[1] == "zero" else "pdm"
        return License(code, "1.0", _url(code, "1.0", ""), evidence=url)
    if found := _LICENSE.fullmatch(parts.path):
        code, version, port = _MISSPELT.get(found[1], found[1]), found[2], found[3] or ""
        if port in ("deed", "legalcode"):
            port = ""
        if _exists(code, version, port):
            return License(code, version, _url(code, version, port), port, evidence=url)
    return None


def from_code(code: str, version: str = "", url: str = "", evidence: str = "") -> License:
    """The license of a code such as `by-sa`, `cc-by-sa-3.0-de`, `cc0` or `pd`, confirmed by its version and URL.

    What cannot be read gets the code `missing`, `unknown` or `contradictory`, which `judge` refuses.
    """
    code, version, url = code.strip(), version.strip(), url.strip()
    told = evidence or f"code={code!r} version={version!r} url={url!r}"
    linked = from_url(url) if url else None
    if not code:
        if linked is None:
            return License("unknown" if url else "missing", evidence=told)
        return License(linked.code, linked.version, linked.url, linked.jurisdiction, told)
    spelled = _read_code(code)
    if spelled is None or (url and linked is None):
        return License("unknown", evidence=told)
    named, number, port = spelled
    if (number and version and number != version) or (named in PUBLIC and version not in ("", "1.0")):
        return License("contradictory", evidence=told)
    number = number or version
    if linked is not None:
        agrees = linked.code == named and (named in PUBLIC or number in ("", linked.version))
        if not agrees or port not in ("", linked.jurisdiction):
            return License("contradictory", evidence=told)
        return License(named, linked.version, linked.url, linked.jurisdiction, told)
    if named in PUBLIC:
        number = "1.0"
    if not _exists(named, number, port):
        return License("unknown", evidence=told)
    return License(named, number, _url(named, number, port), port, told)


def judge(license: License, preset: str) -> Rejected | None:
    """None when the preset (`open`, `public-domain`, `noncommercial`, `any-cc`) takes the license, else why not."""
    if license.code in REFUSED:
        return Rejected(f"license-{license.code}", license.evidence)
    if license.code not in CODES:
        return Rejected("license-unknown", license.evidence or license.code)
    if license.code not in PRESETS[preset]:
        return Rejected("license-not-allowed", f"{license.code} is not in the preset `{preset}`: {license.evidence}")
    return None


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
    spelled = _read_code(code)
    if spelled is not None:
        named, version, port = spelled
        if named in PUBLIC:
            version = "1.0"
        if not version:
            return License(named, evidence=evidence)
        if _exists(named, version, port):
            return License(named, version, _url(named, version, port), port, evidence)
    known = (*CODES, *OURS)
    raise UsageError(
        f"`{text}` is not a license code{did_you_mean(code, known)}",
        hint=f"one of {', '.join(known)}; a version may follow, as in by-sa-4.0",
    )


OPENNESS = ("unlicensed", "by-nc-nd", "by-nc-sa", "by-nc", "by-nd", "by-sa", "by", "pdm", "cc0", "own")


def openness(code: str) -> int:
    """How much a license lets people do, for choosing among copies: higher is more open, 0 is nothing."""
    return OPENNESS.index(code) if code in OPENNESS else 0


def _read_code(code: str) -> tuple[str, str, str] | None:
    """(code, version, jurisdiction) of a spelled code, with empty parts where it says nothing."""
    code = code.lower()
    if code in ("pd", "pdm", "cc-pdm", "pdm-1.0"):
        return "pdm", "", ""
    if code in ("cc0", "cc-zero", "cc0-1.0"):
        return "cc0", "", ""
    found = _SPELLED.fullmatch(code)
    if not found:
        return None
    named = _MISSPELT.get(found[1], found[1])
    return (named, found[2] or "", found[3] or "") if named in CODES else None


def _exists(code: str, version: str, port: str) -> bool:
    if code in PUBLIC:
        return version == "1.0" and not port
    if code not in CODES or version not in VERSIONS or (port and not PORTS.fullmatch(port)):
        return False
    return not (version == "2.1" and not port) and not (version == "4.0" and port)  # 2.1 has ports only, 4.0 has none


def _url(code: str, version: str, port: str) -> str:
    if code in PUBLIC:
        return f"https://creativecommons.org/publicdomain/{'zero' if code == 'cc0' else 'mark'}/1.0/"
    return f"https://creativecommons.org/licenses/{code}/{version}/" + (f"{port}/" if port else "")
