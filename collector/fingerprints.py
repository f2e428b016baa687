"""Fingerprints of decoded pictures: numbers that stay the same, or nearly, when a picture is copied.

Both are computed from the upright 8-bit gray picture at full resolution, once, at intake.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PIXELS = "sha256-pixels"
PHASH = "phash64/lanczos32"


class Fingerprint(NamedTuple):
    """A hash in hex with its quality: 0 for a flat picture, which must not be matched, to 1."""

    algorithm: str
    value: str
    quality: float


def fingerprints(picture: Image.Image) -> list[Fingerprint]:
    """The sha256 of the pixels and the 64-bit perceptual hash of an upright RGB picture."""
    content = hashlib.sha256(f"{picture.mode} {picture.size}".encode())
    content.update(picture.tobytes())
    gray = picture.convert("L")
    quality = gradient_quality(gray)
    return [
        Fingerprint(PIXELS, content.hexdigest(), 1.0),
        Fingerprint(PHASH, f"{phash(gray):016x}", quality),
    ]


def phash(picture: Image.Image) -> int:
    """The 64-bit DCT hash of a picture, bit for bit that of `imagehash.phash`.

    32 x 32 gray, DCT-II, the 8 x 8 lowest frequencies, one bit each for "above their median", first row highest.
    """
    gray = np.asarray(picture.convert("L").resize((32, 32), Image.Resampling.LANCZOS), dtype=np.float64)
    low = (_DCT @ gray @ _DCT.T)[:8, :8]
    bits = (low > np.median(low)).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def gradient_quality(picture: Image.Image) -> float:
    """How much there is to see, 0 to 1: the mean absolute gradient of a 64 x 64 gray thumbnail over 8 gray levels.

    The idea is PDQ's quality metric (facebook/ThreatExchange): flat pictures have hashes made of noise.
    """
    gray = np.asarray(picture.convert("L").resize((64, 64), Image.Resampling.BOX), dtype=np.float64)
    slope = (np.abs(np.diff(gray, axis=0)).mean() + np.abs(np.diff(gray, axis=1)).mean()) / 2
    return float(min(1.0, slope / 8.0))


def _dct_matrix(n: int) -> NDArray[np.float64]:
    k, i = np.mgrid[0:n, 0:n]
    return np.asarray(2.0 * np.cos(np.pi * k * (2 * i + 1) / (2 * n)))


_DCT = _dct_matrix(32)
