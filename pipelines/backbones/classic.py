"""`classic`: a backbone that needs no weights."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from collector.errors import UsageError
from pipelines.backbones.base import digest
from pipelines.engine import BATCH, PLAIN, Runtime


class Classic:
    """Histograms of oriented gradients and of colors: no network, no download, and weak.

    It tells drawings and plain scenes apart; on photographs expect far less than from a pretrained network. HOG is
    scikit-image's (Dalal and Triggs, CVPR 2005); colors are counted in 8 x 4 x 4 bins of HSV for each quarter.
    """

    name = "classic"
    side = 128
    dimension = 8 * (7 * 7 * 4) + 4 * 128
    batch = BATCH

    def __init__(self, weights: str | Path | None = None) -> None:
        if weights:
            raise UsageError(f"`classic` takes no weights, yet got {weights}", hint="leave `--weights` out")
        self.weights: Path | None = None
        self.weights_digest = hashlib.sha256(b"no weights").hexdigest()
        self.transform_digest = digest({"side": self.side, "hog": [8, 16, 2], "hsv": [8, 4, 4], "version": 1})

    def ready(self, runtime: Runtime = PLAIN) -> AbstractContextManager[None]:
        """Nothing to build."""
        return nullcontext()

    def prepare(self, picture: Image.Image) -> NDArray[np.float32]:
        """The vector itself: gradients of the gray picture at 128 x 128, then colors."""
        from skimage.feature import hog

        small = picture.resize((self.side, self.side), Image.Resampling.BOX)
        gray = np.asarray(small.convert("L"), dtype=np.float32) / 255
        edges = hog(gray, orientations=8, pixels_per_cell=(16, 16), cells_per_block=(2, 2))
        hsv = np.asarray(small.convert("HSV")).astype(np.int64)
        cells = (hsv[..., 0] >> 5) * 16 + (hsv[..., 1] >> 6) * 4 + (hsv[..., 2] >> 6)
        half = self.side // 2
        quarters = [cells[y : y + half, x : x + half] for y in (0, half) for x in (0, half)]
        colors = np.concatenate([np.bincount(part.ravel(), minlength=128) / part.size for part in quarters])
        return np.concatenate([edges, np.sqrt(colors)]).astype(np.float32)

    def embed(self, batch: NDArray[Any], *, fill: bool = True) -> NDArray[np.float32]:
        """What `prepare` made."""
        return np.asarray(batch, dtype=np.float32)
