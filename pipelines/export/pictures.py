"""The bytes of one picture as they are exported: the original ones, unless an option or the reader asks for a change.

Metadata is removed without coding a pixel again (`collector.privacy`). A picture that is resized or blurred is coded
anew: upright, in sRGB, JPEG at quality 95 without subsampling. One that the format's readers cannot read becomes an
upright PNG of 8 bits, which loses nothing of what there was to see.
"""

from __future__ import annotations

import hashlib
import io

import numpy as np
from PIL import Image, ImageCms

from collector import privacy
from collector.decoding import FORMATS, ORIENTATION, PREVIEW_SIDE, SIDEWAYS, UPRIGHT, upright_rgb
from collector.errors import CollectError
from collector.faces import Box, blur, find_faces
from collector.records import License
from collector.store import Store
from pipelines.export.records import Made, Options
from pipelines.manifest import ManifestRow

SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "AVIF": ".avif"}
CMYK, DEEP = "CMYK JPEG", "16-bit PNG"
EVERY = frozenset({*FORMATS, CMYK, DEEP})
NO_DERIVATIVES = "no-derivatives"
QUALITY = 95


def make(store: Store, row: ManifestRow, options: Options, reads: frozenset[str]) -> Made | str:
    """A picture ready to be written, or the reason why it must be left out.

    A license that forbids changed copies (nd) keeps a picture at its size; with a face to blur it is left out.

    Raises:
        CollectError: its bytes are gone, are not those of the snapshot, or cannot be decoded.
    """
    data = store.get(row.image)
    if hashlib.sha256(data).hexdigest() != row.image:
        raise CollectError(
            f"the bytes of image {row.image[:12]} are not those of the snapshot: the store was changed",
            hint="restore the store from a backup; `collect verify` lists every such image",
        )
    try:
        return _made(data, row, options, reads)
    except CollectError:
        raise
    except Exception as error:  # a decoder of a damaged file raises nearly anything
        raise CollectError(
            f"image {row.image[:12]} cannot be decoded: {error}", hint="set it aside with `collect errata`"
        ) from error


def _made(data: bytes, row: ManifestRow, options: Options, reads: frozenset[str]) -> Made | str:
    with Image.open(io.BytesIO(data), formats=FORMATS) as file:
        kind, turn = _kind(file), _orientation(file)
        width, height = file.size[::-1] if turn in SIDEWAYS else file.size
    faces = _faces(data) if options.blur_faces else []
    large = 0 < options.resize < min(width, height)
    kept = License(row.license).nd
    if faces and kept:
        return NO_DERIVATIVES
    if faces or (large and not kept):
        return _coded_again(data, row, faces, options.resize if large else 0)
    changes: dict[str, str] = {}
    suffix, spared = SUFFIXES[_format(kind)], large and kept
    made = data
    if kind in reads and not options.keep_exif:
        made = _stripped(data)
    if kind not in reads or not made:
        made, suffix, turn = _as_png(data), ".png", 1
        changes["converted"] = f"converted from {kind} to PNG" if kind not in reads else "coded again as PNG"
    elif made != data:
        changes["stripped"] = "metadata removed"
    return Made(row, made, suffix, width, height, turn != 1, changes, spared)


def _coded_again(data: bytes, row: ManifestRow, faces: list[Box], side: int) -> Made:
    with Image.open(io.BytesIO(data), formats=FORMATS) as file:
        if side:  # what a JPEG's own scaling brings above twice the wanted size loses nothing that Lanczos would keep
            least = min(file.size)
            file.draft(None, (2 * side * file.width // least, 2 * side * file.height // least))
        picture = srgb(file)
    changes = {}
    if faces:
        picture = blur(picture, faces)
        changes["blurred"] = "a face blurred" if len(faces) == 1 else f"{len(faces)} faces blurred"
    if side:
        scale = side / min(picture.size)
        size = (max(side, round(picture.width * scale)), max(side, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
        changes["resized"] = f"resized to {size[0]} x {size[1]}"
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return Made(row, buffer.getvalue(), ".jpg", *picture.size, False, changes, False)


def _as_png(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(data), formats=FORMATS) as file:
        srgb(file).save(buffer, "PNG")
    return buffer.getvalue()


def _stripped(data: bytes) -> bytes:
    """The file without metadata; empty where its structure does not allow it."""
    try:
        return privacy.strip(data)
    except CollectError:
        return b""


def srgb(file: Image.Image) -> Image.Image:
    """The first frame as an upright 8-bit RGB picture in the sRGB color space."""
    profile = file.info.get("icc_profile")
    turn = UPRIGHT.get(_orientation(file))
    if profile and file.mode == "CMYK" and (seen := _by_profile(file, profile)) is not None:
        return seen if turn is None else seen.transpose(turn)
    mode, picture = file.mode, upright_rgb(file)
    if not profile or mode not in ("RGB", "RGBA", "P"):
        return picture
    return _by_profile(picture, profile) or picture


def _by_profile(picture: Image.Image, profile: bytes) -> Image.Image | None:
    """The picture in sRGB, by its ICC profile; None where the profile is damaged or of another kind of picture."""
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if picture.mode == "RGB" and "sRGB" in ImageCms.getProfileDescription(own):
            return picture
        return ImageCms.profileToProfile(picture, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _faces(data: bytes) -> list[Box]:
    """Faces in the upright picture, looked for with its shorter side at PREVIEW_SIDE, as the quality check does."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as file:
        file.draft(None, (2 * PREVIEW_SIDE, 2 * PREVIEW_SIDE))
        picture = upright_rgb(file).convert("L")
    scale = PREVIEW_SIDE / min(picture.size)
    if scale < 1:
        picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BOX)
    return find_faces(np.asarray(picture))


def _kind(file: Image.Image) -> str:
    if file.mode == "CMYK":
        return CMYK
    if file.mode.startswith("I"):
        return DEEP
    return "JPEG" if file.format == "MPO" else str(file.format)


def _format(kind: str) -> str:
    return {CMYK: "JPEG", DEEP: "PNG"}.get(kind, kind)


def _orientation(file: Image.Image) -> int:
    try:
        value = file.getexif().get(ORIENTATION, 1)
    except Exception:  # metadata that nobody can read turns nothing
        return 1
    return value if isinstance(value, int) and value in UPRIGHT else 1
