"""Pictures for a training: decoded and cropped by threads ahead of the network, in an order that needs no memory."""

from __future__ import annotations

import hashlib
import io
import math
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from collector.catalog import images as image_rows
from collector.decoding import FORMATS, upright_rgb
from collector.errors import CollectError
from collector.store import Preview
from collector.workspace import Workspace
from pipelines.backbones import TorchBackbone
from pipelines.calibrate import Ints
from pipelines.finetune import draws

AHEAD = 3  # pieces decoded before they are asked for


class Place(NamedTuple):
    """Where a piece stands: epoch, step of the epoch, piece of the step (all from 0)."""

    epoch: int
    step: int
    piece: int


class Piece(NamedTuple):
    """What the network gets at once: `pixels` (n, side, side, 3) bytes, the places of the pictures in their split."""

    pixels: Any
    indices: Any
    place: Place


@dataclass(slots=True)
class Clock:
    """Seconds that threads read and decoded (each counts), and that the network waited for them, of `passed` in all."""

    read: float = 0.0
    decoded: float = 0.0
    waited: float = 0.0
    passed: float = 0.0
    since: float = field(default_factory=time.monotonic)

    def start(self) -> None:
        """Time passes from here on."""
        self.since = time.monotonic()

    def stop(self) -> None:
        """Time no longer passes."""
        self.passed += time.monotonic() - self.since
        self.since = math.inf

    def shares(self) -> tuple[float, float]:
        """The share of the time that the network waited, and of the threads' work that was reading."""
        passed = self.passed + max(0.0, time.monotonic() - self.since)
        return self.waited / max(passed, 1e-9), self.read / max(self.read + self.decoded, 1e-9)

    def take(self) -> tuple[float, float]:
        """The shares so far; begin anew."""
        found = self.shares()
        self.read = self.decoded = self.waited = self.passed = 0.0
        return found


def binds(waiting: float, reading: float, device: str) -> str:
    """What a training waits for most, by `Clock.shares`: `disk`, `decode`, or the network (`gpu`, `compute`)."""
    if waiting > 0.1:
        return "disk" if reading > 0.5 else "decode"
    return "compute" if device == "cpu" else "gpu"


class Source:
    """The pictures of one split, by their place in it."""

    def __init__(self, ws: Workspace, images: Sequence[str], backbone: TorchBackbone) -> None:
        self.images = images
        self.clock = Clock()
        self._ws = ws
        self._backbone = backbone
        self._places = image_rows.previews(ws.catalog, sorted(set(images)))

    def plain(self, index: int) -> NDArray[np.uint8]:
        """A picture as the backbone sees it when it predicts."""
        return self._timed(index, lambda picture: self._backbone.prepare(picture))

    def cropped(self, index: int, seed: int, epoch: int, rule: tuple[int, float]) -> NDArray[np.uint8]:
        """A random part of a picture at a random flip; `rule` is the side in pixels and the smallest area."""

        def cut(picture: Image.Image) -> NDArray[np.uint8]:
            side, smallest = rule
            drawn = draws.crop(seed, epoch, index, picture.size, smallest)
            resample = Image.Resampling[self._backbone.layout.resample.upper()]
            resized = picture.resize((side, side), resample, box=drawn.box, reducing_gap=2.0)
            pixels = np.asarray(resized)
            return pixels[:, ::-1] if drawn.flip else pixels

        return self._timed(index, cut)

    def _timed(self, index: int, prepare: Any) -> NDArray[np.uint8]:
        image = self.images[index]
        begun = time.monotonic()
        data = self._read(image, self._places[image])
        read = time.monotonic()
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as file:
                pixels: NDArray[np.uint8] = prepare(upright_rgb(file))
        except Exception as error:  # Pillow raises nearly anything on damaged bytes
            raise CollectError(
                f"image {image[:12]} cannot be decoded any more: {type(error).__name__}: {error}",
                hint="the store is damaged: restore it from a backup",
            ) from error
        self.clock.read += read - begun
        self.clock.decoded += time.monotonic() - read
        return pixels

    def _read(self, image: str, preview: Preview | None) -> bytes:
        if preview:
            return self._ws.store.get_preview(preview)
        data = self._ws.store.get(image)
        if hashlib.sha256(data).hexdigest() != image:
            raise CollectError(
                f"the bytes of image {image[:12]} were changed since the snapshot was made",
                hint="the store is damaged: restore it from a backup",
            )
        return data


@dataclass(frozen=True, slots=True)
class Share:
    """Which pieces of a batch this process computes: `pieces` in each process, `rank` of `world` processes."""

    pieces: int
    rank: int = 0
    world: int = 1

    def of(self, indices: Ints) -> list[Ints]:
        """Its pieces of the batch `indices`."""
        return draws.parts(indices, self.pieces * self.world)[self.rank :: self.world]


@dataclass(slots=True)
class Training:
    """The pieces of the epochs, from a position on; each `iter` goes on with the epoch that is due."""

    source: Source
    seed: int
    batch: int
    rule: tuple[int, float]
    share: Share
    epoch: int = 0
    step: int = 0

    def __iter__(self) -> Iterator[Piece]:
        """The rest of the epoch; the next `iter` begins the next one."""
        first, epoch = self.step, self.epoch
        self.epoch, self.step = epoch + 1, 0
        indices = draws.order(self.seed, epoch, len(self.source.images))
        whole = draws.parts(indices, draws.steps(len(indices), self.batch))
        todo = [
            (Place(epoch, step, k), piece)
            for step, batch in enumerate(whole[first:], start=first)
            for k, piece in enumerate(self.share.of(batch))
        ]
        for place, piece, pixels in _ahead(
            todo, lambda index: self.source.cropped(index, self.seed, epoch, self.rule), self.source.clock
        ):
            yield _piece(place, piece, pixels)


@dataclass(frozen=True, slots=True)
class Validation:
    """The pictures of the validation split as they are, every `world`-th of them from `rank` on."""

    source: Source
    batch: int
    share: Share

    def __iter__(self) -> Iterator[Piece]:
        """All of them, in order."""
        mine = np.arange(self.share.rank, len(self.source.images), self.share.world, dtype=np.int64)
        todo = [(Place(0, 0, 0), mine[at : at + self.batch]) for at in range(0, len(mine), self.batch)]
        for place, piece, pixels in _ahead(todo, self.source.plain, self.source.clock):
            yield _piece(place, piece, pixels)


def _piece(place: Place, indices: Ints, pixels: list[NDArray[np.uint8]]) -> Piece:
    import torch

    return Piece(torch.from_numpy(np.stack(pixels)), torch.from_numpy(indices), place)


def _ahead(
    todo: Sequence[tuple[Place, Ints]], load: Any, clock: Clock
) -> Iterator[tuple[Place, Ints, list[NDArray[np.uint8]]]]:
    """Each piece with its pictures, loaded by threads while the pieces before it are in use."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rest = iter(todo)

        def begin(count: int) -> Iterator[tuple[Place, Ints, list[Future[NDArray[np.uint8]]]]]:
            for place, piece in islice(rest, count):
                yield place, piece, [pool.submit(load, int(index)) for index in piece]

        running = deque(begin(AHEAD))
        try:
            while running:
                place, piece, futures = running.popleft()
                begun = time.monotonic()
                pixels = [future.result() for future in futures]
                clock.waited += time.monotonic() - begun
                running.extend(begin(1))
                yield place, piece, pixels
        finally:
            for _, _, futures in running:
                for future in futures:
                    future.cancel()
