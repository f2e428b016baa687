"""Settings of the steps that need both pictures and labels, and the list of every section that collect knows."""

from __future__ import annotations

from pydantic import Field

from collector.config import Section


class SnapshotConfig(Section):
    """Which settled labels are good enough to train and to measure on."""

    section = "snapshot"
    min_confidence: float = Field(0.5, ge=0, le=1, description="smallest share of the votes behind a label that counts")
    min_annotators: int = Field(2, ge=1, description="validation and test: how many people labeled an image blind")


class ShortcutsConfig(Section):
    """What metadata alone (sizes, compression, cameras) may tell of the classes, as an area under the ROC curve."""

    section = "shortcuts"
    warn: float = Field(0.6, ge=0.5, le=1, description="warn above this; 0.5 is guessing")
    gate: float = Field(
        0.75, ge=0.5, le=1, description="freeze no snapshot above this, unless --accept-shortcut is given"
    )


class TrainConfig(Section):
    """The baseline: a linear head on the features of a pretrained backbone."""

    section = "train"
    backbone: str = Field("squeezenet1_1", description="`classic` or the name of a torchvision network, see docs")
    weights: str = Field("", description="state dict of the backbone, a file; empty: the weights torchvision publishes")
    c_grid: tuple[float, ...] = Field(
        (0.001, 0.01, 0.1, 1.0, 10.0),
        min_length=1,
        description="inverse penalties, one is chosen by cross-validation",
    )
    folds: int = Field(5, ge=2, description="folds of that cross-validation, over near-duplicate groups")
    balanced: bool = Field(False, description="weigh classes as if they were equally frequent; costs calibration")
    bootstrap: int = Field(1000, ge=100, description="resamples behind every interval")


class PrelabelConfig(Section):
    """Proposals for pictures that nobody has labeled yet."""

    section = "prelabel"
    limit: int = Field(0, ge=0, description="propose labels for at most so many images in one go; 0: all")
