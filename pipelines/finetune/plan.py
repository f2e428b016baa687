"""What is to be trained and how, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from collector.workspace import Workspace
from pipelines.backbones import TorchBackbone
from pipelines.config import FinetuneConfig
from pipelines.manifest import Manifest
from pipelines.predict import Head


class Log(Protocol):
    """A tracker: takes the figures of a step."""

    def log(self, step: int, figures: dict[str, float]) -> None:
        """Keep figures by name."""


@dataclass(frozen=True, slots=True)
class Job:
    """How to train: the run folder, the seed, `auto|cpu|cuda|mps`, votes as targets, equal classes, the tracker."""

    folder: Path
    seed: int
    device: str
    soft: bool
    balanced: bool
    track: Log


@dataclass(frozen=True, slots=True)
class Tuned:
    """The trained network in two parts, the figures of the training, and one entry for each epoch."""

    backbone: TorchBackbone
    head: Head
    figures: dict[str, Any]
    history: list[dict[str, float]]


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a training is made from."""

    ws: Workspace
    manifest: Manifest
    backbone: TorchBackbone
    config: FinetuneConfig
    job: Job
    device: str

    @property
    def world(self) -> int:
        """Processes that train together."""
        return self.config.devices * self.config.nodes
