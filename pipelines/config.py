"""Settings of the steps that need both pictures and labels, and the list of every section that collect knows."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, field_validator

from collector import licenses
from collector.config import Section
from collector.quality import Thresholds
from collector.registry import did_you_mean
from labeling.config import ConsensusMethod

By = Literal["entropy", "margin", "bald", "k-center", "hybrid", "random"]

TIERS = ("positive", "near", "mid", "far", "context", "junk", "given")
METHODS = (*get_args(ConsensusMethod), "arbiter")


def _known(names: tuple[str, ...], known: tuple[str, ...], what: str) -> tuple[str, ...]:
    for name in names:
        if name not in known:
            raise ValueError(f"`{name}` is not {what}{did_you_mean(name, known)}")
    return tuple(sorted(set(names)))


class SnapshotConfig(Section):
    """Which settled labels are good enough to train and to measure on."""

    section = "snapshot"
    min_confidence: float = Field(0.5, ge=0, le=1, description="smallest share of the votes behind a label that counts")
    min_annotators: int = Field(2, ge=1, description="held-out splits: how many people labeled an image blind")
    methods: tuple[str, ...] = Field((), description='how a label was settled, such as "majority"; empty: any way')
    licenses: tuple[str, ...] = Field((), description='codes or presets, such as "cc0" or "open"; empty: all')
    sources: tuple[str, ...] = Field((), description="only images that these sources have; empty: all")
    tiers: tuple[str, ...] = Field((), description="only images of these tiers of the pool; empty: all")
    exclude: tuple[str, ...] = Field((), description="leave out images with these flags of `collect quality`")
    per_source: int = Field(0, ge=0, description="at most so many training images of one source; 0: any number")
    per_creator: int = Field(0, ge=0, description="at most so many training images of one creator; 0: any number")
    negatives: float = Field(0.0, ge=0, description="at most so many training negatives for one other image; 0: all")

    @field_validator("licenses")
    @classmethod
    def _are_licenses(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _known(names, (*licenses.PRESETS, *licenses.CODES, *licenses.OURS), "a license code or preset")

    @field_validator("tiers")
    @classmethod
    def _are_tiers(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _known(names, TIERS, "a tier")

    @field_validator("exclude")
    @classmethod
    def _are_flags(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _known(names, tuple(Thresholds.model_fields), "a flag")

    @field_validator("methods")
    @classmethod
    def _are_methods(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _known(names, METHODS, "a method of consensus")


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
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="where networks run; auto: a GPU if any")
    c_grid: tuple[float, ...] = Field(
        (0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
        min_length=1,
        description="inverse penalties; cross-validation goes from the middle one to the best",
    )
    folds: int = Field(5, ge=2, description="folds of that cross-validation, over near-duplicate groups")
    balanced: bool = Field(False, description="weigh classes as if they were equally frequent; costs calibration")
    bootstrap: int = Field(1000, ge=100, description="resamples behind every interval")


class FinetuneConfig(Section):
    """Fine-tuning, `train-baseline --finetune`: the whole network is trained on, its head first."""

    section = "finetune"
    epochs: int = Field(5, ge=1, description="how often every picture is seen")
    freeze_epochs: int = Field(1, ge=0, description="of these, how many train the new last layer alone, first")
    batch: int = Field(32, ge=2, description="pictures behind one step of the optimizer, on all devices together")
    accumulate: int = Field(1, ge=1, description="parts that a batch is computed in: less memory, the same step")
    learning_rate: float = Field(0.001, gt=0, description="of the last layer, at its highest (AdamW)")
    backbone_rate: float = Field(0.1, gt=0, le=1, description="learning rate of the other layers, as a share of it")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps in which the rate rises; then a cosine")
    weight_decay: float = Field(0.01, ge=0, description="of weights, not of biases and norms")
    clip: float = Field(1.0, ge=0, description="largest norm of the gradient; 0: any")
    ema: float = Field(0.99, ge=0, lt=1, description="decay of the average of the weights that is kept; 0: no average")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of a label given to all labels alike")
    mixup: float = Field(0.0, ge=0, description="alpha of mixup; 0: off")
    cutmix: float = Field(0.0, ge=0, description="alpha of cutmix, in turns with mixup if both are on; 0: off")
    smallest_crop: float = Field(0.35, gt=0, le=1, description="smallest area of a random crop, as a share")
    resolution: int = Field(0, ge=0, description="side of the crops trained on, pixels; 0: the backbone's own")
    patience: int = Field(3, ge=1, description="epochs without a better validation before it stops early")
    monitor: Literal["nll", "ap", "error"] = Field("nll", description="what is better: nll, ap or error on validation")
    precision: Literal["auto", "32", "bf16"] = Field("auto", description="auto: bf16 where the GPU has it, else 32")
    compile: Literal["auto", "on", "off"] = Field("auto", description="torch.compile; auto: on CUDA only")
    checkpoint_every: int = Field(100, ge=1, description="steps between checkpoints, beside one at the end of an epoch")
    devices: int = Field(1, ge=1, description="GPUs (or processes on a CPU) of one machine")
    nodes: int = Field(1, ge=1, description="machines that share the run folder, see docs/finetune.md")
    strategy: str = Field("ddp", description="Lightning's strategy for several devices")
    rendezvous: str = Field("", description="host:port where several machines meet")


class EngineConfig(Section):
    """What runs networks; all engines give the same vectors, or are not used."""

    section = "engine"
    cpu: Literal["auto", "ncnn", "onnxruntime", "openvino", "torch"] = Field(
        "auto", description="on a processor; auto: the fastest that is installed and agrees, measured once"
    )


class EvaluateConfig(Section):
    """What a figure is told for."""

    section = "evaluate"
    prevalence: float = Field(
        0.0, ge=0, lt=1, description="share of pictures with the concept where the model will work; 0: not known"
    )


class PrelabelConfig(Section):
    """Proposals for pictures that nobody has labeled yet."""

    section = "prelabel"
    limit: int = Field(0, ge=0, description="propose labels for at most so many images in one go; 0: all")


class NextConfig(Section):
    """Which pictures people label next, `collect next`."""

    section = "next"
    by: By = Field("hybrid", description=f"how they are chosen, see docs/next.md: {', '.join(get_args(By))}")
    count: int = Field(100, ge=1, description="how many in one list")
    random_share: float = Field(
        0.1, ge=0, lt=1, description="share of a list that is drawn at random: what choosing does is measured on it"
    )
    members: int = Field(8, ge=2, description="heads in the committee behind bald")


class SweepConfig(Section):
    """What `collect sweep` tries."""

    section = "sweep"
    trials: int = Field(20, ge=1, description="how many combinations are tried; one that was run before costs nothing")
    timeout_minutes: float = Field(0.0, ge=0, description="begin no trial after this; 0: no limit")


class NotifyConfig(Section):
    """What `--notify` tells; its addresses stand on the command line or in $COLLECT_NOTIFY, since they are secrets."""

    section = "notify"
    stall_minutes: float = Field(15.0, gt=0, description="tell when a command made no progress for so long")
