"""The single door into a workspace: bytes and where they were seen become an image, or a rejection with its reason.

The order on disk is object, preview, row (collector/store.py); a picture is acknowledged when its row is committed.
Whatever a stranger's file does to the decoder, the result is one row, never an exception.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

from collector.catalog import images
from collector.config import IntakeConfig, WorkspaceConfig
from collector.errors import Busy
from collector.fingerprints import Fingerprint, fingerprints
from collector.records import Kept, Known, Outcome, Rejected, Sighting
from collector.workspace import Workspace

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF")
BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"RIFF")
PREVIEW_SIDE = 288
THREADS = 4  # takers-in of one process: they overlap each other's waiting for the disk; each may hold a whole picture
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


@dataclass(frozen=True, slots=True)
class Decoded:
    """What one decode of a file tells: upright size in pixels, fingerprints, and a preview if the original is large."""

    width: int
    height: int
    format: str
    mode: str
    frames: int
    orientation: int
    fingerprints: list[Fingerprint]
    preview: bytes | None


@contextmanager
def taking_in(ws: Workspace) -> Iterator[None]:
    """Wrap a step that takes images in: several may run at once, and the first sweeps what a killed one left."""
    # A store that the settings put elsewhere may serve other workspaces too: what we do not know may be theirs.
    if not ws.section(WorkspaceConfig).store:
        with suppress(Busy), ws.lock("intake"):  # busy: another intake runs, and its fresh objects have no row yet
            known = images.previews(ws.catalog)
            ws.store.sweep(set(known), {preview.pack for preview in known.values() if preview})
    with ws.lock("intake", shared=True, wait_s=60), warnings.catch_warnings():
        # Pillow's warnings about odd metadata are not ours to print. Set here, once: filters belong to all threads.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def take_in(ws: Workspace, data: bytes, sighting: Sighting) -> Outcome:
    """Judge the bytes, store them durably, and write down the sighting or the rejection."""
    image = hashlib.sha256(data).hexdigest()
    if images.add_sighting(ws.catalog, image, sighting):
        ws.store.put(data)  # heals a store that has lost the file
        return Known(image)
    decoded = decode(data, ws.section(IntakeConfig))
    if isinstance(decoded, Rejected):
        images.reject(ws.catalog, sighting, decoded)
        return decoded
    ws.store.put(data)
    preview = ws.store.put_preview(decoded.preview) if decoded.preview else None
    record = {
        "id": image,
        "bytes": len(data),
        "width": decoded.width,
        "height": decoded.height,
        "format": decoded.format,
        "mode": decoded.mode,
        "frames": decoded.frames,
        "orientation": decoded.orientation,
        "preview_pack": preview.pack if preview else None,
        "preview_offset": preview.offset if preview else None,
        "preview_bytes": preview.size if preview else None,
    }
    added = images.add(ws.catalog, record, decoded.fingerprints, sighting)
    return Kept(image) if added else Known(image)


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
        format_, mode, frames = str(file.format), file.mode, int(getattr(file, "n_frames", 1))
        if format_ == "MPO":  # a phone's JPEG with a second view behind it, which is not an animation
            format_, frames = "JPEG", 1
        file.seek(0)
        file.load()
        orientation = _orientation(file)
        picture = upright_rgb(file)
    return Decoded(
        width=picture.width,
        height=picture.height,
        format=format_,
        mode=mode,
        frames=frames,
        orientation=orientation,
        fingerprints=fingerprints(picture),
        preview=_preview(picture),
    )


def upright_rgb(file: Image.Image) -> Image.Image:
    """The first frame as an upright 8-bit RGB picture; transparency on white, 16-bit gray scaled down."""
    turn = UPRIGHT.get(_orientation(file))
    picture = file if turn is None else file.transpose(turn)
    if picture.mode.startswith("I;16"):
        gray = np.asarray(picture, dtype=np.float64) / 257
        picture = Image.fromarray(gray.round().astype(np.uint8))
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def _orientation(file: Image.Image) -> int:
    try:
        value = file.getexif().get(ORIENTATION, 1)
    except Exception:  # metadata that nobody can read says nothing against the pixels
        return 1
    return value if isinstance(value, int) and value in UPRIGHT else 1


def _preview(picture: Image.Image) -> bytes | None:
    shorter = min(picture.size)
    if shorter < 1.5 * PREVIEW_SIDE:
        return None
    scale = PREVIEW_SIDE / shorter
    size = (round(picture.width * scale), round(picture.height * scale))
    buffer = io.BytesIO()
    picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _looks_like_markup(data: bytes) -> bool:
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype", b"<html", b"<?xml", b"<svg", b"<head", b"<!--"))
