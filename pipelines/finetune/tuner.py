"""The network in training, as Lightning sees it: the loss of a piece, the step of the optimizer, the validation."""

from __future__ import annotations

import copy
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from collector import durable
from collector.errors import CollectError
from pipelines import calibrate
from pipelines.backbones import TorchBackbone
from pipelines.calibrate import Ints
from pipelines.config import FinetuneConfig
from pipelines.finetune import alarms, draws
from pipelines.finetune.loader import Clock, Piece, Share
from pipelines.metrics import Sample, macro

Entry = dict[str, float]
LOOK = 10  # steps between looks at the loss on a GPU, which must wait for it each time


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is to be learned: targets (train images x labels), their weights, the true labels of validation."""

    targets: NDArray[np.float32]
    weights: NDArray[np.float32]
    truth: Ints


class Tuner(LightningModule):
    """A backbone and a linear layer; `average`, their moving average, is what is validated and kept.

    The position (`epoch`, `step`) and all that has to be known of the past (`history`, sums over the epoch) are in its
    checkpoints. `told` is called with the pictures done after every piece.
    """

    targets: Tensor
    weights: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: TorchBackbone, lesson: Lesson, config: FinetuneConfig, seed: int, share: Share
    ) -> None:
        super().__init__()
        head = torch.nn.Linear(backbone.dimension, lesson.targets.shape[1])
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
        parts = OrderedDict(backbone=backbone.network(), flat=torch.nn.Flatten(1), head=head)
        self.network: Any = torch.nn.Sequential(parts).to(memory_format=torch.channels_last)
        self.average: Any = copy.deepcopy(self.network).requires_grad_(False)
        self.lesson, self.config, self.seed, self.share = lesson, config, seed, share
        self.steps = draws.steps(len(lesson.targets), config.batch)
        self.epoch = self.step = self.done = 0
        self.history: list[Entry] = []
        self.drift: str | None = None  # what `calibrate.drift` says of the history
        self.folder: Path | None = None
        self.told: Callable[[Tuner, int], None] = lambda tuner, images: None
        self.log_figures: Callable[[int, Entry], None] = lambda step, figures: None
        self.clock = Clock()
        self.look = LOOK
        self._losses: list[Tensor] = []  # not looked at yet, one for each piece
        self._loss = 0.0  # summed over the steps of this epoch that were looked at
        self._seconds = 0.0
        self._since = 0.0
        self._scores = np.zeros((0, 0))
        for name, values in (("targets", lesson.targets), ("weights", lesson.weights)):
            self.register_buffer(name, torch.from_numpy(values), persistent=False)
        for name, numbers in (("mean", backbone.layout.mean), ("std", backbone.layout.std)):
            self.register_buffer(name, torch.tensor(numbers).view(1, 3, 1, 1), persistent=False)

    # --- one step

    def on_train_epoch_start(self) -> None:
        """Say which layers learn, and start the clock."""
        frozen = self.epoch < self.config.freeze_epochs
        self.network.train()
        self.network.backbone.train(not frozen)
        self._since = time.monotonic()
        self.clock.start()

    def training_step(self, batch: Piece, batch_idx: int) -> Tensor:
        """The part of a piece in the mean loss of its batch, times the pieces, by which Lightning divides again."""
        place, pieces = batch.place, self.share.pieces * self.share.world
        if place.piece == 0:
            draws.reseed(self.seed, self.done, self.share.rank)
        number = place.piece * self.share.world + self.share.rank
        alphas = (self.config.mixup, self.config.cutmix)
        mix = draws.mix(self.seed, self.done, number, len(batch.indices), alphas)
        targets, weights = self.targets[batch.indices], self.weights[batch.indices]
        pixels, targets = blended(self._normalized(batch.pixels), targets, mix)
        with torch.set_grad_enabled(self.epoch >= self.config.freeze_epochs):
            vectors = self.network.flat(self.network.backbone(pixels))
        logs = torch.log_softmax(self.network.head(vectors).float(), dim=1)
        smooth = self.config.label_smoothing
        targets = targets * (1 - smooth) + smooth / targets.shape[1]
        loss = -(targets * logs).sum(1) @ weights * pieces / self._size(place.step)
        self._losses.append(loss.detach())
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One step of the optimizer, then of the average, and the position moves on."""
        super().optimizer_step(*args, **kwargs)
        self.step, self.done = self.step + 1, self.done + 1
        # A young average follows closely, as in TensorFlow's ExponentialMovingAverage with `num_updates`.
        decay = min(self.config.ema, (1 + self.done) / (10 + self.done))
        with torch.no_grad():
            pairs = list(zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True))
            floats = [pair for pair in pairs if pair[0].is_floating_point()]
            moved = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
            moved([mine for mine, _ in floats], [new for _, new in floats], self.done)
            for mine, new in pairs:
                if not mine.is_floating_point():
                    mine.copy_(new)
        if self.done % self.look == 0:
            self.check()

    def on_train_batch_end(self, outputs: Any, batch: Piece, batch_idx: int) -> None:
        """Tell how far it is."""
        self.told(self, len(batch.indices) * self.share.world)

    def check(self) -> None:
        """Look at the losses since the last look.

        Raises:
            CollectError: one of them is no number.
        """
        if not self._losses:
            return
        losses = torch.stack(self._losses).double().cpu().numpy()
        self._losses.clear()
        wrong = np.flatnonzero(~np.isfinite(losses))
        if wrong.size:
            raise self._diverged("loss", losses[wrong[0]], (len(losses) - 1 - int(wrong[0])) // self.share.pieces)
        self._loss += float(losses.sum()) / self.share.pieces

    def sound(self) -> None:
        """Raise what `check` raises, and also if a loss that was a number led to weights that are none."""
        self.check()
        if not all(bool(each.isfinite().all()) for each in self.average.state_dict().values()):
            raise self._diverged("weights", "nan", 0)

    def _diverged(self, what: str, value: object, back: int) -> CollectError:
        return CollectError(
            f"the {what} became {value} in step {self.step - back} of epoch {self.epoch + 1}; the last good checkpoint "
            "was kept",
            hint=f"lower the learning rate: `finetune.learning_rate = {self.config.learning_rate / 10:g}`",
        )

    def configure_optimizers(self) -> Any:
        """AdamW (Loshchilov and Hutter, ICLR 2019) in groups: backbone and head, weights and the rest."""
        rate, groups = self.config.learning_rate, []
        for part, share in ((self.network.backbone, self.config.backbone_rate), (self.network.head, 1.0)):
            for many in (True, False):
                group = [each for each in part.parameters() if (each.ndim > 1) == many]
                decay = self.config.weight_decay if many else 0.0
                if group:
                    groups.append({"params": group, "lr": rate * share, "weight_decay": decay})
        optimizer = torch.optim.AdamW(groups)
        backbone = {id(each) for each in self.network.backbone.parameters()}
        late = self.config.freeze_epochs * self.steps
        total = self.config.epochs * self.steps
        shapes = [
            schedule(late if id(group["params"][0]) in backbone else 0, total, self.config.warmup)
            for group in optimizer.param_groups
        ]
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, shapes)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _normalized(self, pixels: Tensor) -> Tensor:
        scaled = pixels.permute(0, 3, 1, 2).float() / 255  # a view: the memory stays channels-last
        return (scaled - self.mean) / self.std

    def _size(self, step: int) -> int:
        """Pictures in the batch of a step, on all processes."""
        each, more = divmod(len(self.lesson.targets), self.steps)
        return each + (step < more)

    # --- validation

    def on_validation_epoch_start(self) -> None:
        """Nothing is known of the pictures yet."""
        self.sound()
        self.clock.stop()
        self._seconds += time.monotonic() - self._since
        self._scores = np.zeros((len(self.lesson.truth), self.lesson.targets.shape[1]))

    def validation_step(self, batch: Piece, batch_idx: int) -> None:
        """The probabilities that the average gives to a piece."""
        said = torch.softmax(self.average(self._normalized(batch.pixels)).float(), dim=1)
        self._scores[batch.indices.cpu().numpy()] = said.double().cpu().numpy()

    def on_validation_epoch_end(self) -> None:
        """Close the epoch: its entry in the history, the best weights, the position."""
        mine = torch.from_numpy(self._scores).to(self.device, torch.float32)
        scores = self.trainer.strategy.reduce(mine, reduce_op="sum").double().cpu().numpy()
        images = len(self.lesson.targets)
        waiting, reading = self.clock.take()
        entry = {
            "epoch": self.epoch + 1,
            "images_seen": (self.epoch + 1) * images,
            "train_loss": self._loss / self.steps,
            **validated(scores, self.lesson.truth),
            "lr": float(self.trainer.optimizers[0].param_groups[-1]["lr"]),
            "seconds": self._seconds,
            "images_per_second": images / max(self._seconds, 1e-9),
            "waiting": waiting,
            "reading": reading,
        }
        self.history.append(entry)
        if self.trainer.is_global_zero:
            self.drift = alarms.drifting(self.history)
            if best(self.history, self.config.monitor) == self.epoch:
                self._keep()
        seen = {f"validation/{name}": entry[name] for name in ("error", "nll", "ece", "ap")}
        self.log_figures(self.done, {"train/loss": entry["train_loss"], "train/lr": entry["lr"], **seen})
        self.epoch, self.step, self._loss, self._seconds = self.epoch + 1, 0, 0.0, 0.0
        if stops(self.history, self.config):
            self.trainer.should_stop = True

    def _keep(self) -> None:
        """Write the average as the best so far; the checkpoint that says so comes after."""
        from safetensors.torch import save

        assert self.folder is not None
        state = {name: each.detach().cpu().contiguous() for name, each in self.average.state_dict().items()}
        durable.save(self.folder / best_name(self.epoch), save(state))

    # --- checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The position in place of Lightning's own counters: a resumed training begins a loop of its own."""
        self.sound()
        del checkpoint["loops"]
        seconds = self._seconds + (time.monotonic() - self._since if self.step else 0.0)
        checkpoint["position"] = {
            "epoch": self.epoch, "step": self.step, "done": self.done, "loss": self._loss, "seconds": seconds,
            "history": self.history, "seed": self.seed, "pieces": self.share.pieces,
            "threads": torch.get_num_threads(),
        }  # fmt: skip

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on where the checkpoint was written."""
        at = checkpoint["position"]
        self.epoch, self.step, self.done, self.history = at["epoch"], at["step"], at["done"], list(at["history"])
        self._loss, self._seconds = at["loss"], at["seconds"]
        self.drift = calibrate.drift(self.history)


def schedule(start: int, total: int, warmup: float) -> Callable[[int], float]:
    """The learning rate of a step as a share of its highest: 0 before `start`, a line up, then half a cosine down."""
    rise = max(1, round(warmup * (total - start)))

    def share(step: int) -> float:
        if step < start:
            return 0.0
        if step - start < rise:
            return (step - start + 1) / (rise + 1)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - start - rise) / max(1, total - start - rise))))

    return share


def blended(pixels: Tensor, targets: Tensor, mix: draws.Mix | None) -> tuple[Tensor, Tensor]:
    """Pictures (n, 3, h, w) and targets (n, labels), mixed as drawn: mixup, cutmix, or not at all."""
    if mix is None:
        return pixels, targets
    others, share = pixels.roll(mix.partner, 0), mix.share
    if mix.box is None:
        pixels = share * pixels + (1 - share) * others
    else:
        height, width = pixels.shape[2:]
        left, top, right, bottom = (round(at * side) for at, side in zip(mix.box, (width, height) * 2, strict=True))
        pixels = pixels.clone()
        pixels[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
        share = 1 - (bottom - top) * (right - left) / (height * width)
    return pixels, share * targets + (1 - share) * targets.roll(mix.partner, 0)


def validated(scores: NDArray[np.float64], truth: Ints) -> Entry:
    """What the validation of an epoch says: probabilities (images x labels) against true labels."""
    sample = Sample(tuple(str(k) for k in range(scores.shape[1])), scores, truth)
    return {
        "error": float((scores.argmax(axis=1) != truth).mean()),
        "nll": calibrate.nll(scores, truth),
        "ece": calibrate.ece(scores, truth),
        "ap": float(macro(np.array([each.ap() for each in sample.rankings()]), sample.counted())),
    }


def best(history: list[Entry], monitor: str) -> int:
    """The epoch (from 0) with the best validation by `monitor`, the first of equals."""
    values = [-entry["ap"] if monitor == "ap" else entry[monitor] for entry in history]
    return min(range(len(values)), key=lambda k: (math.isnan(values[k]), values[k]))


def best_name(epoch: int) -> str:
    """The file of the weights after an epoch (from 0), if it was the best so far."""
    return f"best-{epoch + 1:04d}.safetensors"


def stops(history: list[Entry], config: FinetuneConfig) -> bool:
    """Whether the training is over: all epochs done, or the best one too long ago; those of the head alone are free."""
    waited = len(history) - 1 - max(best(history, config.monitor), config.freeze_epochs)
    return len(history) >= config.epochs or waited >= config.patience
