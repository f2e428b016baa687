"""The lines on a card that ask the model about a picture; they need no `collect`, and our tests run them."""

from __future__ import annotations

from pipelines.backbones import Layout

_BEFORE = """\
import json, sys
import numpy as np
import {library}
from PIL import Image, ImageOps

picture = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("RGB")
{size}
left, top = (round((side - {crop}) / 2) for side in size)
resized = picture.resize(size, Image.Resampling.{resample})
pixels = np.asarray(resized.crop((left, top, left + {crop}, top + {crop})))[None]
{run}
labels = json.loads(open("model.json", "rb").read())["labels"]
for label, probability in sorted(zip(labels, probabilities), key=lambda pair: -pair[1])[:10]:
    print(f"{{probability:.6f}} {{label}}")"""
_RUN = {
    "onnx": 'network = onnxruntime.InferenceSession("model.onnx")\n'
    'probabilities = network.run(None, {"pixels": pixels})[0][0]',
    # Without the hint, processors with bfloat16 compute in that.
    "openvino": 'network = openvino.compile_model("model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})\n'
    "probabilities = network(pixels)[0][0]",
}
_LIBRARY = {"onnx": "onnxruntime", "openvino": "openvino"}


def snippet(layout: Layout, format: str) -> str:
    """Python for one picture, `python predict.py PICTURE` in the folder; empty for a format that has no short way."""
    if format not in _RUN:
        return ""
    size = (
        f"size = [{layout.resize}, {layout.resize}]"
        if layout.squash
        else f"size = [int({layout.resize} * side / min(picture.size)) for side in picture.size]"
    )
    return _BEFORE.format(
        library=_LIBRARY[format], size=size, crop=layout.crop, resample=layout.resample.upper(), run=_RUN[format]
    )
