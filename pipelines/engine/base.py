"""What every engine goes by: where a network runs, in what batches, and how far apart vectors may be."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collector.errors import UsageError

BATCH = 8  # pictures at once on a processor: 8 -> 240 images/s, 32 -> 130 (SqueezeNet, two cores, PyTorch)
GPU_BATCH = 256
PAYS = 256  # pictures from which on an export is worth its seconds
COMPILE_PAYS = 50_000  # pictures from which on `torch.compile` is worth its minute
GATE = 2.0**-11  # what half precision, in which vectors are kept, rounds away
DEVICES = ("auto", "cpu", "cuda", "mps")

Forward = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Bytes of pictures (n, side, side, 3) to vectors (n, dimension); several threads may call it at once."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where and with what a network runs: a device of PyTorch; on a processor, an engine; a folder for exports.

    `images` is how many pictures are waiting: for a few nothing is exported or compiled.
    """

    device: str = "cpu"
    engine: str = "torch"
    folder: Path | None = None
    images: int = 0

    @property
    def batch(self) -> int:
        """How many pictures the network takes at once."""
        return BATCH if self.device == "cpu" else GPU_BATCH


PLAIN = Runtime()


def device_of(asked: str) -> str:
    """The device that `asked` (one of `DEVICES`) means here; `auto` is a GPU where there is one.

    Raises:
        UsageError: no such word, or no such device in this machine.
    """
    import torch

    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if asked == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if here[name])
    if asked not in here:
        raise UsageError(f"`{asked}` is not a device", hint=f"one of {', '.join(DEVICES)}")
    if not here[asked]:
        raise UsageError(f"PyTorch finds no {asked} device on this machine", hint="`--device auto` takes what there is")
    return asked


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def wrapped(network: Any, mean: tuple[float, ...], std: tuple[float, ...]) -> Any:
    """A module from bytes (n, side, side, 3) to vectors (n, dimension): normalization, network, flattening."""
    import torch

    class Bytes(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.register_buffer("mean", torch.tensor(mean), persistent=False)
            self.register_buffer("std", torch.tensor(std), persistent=False)

        def forward(self, pixels: Any) -> Any:
            scaled = (pixels.float() / 255 - self.mean) / self.std
            return self.network(scaled.permute(0, 3, 1, 2)).flatten(1)  # a view: the memory stays channels-last

    return Bytes().eval()


def pictures(count: int, side: int) -> NDArray[np.uint8]:
    """Made pictures for the gate, always the same: soft blobs with some noise, (count, side, side, 3)."""
    from PIL import Image

    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (count, 7, 7, 3), dtype=np.uint8)
    soft = np.stack(
        [np.asarray(Image.fromarray(each).resize((side, side), Image.Resampling.BICUBIC)) for each in noise]
    )
    return np.clip(soft + rng.normal(0, 8, soft.shape), 0, 255).astype(np.uint8)


def distance(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The largest |found - expected| / |expected| over rows; infinite where a value is none."""
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    length = np.linalg.norm(expected, axis=1)
    return float((np.linalg.norm(found - expected, axis=1) / np.maximum(length, 1e-12)).max())


def in_torch(module: Any, device: str, *, bf16: bool) -> Forward:
    """PyTorch as it is, on a processor or an Apple GPU; each call computes on the cores that PyTorch was given."""
    import torch

    module = module.to(device)

    def forward(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=bf16):
            return np.asarray(module(torch.from_numpy(pixels).to(device)).float().cpu().numpy())

    return forward
