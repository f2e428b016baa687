"""What a file says of its own license: XMP, IPTC and EXIF, https://wiki.creativecommons.org/wiki/XMP

Only what stands in the file's header is read. XMP is XML of a stranger: a packet that declares a document type, and
with it entities, is not read at all.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any
from xml.etree import ElementTree

from PIL import Image, ImageFile, IptcImagePlugin

from collector import licenses
from collector.decoding import FORMATS
from collector.records import License

MAX_PACKET, MAX_ELEMENTS, MAX_TEXT = 1_000_000, 5_000, 500
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
RIGHTS = "{http://ns.adobe.com/xap/1.0/rights/}"
CC = "{http://creativecommons.org/ns#}"
DC = "{http://purl.org/dc/elements/1.1/}"
PHOTOSHOP = "{http://ns.adobe.com/photoshop/1.0/}"
PLUS = "{http://ns.useplus.org/ldf/xmp/1.0/}"
STATEMENTS = {f"{CC}license": "cc:license", f"{RIGHTS}WebStatement": "xmpRights:WebStatement"}
NOTICES = {f"{RIGHTS}UsageTerms": "xmpRights:UsageTerms", f"{DC}rights": "dc:rights"}
CREDITS = {f"{PHOTOSHOP}Credit": "photoshop:Credit", f"{PHOTOSHOP}Source": "photoshop:Source",
           f"{PLUS}LicensorName": "plus:LicensorName", f"{DC}creator": "dc:creator"}  # fmt: skip
MINING = {f"{PLUS}DataMining": "plus:DataMining"}
IPTC_NOTICES = {(2, 116): "IPTC CopyrightNotice", (2, 40): "IPTC SpecialInstructions"}
IPTC_CREDITS = {(2, 80): "IPTC By-line", (2, 110): "IPTC Credit", (2, 115): "IPTC Source"}
EXIF_COPYRIGHT, EXIF_ARTIST = 0x8298, 0x013B

RESERVED = re.compile(
    r"all\s+rights\s+reserved|alle\s+rechte\s+vorbehalten|tous\s+droits\s+réservés|todos\s+los\s+derechos\s+reservados"
    r"|tutti\s+i\s+diritti\s+riservati|todos\s+os\s+direitos\s+reservados",
    re.IGNORECASE,
)
AGENCIES = re.compile(
    r"\b(getty\s+images|alamy|shutterstock|istock(photo)?|corbis|adobe\s*stock|depositphotos|dreamstime|123rf|reuters"
    r"|associated\s+press|ap\s+photo|agence\s+france[- ]presse|afp|picture[- ]alliance|epa[- ]efe)\b",
    re.IGNORECASE,
)
ADDRESS = re.compile(r"https?://[a-z.]{0,20}creativecommons\.org/[a-zA-Z0-9./_-]{1,100}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Embedded:
    """What a file says, each with the field that says it.

    `licenses` are its license statements, `reserved` is a notice that no rights are given (all of them reserved, or an
    agency named), `mining` a wish that nobody may learn from it.
    """

    licenses: tuple[License, ...] = ()
    reserved: str = ""
    mining: str = ""
    creator: str = ""


Said = list[tuple[str, str]]  # (field, text)


def read_file(data: bytes) -> Embedded:
    """What the header of a file says of rights; nothing for a file that cannot be read. Never raises."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as file:
            packet = file.info.get("xmp") or file.info.get("XML:com.adobe.xmp") or b""
            said = _in_xmp(packet) + _in_iptc(file)
            exif = file.getexif()
            said += [("EXIF Copyright", _text(exif.get(EXIF_COPYRIGHT))), ("EXIF Artist", _text(exif.get(EXIF_ARTIST)))]
    except Exception:  # a hostile header raises nearly anything; intake says what is wrong with the file
        return Embedded()
    return _judged(said)


def license_of(told: Embedded) -> License:
    """The license that a file states: `missing` if none, `contradictory` if two differ or rights are reserved too."""
    distinct = {each.url or each.evidence: each for each in reversed(told.licenses)}
    evidence = "; ".join([*(each.evidence for each in distinct.values()), told.reserved]).strip("; ")[:1000]
    if not distinct:
        return License("missing", evidence=evidence)
    if len(distinct) > 1 or told.reserved:
        return License("contradictory", evidence=evidence)
    return next(iter(distinct.values()))


def contradiction(told: Embedded, license: License) -> str:
    """What in a file speaks against a license that its page states; empty if nothing does."""
    other = next((each for each in told.licenses if each.url and each.url != license.url), None)
    return told.reserved or (other.evidence if other else "")


def _judged(said: Said) -> Embedded:
    stated: list[License] = []
    reserved = mining = creator = ""
    for field, text in said:
        evidence = f"{field}={text[:MAX_TEXT]!r}"
        if field in STATEMENTS.values():
            read = licenses.from_url(text)
            if read or field == "cc:license":
                stated.append(replace(read or License("unknown"), evidence=evidence))
        elif field in NOTICES.values():
            # free text names a license by its address, between words or in a link
            found = {each.url: each for at in ADDRESS.findall(text) if (each := licenses.from_url(at.rstrip(".")))}
            stated.extend(replace(each, evidence=evidence) for each in found.values())
        is_credit = field in (*CREDITS.values(), *IPTC_CREDITS.values(), "EXIF Artist")
        if not is_credit and RESERVED.search(text):
            reserved = reserved or evidence
        if AGENCIES.search(text) and field != "xmpRights:WebStatement":
            reserved = reserved or evidence
        if field in MINING.values() and "PROHIBITED" in text.upper():
            mining = mining or evidence
        if field in ("cc:attributionName", "dc:creator", "IPTC By-line", "EXIF Artist"):
            creator = creator or text
    return Embedded(tuple(stated), reserved, mining, creator)


# -- XMP --------------------------------------------------------------------------------------------------------------


def _in_xmp(packet: object) -> Said:
    text = packet.decode("utf-8", "replace") if isinstance(packet, bytes) else str(packet)
    start, end = text.find("<"), text.rfind(">")
    if start < 0 or len(text) > MAX_PACKET or "<!DOCTYPE" in text or "<!ENTITY" in text:
        return []
    try:
        root = ElementTree.fromstring(text[start : end + 1])
    except (ElementTree.ParseError, ValueError):
        return []
    said: Said = []
    names = STATEMENTS | NOTICES | CREDITS | MINING
    for element in islice(root.iter(), MAX_ELEMENTS):
        if field := names.get(element.tag):
            value = element.get(f"{RDF}resource") or " ".join(" ".join(islice(element.itertext(), 100)).split())
            said.append((field, value[: 4 * MAX_TEXT]))
        said += [(names[name], value[: 4 * MAX_TEXT]) for name, value in element.attrib.items() if name in names]
    return said


# -- IPTC and EXIF ----------------------------------------------------------------------------------------------------


def _in_iptc(file: ImageFile.ImageFile) -> Said:
    told: dict[tuple[int, int], Any] = IptcImagePlugin.getiptcinfo(file) or {}
    said = []
    for key, field in (IPTC_NOTICES | IPTC_CREDITS).items():
        values = told.get(key, [])
        said += [(field, _text(value)) for value in (values if isinstance(values, list) else [values])[:20]]
    return said


def _text(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return str(value or "")[: 4 * MAX_TEXT].strip("\0 ")
