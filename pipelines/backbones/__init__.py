"""Backbones: networks that turn a picture into a vector, by name.

A backbone is a pretrained network without its last layer: any of torchvision's, or of timm's as `timm:NAME`; or
`classic`, which needs no weights; or what a plug-in brings (entry points of the group `collect.backbones`, each a
loader as in `BACKBONES`). Two digests name what it computes: of the weights file, and of the transform (resize, crop,
normalization, and the layer read).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from collector.errors import CollectError
from collector.registry import Registry
from collector.workspace import Workspace
from pipelines.backbones import timm_, vision
from pipelines.backbones.base import Backbone, file_digest
from pipelines.backbones.classic import Classic
from pipelines.backbones.network import BF16, Layout, TorchBackbone
from pipelines.config import TrainConfig
from pipelines.engine import BATCH

__all__ = [
    "BACKBONES",
    "BATCH",
    "BF16",
    "Backbone",
    "Classic",
    "Layout",
    "TorchBackbone",
    "chosen",
    "file_digest",
    "known",
    "load_backbone",
    "need_extra",
]

EXTRA = ("torch", "torchvision", "sklearn", "skimage", "safetensors")
PLUGINS = "collect.backbones"

Loader = Callable[[str | Path | None], Backbone]
BACKBONES: Registry[Loader] = Registry("backbone")
"""Name -> loader, which takes the path of a weights file or None; `known` adds those of torchvision and of plug-ins."""
BACKBONES.add("classic", Classic)
for _name in vision.EARLIER:  # known without torchvision, which takes seconds to import
    BACKBONES.add(_name, partial(vision.load, _name))


def load_backbone(name: str, weights: str | Path | None = None) -> Backbone:
    """The backbone `name`, with the weights in the file `weights` or those that are published for it.

    Raises:
        UsageError: no such backbone, no such file, or a file that is not weights of this backbone.
        CollectError: the `train` extra is missing, or the published weights cannot be had without a network.
    """
    need_extra()
    if name.startswith(timm_.PREFIX):
        return timm_.load(name, weights)
    plain = name.removesuffix(BF16)
    registry = BACKBONES if plain in BACKBONES else known()  # to list torchvision's takes seconds
    loader = registry[plain]
    return vision.load(name, weights) if name != plain and plain in vision.names() else loader(weights)


@cache
def known() -> Registry[Loader]:
    """`BACKBONES`, with all networks of torchvision and all plug-ins in it."""
    for name in vision.names():
        if name not in BACKBONES:
            BACKBONES.add(name, partial(vision.load, name))
    for point in entry_points(group=PLUGINS):
        BACKBONES.add(point.name, point.load())
    return BACKBONES


def chosen(ws: Workspace, name: str | None, weights: str | Path | None) -> tuple[str, str | Path | None]:
    """The backbone called `name`, or `train.backbone`, and the file of its weights, by default `train.weights`."""
    config = ws.section(TrainConfig)
    name = name or config.backbone
    if weights is None and config.weights and name == config.backbone:
        weights = ws.root / config.weights
    return name, weights


def need_extra() -> None:
    """Raise a `CollectError` that names the extra `train` when a package of it is missing."""
    if any(find_spec(package) is None for package in EXTRA):
        raise CollectError("training and predicting need the train extra", hint="pip install 'collect-dataset[train]'")
