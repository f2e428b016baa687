"""What a backbone is, and the digests that name what it computes."""

from __future__ import annotations

import hashlib
import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.engine import Runtime


class Backbone(Protocol):
    """What features are computed with. Within `ready()`, several threads may call `prepare` and `embed`."""

    name: str
    dimension: int
    weights: Path | None
    weights_digest: str
    transform_digest: str
    batch: int  # pictures that are best embedded at once; `ready` sets it

    def ready(self, runtime: Runtime = ...) -> AbstractContextManager[None]:
        """Build the network, if there is one, and hold the settings that it computes under."""

    def prepare(self, picture: Image.Image) -> NDArray[Any]:
        """One RGB picture as the array that `embed` takes a stack of."""

    def embed(self, batch: NDArray[Any], *, fill: bool = True) -> NDArray[np.float32]:
        """Vectors of shape (images, dimension) for a stack of prepared pictures.

        With `fill`, no bit of a vector depends on how many pictures are in the stack; without, few are quicker.
        """


def file_digest(path: Path) -> str:
    """The sha256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(described: dict[str, Any]) -> str:
    """The sha256 of a description, in hex."""
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
