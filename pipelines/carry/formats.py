"""Formats: how the network of a run is written into a folder, and read back from there to be checked."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from collector.credits import plain
from collector.errors import CollectError
from pipelines.carry.network import PIXELS, PROBABILITIES
from pipelines.engine import Forward, cores, quiet_openvino

ONNX = "model.onnx"
OPSET = 20  # what PyTorch writes by default; ONNX Runtime reads it since 1.17, OpenVINO since 2024
TENSORRT_BATCH = 64  # pictures at once at most: an engine of TensorRT is built for a range

About = Mapping[str, str]
"""What is written into the file itself: name -> text."""


class Form(NamedTuple):
    """One format: the packages it needs, how to get them, the file to look at, how it is written and opened."""

    needs: tuple[str, ...]
    hint: str
    file: str
    write: Callable[[Any, int, Path, About], None]
    open: Callable[[Path], Forward]


def require(name: str) -> Form:
    """The format of that name.

    Raises:
        CollectError: a package that it needs is missing.
    """
    form = FORMS[name]
    missing = [package for package in form.needs if find_spec(package) is None]
    if missing:
        raise CollectError(f"a model in {name} needs {' and '.join(missing)}", hint=form.hint)
    return form


def write_onnx(module: Any, side: int, folder: Path, about: About) -> None:
    """`model.onnx` for any number of pictures at once; weights of 2 GB and more lie beside it.

    PyTorch writes where each operation comes from, with the paths of this machine: that is taken out.

    Raises:
        CollectError: PyTorch cannot write this network as ONNX.
    """
    import onnx
    import torch

    example = torch.zeros((2, side, side, 3), dtype=torch.uint8)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=[PIXELS],
                output_names=[PROBABILITIES],
                dynamic_shapes={PIXELS: {0: "batch"}},
            )
    except Exception as error:  # each stage of the exporter has errors of its own
        raise CollectError(
            f"PyTorch cannot write this network as ONNX: {type(error).__name__}: {plain(str(error))[:200]}",
            hint="train on another `--backbone`; those of torchvision can be exported",
        ) from error
    assert program is not None
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
    program.model.metadata_props.update(about)
    path = folder / ONNX
    program.save(str(path))
    onnx.checker.check_model(str(path), full_check=True)


def open_onnx(folder: Path) -> Forward:
    """`model.onnx` in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(folder / ONNX), options, providers=["CPUExecutionProvider"])

    def forward(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(session.run(None, {PIXELS: pixels})[0])

    return forward


def _write_openvino(module: Any, side: int, folder: Path, about: About) -> None:
    """`model.xml` and `model.bin`, by way of ONNX, whose metadata OpenVINO keeps under `framework`."""
    openvino = quiet_openvino()
    write_onnx(module, side, folder, about)
    network = openvino.Core().read_model(str(folder / ONNX))
    openvino.save_model(network, str(folder / "model.xml"), compress_to_fp16=False)  # halved already, if at all
    del network  # it holds the file open
    for path in folder.glob(f"{ONNX}*"):
        path.unlink()


def _open_openvino(folder: Path) -> Forward:
    openvino = quiet_openvino()
    compiled = openvino.Core().compile_model(str(folder / "model.xml"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def forward(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.array(compiled({0: pixels})[0])

    return forward


def _write_tensorrt(module: Any, side: int, folder: Path, about: About) -> None:
    """`model.engine` for the GPU of this machine, built from `model.onnx`, which stays beside it."""
    import tensorrt

    write_onnx(module, side, folder, about)
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    # Strongly typed: the precision of each operation is that of the file, nothing is lowered behind our back.
    network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(folder / ONNX)):
        raise CollectError(
            f"TensorRT cannot read this network: {parser.get_error(0)}", hint="export it with `--format onnx`"
        )
    config = builder.create_builder_config()
    config.clear_flag(tensorrt.BuilderFlag.TF32)
    profile = builder.create_optimization_profile()
    profile.set_shape(PIXELS, *((n, side, side, 3) for n in (1, 8, TENSORRT_BATCH)))
    config.add_optimization_profile(profile)
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise CollectError("TensorRT could not build an engine for this GPU", hint="export with `--format onnx`")
    (folder / "model.engine").write_bytes(built)


def _open_tensorrt(folder: Path) -> Forward:
    import tensorrt
    import torch

    runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR))
    engine = runtime.deserialize_cuda_engine((folder / "model.engine").read_bytes())
    context = engine.create_execution_context()

    def forward(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        shown = torch.from_numpy(pixels).cuda()
        context.set_input_shape(PIXELS, tuple(shown.shape))
        found = torch.empty(tuple(context.get_tensor_shape(PROBABILITIES)), device="cuda")
        context.set_tensor_address(PIXELS, shown.data_ptr())
        context.set_tensor_address(PROBABILITIES, found.data_ptr())
        context.execute_async_v3(torch.cuda.current_stream().cuda_stream)
        return np.asarray(found.cpu().numpy())

    return forward


_EXTRA = "pip install 'collect-dataset[engines]'"
FORMS = {
    "onnx": Form(("onnx", "onnxscript", "onnxruntime"), _EXTRA, ONNX, write_onnx, open_onnx),
    "openvino": Form(("onnx", "onnxscript", "openvino"), _EXTRA, "model.xml", _write_openvino, _open_openvino),
    "tensorrt": Form(
        ("onnx", "onnxscript", "tensorrt"),
        "install NVIDIA's TensorRT on the machine with the GPU that will run it, or use `--format onnx`",
        ONNX,
        _write_tensorrt,
        _open_tensorrt,
    ),
}
