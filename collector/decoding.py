"""From a stranger's bytes to an upright picture, what its fingerprints are made of, and its preview, in one decode."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError
from PIL.GifImagePlugin import GifImageFile

from collector import looks
from collector.config import IntakeConfig
from collector.fingerprints import REDUCED, Fingerprint, Thumb, fingerprints, thumb
from collector.records import Rejected

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF")
BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"RIFF")
PREVIEW_SIDE = 288  # pixels of the shorter side
LARGE = 1.5 * PREVIEW_SIDE  # from this shorter side on, a picture gets a preview
NEARLY = 4 / 3  # what a JPEG's own scaling brings within this factor of it is left alone: resizing costs as much again
MOST_FRAMES = 1000
ORIENTATION = 274  # the EXIF tag
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)


@dataclass(frozen=True, slots=True)
class Decoded:
    """What one decode of a file tells.

    `width` and `height` are those of the upright original, in pixels; `thumb` is what fingerprints are made of;
    `preview` is `small` as a JPEG, where the original is large enough for one; `reduced` is the picture that both come
    from, and gray where nobody needed more.
    """

    width: int
    height: int
    format: str
    mode: str
    frames: int
    orientation: int
    exif: Image.Exif = field(repr=False, compare=False)
    thumb: Thumb = field(repr=False)
    preview: bytes | None = field(repr=False)
    data: bytes = field(repr=False, compare=False)
    reduced: Image.Image = field(repr=False, compare=False)

    @property
    def small(self) -> Image.Image:
        """The upright RGB picture, its shorter side near `PREVIEW_SIDE` if it is large."""
        if self.reduced.mode != "L":
            return self.reduced
        with Image.open(io.BytesIO(self.data), formats=FORMATS) as file:  # only its gray was decoded
            return upright_rgb(file)

    @property
    def fingerprints(self) -> list[Fingerprint]:
        """Those of this picture alone; `fingerprints.fingerprints` is much faster for many."""
        return fingerprints([self.thumb])[0]

    @property
    def color(self) -> str:
        """The color that most of the picture has: one of `COLORS`."""
        return looks.color(self.small)

    @property
    def flat(self) -> float:
        """The share of equal neighbors among its pixels: high in drawings, low in photographs."""
        return looks.flat(self.small)

    @property
    def taken(self) -> str:
        """When the camera says that it took the picture, ISO 8601 without a zone; empty where it does not say."""
        return looks.taken(self.exif)


def decode(data: bytes, config: IntakeConfig) -> Decoded | Rejected:
    """Decode an untrusted file once; any failure is a `Rejected` with one of a few fixed reasons."""
    if not data:
        return Rejected("empty", "0 bytes")
    if len(data) > config.max_bytes:
        return Rejected("too-large", f"{len(data)} bytes, more than intake.max_bytes = {config.max_bytes}")
    if _looks_like_markup(data):
        return Rejected("not-an-image", "the file is HTML or XML")
    try:
        return _decode(data, config)
    except Image.DecompressionBombError as error:
        return Rejected("too-many-pixels", str(error))
    except UnidentifiedImageError:
        if data.startswith(BEGINNINGS) or data[4:11] == b"ftypavi":
            return Rejected("broken", f"damaged before its pixels begin; {len(data)} bytes")
        return Rejected("not-an-image", f"none of {', '.join(FORMATS)}; it begins with {data[:8]!r}")
    except Exception as error:  # a hostile file raises nearly anything: SyntaxError, RuntimeError, struct.error, ...
        return Rejected("broken", f"{type(error).__name__}: {error}"[:300])


def _decode(data: bytes, config: IntakeConfig) -> Decoded | Rejected:
    with Image.open(io.BytesIO(data), formats=FORMATS) as file:
        width, height = file.size
        if width * height > config.max_pixels:
            return Rejected("too-many-pixels", f"{width} x {height}, more than {config.max_pixels} pixels")
        if min(width, height) < config.min_side:
            return Rejected("too-small", f"{width} x {height}, shorter side below {config.min_side} pixels")
        # A phone's JPEG with a second view behind it (MPO) is no animation.
        format_, mode, frames = (
            ("JPEG", file.mode, 1) if file.format == "MPO" else (str(file.format), file.mode, _frames(file))
        )
        file.seek(0)
        large = min(width, height) >= LARGE
        exif, orientation = _orientation(file)
        picture = _load(file, data, large) if format_ == "JPEG" else file
        small = _small(_upright(picture, orientation))
    if orientation in SIDEWAYS:
        width, height = height, width
    return Decoded(
        width=width,
        height=height,
        format=format_,
        mode=mode,
        frames=frames,
        orientation=orientation,
        exif=exif,
        thumb=thumb(small.convert("L")),
        preview=_jpeg(small.convert("RGB")) if large else None,
        data=data,
        reduced=small,
    )


def _load(file: Image.Image, data: bytes, large: bool) -> Image.Image:
    """A JPEG decoded at 1/2, 1/4 or 1/8, and only its gray where nobody needs more.

    Every coded byte is read all the same, so damage is found all the same.
    """
    if large:
        file.draft(None, (PREVIEW_SIDE, PREVIEW_SIDE))
        return file
    factor = next(each for each in (8, 4, 2, 1) if min(file.size) >= each * REDUCED or each == 1)
    try:  # the same pixels as from Pillow, in two thirds of the time
        width, height = (-(-side // factor) for side in file.size)
        gray = simplejpeg.decode_jpeg(data, "GRAY", min_height=height, min_width=width, min_factor=1)
    except ValueError:  # Pillow knows which damage one can live with
        file.draft("L", (REDUCED, REDUCED))
        return file
    return Image.fromarray(gray[:, :, 0])


def upright_rgb(file: Image.Image) -> Image.Image:
    """The first frame as an upright 8-bit RGB picture; transparency on white, 16-bit gray scaled down."""
    file.load()  # what is upright RGB already is given back as it is, and must outlive the open file
    return _upright(file, _orientation(file)[1]).convert("RGB")


def _upright(file: Image.Image, orientation: int) -> Image.Image:
    """As `upright_rgb`, but what is plain gray stays gray."""
    file.load()
    turn = UPRIGHT.get(orientation)
    picture = file if turn is None else file.transpose(turn)
    if picture.mode in ("RGB", "L") and "transparency" not in picture.info:
        return picture
    if picture.mode.startswith("I;16"):
        gray = np.asarray(picture, dtype=np.float64) / 257
        picture = Image.fromarray(gray.round().astype(np.uint8))
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def _orientation(file: Image.Image) -> tuple[Image.Exif, int]:
    try:
        exif = file.getexif()
        value = exif.get(ORIENTATION, 1)
    except Exception:  # metadata that nobody can read says nothing against the pixels
        return Image.Exif(), 1
    return exif, value if isinstance(value, int) and value in UPRIGHT else 1


def _frames(file: Image.Image) -> int:
    """How many frames a file has; those of a GIF are counted one after another, up to MOST_FRAMES."""
    if not isinstance(file, GifImageFile):
        return int(getattr(file, "n_frames", 1))
    try:
        while file.tell() < MOST_FRAMES - 1:
            file._seek(file.tell() + 1, False)  # as `n_frames` does, but that has no bound
    except EOFError:
        pass
    return file.tell() + 1


def _small(picture: Image.Image) -> Image.Image:
    """The picture with its shorter side at PREVIEW_SIDE, or a little above where it comes like that."""
    shorter = min(picture.size)
    if shorter <= NEARLY * PREVIEW_SIDE:
        return picture
    scale = PREVIEW_SIDE / shorter
    size = (round(picture.width * scale), round(picture.height * scale))
    return picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def _jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _looks_like_markup(data: bytes) -> bool:
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype", b"<html", b"<?xml", b"<svg", b"<head", b"<!--"))
