"""Engines: one place that makes the fastest thing of a network that this machine can run.

On a GPU that is PyTorch: pinned memory, streams of their own, bytes sent and normalized there. On a processor, ONNX
Runtime, then OpenVINO, then PyTorch, the first of them that is installed and passes the gate. The order is fixed, so a
machine gives the same bits again; `benchmarks/prelabel.py` measures it (two cores, SqueezeNet 1.1: 145, 118 and 62
images/s). The gate: before an engine is used, its vectors of eight made pictures are held against PyTorch's; further
apart than half precision can tell (2^-11 of their length), and it is not used. So vectors of all engines may lie in one
cache. Exporting takes seconds, so a network is exported once, for a workspace, and not for a few pictures.
"""

from __future__ import annotations

import logging
import queue
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collector import durable
from collector.errors import CollectError, UsageError

BATCH = 8  # pictures at once on a processor: 8 -> 240 images/s, 32 -> 130 (SqueezeNet, two cores, PyTorch)
GPU_BATCH = 256
PAYS = 256  # pictures from which on an export is worth its seconds
COMPILE_PAYS = 50_000  # pictures from which on `torch.compile` is worth its minute
GATE = 2.0**-11  # what half precision, in which vectors are kept, rounds away
BF16_GATE = 0.05  # bfloat16 rounds each value to 2^-9, and fused operations round elsewhere
CPU_ENGINES = ("onnxruntime", "openvino")
DEVICES = ("auto", "cpu", "cuda", "mps")
SLOTS = 2  # batches on a GPU at once: one is copied while the other is computed

log = logging.getLogger(__name__)

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


def build(module: Any, side: int, runtime: Runtime, name: str, *, bf16: bool = False) -> Forward:
    """The fastest forward pass of a `wrapped` module for pictures of `side` pixels on this machine.

    `name` tells this network, its weights and its input from all others. With `bf16` PyTorch computes in bfloat16
    everywhere, beyond the gate: whoever asks for it keeps such vectors apart.
    """
    if runtime.device == "cuda":
        return Cuda(module, side, runtime, bf16=bf16)
    plain = _torch(module, runtime.device, bf16=bf16)
    if runtime.device != "cpu" or bf16 or runtime.engine == "torch":
        return plain
    wanted = CPU_ENGINES if runtime.engine == "auto" else (runtime.engine,)
    found = [engine for engine in wanted if find_spec(engine) and find_spec("onnx")]
    if not found and runtime.engine != "auto":
        raise CollectError(f"{runtime.engine} is not installed", hint="pip install 'collect-dataset[engines]'")
    probe = pictures(BATCH, side)
    for engine in found:
        forward = _exported(engine, module, side, runtime, name)
        if forward is None:
            continue
        apart = distance(forward(probe), plain(probe))
        if apart <= GATE:
            return forward
        log.warning("%s is left alone: its vectors are %.1e apart from PyTorch's", engine, apart)
    return plain


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


def _torch(module: Any, device: str, *, bf16: bool) -> Forward:
    """PyTorch as it is, on a processor or an Apple GPU; each call computes on the cores that PyTorch was given."""
    import torch

    module = module.to(device)

    def forward(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=bf16):
            return np.asarray(module(torch.from_numpy(pixels).to(device)).float().cpu().numpy())

    return forward


def _exported(engine: str, module: Any, side: int, runtime: Runtime, name: str) -> Forward | None:
    """The module in another engine, by way of ONNX; None where that cannot be done, or would take too long."""
    path = runtime.folder / f"{name}.onnx" if runtime.folder else None
    try:
        if path is not None and path.is_file():
            try:
                return _opened(engine, path.read_bytes())
            except Exception as error:  # each engine has its own, all derived from Exception alone
                log.warning("%s is damaged (%s): the network is exported again", path, type(error).__name__)
        elif runtime.images < PAYS:
            return None
        data = export(module, side)
        if path is not None:
            durable.save(path, data)
        return _opened(engine, data)
    except CollectError:
        raise  # a full disk
    except Exception as error:  # an operator that the exporter or the engine does not know
        log.info("%s cannot run this network (%s: %s)", engine, type(error).__name__, str(error)[:200])
        return None


def export(module: Any, side: int) -> bytes:
    """A `wrapped` module as ONNX, for batches of exactly `BATCH`: a fixed shape is the fastest.

    PyTorch's older exporter takes a tenth of the time of the newer one (0.5 and 5 s, SqueezeNet).
    """
    import io

    import torch

    buffer = io.BytesIO()
    example = torch.zeros((BATCH, side, side, 3), dtype=torch.uint8)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        names = {"input_names": ["pixels"], "output_names": ["vectors"]}
        torch.onnx.export(module, (example,), buffer, dynamo=False, **names)  # type: ignore[arg-type]  # takes both
    return buffer.getvalue()


def _opened(engine: str, data: bytes) -> Forward:
    return _onnxruntime(data) if engine == "onnxruntime" else _openvino(data)


def _onnxruntime(data: bytes) -> Forward:
    """ONNX Runtime on one core for each call: threads side by side beat one call on all cores."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def forward(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(session.run(None, {"pixels": pixels})[0])

    return forward


def quiet_openvino() -> Any:
    """OpenVINO without the package that reports to its makers: it does so as soon as OpenVINO is imported."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: an import of it fails
    import openvino

    return openvino


def _openvino(data: bytes) -> Forward:
    """OpenVINO in full precision, a request for each of its streams."""
    openvino = quiet_openvino()
    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "THROUGHPUT"}
    compiled = core.compile_model(core.read_model(data, b""), "CPU", settings)
    free: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for _ in range(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")):
        free.put(compiled.create_infer_request())

    def forward(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        request = free.get()
        try:
            return np.array(request.infer({0: pixels})[0])
        finally:
            free.put(request)

    return forward


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
