"""Every classification network of torchvision: its layout is read off the network and its published weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from pipelines.backbones.network import BF16, Layout, TorchBackbone, hollow
from pipelines.weights import locate

AUXILIARY = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}  # heads that only training looks at
# Cut one layer earlier than the others, as from the first version on: their cached vectors stay valid.
EARLIER = {
    "squeezenet1_1": Layout("SqueezeNet1_1_Weights.IMAGENET1K_V1", "classifier", 512, pools=True),
    "mobilenet_v3_large": Layout("MobileNet_V3_Large_Weights.IMAGENET1K_V2", "classifier", 960, resize=232),
}


def names() -> list[str]:
    """The classification networks of the torchvision that is installed."""
    import torchvision
    from torchvision.models import list_models

    return list(list_models(module=torchvision.models))


def load(name: str, weights: str | Path | None) -> TorchBackbone:
    """The network `name`, which may end in `@bf16`, with weights from a file or those that torchvision publishes."""
    plain = name.removesuffix(BF16)
    layout = layout_of(plain)
    path = locate(plain, layout.published, weights)
    return TorchBackbone(name, layout, path, partial(network, plain), extra=_extra(plain))


def layout_of(name: str) -> Layout:
    """What the default weights of a network say of its input, and where its last layer is."""
    if name in EARLIER:
        return EARLIER[name]
    import torch
    from torchvision.models import get_model_weights

    published = get_model_weights(name).DEFAULT
    shown = published.transforms()
    last = (torch.nn.Linear, torch.nn.Conv2d)
    classes = len(published.meta["categories"])
    heads = [
        (path, layer)
        for path, layer in network(name).named_modules()
        if isinstance(layer, last) and layer.weight.shape[0] == classes
    ]
    path, layer = heads[-1]
    return Layout(
        published=str(published),
        head=path,
        dimension=int(layer.weight.shape[1]),
        resize=shown.resize_size[0],
        crop=shown.crop_size[0],
        mean=tuple(shown.mean),
        std=tuple(shown.std),
        resample=shown.interpolation.value,
    )


def network(name: str) -> Any:
    """The network without weights and without the heads that only training looks at."""
    from torchvision.models import get_model

    # These two came from elsewhere, and shift their input; slow initialization would be thrown away.
    ported = {"init_weights": False, "transform_input": True} if name in AUXILIARY else {}
    made = hollow(partial(get_model, name, weights=None, **ported))
    for auxiliary in AUXILIARY.get(name, ()):
        setattr(made, auxiliary, None)
    return made


def _extra(name: str) -> tuple[str, ...]:
    return tuple(f"{auxiliary}." for auxiliary in AUXILIARY.get(name, ()))
