"""What chance decides in a training, as functions of the seed and of a position: nothing here has a state.

So a resumed training needs to know no more than where it was: (epoch, step). Streams of numbers are Philox's (Salmon et
al., SC 2011), keyed by the position, as NumPy makes them.
"""

from __future__ import annotations

import math
import random
from typing import NamedTuple

import numpy as np

from pipelines.calibrate import Ints

ORDER, CROP, MIX, GLOBAL = range(4)  # what is drawn: each has a stream of its own
TRIES = 10  # of a crop, as in torchvision


class Crop(NamedTuple):
    """A part of a picture as left, top, right, bottom, in pixels; `flip`: mirrored from left to right."""

    box: tuple[float, float, float, float]
    flip: bool


class Mix(NamedTuple):
    """How the pictures of a part of a batch are mixed with each other, see `mix`.

    `share` of each picture stays; the rest comes from the picture `partner` places further on. With `box` (left, top,
    right, bottom, as shares of the sides) that rest is a rectangle (cutmix), without it shines through (mixup).
    """

    share: float
    partner: int
    box: tuple[float, float, float, float] | None


def stream(seed: int, what: int, *position: int) -> np.random.Generator:
    """The random numbers of one position: the same ones whenever they are asked for."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, what, *position])))


def steps(images: int, batch: int) -> int:
    """How many steps make an epoch: batches of nearly `batch` pictures, none left out, none much smaller."""
    return max(1, round(images / batch))


def order(seed: int, epoch: int, images: int) -> Ints:
    """The order in which an epoch sees the pictures: a permutation of `range(images)`."""
    return np.asarray(stream(seed, ORDER, epoch).permutation(images), dtype=np.int64)


def parts(indices: Ints, pieces: int) -> list[Ints]:
    """A batch in so many pieces, as even as can be."""
    return [np.asarray(piece) for piece in np.array_split(indices, pieces)]


def crop(seed: int, epoch: int, index: int, size: tuple[int, int], smallest: float) -> Crop:
    """A random part of a picture of `size` (width, height), with an area from `smallest` on, and a coin for the flip.

    The sides are between 3:4 and 4:3, as in torchvision's `RandomResizedCrop` (Szegedy et al., CVPR 2015); what does
    not fit after `TRIES` is the largest centered part that has such sides.
    """
    rng = stream(seed, CROP, epoch, index)
    flip = bool(rng.random() < 0.5)
    width, height = size
    for _ in range(TRIES):
        area = width * height * rng.uniform(smallest, 1.0)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if w <= width and h <= height:
            left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
            return Crop((left, top, min(left + w, width), min(top + h, height)), flip)
    w, h = min(width, height * 4 / 3), min(height, width * 4 / 3)
    left, top = (width - w) / 2, (height - h) / 2
    return Crop((left, top, left + w, top + h), flip)


def mix(seed: int, step: int, piece: int, images: int, alphas: tuple[float, float]) -> Mix | None:
    """Whether and how a piece of so many pictures is mixed; `alphas` are those of mixup and of cutmix, 0 is off.

    Mixup: Zhang et al., ICLR 2018; cutmix: Yun et al., ICCV 2019.
    """
    on = [k for k, alpha in enumerate(alphas) if alpha > 0]
    if not on or images < 2:
        return None
    rng = stream(seed, MIX, step, piece)
    kind = on[int(rng.integers(len(on)))]
    share = float(rng.beta(alphas[kind], alphas[kind]))
    partner = int(rng.integers(1, images))
    if kind == 0:
        return Mix(share, partner, None)
    side = math.sqrt(1 - share)
    x, y = rng.random(2)
    box = (max(x - side / 2, 0.0), max(y - side / 2, 0.0), min(x + side / 2, 1.0), min(y + side / 2, 1.0))
    return Mix(share, partner, box)


def reseed(seed: int, step: int, rank: int) -> None:
    """Set the generators of Python, NumPy and torch by the step, so that dropout and whatever else draws repeats."""
    import torch

    number = int(stream(seed, GLOBAL, step, rank).integers(2**32))
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)
