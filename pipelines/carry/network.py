"""A run as one network: bytes of pictures in, calibrated probabilities out.

Normalization, standardization and temperature are part of the network, so nobody who uses it can get them wrong. What
is left outside is resizing and cropping, which `transform` describes.
"""

from __future__ import annotations

from typing import Any

from collector.errors import UsageError
from pipelines.backbones import TorchBackbone
from pipelines.engine import wrapped
from pipelines.predict import Head, Model

PIXELS, PROBABILITIES = "pixels", "probabilities"  # the names of its input and its output


def backbone_of(model: Model) -> TorchBackbone:
    """The backbone of a run that can be carried away.

    Raises:
        UsageError: it is no network.
    """
    if not isinstance(model.backbone, TorchBackbone):
        raise UsageError(
            f"run {model.experiment.run} has no network to export: its features are `{model.backbone.name}`",
            hint="train on a network, as in `collect train-baseline --backbone squeezenet1_1`",
        )
    return model.backbone


def classifier(backbone: TorchBackbone, head: Head, *, half: bool) -> Any:
    """A `torch.nn.Module` from bytes (n, crop, crop, 3) to probabilities (n, labels).

    With `half` the weights of the backbone are in half precision, and so is what it computes; the head never is.
    """
    import torch

    class Half(torch.nn.Module):
        def __init__(self, network: Any) -> None:
            super().__init__()
            self.network = network.half()

        def forward(self, x: Any) -> Any:
            return self.network(x.half()).float()

    class Classifier(torch.nn.Module):
        mean: Any
        scale: Any
        weights: Any
        bias: Any

        def __init__(self, vectors: Any) -> None:
            super().__init__()
            self.vectors = vectors
            for name in ("mean", "scale", "weights", "bias"):
                self.register_buffer(name, torch.as_tensor(getattr(head, name)).float())

        def forward(self, pixels: Any) -> Any:
            standard = (self.vectors(pixels) - self.mean) / self.scale
            logits = torch.nn.functional.linear(standard, self.weights, self.bias)
            return (logits / head.temperature).softmax(dim=1)

    network = backbone.network()
    return Classifier(wrapped(Half(network) if half else network, backbone.layout.mean, backbone.layout.std)).eval()


def transform(backbone: TorchBackbone) -> dict[str, Any]:
    """What becomes of an upright RGB picture before the network sees it, in words that other programs can follow."""
    layout = backbone.layout
    return {
        "resize": layout.resize,
        "resize_to": "both sides" if layout.squash else "the shorter side, the other one in proportion, rounded down",
        "crop": layout.crop,
        "crop_at": "the center",
        "interpolation": layout.resample,
        "antialias": True,
        "mean": list(layout.mean),
        "std": list(layout.std),
        "in_the_network": ["scaling to 0..1", "mean", "std"],
    }
