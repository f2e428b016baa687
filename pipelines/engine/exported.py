"""Networks in the files of other engines, and those engines opened."""

from __future__ import annotations

import io
import queue
import subprocess
import sys
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.engine.base import BATCH, Forward

CONVERT_S = 600  # seconds after which a conversion is given up


def export(module: Any, side: int) -> bytes:
    """A `wrapped` module as ONNX, for batches of exactly `BATCH`: a fixed shape is the fastest.

    PyTorch's older exporter takes a tenth of the time of the newer one (0.5 and 5 s, SqueezeNet).
    """
    import torch

    buffer = io.BytesIO()
    example = torch.zeros((BATCH, side, side, 3), dtype=torch.uint8)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        names = {"input_names": ["pixels"], "output_names": ["vectors"]}
        torch.onnx.export(module, (example,), buffer, dynamo=False, **names)  # type: ignore[arg-type]  # takes both
    return buffer.getvalue()


def onnxruntime(data: bytes) -> Forward:
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


def openvino(data: bytes) -> Forward:
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


def export_ncnn(module: Any, side: int) -> bytes:
    """A `wrapped` module for ncnn: mean and scale (3 float32 each), the lengths of text and weights (8 bytes), both.

    pnnx, which comes from the makers of ncnn, converts what PyTorch traced, one picture at a time, in full precision.
    """
    import torch

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = module.network

        def forward(self, pixels: Any) -> Any:
            return self.network(pixels).flatten(1)

    found = find_spec("pnnx")
    assert found is not None
    assert found.origin is not None
    with tempfile.TemporaryDirectory(prefix="collect-pnnx-") as folder, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        traced: Any = torch.jit.trace(Flat().eval(), torch.zeros((1, 3, side, side)), check_trace=False)  # type: ignore[no-untyped-call]
        traced.save(f"{folder}/made.pt")
        program = Path(found.origin).with_name("pnnx.exe" if sys.platform == "win32" else "pnnx")
        command = [str(program), "made.pt", f"inputshape=[1,3,{side},{side}]", "fp16=0"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=CONVERT_S)
        text, weights = (Path(folder, f"made.ncnn.{part}").read_bytes() for part in ("param", "bin"))
    normal = np.stack([255 * module.mean.numpy(), 1 / (255 * module.std.numpy())]).astype("<f4")
    return normal.tobytes() + b"".join(len(part).to_bytes(8, "little") for part in (text, weights)) + text + weights


def ncnn(data: bytes) -> Forward:
    """ncnn on one core for each call, a picture at a time, in full precision; 3 x 3 convolutions by Winograd's way."""
    import ncnn

    mean, scale = np.frombuffer(data[:24], "<f4").reshape(2, 3).tolist()
    end = 40 + int.from_bytes(data[24:32], "little")
    text, weights = data[40:end].decode(), data[end:]
    if len(weights) != int.from_bytes(data[32:40], "little"):
        raise ValueError("it is cut off")  # ncnn would read on behind the end
    network = ncnn.Net()
    network.opt.num_threads = 1
    for half in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage"):
        setattr(network.opt, f"use_{half}", False)
    network.opt.use_vulkan_compute = False
    if network.load_param_mem(text):
        raise ValueError("ncnn cannot read it")
    network.load_model_mem(weights)

    def one(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        shown = ncnn.Mat.from_pixels(pixels, ncnn.Mat.PixelType.PIXEL_RGB, pixels.shape[1], pixels.shape[0])
        shown.substract_mean_normalize(mean, scale)
        extractor = network.create_extractor()
        extractor.input("in0", shown)
        failed, vector = extractor.extract("out0")
        if failed:
            raise ValueError(f"ncnn fails with {failed}")
        return np.array(vector, dtype=np.float32).ravel()

    def forward(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert weights  # ncnn reads them where they are
        return np.stack([one(each) for each in np.ascontiguousarray(pixels)])

    return forward
