"""Features: the vector of every image, computed once and kept for ever.

They lie under `features/<weights>-<transform>/` as Parquet shards of (image, vector in half precision). A shard is
whole or absent, so a killed run goes on after its last shard. Heads, predictions and searches all read these vectors.
"""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from collector.catalog import images as image_rows
from collector.decoding import FORMATS, upright_rgb
from collector.errors import CollectError
from collector.store import Preview
from collector.workspace import Workspace
from pipelines import parquet
from pipelines.backbones import BATCH, Backbone

SHARD = 256  # images; what a killed run loses at most


def features(ws: Workspace, images: Sequence[str], backbone: Backbone) -> NDArray[np.float32]:
    """The vectors of `images`, in their order: (images, dimension). Those not yet in the cache are computed.

    Raises:
        CollectError: the bytes of an image are gone or cannot be decoded any more.
    """
    folder = folder_of(ws, backbone)
    missing = sorted(set(images) - known(folder))
    if missing:
        places = image_rows.previews(ws.catalog, missing)
        meter = _meter(ws, backbone.name, len(missing))
        with backbone.ready():
            for shard in batched(missing, SHARD):
                _keep(folder, shard, _computed(ws, shard, places, backbone, meter))
    return read(folder, images, backbone.dimension)


def folder_of(ws: Workspace, backbone: Backbone) -> Path:
    """Where the features of a backbone lie: both digests name it."""
    return ws.data / "features" / f"{backbone.weights_digest[:16]}-{backbone.transform_digest[:16]}"


def known(folder: Path) -> set[str]:
    """The images whose features are in the cache."""
    found: set[str] = set()
    for path in folder.glob("*.parquet"):
        found.update(pq.read_table(path, columns=["image"])["image"].to_pylist())
    return found


def read(folder: Path, images: Sequence[str], dimension: int) -> NDArray[np.float32]:
    """Cached vectors in the order of `images`, one shard in memory at a time."""
    place: dict[str, list[int]] = {}
    for row, image in enumerate(images):
        place.setdefault(image, []).append(row)
    matrix = np.full((len(images), dimension), np.nan, dtype=np.float32)
    for path in sorted(folder.glob("*.parquet")):
        table = pq.read_table(path, memory_map=True).combine_chunks()
        vectors = table["vector"].combine_chunks().flatten().to_numpy().reshape(-1, dimension)
        for i, image in enumerate(table["image"].to_pylist()):
            matrix[place.get(image, [])] = vectors[i]
    return matrix


def _computed(
    ws: Workspace,
    images: Sequence[str],
    places: dict[str, Preview | None],
    backbone: Backbone,
    done: Callable[[int], None],
) -> NDArray[np.float16]:
    """The vectors of `images`; each thread decodes and embeds a batch, and few wait, so memory stays small."""

    def vectors(batch: Sequence[str]) -> NDArray[np.float32]:
        return backbone.embed(np.stack([backbone.prepare(picture(ws, image, places[image])) for image in batch]))

    found: list[NDArray[np.float16]] = []
    todo = batched(images, BATCH)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        running = deque(pool.submit(vectors, batch) for batch in islice(todo, 2 * (os.cpu_count() or 1)))
        try:
            while running:
                found.append(running.popleft().result().astype(np.float16))
                running.extend(pool.submit(vectors, batch) for batch in islice(todo, 1))
                done(len(found[-1]))
        finally:
            for future in running:
                future.cancel()
    return np.concatenate(found)


def _meter(ws: Workspace, name: str, total: int) -> Callable[[int], None]:
    """Counts images and reports how many were done in a second."""
    started, count = time.monotonic(), 0

    def done(more: int) -> None:
        nonlocal count
        count += more
        rate = count / max(time.monotonic() - started, 1e-3)
        ws.progress(f"features of {name}: {rate:.0f} images/s", count, total)

    return done


def picture(ws: Workspace, image: str, place: Preview | None) -> Image.Image:
    """The upright RGB picture of an image: its preview, or the original where that is small."""
    data = ws.store.get_preview(place) if place else ws.store.get(image)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as file:
            return upright_rgb(file)
    except Exception as error:  # Pillow raises nearly anything on damaged bytes
        raise CollectError(
            f"image {image[:12]} cannot be decoded any more: {type(error).__name__}: {error}",
            hint="the store is damaged: restore it from a backup",
        ) from error


def batched(images: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Slices of at most `size`; `itertools.batched` came with Python 3.12."""
    for start in range(0, len(images), size):
        yield images[start : start + size]


def _keep(folder: Path, images: Sequence[str], vectors: NDArray[np.float16]) -> None:
    dimension = vectors.shape[1]
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dimension)
    name = hashlib.sha256("\n".join(images).encode()).hexdigest()[:16]
    parquet.save(folder / f"{name}.parquet", pa.table({"image": list(images), "vector": column}))
