"""`TorchBackbone`: a pretrained network without its last layer, whichever library it comes from."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from collector.errors import CollectError, UsageError
from pipelines import engine
from pipelines.backbones.base import digest, file_digest
from pipelines.engine import PLAIN, Runtime
from pipelines.weights import read_state

log = logging.getLogger(__name__)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as most networks were trained
BF16 = "@bf16"  # after the name of a network: computed in bfloat16, its vectors kept apart from the others


@dataclass(frozen=True, slots=True)
class Layout:
    """One network: where its weights come from, its last layer (dropped), what it is shown.

    `published` names the weights. `head` is the path of the last layer; empty: none is dropped, and a vector is what
    the whole network says of its classes. `pools`: the last layer also averages over the picture, so an average takes
    its place. `resample` is a filter of Pillow in small letters; `squash`: both sides are resized to `resize`, not the
    shorter one. `license` is that of the weights, where their publisher names one.
    """

    published: str
    head: str
    dimension: int
    resize: int = 256
    crop: int = 224
    pools: bool = False
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    resample: str = "bilinear"
    squash: bool = False
    license: str = field(default="", compare=False)

    def described(self) -> dict[str, Any]:
        """All that decides a vector beside the weights."""
        found = asdict(self)
        del found["license"]
        if not self.squash:
            del found["squash"]  # digests are older than this field
        return found


class TorchBackbone:
    """A network up to its last layer; `make` gives it uninitialized, on no device but with its buffers.

    What stands in a weights file under one of the names `extra` is not needed.
    """

    batch = engine.BATCH

    def __init__(
        self, name: str, layout: Layout, weights: Path, make: Callable[[], Any], *, extra: tuple[str, ...] = ()
    ) -> None:
        self.name = name
        self.layout = layout
        self.dimension = layout.dimension
        self.weights: Path | None = weights
        self.weights_digest = file_digest(weights)
        self.bf16 = name.endswith(BF16)
        self.transform_digest = digest(layout.described() | ({"precision": "bfloat16"} if self.bf16 else {}))
        self._make, self._extra = make, extra
        self._forward: engine.Forward | None = None
        self._size = self.batch
        self._fixed = False
        self._halving = threading.Lock()

    def whole(self, classes: int) -> TorchBackbone:
        """The same network with its last layer: a vector is what it says of its `classes`.

        Raises:
            UsageError: it is built without one.
        """
        if not self.layout.head:
            raise UsageError(
                f"the backbone `{self.name}` is built without its classes",
                hint="a network of torchvision, such as squeezenet1_1, has them",
            )
        assert self.weights is not None
        layout = replace(self.layout, head="", dimension=classes, pools=False)
        return TorchBackbone(self.name, layout, self.weights, self._make, extra=self._extra)

    @contextmanager
    def ready(self, runtime: Runtime = PLAIN) -> Iterator[None]:
        """Build the network; while this holds, each call of `embed` computes on one core, or on the GPU.

        Threads side by side beat one network on all cores (measured on two busy cores: 190 and 18 to 120 images/s),
        and the vectors do not depend on the number of cores.
        """
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            self.batch = self._size = runtime.batch
            module = engine.wrapped(self.network(), self.layout.mean, self.layout.std)
            name = f"{self.weights_digest[:16]}-{self.transform_digest[:16]}"
            self._forward = engine.build(module, self.layout.crop, runtime, name, bf16=self.bf16)
            self._fixed = runtime.device == "cpu" and runtime.engine != "torch"  # an export has one shape
            yield
        finally:
            self._forward = None
            torch.set_num_threads(before)

    def prepare(self, picture: Image.Image) -> NDArray[np.uint8]:
        """The center crop after a resize of the shorter side, (crop, crop, 3), as torchvision's own preset does it.

        All of it is resized, and then cropped. To resize what lands in the crop alone takes half the time, but Pillow
        then rounds one value in a hundred otherwise, and vectors move by 0.001 of their length, up to 0.03.
        """
        size, crop = self.layout.resize, self.layout.crop
        width, height = picture.size
        if self.layout.squash:
            width = height = size
        elif width <= height:
            width, height = size, int(size * height / width)
        else:
            width, height = int(size * width / height), size
        left, top = round((width - crop) / 2), round((height - crop) / 2)
        resized = picture.resize((width, height), Image.Resampling[self.layout.resample.upper()])
        return np.asarray(resized.crop((left, top, left + crop, top + crop)))

    def embed(self, batch: NDArray[Any], *, fill: bool = True) -> NDArray[np.float32]:
        """Vectors for (n, crop, crop, 3) bytes; a stack that is filled up takes as long for one picture as for all.

        One picture: 124 ms filled, 13 ms alone (SqueezeNet, one core), and vectors that differ by 1e-5 at most. When
        the memory of the device is too small, batches are halved from then on, with a warning.

        Raises:
            CollectError: the device has no memory for a single picture.
        """
        import torch

        found: list[NDArray[np.float32]] = []
        done = 0
        while done < len(batch):
            size = self._size
            part = batch[done : done + size]
            try:
                found.append(self._embedded(part, size if fill or self._fixed else len(part)))
                done += len(part)
            except torch.OutOfMemoryError:
                self._halve(size)
        return np.concatenate(found)

    def _embedded(self, part: NDArray[Any], size: int) -> NDArray[np.float32]:
        assert self._forward is not None, "within `ready()` only"
        full = np.require(part, np.uint8, ["C", "W"])  # as PyTorch takes it
        if len(part) < size:
            full = np.zeros((size, *part.shape[1:]), dtype=np.uint8)
            full[: len(part)] = part
        return self._forward(full)[: len(part)]

    def _halve(self, size: int) -> None:
        import torch

        with self._halving:
            if self._size != size:
                return  # another thread was first
            if size == 1:
                raise CollectError(
                    f"the memory of the device is too small for one picture in {self.name}",
                    hint="end what else uses it, or `--device cpu`, or a smaller `--backbone`",
                )
            self._size = size // 2
            log.warning("out of GPU memory with %d pictures at once: %d from now on", size, self._size)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def network(self) -> Any:
        """The network itself with its weights, without its last layer: a `torch.nn.Module` on the CPU, in eval mode.

        Raises:
            UsageError: the file holds no weights, or those of another network.
        """
        import torch

        assert self.weights is not None
        state = read_state(self.weights)
        network = self._make()
        dropped = self._extra
        if self.layout.head:
            dropped = (*dropped, f"{self.layout.head}.")
            last = torch.nn.AdaptiveAvgPool2d(1) if self.layout.pools else torch.nn.Identity()
            network.set_submodule(self.layout.head, last)
        needed = OrderedDict((key, value) for key, value in state.items() if not (dropped and key.startswith(dropped)))
        # Some networks ask which version of theirs wrote the file; safetensors does not keep that.
        needed._metadata = getattr(state, "_metadata", network.state_dict()._metadata)  # type: ignore[attr-defined]
        try:
            network.load_state_dict(needed, assign=True)
        except RuntimeError as error:
            raise UsageError(
                f"{self.weights} holds no weights of {self.name}: {_first_line(error)}",
                hint="name the backbone that the file belongs to, as in `--backbone resnet18`",
            ) from None
        return network.float().eval().to(memory_format=torch.channels_last)


def hollow(make: Callable[[], Any]) -> Any:
    """What `make` builds, its large tensors on no device: they take neither memory nor time until weights come.

    `torch.device("meta")` would do for most, but some networks compute with numbers while they are built.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class OnMeta(TorchFunctionMode):
        def __torch_function__(
            self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            given = dict(kwargs or {})
            if function is torch.empty:
                given["device"] = "meta"
            return function(*args, **given)

    with OnMeta():
        return make()


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[1] if len(lines) > 1 else lines[0])[:200]
