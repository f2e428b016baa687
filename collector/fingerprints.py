"""Fingerprints of decoded pictures: numbers that stay the same, or nearly, when a picture is copied.

They are computed from the small upright gray picture of intake (collector/decoding.py), many pictures at a time. How
it was made smaller is part of a fingerprint, so it is part of the algorithm's name: a change of it is a new algorithm,
and fingerprints of different algorithms are never compared.

A new hash is a function with `@hashing(name, size)`: it gets gray thumbnails of its size and gives bits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Thumbs = NDArray[np.uint8]
Bits = NDArray[np.bool_]
Size = tuple[int, int]  # width, height in pixels

PIXELS = "sha256/gray2"
PHASH = "phash64/lanczos32/gray2"
DHASH = "dhash64/lanczos9x8/gray2"
DCT = "dct256/sign16/lanczos32/gray2"
SQUARE: Size = (32, 32)
REDUCED = 46  # pixels of the shorter side, an eighth of 375: JPEG gives that for nothing, and pixels are averaged to it
FULL = 12.0  # gray levels from one pixel of the square thumbnail to the next: as much as in any photograph
DIHEDRAL = (
    "upright", "mirrored", "upside down", "rotated 180", "transposed", "rotated 90", "rotated 270", "transverse",
)  # fmt: skip
"""The forms of `dihedral`; rotations are clockwise."""

_hashes: dict[str, tuple[Size, Callable[[Thumbs], Bits]]] = {}


class Fingerprint(NamedTuple):
    """A hash in hex with its quality: 0 for a flat picture, which must not be matched, to 1."""

    algorithm: str
    value: str
    quality: float


class Thumb(NamedTuple):
    """What the fingerprints of one picture are made of: the sha256 of its gray pixels, and thumbnails by size."""

    pixels: str
    small: dict[Size, bytes]


def hashing(algorithm: str, size: Size) -> Callable[[Callable[[Thumbs], Bits]], Callable[[Thumbs], Bits]]:
    """Register a hash: a function from n gray thumbnails (n, height, width) to n times as many bits (n, bits).

    Thumbnails are made by Lanczos. A name stands for one way to compute it for ever; another way has another name.
    """

    def register(function: Callable[[Thumbs], Bits]) -> Callable[[Thumbs], Bits]:
        _hashes[algorithm] = size, function
        return function

    return register


def algorithms() -> tuple[str, ...]:
    """The names of all fingerprints that intake computes."""
    return (PIXELS, *_hashes)


def thumb(gray: Image.Image) -> Thumb:
    """The thumbnails of a small upright gray picture (mode L)."""
    content = hashlib.sha256(f"{gray.size}".encode())
    content.update(gray.tobytes())
    reduced = gray.reduce(factor) if (factor := min(gray.size) // REDUCED) > 1 else gray
    sizes = {size for size, _ in _hashes.values()}
    return Thumb(content.hexdigest(), {size: thumbnail(reduced, size) for size in sizes})


def thumbnail(gray: Image.Image, size: Size) -> bytes:
    """The pixels of a gray picture at a size."""
    return gray.resize(size, Image.Resampling.LANCZOS).tobytes()


def fingerprints(thumbs: Sequence[Thumb]) -> list[list[Fingerprint]]:
    """All fingerprints of each picture. A hundred pictures at once take a tenth of the time of one by one."""
    if not thumbs:
        return []
    stacks = {size: stack([each.small[size] for each in thumbs], size) for size, _ in _hashes.values()}
    quality = gradient_quality(stacks[SQUARE]).round(4).tolist()
    found = [[Fingerprint(PIXELS, each.pixels, 1.0)] for each in thumbs]
    for algorithm, (size, function) in _hashes.items():
        packed = np.packbits(function(stacks[size]), axis=1)
        text, step = packed.tobytes().hex(), 2 * packed.shape[1]
        for i, prints in enumerate(found):
            prints.append(Fingerprint(algorithm, text[i * step : (i + 1) * step], quality[i]))
    return found


def stack(thumbnails: Sequence[bytes], size: Size) -> Thumbs:
    """Thumbnails of one size as an array (n, height, width)."""
    return np.frombuffer(b"".join(thumbnails), np.uint8).reshape(-1, size[1], size[0])


@hashing(PHASH, SQUARE)
def phash(squares: Thumbs) -> Bits:
    """The 64-bit DCT hash, bit for bit that of `imagehash.phash`.

    DCT-II of 32 x 32 gray pixels, the 8 x 8 lowest frequencies, one bit each for "above their median".
    """
    low = (_DCT[:8] @ squares.astype(np.float64) @ _DCT[:8].T).reshape(-1, 64)
    return np.asarray(low > np.median(low, axis=1, keepdims=True))


@hashing(DHASH, (9, 8))
def dhash(wide: Thumbs) -> Bits:
    """The 64-bit difference hash, bit for bit that of `imagehash.dhash`: is a pixel brighter than its left neighbor?"""
    return (wide[:, :, 1:] > wide[:, :, :-1]).reshape(-1, 64)


@hashing(DCT, SQUARE)
def dct(squares: Thumbs) -> Bits:
    """256 bits: the signs of the DCT-II coefficients of 32 x 32 gray pixels at frequencies 1 .. 16 both ways.

    Signs instead of PDQ's "above the median" (facebook/ThreatExchange) because mirroring and turning a picture changes
    the signs and places of its coefficients only, so that all 8 forms of the hash follow from its bits (`dihedral`).
    """
    middle = _DCT[1:17] @ squares.astype(np.float64) @ _DCT[1:17].T
    return np.asarray(middle > 0).reshape(-1, 256)


def gradient_quality(squares: Thumbs) -> NDArray[np.float64]:
    """How much there is to see in each picture, 0 to 1: the mean absolute gradient of its square thumbnail over `FULL`.

    The idea is PDQ's quality metric: flat pictures have hashes made of noise.
    """
    gray = squares.astype(np.int16)
    down, right = (np.abs(np.diff(gray, axis=axis)).mean(axis=(1, 2)) for axis in (1, 2))
    return np.asarray(np.minimum(1.0, (down + right) / 2 / FULL))


def pack(values: Sequence[str]) -> NDArray[np.uint64]:
    """Hashes in hex, all of one length, as numbers: (n,) for 64 bits, (n, 4) for 256."""
    if not values:
        return np.empty(0, np.uint64)
    words = len(values[0]) // 16
    packed = np.frombuffer(bytes.fromhex("".join(values)), ">u8").astype(np.uint64)
    return packed if words == 1 else packed.reshape(-1, words)


def dihedral(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The 256-bit hashes (n, 4) of n pictures in each of the 8 forms of `DIHEDRAL`: (8, n, 4).

    Mirroring a picture changes the sign of its odd horizontal frequencies, turning it upside down that of the odd
    vertical ones, and transposing it swaps the two.
    """
    bits = np.unpackbits(hashes.astype(">u8").view(np.uint8).reshape(-1, 32), axis=1).reshape(-1, 16, 16)
    odd = (np.arange(1, 17) % 2).astype(np.uint8)
    mirror, flip = np.broadcast_to(odd, (16, 16)), np.broadcast_to(odd[:, None], (16, 16))
    signs = (np.zeros((16, 16), np.uint8), mirror, flip, mirror ^ flip)
    turned = bits.transpose(0, 2, 1)
    # rotating clockwise is transposing, then mirroring
    forms = [upright ^ sign for upright in (bits, turned) for sign in signs]
    packed = np.packbits(np.stack(forms).reshape(8, -1, 256), axis=2)
    return packed.reshape(8, -1, 4, 8).view(">u8")[..., 0].astype(np.uint64)


def _frequencies(size: int, kept: int) -> NDArray[np.float64]:
    k, i = np.mgrid[0:kept, 0:size]
    return np.asarray(2.0 * np.cos(np.pi * k * (2 * i + 1) / (2 * size)))


_DCT = _frequencies(32, 17)
