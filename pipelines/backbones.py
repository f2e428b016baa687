"""Backbones: networks that turn a picture into a vector, by name.

A backbone is a pretrained torchvision network without its last layer, or `classic`, which needs no weights. Two digests
name what it computes: of the weights file, and of the transform (resize, crop, normalization, and the layer read).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from collector.errors import CollectError, UsageError
from collector.registry import Registry
from collector.workspace import Workspace
from pipelines.config import TrainConfig
from pipelines.weights import locate, read_state

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as every network below was trained
EXTRA = ("torch", "torchvision", "sklearn", "skimage", "safetensors")
BATCH = 8  # fastest on a CPU: 8 -> 240 images/s, 32 -> 130 (SqueezeNet, two cores)


class Backbone(Protocol):
    """What features are computed with. Within `ready()`, several threads may call `prepare` and `embed`."""

    name: str
    dimension: int
    weights: Path | None
    weights_digest: str
    transform_digest: str

    def ready(self) -> AbstractContextManager[None]:
        """Build the network, if there is one, and hold the settings that it computes under."""

    def prepare(self, picture: Image.Image) -> NDArray[Any]:
        """One RGB picture as the array that `embed` takes a stack of."""

    def embed(self, batch: NDArray[Any], *, fill: bool = True) -> NDArray[np.float32]:
        """Vectors of shape (images, dimension) for a stack of at most `BATCH` prepared pictures.

        With `fill`, no bit of a vector depends on how many pictures are in the stack; without, few are quicker.
        """


BACKBONES: Registry[Callable[[str | Path | None], Backbone]] = Registry("backbone")
"""Name -> loader, which takes the path of a weights file or None."""


def load_backbone(name: str, weights: str | Path | None = None) -> Backbone:
    """The backbone `name`, with the weights in the file `weights` or those that torchvision publishes for it.

    Raises:
        UsageError: no such backbone, no such file, or a file that is not weights of this backbone.
        CollectError: the `train` extra is missing, or the published weights cannot be had without a network.
    """
    load = BACKBONES[name]
    need_extra()
    return load(weights)


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


@dataclass(frozen=True, slots=True)
class Layout:
    """One torchvision network: its published weights, its last layer (dropped), its input.

    `head` empty: none is dropped, and a vector is what the whole network says of ImageNet's 1,000 classes. `pools`: in
    SqueezeNet the last layer also averages over the picture, so an average takes its place.
    """

    published: str
    head: str
    dimension: int
    resize: int = 256
    crop: int = 224
    pools: bool = False


class TorchBackbone:
    """A torchvision network up to global average pooling; built when the first batch comes."""

    def __init__(self, name: str, layout: Layout, weights: str | Path | None) -> None:
        self.name = name
        self.layout = layout
        self.dimension = layout.dimension
        self._network: Any = None
        self.weights: Path | None = locate(name, layout.published, weights)
        self.weights_digest = file_digest(self.weights)
        self.transform_digest = _digest({**asdict(layout), "mean": MEAN, "std": STD, "resample": "bilinear"})

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Build the network; while this holds, each call of `embed` computes on one core.

        Threads side by side beat one network on all cores (measured on two busy cores: 190 and 18 to 120 images/s),
        and the vectors do not depend on the number of cores.
        """
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            self._network = self._build()
            yield
        finally:
            self._network = None
            torch.set_num_threads(before)

    def prepare(self, picture: Image.Image) -> NDArray[np.uint8]:
        """The center crop after a resize of the shorter side, (crop, crop, 3), as torchvision's own preset does it."""
        size, crop = self.layout.resize, self.layout.crop
        width, height = picture.size
        if width <= height:
            width, height = size, int(size * height / width)
        else:
            width, height = int(size * width / height), size
        left, top = round((width - crop) / 2), round((height - crop) / 2)
        resized = picture.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(resized.crop((left, top, left + crop, top + crop)))

    def embed(self, batch: NDArray[Any], *, fill: bool = True) -> NDArray[np.float32]:
        """Vectors for (n, crop, crop, 3) bytes; a batch filled up to `BATCH` takes as long for one picture as for all.

        One picture: 124 ms filled, 13 ms alone (SqueezeNet, one core), and vectors that differ by 1e-5 at most.
        """
        import torch

        full = np.zeros((BATCH if fill else len(batch), *batch.shape[1:]), dtype=np.uint8)
        full[: len(batch)] = batch
        with torch.inference_mode():
            scaled = (torch.from_numpy(full).float() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
            out = self._network(scaled.permute(0, 3, 1, 2))  # a view: the memory stays channels-last
        return np.asarray(out.flatten(1)[: len(batch)].numpy())

    def _build(self) -> Any:
        import torch
        import torchvision

        with torch.device("meta"):
            network = getattr(torchvision.models, self.name)(weights=None)
        assert self.weights is not None
        state = read_state(self.weights)
        if self.layout.head:
            last = torch.nn.AdaptiveAvgPool2d(1) if self.layout.pools else torch.nn.Identity()
            setattr(network, self.layout.head, last)
            state = {key: value for key, value in state.items() if not key.startswith(f"{self.layout.head}.")}
        try:
            network.load_state_dict(state, assign=True)
        except RuntimeError as error:
            raise UsageError(
                f"{self.weights} holds no weights of {self.name}: {_first_line(error)}",
                hint="name the backbone that the file belongs to, as in `--backbone resnet18`",
            ) from None
        return network.float().eval().to(memory_format=torch.channels_last)


class Classic:
    """Histograms of oriented gradients and of colors: no network, no download, and weak.

    It tells drawings and plain scenes apart; on photographs expect far less than from a pretrained network. HOG is
    scikit-image's (Dalal and Triggs, CVPR 2005); colors are counted in 8 x 4 x 4 bins of HSV for each quarter.
    """

    name = "classic"
    side = 128
    dimension = 8 * (7 * 7 * 4) + 4 * 128

    def __init__(self, weights: str | Path | None = None) -> None:
        if weights:
            raise UsageError(f"`classic` takes no weights, yet got {weights}", hint="leave `--weights` out")
        self.weights: Path | None = None
        self.weights_digest = hashlib.sha256(b"no weights").hexdigest()
        self.transform_digest = _digest({"side": self.side, "hog": [8, 16, 2], "hsv": [8, 4, 4], "version": 1})

    def ready(self) -> AbstractContextManager[None]:
        """Nothing to build."""
        return nullcontext()

    def prepare(self, picture: Image.Image) -> NDArray[np.float32]:
        """The vector itself: gradients of the gray picture at 128 x 128, then colors."""
        from skimage.feature import hog

        small = picture.resize((self.side, self.side), Image.Resampling.BOX)
        gray = np.asarray(small.convert("L"), dtype=np.float32) / 255
        edges = hog(gray, orientations=8, pixels_per_cell=(16, 16), cells_per_block=(2, 2))
        hsv = np.asarray(small.convert("HSV")).astype(np.int64)
        cells = (hsv[..., 0] >> 5) * 16 + (hsv[..., 1] >> 6) * 4 + (hsv[..., 2] >> 6)
        half = self.side // 2
        quarters = [cells[y : y + half, x : x + half] for y in (0, half) for x in (0, half)]
        colors = np.concatenate([np.bincount(part.ravel(), minlength=128) / part.size for part in quarters])
        return np.concatenate([edges, np.sqrt(colors)]).astype(np.float32)

    def embed(self, batch: NDArray[Any], *, fill: bool = True) -> NDArray[np.float32]:
        """What `prepare` made."""
        return np.asarray(batch, dtype=np.float32)


def file_digest(path: Path) -> str:
    """The sha256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(described: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[1] if len(lines) > 1 else lines[0])[:200]


def _torch_loader(name: str, layout: Layout) -> Callable[[str | Path | None], Backbone]:
    return lambda weights: TorchBackbone(name, layout, weights)


BACKBONES.add("classic", Classic)
for _name, _layout in {
    "squeezenet1_1": Layout("SqueezeNet1_1_Weights.IMAGENET1K_V1", "classifier", 512, pools=True),
    "mobilenet_v3_large": Layout("MobileNet_V3_Large_Weights.IMAGENET1K_V2", "classifier", 960, resize=232),
    "resnet18": Layout("ResNet18_Weights.IMAGENET1K_V1", "fc", 512),
    "resnet50": Layout("ResNet50_Weights.IMAGENET1K_V2", "fc", 2048, resize=232),
}.items():
    BACKBONES.add(_name, _torch_loader(_name, _layout))
