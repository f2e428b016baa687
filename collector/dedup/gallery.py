"""Every fingerprinted image as rows of arrays: what searching and comparing work on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from collector.catalog import Catalog, comparisons
from collector.fingerprints import DCT, PHASH, PIXELS, pack

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Gallery:
    """All images that have fingerprints, sorted by id; a row is an index into each of these.

    `pixels` are equal where the small gray pixels are. `clear` pictures have enough to see for hashes to mean anything.
    Buried images are there but not `alive`: no result names them, yet they hold together what was found through them.
    """

    names: list[str]
    contents: list[str]  # the sha256 of the small gray pixels
    pixels: Rows  # the same as numbers
    phash: NDArray[np.uint64]  # (n,)
    dct: NDArray[np.uint64]  # (n, 4)
    quality: NDArray[np.float64]
    clear: NDArray[np.bool_]
    alive: NDArray[np.bool_]
    rows: dict[str, int] = field(repr=False)

    @classmethod
    def read(cls, catalog: Catalog, min_quality: float) -> Gallery:
        """The gallery of a catalog."""
        found = comparisons.prints(catalog, PIXELS, PHASH, DCT)
        quality = np.array([row.quality for row in found], float)
        return cls(
            names=[row.image for row in found],
            contents=[row.pixels for row in found],
            pixels=np.unique([row.pixels for row in found], return_inverse=True)[1].astype(np.int64),
            phash=pack([row.phash for row in found]),
            dct=pack([row.dct for row in found]).reshape(-1, 4),
            quality=quality,
            clear=quality >= min_quality,
            alive=np.array([row.alive for row in found], bool),
            rows={row.image: i for i, row in enumerate(found)},
        )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def comparable(self) -> Rows:
        """The rows whose hashes are compared."""
        return np.flatnonzero(self.clear & self.alive)
