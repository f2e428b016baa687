"""What a file tells beside its pixels, checked on files made on the spot."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from collector.catalog import sightings
from collector.intake import take_in
from collector.metadata import Header, libjpeg_tables, metadata, quality_of, read
from collector.records import Kept, License, Sighting
from collector.workspace import Workspace
from tests.conftest import jpeg, picture


def saved(picture: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def header(data: bytes) -> Header:
    found = read(data)
    assert found is not None
    return found


@given(quality=st.integers(1, 100))
def test_the_quality_that_a_jpeg_was_saved_with_is_read_back(quality: int) -> None:
    found = header(saved(picture(1, (16, 16)), quality=quality))
    assert found.quality is not None
    # Neighbors of very low quality share a table: all its steps are at their largest.
    assert (libjpeg_tables()[found.quality - 1] == libjpeg_tables()[quality - 1]).all()


def test_tables_of_other_programs_get_the_nearest_quality() -> None:
    photoshop = np.maximum(1, libjpeg_tables()[89] + np.tile([-1, 0, 1, 0], 16))
    assert abs(quality_of(photoshop) - 90) <= 1


def test_size_and_compression_are_those_of_the_file() -> None:
    data = saved(picture(1, (320, 240)), quality=75)
    found = header(data)
    assert (found.width, found.height, found.long_side, found.format) == (320, 240, 320, "JPEG")
    assert found.aspect == pytest.approx(4 / 3)
    assert found.bytes_per_pixel == len(data) / (320 * 240)


@pytest.mark.parametrize(("subsampling", "chroma"), [(0, "4:4:4"), (1, "4:2:2"), (2, "4:2:0")])
def test_chroma_is_named_as_usual(subsampling: int, chroma: str) -> None:
    assert header(saved(picture(1), subsampling=subsampling)).chroma == chroma


def test_the_same_tables_have_the_same_digest_and_others_another() -> None:
    one, two, other = (header(saved(picture(n), quality=q)).tables for n, q in ((1, 80), (2, 80), (1, 81)))
    assert one == two != other


def test_how_a_file_is_written_is_told() -> None:
    plain, other = header(saved(picture(1))), header(saved(picture(1).convert("L"), progressive=True, icc_profile=b"x"))
    assert (plain.progressive, plain.gray, plain.icc) == (False, False, False)
    assert (other.progressive, other.gray, other.icc, other.chroma) == (True, True, True, "gray")


def test_a_camera_tells_that_it_was_one_and_when() -> None:
    exif = Image.Exif()
    exif[306], exif[274] = "2019:05:06 07:08:09", 6
    found = header(saved(picture(1, (320, 240)), exif=exif))
    assert (found.exif, found.taken) == (True, "2019-05-06T07:08:09")
    assert (found.width, found.height) == (240, 320)
    assert not header(jpeg(1)).exif


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_what_is_no_jpeg_has_neither_quality_nor_tables(kind: str) -> None:
    found = header(saved(picture(1), kind))
    assert (found.format, found.quality, found.tables, found.chroma) == (kind, None, "", "")


@pytest.mark.parametrize("data", [b"", b"<html>", b"\xff\xd8\xff", jpeg(1)[:50], b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_a_damaged_file_tells_nothing(data: bytes) -> None:
    assert read(data) is None


@given(data=st.binary(max_size=200), cut=st.integers(2, 600))
def test_no_bytes_raise(data: bytes, cut: int) -> None:
    read(data)
    read(jpeg(1, (32, 32))[:cut] + data)


def test_an_image_is_told_with_where_it_was_seen(ws: Workspace) -> None:
    ws.concept("horse", create=True)
    places = [Sighting("flickr", name, f"https://img.example/{name}", License("by"), "horse", "horse") for name in "ab"]
    taken = [take_in(ws, jpeg(n), place) for n, place in enumerate(places)]
    image, lost = [each.image for each in taken if isinstance(each, Kept)]
    ws.store.fs.rm_file(ws.store.path(lost))
    origins = sightings.origins(ws.catalog, "horse", "any")
    found = metadata(ws, [image, lost], origins)
    assert found.keys() == {image}
    told = found[image]
    assert (told.source, told.host, told.seen) == ("flickr", "img.example", origins[image].seen_at[:10])
    assert metadata(ws, [image], {})[image].source == ""
