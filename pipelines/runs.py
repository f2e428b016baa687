"""What a run is: all that decides its result, the id that follows from it, and where it ran.

The id is a hash of snapshot (its digest covers the splits), protocol, settings, weights, transform, source code and
seed. The same experiment asked for again is found by its id, so nothing runs twice by accident.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import collector
import labeling
import pipelines
from collector.catalog.models import SnapshotRow
from collector.workspace import Workspace
from pipelines.backbones import Backbone
from pipelines.config import FinetuneConfig, TrainConfig
from pipelines.protocols import Protocol

PACKAGES = {each.__name__: Path(each.__path__[0]) for each in (collector, labeling, pipelines)}
HISTORY = "history.json"  # in a run folder: a row for each epoch, or for each penalty tried
FINETUNED = "backbone.safetensors"  # in the run folder: the network of a fine-tuned run, without its last layer
SHARED = ("epochs", "patience", "resolution")  # of the settings of fine-tuning, what the protocol decides
UNHASHED = {"checkpoint_every", "rendezvous"}  # how much a killed run repeats and where machines meet: no result
METHODS = {False: ("pipelines.head",), True: ("pipelines.finetune.step",)}  # where the source of a result begins
MEASURES = ("pipelines.evaluate", "pipelines.features")
RECORDED = ("numpy", "torch", "torchvision", "lightning")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One run as it is asked for. `seed` is one of the protocol's; `device` decides nothing but the time it takes."""

    backbone: str
    weights: str | Path | None
    config: TrainConfig
    tuning: FinetuneConfig
    protocol: Protocol
    finetune: bool = False
    soft: bool = False
    device: str = "auto"
    seed: int = 0
    replicate: int = 0

    def tuned(self) -> FinetuneConfig:
        """The settings of fine-tuning, with what the protocol decides."""
        rules = self.protocol.rules
        return self.tuning.model_copy(update={name: getattr(rules, name) for name in SHARED})


def plan(ws: Workspace, frozen: SnapshotRow, asked: Asked, backbone: Backbone, validation: str) -> dict[str, Any]:
    """All that decides the result, as JSON. Where the weights lie and what the run computes on does not."""
    rules = asked.protocol.rules.model_dump(mode="json") | {"validation": validation}
    unused = {"backbone", "weights", "device"} | ({"c_grid", "folds"} if asked.finetune else set())
    return {
        "snapshot": frozen.digest,
        "protocol": {"name": asked.protocol.name, "digest": asked.protocol.digest, **rules},
        "train": asked.config.model_dump(mode="json", exclude=unused),
        "finetune": asked.tuned().model_dump(mode="json", exclude=UNHASHED) if asked.finetune else None,
        "soft": asked.soft,
        "backbone": backbone.name,
        "weights_digest": backbone.weights_digest,
        "transform_digest": backbone.transform_digest,
        "source": source_digest(*METHODS[asked.finetune], *MEASURES),
        "seed": ws.seed + asked.seed,
        "replicate": asked.replicate,
    }


def run_id(plan: dict[str, Any]) -> str:
    """The first 16 digits of the sha256 of a plan; a protocol counts by what it says, not by its name."""
    counted = {**plan, "protocol": {key: value for key, value in plan["protocol"].items() if key != "name"}}
    return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()[:16]


def stored(ws: Workspace, file: str | Path | None) -> str | None:
    """A weights file as the catalog keeps it: relative to the data folder if it lies there, so that it may move."""
    if file is None:
        return None
    path, data = Path(file).resolve(), ws.data.resolve()
    return path.relative_to(data).as_posix() if path.is_relative_to(data) else str(path)


@functools.cache
def source_digest(*methods: str) -> str:
    """sha256 over the source that makes a result: the step, `methods`, and what they import of pipelines and labeling.

    An edit in a spider or in a page makes no new run, one in a fit or in a metric does. Of `collector` only the decoder
    counts, which makes the pixels: the rest hands over rows and bytes whose digests are in the plan. So are settings.
    """
    files = {name: _file_of(name) for name in ("pipelines.train", "collector.decoding")}
    waiting = list(methods)
    while waiting:
        name = waiting.pop()
        path = _file_of(name)
        if path is None or name in files or name == "pipelines.config" or name.startswith("collector"):
            continue
        files[name] = path
        waiting += _imports(path)
    lines = [
        f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n" for name, path in sorted(files.items()) if path
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _file_of(module: str) -> Path | None:
    """The file of one of our modules; None for a name that is none, such as a function imported from one."""
    package, _, rest = module.partition(".")
    if package not in PACKAGES:
        return None
    path = PACKAGES[package].joinpath(*rest.split(".")) if rest else PACKAGES[package]
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it; `from a import b` may mean the module a.b."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{each.name}" for each in node.names)


def machine(device: str) -> dict[str, Any]:
    """What a run is computed on and with; recorded, never hashed."""
    import torch

    cuda = torch.cuda.is_available() and device.startswith("cuda")
    return {
        "device": torch.cuda.get_device_name() if cuda else device,
        "driver": torch.version.cuda if cuda else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in RECORDED if find_spec(name)},
    }
