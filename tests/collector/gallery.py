"""Images that are only rows: fingerprints chosen by a test, no bytes behind them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from collector.catalog import images
from collector.catalog.images import Arrival
from collector.fingerprints import DCT, PHASH, PIXELS, Fingerprint
from collector.records import License, Sighting
from collector.workspace import Workspace

BY = License("by", "4.0")
RECORD = {
    "bytes": 1000, "width": 100, "height": 100, "format": "JPEG", "mode": "RGB", "frames": 1, "orientation": 1,
    "preview_pack": None, "preview_offset": None, "preview_bytes": None,
}  # fmt: skip


def flipped(value: int, bits: Iterable[int]) -> int:
    """A hash with some bits the other way round."""
    for bit in bits:
        value ^= 1 << int(bit)
    return value


def near(rng: np.random.Generator, value: int, most: int, bits: int = 64) -> int:
    """A hash that differs in up to `most` bits."""
    return flipped(value, rng.choice(bits, int(rng.integers(most + 1)), replace=False))


def hashes(rng: np.random.Generator, bits: int = 64) -> int:
    """A random hash."""
    return int.from_bytes(rng.bytes(bits // 8), "big")


def add(
    ws: Workspace,
    name: str,
    phash: int,
    *,
    dct: int | None = None,
    pixels: str = "",
    quality: float = 1.0,
    size: tuple[int, int] = (100, 100),
) -> str:
    """Put one such image into the catalog; `name` is hex, and its id begins with it. Returns the id."""
    return add_all(ws, [(name, phash, dct, pixels, quality, size)])[0]


def add_all(ws: Workspace, rows: Sequence[tuple[str, int, int | None, str, float, tuple[int, int]]]) -> list[str]:
    """Several at once: (name, phash, dct, pixels, quality, size); without a dct one that is like no other's."""
    ws.concept("horse", create=True)
    arrivals = []
    for name, phash, dct, pixels, quality, size in rows:
        image = name.ljust(64, "0")
        own = hashes(np.random.default_rng(int(name, 16) + 10**6), 256) if dct is None else dct
        prints = [
            Fingerprint(PIXELS, pixels or image, 1.0),
            Fingerprint(PHASH, f"{phash:016x}", quality),
            Fingerprint(DCT, f"{own:064x}", quality),
        ]
        seen = Sighting("test", name, f"https://x/{name}", BY, "horse", "horse")
        arrivals.append(Arrival(seen, image, RECORD | {"width": size[0], "height": size[1]}, prints))
    for start in range(0, len(arrivals), 5000):
        images.write(ws.catalog, arrivals[start : start + 5000])
    return [each.image for each in arrivals]
