"""Metadata that names a place or a person is found, and removed without touching a pixel."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin
from PIL.ExifTags import GPS, IFD, Base

from collector.errors import CollectError
from collector.privacy import found, strip
from tests.conftest import picture

SECRETS = (b"51 deg", b"SN-4711", b"Ann Owner", b"secret words", b"GPSLatitude")
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description exif:GPSLatitude="51,30.0N" aux:SerialNumber="SN-4711" '
    b'aux:OwnerName="Ann Owner"/></x:xmpmeta>'
)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif(orientation: int = 6) -> bytes:
    made = Image.Exif()
    made[Base.Orientation] = orientation
    made.get_ifd(IFD.GPSInfo).update({GPS.GPSLatitudeRef: "N", GPS.GPSLatitude: (51.0, 30.0, 0.0)})
    inner = made.get_ifd(IFD.Exif)
    inner[Base.BodySerialNumber], inner[Base.CameraOwnerName] = "SN-4711", "Ann Owner"
    return made.tobytes()


def saved(kind: str, orientation: int = 6, size: tuple[int, int] = (64, 48), **more: Any) -> bytes:
    buffer = io.BytesIO()
    options: dict[str, Any] = {"exif": exif(orientation), "icc_profile": PROFILE, **more}
    if kind == "PNG":
        about = PngImagePlugin.PngInfo()
        about.add_text("Comment", "secret words")
        about.add_itxt("XML:com.adobe.xmp", XMP.decode())
        options["pnginfo"] = about
    else:
        options["xmp"] = XMP
    if kind == "JPEG":
        options["comment"] = b"secret words"
    picture(1, size).save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(data: bytes) -> np.ndarray[Any, Any]:
    with Image.open(io.BytesIO(data)) as file:
        return np.asarray(file.convert("RGB"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_places_and_owners_are_found_by_name(kind: str) -> None:
    told = found(saved(kind))
    assert {"GPSLatitude", "GPSLatitudeRef", "xmp:GPSLatitude"} <= set(told.places)
    assert {"BodySerialNumber", "CameraOwnerName", "xmp:OwnerName", "xmp:SerialNumber"} <= set(told.owners)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_a_stripped_file_tells_nothing_and_shows_the_same(kind: str, orientation: int) -> None:
    before = saved(kind, orientation)
    after = strip(before)
    assert found(after) == ([], [])
    assert not [secret for secret in SECRETS if secret in after]
    assert (pixels(after) == pixels(before)).all()
    with Image.open(io.BytesIO(after)) as file:
        assert file.info["icc_profile"] == PROFILE
        assert dict(file.getexif()) == ({} if orientation == 1 else {Base.Orientation: orientation})
    assert strip(after) == after


@pytest.mark.parametrize(("kind", "options"), [
    ("JPEG", {"progressive": True}), ("JPEG", {"restart_marker_blocks": 2}), ("JPEG", {"subsampling": 0}),
    ("WEBP", {"lossless": True}), ("PNG", {"compress_level": 1}),
])  # fmt: skip
def test_every_way_to_code_the_pixels_comes_through(kind: str, options: dict[str, Any]) -> None:
    before = saved(kind, **options)
    assert (pixels(strip(before)) == pixels(before)).all()


def test_colors_of_print_and_a_second_picture_behind_the_first(tmp_path: object) -> None:
    buffer = io.BytesIO()
    picture(2, (64, 48)).convert("CMYK").save(buffer, "JPEG", exif=exif())
    before = buffer.getvalue()
    after = strip(before + saved("JPEG"))
    assert (pixels(after) == pixels(before)).all()
    assert after.endswith(b"\xff\xd9")
    assert len(after) < len(before)
    assert not [secret for secret in SECRETS if secret in after]


@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
def test_avif_is_blanked_in_place_and_stays_turned(orientation: int) -> None:
    before = saved("AVIF", orientation)
    after = strip(before)
    assert len(after) == len(before)
    assert found(after) == ([], [])
    assert not [secret for secret in SECRETS if secret in after]
    with Image.open(io.BytesIO(before)) as old, Image.open(io.BytesIO(after)) as new:
        assert (np.asarray(new) == np.asarray(old)).all()
        assert new.info["icc_profile"] == PROFILE
        assert new.getexif().get(Base.Orientation, 1) == orientation
    assert strip(after) == after


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF"])
def test_animations_keep_their_frames(kind: str) -> None:
    frames = [picture(seed, (40, 30)) for seed in range(3)]
    buffer = io.BytesIO()
    about = {"comment": b"secret words"} if kind == "GIF" else {"exif": exif(1)}
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], duration=80, loop=0, **about)
    before, after = buffer.getvalue(), strip(buffer.getvalue())
    assert len(after) < len(before) or kind == "AVIF"
    assert not [secret for secret in SECRETS if secret in after]
    with Image.open(io.BytesIO(before)) as old, Image.open(io.BytesIO(after)) as new:
        assert getattr(new, "n_frames", 1) == 3
        assert not new.getexif()
        for frame in range(3):
            old.seek(frame)
            new.seek(frame)
            assert (np.asarray(old.convert("RGB")) == np.asarray(new.convert("RGB"))).all()


def test_a_clock_in_the_gps_block_is_no_place() -> None:
    made = Image.Exif()
    made.get_ifd(IFD.GPSInfo).update({GPS.GPSVersionID: b"\2\3\0\0", GPS.GPSDateStamp: "2026:01:01"})
    buffer = io.BytesIO()
    picture(1, (64, 48)).save(buffer, "JPEG", exif=made.tobytes())
    assert found(buffer.getvalue()).places == []


def test_the_profile_of_an_old_text_chunk_is_read_and_removed() -> None:
    about = PngImagePlugin.PngInfo()
    raw = exif(1)
    about.add_text("Raw profile type exif", f"\nexif\n{len(raw):8}\n{raw.hex()}\n", zip=True)
    buffer = io.BytesIO()
    picture(1, (64, 48)).save(buffer, "PNG", pnginfo=about)
    assert "GPSLatitude" in found(buffer.getvalue()).places
    assert found(strip(buffer.getvalue())) == ([], [])


@pytest.mark.parametrize(
    "data", [b"", b"<html>", b"\0\0\0\x1cftypavif", b"\xff\xd8\xff", b"\xff\xd8\xff\xe1\xff", b"GIF89a"]
)
def test_what_cannot_be_rewritten_is_one_clear_sentence(data: bytes) -> None:
    with pytest.raises(CollectError, match="metadata cannot be removed"):
        strip(data)


@given(st.sampled_from(["JPEG", "PNG", "WEBP", "AVIF"]), st.integers(0, 10_000), st.binary(max_size=9))
def test_no_damage_makes_the_search_for_tags_fail(kind: str, at: int, noise: bytes) -> None:
    data = saved(kind)
    at %= len(data)
    broken = data[:at] + noise + data[at + len(noise) :]
    found(broken)
    found(broken[:at])
    for each in (broken, broken[:at]):
        with suppress(CollectError):
            strip(each)


def test_a_jpeg_without_an_end_keeps_what_it_has() -> None:
    before = saved("JPEG")[:-200]
    after = strip(before)
    assert before.endswith(after[-300:])
    assert found(after) == ([], [])


def test_a_length_that_lies_does_not_loop() -> None:
    lying: Callable[[int], bytes] = lambda n: b"\xff\xd8\xff\xe1" + struct.pack(">H", n) + b"Exif\0\0"  # noqa: E731
    for n in (0, 1, 2, 65535):
        found(lying(n))
