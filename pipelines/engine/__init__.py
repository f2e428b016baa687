"""Engines: one place that makes the fastest thing of a network that this machine can run.

On a GPU that is PyTorch: pinned memory, streams of their own, bytes sent and normalized there. On a processor it is
whichever of ncnn, ONNX Runtime, OpenVINO and PyTorch this machine runs fastest: which one depends on the processor and
on the network (`benchmarks/prelabel.py` prints all), so they are measured, once for a workspace and a network, and the
choice is kept beside the export: the same workspace gives the same bits again. The gate: before an engine is used, its
vectors of eight made pictures are held against PyTorch's; further apart than half precision can tell (2^-11 of their
length), and it is not used. So vectors of all engines may lie in one cache. Exporting takes seconds, so a network is
exported once, and not for a few pictures.
"""

from __future__ import annotations

from typing import Any

from pipelines.engine.base import (
    BATCH,
    COMPILE_PAYS,
    DEVICES,
    GATE,
    PAYS,
    PLAIN,
    Forward,
    Runtime,
    cores,
    device_of,
    distance,
    in_torch,
    pictures,
    wrapped,
)
from pipelines.engine.cpu import CPU_ENGINES, on_cpu
from pipelines.engine.cuda import Cuda
from pipelines.engine.exported import export, quiet_openvino

__all__ = [
    "BATCH",
    "COMPILE_PAYS",
    "CPU_ENGINES",
    "DEVICES",
    "GATE",
    "PAYS",
    "PLAIN",
    "Forward",
    "Runtime",
    "build",
    "cores",
    "device_of",
    "distance",
    "export",
    "pictures",
    "quiet_openvino",
    "wrapped",
]


def build(module: Any, side: int, runtime: Runtime, name: str, *, bf16: bool = False) -> Forward:
    """The fastest forward pass of a `wrapped` module for pictures of `side` pixels on this machine.

    `name` tells this network, its weights and its input from all others. With `bf16` PyTorch computes in bfloat16
    everywhere, beyond the gate: whoever asks for it keeps such vectors apart.
    """
    if runtime.device == "cuda":
        return Cuda(module, side, runtime, bf16=bf16)
    plain = in_torch(module, runtime.device, bf16=bf16)
    if runtime.device != "cpu" or bf16 or runtime.engine == "torch":
        return plain
    return on_cpu(module, side, runtime, name, plain)
