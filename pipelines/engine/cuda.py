"""PyTorch on a CUDA device."""

from __future__ import annotations

import logging
import queue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.engine.base import BATCH, COMPILE_PAYS, GATE, Runtime, distance, pictures

BF16_GATE = 0.05  # bfloat16 rounds each value to 2^-9, and fused operations round elsewhere
SLOTS = 2  # batches on a GPU at once: one is copied while the other is computed

log = logging.getLogger(__name__)


class Cuda:
    """PyTorch on a CUDA device: `SLOTS` batches at once, each on a stream of its own and from pinned memory.

    Without `bf16` it tries TF32, whose mantissa is that of half precision, and keeps to full precision where the gate
    finds the vectors further apart.
    """

    def __init__(self, module: Any, side: int, runtime: Runtime, *, bf16: bool) -> None:
        import torch

        self._bf16 = bf16
        self._side = side
        self._module = module.to("cuda", memory_format=torch.channels_last)
        self._free: queue.SimpleQueue[_Slot] = queue.SimpleQueue()
        for _ in range(SLOTS):
            self._free.put(_Slot(torch.cuda.Stream()))  # type: ignore[no-untyped-call]
        if not bf16:
            self._choose_precision(pictures(BATCH, side))
        if runtime.images >= COMPILE_PAYS:
            self._compile(runtime.batch)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The vectors of some pictures. Raises `torch.OutOfMemoryError` when they are too many."""
        import torch

        slot = self._free.get()
        try:
            with torch.cuda.stream(slot.stream), torch.inference_mode():
                slot.fill(pixels)
                on_device = slot.pixels[: len(pixels)].to("cuda", non_blocking=True)
                with torch.autocast("cuda", torch.bfloat16, enabled=self._bf16):
                    vectors = self._module(on_device).float()
                found = vectors.cpu()  # waits for this stream alone
            return np.asarray(found.numpy())
        finally:
            self._free.put(slot)

    def _choose_precision(self, probe: NDArray[np.uint8]) -> None:
        import torch

        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        full = self(probe)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        if (apart := distance(self(probe), full)) > GATE:
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
            log.info("TF32 is left alone: its vectors are %.1e apart", apart)

    def _compile(self, batch: int) -> None:
        import torch

        plain = self._module
        probe = np.resize(pictures(BATCH, self._side), (batch, self._side, self._side, 3))
        try:
            before = self(probe)
            self._module = torch.compile(plain, dynamic=False)
            apart = distance(self(probe), before)
        except Exception as error:  # no compiler on this machine, most often
            self._module = plain
            log.info("torch.compile is left alone: %s", type(error).__name__)
            return
        if apart > (BF16_GATE if self._bf16 else GATE):
            self._module = plain
            log.warning("torch.compile is left alone: its vectors are %.1e apart", apart)


class _Slot:
    """A stream, and pinned memory that grows to the largest batch that went through it."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.pixels: Any = None

    def fill(self, pixels: NDArray[np.uint8]) -> None:
        import torch

        if self.pixels is None or self.pixels.shape[0] < len(pixels):
            self.pixels = torch.empty(pixels.shape, dtype=torch.uint8, pin_memory=True)
        self.pixels[: len(pixels)].numpy()[...] = pixels
