"""The networks of timm, called `timm:NAME`: an extra. Layout and license come from timm's own data configuration."""

from __future__ import annotations

import math
import os
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from collector.errors import CollectError, UsageError
from collector.registry import did_you_mean
from pipelines.backbones.network import BF16, Layout, TorchBackbone, hollow
from pipelines.weights import given_file

PREFIX = "timm:"


def load(name: str, weights: str | Path | None) -> TorchBackbone:
    """The network `timm:NAME`, which may end in `@bf16`, with weights from a file or those that timm publishes.

    Raises:
        UsageError: timm has no such network, or it is shown pictures in a way that we do not know.
        CollectError: timm is not installed, or the published weights cannot be had.
    """
    if find_spec("timm") is None:
        raise CollectError(f"`{name}` needs timm", hint="pip install 'collect-dataset[timm]'")
    import timm

    plain = name.removeprefix(PREFIX).removesuffix(BF16)
    if not timm.is_model(plain):
        known = timm.list_models()
        raise UsageError(
            f"timm has no network `{plain}`{did_you_mean(plain, known)}",
            hint=f"it has {len(known)}: `python -c 'import timm; print(timm.list_models())'`",
        )
    made = network(plain, classes=0)
    layout = _layout(plain, made)
    path = given_file(weights) if weights else _published(plain, layout)
    return TorchBackbone(name, layout, path, partial(network, plain, classes=0), extra=_heads(made))


def network(name: str, *, classes: int) -> Any:
    """The network without weights; 0 classes: without its last layer."""
    import timm

    return hollow(partial(timm.create_model, name, pretrained=False, num_classes=classes))


def _layout(name: str, made: Any) -> Layout:
    """What the network is shown, as timm's `create_transform` makes it for evaluation."""
    from timm.data.config import resolve_model_data_config

    config = resolve_model_data_config(made)  # type: ignore[no-untyped-call]
    mode = config["crop_mode"]
    size = config["input_size"]
    if mode not in ("center", "squash") or config["interpolation"] not in ("bilinear", "bicubic") or size[0] != 3:
        raise UsageError(
            f"`timm:{name}` is shown {size[0]} colors, {config['interpolation']}, crop mode {mode}: not supported",
            hint="choose a network with three colors, bilinear or bicubic resizing and a center crop",
        )
    return Layout(
        published=f"{PREFIX}{name}",
        head="",  # made without one
        dimension=int(getattr(made, "head_hidden_size", None) or made.num_features),
        resize=math.floor(size[-1] / config["crop_pct"]),
        crop=int(size[-1]),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        resample=config["interpolation"],
        squash=mode == "squash",
        license=made.pretrained_cfg.get("license") or "",
    )


def _heads(made: Any) -> tuple[str, ...]:
    named = made.pretrained_cfg.get("classifier") or ()
    return tuple(f"{head}." for head in ((named,) if isinstance(named, str) else named))


def _published(name: str, layout: Layout) -> Path:
    """The file of the published weights, from the cache of the Hugging Face hub or from there; never a pickle."""
    import timm

    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    about = timm.get_pretrained_cfg(name)
    repository = about.hf_hub_id if about else None
    failed = CollectError(
        f"the published weights of {PREFIX}{name} are not on this machine, and cannot be fetched",
        hint="`--weights FILE` with its state dict; or run this once with a network",
    )
    if not repository:
        raise failed
    try:
        return Path(hf_hub_download(repository, "model.safetensors"))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise failed from error
