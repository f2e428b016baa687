"""Fingerprints of decoded pictures: numbers that stay the same, or nearly, when a picture is copied.

They are computed from the small upright picture that intake keeps for previews (collector/decoding.py). How it was
made smaller is part of a fingerprint, so it is part of the algorithm's name.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PIXELS = "sha256/gray288"
PHASH = "phash64/lanczos32/gray288"
THUMB_SIDE = 72  # the perceptual hash needs no more pixels than this, and costs a tenth


class Fingerprint(NamedTuple):
    """A hash in hex with its quality: 0 for a flat picture, which must not be matched, to 1."""

    algorithm: str
    value: str
    quality: float


def fingerprints(small: Image.Image) -> list[Fingerprint]:
    """The sha256 of the gray pixels and the 64-bit perceptual hash of a small upright picture."""
    gray = small.convert("L")
    content = hashlib.sha256(f"{gray.size}".encode())
    content.update(gray.tobytes())
    thumb = gray.reduce(max(1, min(gray.size) // THUMB_SIDE))
    return [
        Fingerprint(PIXELS, content.hexdigest(), 1.0),
        Fingerprint(PHASH, f"{phash(thumb):016x}", gradient_quality(thumb)),
    ]


def phash(picture: Image.Image) -> int:
    """The 64-bit DCT hash of a picture, bit for bit that of `imagehash.phash`.

    32 x 32 gray, DCT-II, the 8 x 8 lowest frequencies, one bit each for "above their median", first row highest.
    """
    gray = np.asarray(picture.convert("L").resize((32, 32), Image.Resampling.LANCZOS), dtype=np.float64)
    low = (_DCT @ gray @ _DCT.T).ravel()
    ordered = np.sort(low)
    return int.from_bytes(np.packbits(low > (ordered[31] + ordered[32]) / 2).tobytes(), "big")


def gradient_quality(picture: Image.Image) -> float:
    """How much there is to see, 0 to 1: the mean absolute gradient of a 64 x 64 gray thumbnail over 8 gray levels.

    The idea is PDQ's quality metric (facebook/ThreatExchange): flat pictures have hashes made of noise.
    """
    gray = np.asarray(picture.convert("L").resize((64, 64), Image.Resampling.BOX), dtype=np.int16)
    steps = int(np.abs(gray[1:] - gray[:-1]).sum()) + int(np.abs(gray[:, 1:] - gray[:, :-1]).sum())
    return min(1.0, steps / (2 * 63 * 64) / 8.0)


def _low_frequencies(size: int, kept: int) -> NDArray[np.float64]:
    k, i = np.mgrid[0:kept, 0:size]
    return np.asarray(2.0 * np.cos(np.pi * k * (2 * i + 1) / (2 * size)))


_DCT = _low_frequencies(32, 8)
