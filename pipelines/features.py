"""Features: the vector of every image, computed once and kept for ever.

They lie under `features/<weights>-<transform>/` as Parquet shards of (image, vector in half precision). A shard is
whole or absent, so a killed run goes on after its last shard, and repeats no more than a shard. Heads, predictions and
searches all read these vectors. Pictures are decoded on threads, and a handful of batches wait at most: memory does not
grow with the number of images.
"""

from __future__ import annotations

import hashlib
import io
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from collector import durable
from collector.catalog import images as image_rows
from collector.decoding import FORMATS, ORIENTATION, upright_rgb
from collector.errors import CollectError
from collector.store import Preview
from collector.workspace import Workspace
from pipelines.backbones import Backbone
from pipelines.config import EngineConfig, TrainConfig
from pipelines.engine import Runtime, cores, device_of
from pipelines.manifest import require_remembered

SHARD = 32  # batches: 256 images on a processor, 8,192 on a GPU; what a killed run repeats at most
JPEG = b"\xff\xd8"
TURNING = (b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/")  # where an orientation can stand
WINDOW = 8192  # images whose places are looked up at once

log = logging.getLogger(__name__)

ID = "S64"  # the type of an image's id in an array
Ids = NDArray[np.bytes_]
Half = NDArray[np.float16]
Some = TypeVar("Some", Sequence[str], Ids)


def features(
    ws: Workspace, images: Sequence[str], backbone: Backbone, *, device: str | None = None
) -> NDArray[np.float32]:
    """The vectors of `images`, in their order: (images, dimension). Those not yet in the cache are computed.

    `device` stands in for `train.device`.

    Raises:
        CollectError: the bytes of an image are gone or cannot be decoded any more.
        UsageError: no such device here.
    """
    wanted, place = np.unique(_names(images), return_inverse=True)
    matrix = np.empty((len(wanted), backbone.dimension), dtype=np.float32)
    for found, vectors in stream(ws, wanted, backbone, device=device):
        matrix[np.searchsorted(wanted, _names(found))] = vectors
    return matrix[place]


def stream(
    ws: Workspace, images: Sequence[str] | Ids, backbone: Backbone, *, device: str | None = None
) -> Iterator[tuple[Sequence[str], Half]]:
    """All `images` with their vectors, a shard at a time: first those in the cache, then the others as they are kept.

    Each image comes once, and whatever comes is durable.
    """
    folder = folder_of(ws, backbone)
    wanted = np.unique(_names(images))
    seen = np.zeros(len(wanted), dtype=bool)
    for path in sorted(folder.glob("*.parquet")):
        names = _column(path)
        at = np.minimum(np.searchsorted(wanted, names), len(wanted) - 1) if len(wanted) else np.empty(0, np.int64)
        rows = np.flatnonzero((wanted[at] == names) & ~seen[at]) if len(wanted) else at
        if len(rows) and (vectors := _vectors(path, backbone.dimension)) is not None:
            seen[at[rows]] = True
            yield names[rows].astype(str).tolist(), vectors[rows]
    missing = wanted[~seen]
    for window in batched(missing, WINDOW):
        require_remembered(ws, window.astype(str).tolist())
    if len(missing):
        yield from _fresh(ws, missing, backbone, device)


def folder_of(ws: Workspace, backbone: Backbone) -> Path:
    """Where the features of a backbone lie: both digests name it."""
    return ws.data / "features" / f"{backbone.weights_digest[:16]}-{backbone.transform_digest[:16]}"


def folders(ws: Workspace) -> list[Path]:
    """Where features of any backbone lie."""
    return sorted(each for each in (ws.data / "features").glob("*") if each.is_dir())


def shards(folder: Path) -> Iterator[tuple[Ids, Half]]:
    """All that is in the cache of a backbone, a shard at a time: ids, (images, dimension)."""
    for path in sorted(folder.glob("*.parquet")):
        names = _column(path)
        if len(names) and (vectors := _vectors(path)) is not None:
            yield names, vectors


def known(folder: Path) -> set[str]:
    """The images whose features are in the cache."""
    found: set[str] = set()
    for path in folder.glob("*.parquet"):
        found.update(_column(path).astype(str).tolist())
    return found


def read(folder: Path, images: Sequence[str] | Ids, dimension: int) -> NDArray[np.float32]:
    """Cached vectors in the order of `images`, NaN for those that are not there; one shard in memory at a time."""
    wanted, place = np.unique(_names(images), return_inverse=True)
    matrix = np.full((len(wanted), dimension), np.nan, dtype=np.float32)
    for path in sorted(folder.glob("*.parquet")) if len(wanted) else ():
        names = _column(path)
        at = np.minimum(np.searchsorted(wanted, names), len(wanted) - 1)
        rows = np.flatnonzero(wanted[at] == names)
        if len(rows) and (vectors := _vectors(path, dimension)) is not None:
            matrix[at[rows]] = vectors[rows]
    return matrix[place]


def _names(images: Sequence[str] | Ids) -> Ids:
    """Ids as an array that sorts fast and takes 64 bytes for each."""
    return np.asarray(images, dtype=ID)


def _column(path: Path) -> Ids:
    try:
        table = pq.read_table(path, columns=["image"], page_checksum_verification=True)
        return _names(table["image"].to_pylist())
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        _set_aside(path, str(error))
        return _names([])


def _vectors(path: Path, dimension: int = -1) -> Half | None:
    """The vectors of a shard, (images, dimension), whatever it is if none is given; None where it is damaged."""
    try:
        column = pq.read_table(path, columns=["vector"], page_checksum_verification=True)["vector"]
        flat: Half = column.combine_chunks().flatten().to_numpy()
        matrix = flat.reshape(len(column), dimension)
    except (OSError, KeyError, ValueError, pa.ArrowInvalid) as error:
        _set_aside(path, str(error))
        return None
    if not np.isfinite(matrix).all():
        _set_aside(path, "it holds values that are no numbers")
        return None
    return matrix


def _set_aside(path: Path, why: str) -> None:
    """Nothing is deleted: a damaged shard gets another name, and its vectors are computed again."""
    log.warning("the features in %s are damaged and computed again: %s", path, why[:200])
    path.replace(path.with_suffix(".damaged"))


def _fresh(ws: Workspace, images: Ids, backbone: Backbone, device: str | None) -> Iterator[tuple[Sequence[str], Half]]:
    """Compute and keep the vectors of `images`, a shard at a time."""
    folder = folder_of(ws, backbone)
    runtime = Runtime(
        device=device_of(device or ws.section(TrainConfig).device),
        engine=ws.section(EngineConfig).cpu,
        folder=ws.data / "engines",
        images=len(images),
    )
    done = _meter(ws, backbone.name, len(images))
    waiting: list[str] = []
    parts: list[Half] = []
    with backbone.ready(runtime):
        # What the threads are working on is lost as well when the process is killed.
        size = max(SHARD * backbone.batch - _ahead() * backbone.batch, backbone.batch)
        for batch, vectors in _computed(ws, images, backbone):
            waiting += batch
            parts.append(vectors)
            if len(waiting) >= size:
                yield _keep(folder, waiting, parts)
                waiting, parts = [], []
            done(len(batch))
        if waiting:
            yield _keep(folder, waiting, parts)


def _computed(ws: Workspace, images: Ids, backbone: Backbone) -> Iterator[tuple[Sequence[str], Half]]:
    """Batches of `images` with their vectors; each thread decodes and embeds one, and few wait."""
    places: dict[str, Preview | None] = {}

    def vectors(batch: Sequence[str], lie: dict[str, Preview | None]) -> Half:
        found = backbone.embed(np.stack([backbone.prepare(picture(ws, image, lie[image])) for image in batch]))
        with np.errstate(over="ignore"):
            half = found.astype(np.float16)
        if not np.isfinite(half).all():
            raise CollectError(
                f"{backbone.name} gives values that are no numbers, or too large, for some of {batch[0][:12]}...",
                hint="its weights are damaged: `--weights` with another copy, or another `--backbone`",
            )
        return half

    def todo() -> Iterator[Sequence[str]]:
        for some in batched(images, WINDOW):
            window = some.astype(str).tolist()
            places.clear()
            places.update(image_rows.previews(ws.catalog, window))
            yield from batched(window, backbone.batch)

    batches = todo()
    with ThreadPoolExecutor(cores()) as pool:
        running = deque(
            (batch, pool.submit(vectors, batch, {image: places[image] for image in batch}))
            for batch in islice(batches, _ahead())
        )
        try:
            while running:
                batch, future = running.popleft()
                found = future.result()
                running.extend(
                    (each, pool.submit(vectors, each, {image: places[image] for image in each}))
                    for each in islice(batches, 1)
                )
                yield batch, found
        finally:
            for _, future in running:
                future.cancel()


def _ahead() -> int:
    return min(2 * cores(), SHARD // 2)  # batches in work or waiting


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
        return decoded(data)
    except Exception as error:  # Pillow raises nearly anything on damaged bytes
        raise CollectError(
            f"image {image[:12]} cannot be decoded any more: {type(error).__name__}: {error}",
            hint="the store is damaged: restore it from a backup",
        ) from error


def decoded(data: bytes) -> Image.Image:
    """The upright RGB picture in a file. Plain JPEGs go by simplejpeg: the same pixels in two thirds of the time.

    Scaled decoding is left out on purpose: it changes pixels by more than rounding, and large originals have previews.
    """
    if data.startswith(JPEG) and _upright(data):
        try:
            if simplejpeg.decode_jpeg_header(data)[2] == "YCbCr":
                return Image.fromarray(simplejpeg.decode_jpeg(data, "RGB"))
        except ValueError:
            pass  # Pillow knows which damage one can live with
    with Image.open(io.BytesIO(data), formats=FORMATS) as file:
        return upright_rgb(file)


def _upright(data: bytes) -> bool:
    """Whether a JPEG says nothing of being turned; to ask Pillow takes a fifth of the time of decoding it."""
    if not any(mark in data for mark in TURNING):
        return True
    with Image.open(io.BytesIO(data), formats=FORMATS) as file:
        return bool(file.getexif().get(ORIENTATION, 1) == 1)


def batched(images: Some, size: int) -> Iterator[Some]:
    """Slices of at most `size`; `itertools.batched` came with Python 3.12."""
    for start in range(0, len(images), size):
        yield images[start : start + size]


def _texts(images: Sequence[str]) -> pa.StringArray:
    ends = np.arange(0, 64 * len(images) + 1, 64, dtype=np.int32)  # an id has 64 characters
    data = pa.py_buffer("".join(images).encode())
    return pa.StringArray.from_buffers(len(images), pa.py_buffer(ends), data)


def _keep(folder: Path, images: list[str], parts: list[Half]) -> tuple[list[str], Half]:
    """Make a shard durable."""
    vectors = np.ascontiguousarray(np.concatenate(parts))
    # From buffers: of a NumPy array pyarrow asks whether it is pandas', and imports pandas for that, half a second.
    flat = pa.Array.from_buffers(pa.float16(), vectors.size, [None, pa.py_buffer(vectors)])
    column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    name = hashlib.sha256("\n".join(images).encode()).hexdigest()[:16]
    buffer = pa.BufferOutputStream()
    table = pa.table({"image": _texts(images), "vector": column})
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    durable.save(folder / f"{name}.parquet", buffer.getvalue())
    return images, vectors
