"""Train the baseline: a linear head on the cached features of a pretrained backbone, or with `finetune` all of it.

A run is named by a hash of all that decides its result (`pipelines.runs`), so a finished run is never run twice: the
same command prints the same figures.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collector import durable
from collector.catalog import models, now
from collector.catalog.models import Experiment, SnapshotRow
from collector.errors import GateNotMet, UsageError
from collector.workspace import Workspace
from labeling.gate import require_agreement
from pipelines import calibrate, parquet
from pipelines.backbones import Backbone, TorchBackbone, chosen, load_backbone
from pipelines.calibrate import Floats, Ints
from pipelines.config import FinetuneConfig, TrainConfig
from pipelines.evaluate import Measured, as_it_stands, cautions, figures, pick, sample_of, truth_of
from pipelines.features import features
from pipelines.finetune.step import Job
from pipelines.head import Examples, learn, refit
from pipelines.learning_curve import learning_curve
from pipelines.manifest import Manifest, ManifestRow, find, named, read_manifest, require_remembered
from pipelines.metrics import decide
from pipelines.predict import HEAD, Head
from pipelines.probe import AUTO, probe
from pipelines.protocols import find_protocol, validation_digest
from pipelines.runs import FINETUNED, HISTORY, Asked, machine, plan, run_id, stored
from pipelines.snapshot import SnapshotSummary
from pipelines.split import require_held_out
from pipelines.track import tracking

REPLICA = 1_000_000  # how far the seeds of replicates lie apart
OVER_SEEDS = ("ap", "error", "ece", "brier", "nll")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary(Measured):
    """`Measured` on validation; `train` and `validation` are images, `c` is the chosen inverse penalty of a head.

    Of several seeds, these are the figures of the first; `seeds` has run -> AP of each, and `mean` and `spread`
    (standard deviation) of the main figures over them. `forecast` is what the learning curve says of more labels.
    `binds` is what a fine-tuned run waited for most, empty for a head.
    """

    train: int
    validation: int
    c: float | None
    temperature: float
    forecast: str
    protocol: str
    seeds: dict[str, float | None]
    mean: dict[str, float]
    spread: dict[str, float]
    finetuned: bool
    binds: str
    seconds: float
    path: str
    reused: bool


@dataclass(frozen=True, slots=True)
class Trained:
    """What training left: the model, the figures of the training itself, its curve, what folds said of train, and
    what a head learned from."""

    backbone: Backbone
    head: Head
    figures: dict[str, Any]
    history: list[dict[str, float]]
    held: Floats | None = None
    examples: Examples | None = None


def train_baseline(  # noqa: PLR0913  # one for each option of the command
    ws: Workspace,
    concept: str | SnapshotSummary | None = None,
    *,
    snapshot: str | None = None,
    backbone: str | None = None,
    weights: str | Path | None = None,
    protocol: str | None = None,
    finetune: bool = False,
    soft: bool = False,
    device: str | None = None,
    replicate: int = 0,
    accept_ceiling: bool = False,
    trackers: Sequence[str] = (),
) -> RunSummary:
    """Train on the newest snapshot of a concept (or on the given one) and measure on its validation split.

    Args:
        ws: the workspace.
        concept: its name, or what `snapshot` returned.
        snapshot: the digest of a snapshot, or its beginning.
        backbone: instead of `train.backbone`; `auto` tries those whose weights are on this machine.
        weights: a state dict of the backbone, instead of `train.weights`.
        protocol: the name of a protocol or its file, instead of the concept's own.
        finetune: train the whole network, not a head on cached features.
        soft: learn the share of the votes for each label, not the settled label alone.
        device: instead of `train.device`; it makes no other run.
        replicate: another number runs a finished experiment again, with another seed.
        accept_ceiling: train though people agree too little, or nobody knows how far they do.
        trackers: of `pipelines.track.TRACKERS`, beside TensorBoard.

    Raises:
        GateNotMet: there is no frozen validation set yet, or train lacks a label; or people agree too little.
        UsageError: an unknown backbone, snapshot or protocol, or a file that is not weights.
        Busy: another process is at the same run.
    """
    if isinstance(concept, SnapshotSummary):
        snapshot = concept.digest
        concept = concept.concept
    frozen = find(ws, ws.concept(concept).name, snapshot)
    told = require_agreement(ws, frozen.concept, accept=accept_ceiling)
    manifest = read_manifest(ws, frozen)
    told += require_held_out(ws, manifest)
    tried = backbone == AUTO
    if tried:
        taken, said = probe(ws, manifest)
        backbone, weights, told = taken.backbone, taken.weights, told + said
    name, file = chosen(ws, backbone, weights)
    if name == "classic" and not tried:
        told += ("`classic` features are weak; expect far better from pretrained weights (`--weights FILE`)",)
    config = ws.section(TrainConfig)
    asked = Asked(
        backbone=name,
        weights=file,
        config=config,
        tuning=ws.section(FinetuneConfig),
        protocol=find_protocol(ws, manifest, protocol),
        finetune=finetune,
        soft=soft,
        device=device or config.device,
        replicate=replicate,
    )
    done = [run(ws, frozen, replace(asked, seed=seed), trackers) for seed in asked.protocol.rules.seeds]
    reused = all(again for _, again in done)
    return _summary(ws, [each for each, _ in done], told + one_sided(manifest), reused=reused)


def run(ws: Workspace, frozen: SnapshotRow, asked: Asked, track: Sequence[str] = ()) -> tuple[Experiment, bool]:
    """The finished run that was asked for, and whether it was there already; one that was interrupted goes on.

    Raises:
        GateNotMet: the train split lacks a label, or images of the snapshot were forgotten.
        Busy: another process is at the same run.
    """
    manifest = read_manifest(ws, frozen)
    require_labels(manifest)
    backbone = load_backbone(asked.backbone, asked.weights)
    planned = plan(ws, frozen, asked, backbone, validation_digest(manifest))
    name = run_id(planned)
    if (known := _finished(ws, name)) is not None:
        return known, True
    require_remembered(ws, (row.image for row in manifest.rows))
    with ws.lock(f"train-{name}"):
        if (known := _finished(ws, name)) is not None:
            return known, True  # by whoever held the lock
        path = f"runs/{name}"
        where = {"weights": f"{path}/{FINETUNED}" if asked.finetune else stored(ws, backbone.weights)}
        config = {**planned, **where}
        models.start_experiment(
            ws.catalog, Experiment(name, frozen.concept, frozen.digest, "running", config, None, path, now(), None)
        )
        folder = ws.data / path
        with tracking(folder, track, run=name, config=config) as tracked:
            seed = planned["seed"] + REPLICA * asked.replicate
            job = Job(folder, seed, asked.device, asked.soft, asked.config.balanced, tracked)
            found = _trained(ws, manifest, backbone, asked, job)
            durable.save(folder / "config.json", json.dumps(config, indent=1).encode())
            models.finish_experiment(ws.catalog, name, found)
            tracked.finish(found)
    if asked.finetune:
        from pipelines.finetune.checkpoints import clear

        clear(folder)
    finished = _finished(ws, name)
    assert finished is not None
    return finished, False


def _finished(ws: Workspace, name: str) -> Experiment | None:
    known = models.experiment_of(ws.catalog, name)
    return known if known is not None and known.metrics is not None else None


def require_labels(manifest: Manifest) -> None:
    """Raise a `GateNotMet` where nothing can be told apart: fewer than two labels have an image to learn from.

    Of two labels, both are needed; of many, what has no image is never said, and `one_sided` tells.
    """
    lacking = [label for label, n in manifest.counts()["train"].items() if n == 0]
    if len(manifest.labels) - len(lacking) < 2:
        raise GateNotMet(
            f"the train split holds no image of {named(lacking)}", hint="label more, then `collect snapshot`"
        )


def one_sided(manifest: Manifest) -> tuple[str, ...]:
    """Sentences on what cannot be learned from this train split: labels with no image or one, one source for all."""
    counts = manifest.counts()["train"]
    sources = {row.source for row in manifest.split("train")}
    said = []
    if lacking := [label for label, n in counts.items() if n == 0]:
        said.append(f"no training image of {named(lacking)}: the model will never say so")
    if alone := [label for label, n in counts.items() if n == 1]:
        said.append(f"one training image each of {named(alone)}: nothing general is learned from one picture")
    if len(sources) == 1 and sum(counts.values()) > 1:
        said.append(f"all training images come from `{sources.pop()}`: how it does on others is not known")
    return tuple(said)


def _trained(ws: Workspace, manifest: Manifest, backbone: Backbone, asked: Asked, job: Job) -> dict[str, Any]:
    """Train, calibrate, measure on validation, and write the run folder; returns the figures."""
    begun = time.monotonic()
    learned = (_tuned if asked.finetune else _probed)(ws, manifest, backbone, asked, job)
    heat = _heat(ws, manifest, learned, job.device)
    head = replace(learned.head, temperature=heat.value)
    held_out = _features(ws, manifest.split("validation"), learned.backbone, job.device)
    probabilities = head.probabilities(held_out)
    ws.progress("measuring", 0, None)
    found = {
        **figures(ws, manifest, "validation", probabilities, draws=asked.config.bootstrap, temperature=heat),
        **learned.figures,
        "learning_curve": _curve(ws, manifest, learned, held_out, asked, job.seed),
        "drift": calibrate.drift(learned.history) if asked.finetune else None,
        "train": len(manifest.split("train")),
        "validation": len(manifest.split("validation")),
        "seconds": round(time.monotonic() - begun, 2),
        "machine": machine(job.device),
    }
    head.save(job.folder / HEAD)
    _write_predictions(job.folder / parquet.VALIDATION, manifest, "validation", probabilities, found["threshold"])
    if learned.held is not None:
        _write_predictions(job.folder / parquet.CROSS_VALIDATED, manifest, "train", learned.held, found["threshold"])
    durable.save(job.folder / HISTORY, json.dumps(learned.history, indent=1).encode())
    durable.save(job.folder / "metrics.json", json.dumps(found, indent=1).encode())
    return found


def _probed(ws: Workspace, manifest: Manifest, backbone: Backbone, asked: Asked, job: Job) -> Trained:
    """A linear head on cached features."""
    if asked.protocol.rules.resolution:
        raise UsageError(
            f"protocol `{asked.protocol.name}` asks for {asked.protocol.rules.resolution} pixels, and cached features "
            "have the resolution of their backbone",
            hint="add --finetune, or use a protocol with resolution = 0",
        )
    rows = manifest.split("train")
    target = manifest.vote_shares(rows) if job.soft else truth_of(manifest, "train")
    matrix = _features(ws, rows, backbone, job.device)
    given = Examples(matrix, target, [row.group for row in rows], manifest.labels)
    learned = learn(given, asked.config, job.seed, lambda text: ws.progress(text, 0, None))
    for step, each in enumerate(learned.history):
        job.track.log(step, {"search/c": each["c"], "search/nll": each["nll"]})
    return Trained(backbone, learned.head, {"c": learned.c, "binds": ""}, learned.history, learned.held, given)


def _tuned(ws: Workspace, manifest: Manifest, backbone: Backbone, asked: Asked, job: Job) -> Trained:
    """The whole network, for as long as the protocol says."""
    from pipelines.finetune.step import finetune

    if not isinstance(backbone, TorchBackbone):
        raise UsageError(
            f"`{backbone.name}` has no weights to train on", hint="name a network, or leave --finetune out"
        )
    tuned = finetune(ws, manifest, backbone, asked.tuned(), job)
    about = {**tuned.figures, "c": None, "weights_digest": tuned.backbone.weights_digest}
    return Trained(tuned.backbone, tuned.head, about, tuned.history)


def _features(ws: Workspace, rows: Sequence[ManifestRow], backbone: Backbone, device: str) -> NDArray[np.float32]:
    return features(ws, [row.image for row in rows], backbone, device=device)


def _heat(ws: Workspace, manifest: Manifest, learned: Trained, device: str) -> calibrate.Temperature:
    """The temperature of a head, from images that neither trained it nor measure it."""
    rows = manifest.split("calibration")
    if not rows:
        return calibrate.UNSCALED
    said = learned.head.probabilities(_features(ws, rows, learned.backbone, device))
    return calibrate.fit_temperature(said, truth_of(manifest, "calibration"))


def _curve(
    ws: Workspace,
    manifest: Manifest,
    learned: Trained,
    held_out: NDArray[np.float32],
    asked: Asked,
    seed: int,
) -> dict[str, Any] | None:
    """What heads that learn from parts of train say of validation; None for a network, which learns too slowly."""
    given = learned.examples
    if given is None:
        return None
    ws.progress("learning from parts, for the learning curve", 0, None)

    def fitted(rows: Ints) -> Floats:
        some = Examples(given.matrix[rows], given.target[rows], [given.groups[k] for k in rows], given.labels)
        return refit(some, learned.figures["c"], balanced=asked.config.balanced).probabilities(held_out)

    whole = sample_of(manifest, "validation", learned.head.probabilities(held_out))
    return learning_curve(fitted, truth_of(manifest, "train"), given.groups, whole, seed=seed)


def _write_predictions(path: Path, manifest: Manifest, split: str, probabilities: Floats, threshold: float) -> None:
    rows = manifest.split(split)
    said = [manifest.labels[k] for k in decide(probabilities, threshold)]
    found = parquet.Predicted([row.image for row in rows], [row.label for row in rows], said, probabilities)
    parquet.save_predictions(path, found, manifest.labels)


def _summary(ws: Workspace, runs: Sequence[Experiment], told: tuple[str, ...], *, reused: bool) -> RunSummary:
    done = runs[0]
    found = done.metrics or {}
    over = {name: [(each.metrics or {})[name] for each in runs] for name in OVER_SEEDS}
    over = {name: values for name, values in over.items() if None not in values}  # undefined: nothing to rank
    return RunSummary(
        **pick(RunSummary, found | as_it_stands(ws, done, "validation")),
        forecast=(found.get("learning_curve") or {}).get("says", ""),
        run=done.run,
        concept=done.concept,
        snapshot=done.snapshot,
        backbone=done.config["backbone"],
        split="validation",
        protocol=done.config["protocol"]["name"],
        seeds={each.run: (each.metrics or {})["ap"] for each in runs},
        mean={name: statistics.fmean(values) for name, values in over.items()} if len(runs) > 1 else {},
        spread={name: statistics.stdev(values) for name, values in over.items()} if len(runs) > 1 else {},
        finetuned=done.config["finetune"] is not None,
        path=str(ws.data / done.path),
        reused=reused,
        next="collect prelabel",
        warnings=told + _warnings(found) + cautions(ws, done, found, "validation"),
    )


def _warnings(found: dict[str, Any]) -> tuple[str, ...]:
    said = []
    ceiling = found["human_error"]
    if ceiling is not None and found["error"] < ceiling:
        said.append(f"one person says what others say in {1 - ceiling:.0%}: a higher accuracy than that means little")
    if found.get("drift"):
        said.append(found["drift"])
    return (*said, *found.get("notes", ()))
