"""What a file says of its own license in XMP, IPTC and EXIF."""

from __future__ import annotations

import io
import struct
import zlib
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from collector import licenses
from collector.spiders.embedded import Embedded, contradiction, license_of, read_file
from tests.conftest import picture

BY = "https://creativecommons.org/licenses/by/4.0/"
NC = "https://creativecommons.org/licenses/by-nc/2.0/"
NAMESPACES = (
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:xmpRights="http://ns.adobe.com/xap/1.0/rights/" '
    'xmlns:cc="http://creativecommons.org/ns#" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:plus="http://ns.useplus.org/ldf/xmp/1.0/"'
)


def xmp(elements: str = "", attributes: str = "") -> bytes:
    """An XMP packet with one description."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        f'{NAMESPACES}><rdf:Description rdf:about="" {attributes}>{elements}</rdf:Description></rdf:RDF></x:xmpmeta>'
        '<?xpacket end="w"?>'
    ).encode()


def text(name: str, value: str) -> str:
    return f'<{name}><rdf:Alt><rdf:li xml:lang="x-default">{value}</rdf:li></rdf:Alt></{name}>'


def people(*names: str) -> str:
    return f"<dc:creator><rdf:Seq>{''.join(f'<rdf:li>{name}</rdf:li>' for name in names)}</rdf:Seq></dc:creator>"


LICENSE = f'<cc:license rdf:resource="{BY}"/>'
STATEMENT = f"<xmpRights:WebStatement>{BY}</xmpRights:WebStatement>"


def file(packet: bytes = b"", format: str = "JPEG", iptc: dict[int, str] | None = None, exif: str = "") -> bytes:
    """A small picture with this in its header."""
    image, buffer = picture(1, (160, 120)), io.BytesIO()
    told: dict[str, object] = {}
    if exif:
        about = Image.Exif()
        about[0x8298] = exif
        told["exif"] = about
    if format == "PNG":
        image.save(buffer, "PNG", **told)
        data = buffer.getvalue()
        chunk = b"iTXt" + b"XML:com.adobe.xmp\0\0\0\0\0" + packet
        whole = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        return data[:33] + (whole if packet else b"") + data[33:]
    image.save(buffer, format, xmp=packet, **told)
    data = buffer.getvalue()
    if iptc:
        records = b"".join(b"\x1c\x02" + bytes([key]) + struct.pack(">H", len(value.encode())) + value.encode()
                           for key, value in iptc.items())  # fmt: skip
        records += b"\0" * (len(records) % 2)
        block = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(records)) + records
        data = data[:2] + b"\xff\xed" + struct.pack(">H", len(block) + 2) + block + data[2:]
    return data


def code(packet: bytes, **more: object) -> str:
    return license_of(read_file(file(packet, **more))).code  # type: ignore[arg-type]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_the_license_is_read_from_every_kind_of_file(format: str) -> None:
    told = read_file(file(xmp(LICENSE + people("Anna Berg")), format))
    license = license_of(told)
    assert (license.code, license.version) == ("by", "4.0")
    assert license.evidence == f"cc:license='{BY}'"
    assert told.creator == "Anna Berg"


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (xmp(STATEMENT), "by"),
        (xmp(STATEMENT + LICENSE), "by"),
        (xmp(attributes=f'xmpRights:WebStatement="{BY}"'), "by"),
        (xmp(f"<cc:license>{BY}</cc:license>"), "by"),
        (xmp(text("xmpRights:UsageTerms", f"Free under {BY}.")), "by"),
        (xmp(text("dc:rights", f"&lt;a rel='license' href='{BY}'&gt;CC&lt;/a&gt;")), "by"),
        (xmp(STATEMENT + "<xmpRights:WebStatement>https://example.org/me</xmpRights:WebStatement>"), "by"),
        (xmp("<xmpRights:WebStatement>https://example.org/terms</xmpRights:WebStatement>"), "missing"),
        (xmp(text("xmpRights:UsageTerms", "CC BY 4.0")), "missing"),
        (xmp(text("xmpRights:UsageTerms", f"{BY}x")), "missing"),
        (xmp(people("Anna")), "missing"),
        (xmp('<cc:license rdf:resource="https://example.org/free"/>'), "unknown"),
        (xmp(LICENSE + f'<cc:license rdf:resource="{NC}"/>'), "contradictory"),
        (xmp(LICENSE + text("xmpRights:UsageTerms", f"Not for sale: {NC}")), "contradictory"),
        (xmp(LICENSE + text("dc:rights", "(c) Anna. All Rights\nReserved")), "contradictory"),
        (xmp(LICENSE, 'photoshop:Credit="Getty Images"'), "contradictory"),
        (xmp(f"{LICENSE}<plus:Licensor><plus:LicensorName>Alamy</plus:LicensorName></plus:Licensor>"), "contradictory"),
        (xmp(text("dc:rights", "All rights reserved")), "missing"),
        (b"", "missing"),
    ],
)  # fmt: skip
def test_only_an_exact_and_uncontradicted_license_counts(packet: bytes, expected: str) -> None:
    assert code(packet) == expected


@pytest.mark.parametrize(
    "more",
    [
        {"iptc": {116: "(c) 2024 Agency. All rights reserved."}},
        {"iptc": {110: "REUTERS"}},
        {"iptc": {80: "Jo Doe", 115: "AFP"}},
        {"exif": "Jo Doe, alle Rechte vorbehalten"},
    ],
)
def test_an_agency_or_reserved_rights_in_iptc_or_exif_contradict_an_open_license(more: dict[str, object]) -> None:
    assert code(xmp(LICENSE)) == "by"
    assert code(xmp(LICENSE), **more) == "contradictory"
    told = read_file(file(**more))  # type: ignore[arg-type]
    open_page = licenses.from_code("by-4.0")
    assert contradiction(told, open_page)
    assert license_of(told).code == "missing"


def test_a_name_or_a_notice_that_reserves_nothing_is_no_contradiction() -> None:
    told = read_file(file(xmp(LICENSE), iptc={80: "Anna Reuter", 116: "(c) Anna, some rights reserved"}, exif="Anna"))
    assert license_of(told).code == "by"
    assert contradiction(told, licenses.from_code("by-4.0")) == ""


def test_a_file_contradicts_a_page_that_names_another_license() -> None:
    told = read_file(file(xmp(LICENSE)))
    assert contradiction(told, licenses.from_code("by-nc-2.0")) == f"cc:license='{BY}'"
    assert contradiction(told, licenses.from_code("by-4.0")) == ""
    assert contradiction(Embedded(), licenses.from_code("by-4.0")) == ""


def test_a_wish_not_to_be_learned_from_is_heard() -> None:
    vocabulary = "http://ns.useplus.org/ldf/vocab/DMI-"
    for word, heard in (("PROHIBITED-AIMLTRAINING", True), ("ALLOWED", False), ("UNSPECIFIED", False)):
        told = read_file(file(xmp(LICENSE, f'plus:DataMining="{vocabulary}{word}"')))
        assert bool(told.mining) == heard


# -- hostile packets --------------------------------------------------------------------------------------------------

PACKET = xmp(text("dc:rights", "&b;") + LICENSE).partition(b"?>")[2]
LAUGHS = b'<!DOCTYPE x [<!ENTITY a "haha"><!ENTITY b "&a;&a;&a;">]>' + PACKET


def test_the_hostile_packet_would_do_its_work_in_a_plain_parser() -> None:
    assert "hahahahahaha" in "".join(ElementTree.fromstring(LAUGHS).itertext())


@pytest.mark.parametrize(
    "packet",
    [
        LAUGHS,
        LAUGHS.decode().encode("utf-16"),
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd">' + xmp(LICENSE),
        xmp(LICENSE)[:-60],
        b"\xff\xfe" + xmp(LICENSE)[7:200],
        xmp("<a>" * 20_000),
        b"",
        b"<" * 60_000,
    ],
)
def test_a_packet_that_is_no_plain_xml_says_nothing(packet: bytes) -> None:
    assert read_file(file(packet)) == Embedded()


def test_a_deep_or_long_packet_is_read_in_bounds() -> None:
    deep = xmp("<a>" * 40_000 + "</a>" * 40_000 + LICENSE)
    assert license_of(read_file(file(deep, "PNG"))).code == "missing"
    assert license_of(read_file(file(xmp("<a/>" * 300_000 + LICENSE), "PNG"))).code == "missing"


WHOLE = file(xmp(LICENSE), iptc={116: "x", 80: "y"}, exif="z")


CHANGES = st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=20)


@given(CHANGES, st.integers(0, len(WHOLE)))
def test_no_damaged_file_breaks_the_reader(changes: list[tuple[int, int]], length: int) -> None:
    data = bytearray(WHOLE)
    for at, value in changes:
        data[at] = value
    for each in (bytes(data), bytes(data[:length])):
        if licenses.judge(license_of(read_file(each)), "any-cc") is None:
            assert b"creativecommons.org" in each
