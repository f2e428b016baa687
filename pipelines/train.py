"""Train the baseline: a linear head on the cached features of a pretrained backbone.

A run is named by a hash of all that decides its result: snapshot, protocol, settings, weights, transform, source code,
seed. A finished run is never run twice: the same command prints the same figures.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import collector
import labeling
import pipelines
from collector import durable
from collector.catalog import models, now
from collector.catalog.models import Experiment, SnapshotRow
from collector.errors import GateNotMet
from collector.workspace import Workspace
from labeling.gate import require_agreement
from pipelines import calibrate, parquet, track
from pipelines.backbones import Backbone, chosen, load_backbone
from pipelines.calibrate import Floats, Ints
from pipelines.config import TrainConfig
from pipelines.evaluate import Measured, figures, no_width, pick, truth_of
from pipelines.features import features
from pipelines.manifest import Manifest, find, read_manifest
from pipelines.metrics import Curve, decide
from pipelines.predict import HEAD, Head
from pipelines.snapshot import SnapshotSummary

PROTOCOL = "linear-head/1"  # C by log loss over groups of train; threshold by F1, figures on validation


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary(Measured):
    """`Measured` on validation; `train` and `validation` are images, `c` is the chosen inverse penalty."""

    train: int
    validation: int
    c: float
    path: str
    reused: bool


def train_baseline(  # noqa: PLR0913  # one for each option of the command
    ws: Workspace,
    concept: str | SnapshotSummary | None = None,
    *,
    snapshot: str | None = None,
    backbone: str | None = None,
    weights: str | Path | None = None,
    replicate: int = 0,
    accept_ceiling: bool = False,
) -> RunSummary:
    """Train on the newest snapshot of a concept (or on the given one) and measure on its validation split.

    Args:
        ws: the workspace.
        concept: its name, or what `snapshot` returned.
        snapshot: the digest of a snapshot, or its beginning.
        backbone: instead of `train.backbone`.
        weights: a state dict of the backbone, instead of `train.weights`.
        replicate: another number runs a finished experiment again, with another seed.
        accept_ceiling: train though people agree too little, or nobody knows how far they do.

    Raises:
        GateNotMet: there is no frozen validation set yet, or train lacks a label; or people agree too little.
        UsageError: an unknown backbone or snapshot, or a file that is not weights.
    """
    if isinstance(concept, SnapshotSummary):
        snapshot = concept.digest
        concept = concept.concept
    frozen = find(ws, ws.concept(concept).name, snapshot)
    told = require_agreement(ws, frozen.concept, accept=accept_ceiling)
    config = ws.section(TrainConfig)
    name, file = chosen(ws, backbone, weights)
    extractor = load_backbone(name, file)
    plan = _plan(frozen, config, extractor, ws.seed + replicate)
    run = hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()[:16]
    known = models.experiment_of(ws.catalog, run)
    if known is not None and known.metrics is not None:
        return _summary(ws, known, told, reused=True)
    with ws.lock(f"train-{run}"):
        where = {"weights": str(Path(file).resolve()) if file else None}
        begun = Experiment(
            run, frozen.concept, frozen.digest, "running", {**plan, **where}, None, f"runs/{run}", now(), None
        )
        found = _train(ws, begun, extractor, read_manifest(ws, frozen), config)
        models.finish_experiment(ws.catalog, run, found)
    finished = models.experiment_of(ws.catalog, run)
    assert finished is not None
    return _summary(ws, finished, told, reused=False)


def source_digest() -> str:
    """sha256 over every Python file of the three packages: other code makes another run."""
    hashed = hashlib.sha256()
    for package in (collector, labeling, pipelines):
        folder = Path(package.__path__[0])
        for path in sorted(folder.rglob("*.py")):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            hashed.update(f"{folder.name}/{path.relative_to(folder).as_posix()} {content}\n".encode())
    return hashed.hexdigest()


def _plan(frozen: SnapshotRow, config: TrainConfig, backbone: Backbone, seed: int) -> dict[str, Any]:
    """All that decides the result, as JSON; where the weights file lies does not."""
    return {
        "protocol": PROTOCOL,
        "snapshot": frozen.digest,
        "train": config.model_dump(mode="json", exclude={"backbone", "weights"}),
        "backbone": backbone.name,
        "weights_digest": backbone.weights_digest,
        "transform_digest": backbone.transform_digest,
        "source": source_digest(),
        "seed": seed,
    }


def _train(
    ws: Workspace, begun: Experiment, backbone: Backbone, manifest: Manifest, config: TrainConfig
) -> dict[str, Any]:
    """Embed, fit, measure, and write the run folder; returns the figures."""
    counts = manifest.counts()
    lacking = [label for label, n in counts["train"].items() if n == 0]
    if lacking:
        raise GateNotMet(
            f"the train split holds no image of `{'`, `'.join(lacking)}`", hint="label more, then `collect snapshot`"
        )
    rows = manifest.split("train")
    held_out = manifest.split("validation")
    matrix = features(ws, [row.image for row in (*rows, *held_out)], backbone)
    train, validation = matrix[: len(rows)], matrix[len(rows) :]
    truth = truth_of(manifest, "train")
    seed = begun.config["seed"]
    models.start_experiment(ws.catalog, begun)
    ws.progress("fitting the head", 0, None)
    c, losses, held = choose_c(train, truth, [row.group for row in rows], config, seed)
    head = fit(train, truth, manifest.labels, c=c, balanced=config.balanced)
    probabilities = head.probabilities(validation)
    threshold = Curve.of(truth_of(manifest, "validation") == 0, probabilities[:, 0]).best_threshold()
    ws.progress("measuring", 0, None)
    found = {
        **figures(ws, manifest, "validation", probabilities, threshold=threshold, draws=config.bootstrap),
        "train": len(rows),
        "validation": len(held_out),
        "c": c,
        "loss_by_c": losses,
    }
    folder = ws.data / begun.path
    head.save(folder / HEAD)
    _write_predictions(folder / parquet.VALIDATION, manifest, "validation", probabilities, threshold)
    if held is not None:
        _write_predictions(folder / parquet.CROSS_VALIDATED, manifest, "train", held, threshold)
    durable.save(folder / "config.json", json.dumps(begun.config, indent=1).encode())
    durable.save(folder / "metrics.json", json.dumps(found, indent=1).encode())
    track.write_events(folder, found)
    return found


def choose_c(
    matrix: NDArray[np.float32], truth: Ints, groups: Sequence[str], config: TrainConfig, seed: int
) -> tuple[float, dict[str, float], Floats | None]:
    """The inverse penalty with the lowest cross-validated log loss, the loss of each, and what that one said.

    The third is images x labels, each image judged by a head that was not trained on it. Folds never part a
    near-duplicate group. With fewer than two images of a label there is nothing to validate on, and the strongest
    penalty is taken.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    grid = sorted(config.c_grid)
    folds = min(config.folds, int(np.bincount(truth).min()))
    if folds < 2 or len(grid) == 1:
        return grid[0], {}, None
    split = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    names = [str(k) for k in range(int(truth.max()) + 1)]
    held = {c: np.empty((len(truth), len(names))) for c in grid}
    for inside, outside in split.split(matrix, truth, groups):
        for c in grid:
            head = fit(matrix[inside], truth[inside], names, c=c, balanced=config.balanced)
            held[c][outside] = head.probabilities(matrix[outside])
    losses = {c: calibrate.nll(held[c], truth) for c in grid}
    best = min(grid, key=lambda c: losses[c])
    return best, {str(c): loss for c, loss in losses.items()}, held[best]


def fit(matrix: NDArray[np.float32], truth: Ints, labels: Sequence[str], *, c: float, balanced: bool) -> Head:
    """Multinomial logistic regression on standardized features, L2 penalty 1 / (2 c); two labels are one logit."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    mean = matrix.mean(axis=0, dtype=np.float64)
    spread = matrix.std(axis=0, dtype=np.float64)
    scale = np.where(spread > 1e-6, spread, 1.0)
    regression = LogisticRegression(C=c, class_weight="balanced" if balanced else None, max_iter=2000)
    with threadpool_limits(1):  # on a busy machine 20 times as fast as all cores: the matrices are small
        regression.fit((matrix - mean) / scale, truth)
    weights, bias = regression.coef_, regression.intercept_
    if len(labels) == 2:
        weights, bias = np.vstack([np.zeros_like(weights), weights]), np.array([0.0, bias[0]])
    return Head(tuple(labels), weights, bias, mean, scale)


def _write_predictions(path: Path, manifest: Manifest, split: str, probabilities: Floats, threshold: float) -> None:
    import pyarrow as pa

    rows = manifest.split(split)
    said = decide(probabilities, threshold)
    columns = {
        "image": [row.image for row in rows],
        "label": [row.label for row in rows],
        "predicted": [manifest.labels[k] for k in said],
        "probabilities": probabilities.tolist(),
    }
    parquet.save(path, pa.table(columns).replace_schema_metadata({"labels": json.dumps(manifest.labels)}))


def _summary(ws: Workspace, done: Experiment, told: tuple[str, ...], *, reused: bool) -> RunSummary:
    found = done.metrics or {}
    return RunSummary(
        **pick(RunSummary, found),
        run=done.run,
        concept=done.concept,
        snapshot=done.snapshot,
        backbone=done.config["backbone"],
        split="validation",
        path=str(ws.data / done.path),
        reused=reused,
        next="collect prelabel",
        warnings=told + _warnings(found, done.config["backbone"]),
    )


def _warnings(found: dict[str, Any], backbone: str) -> tuple[str, ...]:
    said = []
    if backbone == "classic":
        said.append("`classic` features are weak; expect far better from pretrained weights (`--weights FILE`)")
    ceiling = found["human_error"]
    if ceiling is not None and found["error"] < ceiling:
        said.append(f"one person says what others say in {1 - ceiling:.0%}: a higher accuracy than that means little")
    return (*said, *no_width(found))
