"""Search settings: each trial is a normal run, so that one that was run before costs nothing, by whomever.

Optuna proposes (TPE: Bergstra et al., NeurIPS 2011). It keeps no record of its own: the runs of the catalog are the
record, and a sampler with a fixed seed asks for the same trials again, so the same command goes on where a killed
sweep ended. Trials of a linear head are ranked by what cross-validation says of the training images; neither
validation nor test chooses among them.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from collector.catalog.models import Experiment, SnapshotRow
from collector.errors import CollectError, DiskFull
from collector.records import Summary
from collector.workspace import Workspace
from labeling.gate import require_agreement
from pipelines import calibrate, parquet
from pipelines.backbones import chosen
from pipelines.config import FinetuneConfig, SweepConfig, TrainConfig
from pipelines.manifest import Manifest, find, read_manifest
from pipelines.protocols import find_protocol
from pipelines.ranking import average_precision
from pipelines.runs import Asked
from pipelines.split import require_held_out
from pipelines.train import require_labels, run

if TYPE_CHECKING:
    import optuna

SHOWN = 10
PATIENCE = 20  # times as many proposals as trials: a sampler also proposes what it knows
HEAD: dict[str, Sequence[Any]] = {
    "c": (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),  # steps, so that sweeps share runs
    "balanced": (False, True),
}
TUNING: dict[str, Sequence[Any]] = {
    "learning_rate": (0.0001, 0.0003, 0.001, 0.003, 0.01),
    "backbone_rate": (0.01, 0.03, 0.1, 0.3, 1.0),
    "weight_decay": (0.0, 0.001, 0.01, 0.1),
    "label_smoothing": (0.0, 0.1),
    "mixup": (0.0, 0.2),
    "cutmix": (0.0, 1.0),
    "balanced": (False, True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSummary(Summary):
    """`trials` combinations were looked at: `fresh` runs, `reused` ones, and `failed` (settings -> why).

    `best` is the run with the best `score`, by `ranked_by`; `settings` are its own, `ap` is its AP on validation with
    `ap_low` and `ap_high`. `table` has the best runs: score, AP on validation and settings of each.
    """

    concept: str
    snapshot: str
    trials: int
    fresh: int
    reused: int
    failed: dict[str, str]
    ranked_by: str
    best: str
    score: float
    settings: dict[str, Any]
    ap: float | None
    ap_low: float | None
    ap_high: float | None
    table: dict[str, dict[str, Any]]
    seconds: float

    def for_people(self) -> dict[str, Any]:
        """A line for each of the best runs; settings as they are, a learning rate of 0.0001 too."""
        lines = [
            f"{run}  {row['score']:.4f}  validation AP {row['ap']:.3f}  {words(row['settings'])}"
            for run, row in self.table.items()
        ]
        return {**self.as_json(), "settings": words(self.settings), "table": "\n".join(lines)}


@dataclass(frozen=True, slots=True)
class Tried:
    """A trial that came to an end; a higher `score` is better."""

    settings: dict[str, Any]
    done: Experiment
    reused: bool
    score: float


def sweep(  # noqa: PLR0913  # one for each option of the command
    ws: Workspace,
    concept: str | None = None,
    *,
    snapshot: str | None = None,
    trials: int | None = None,
    timeout: float | None = None,
    backbones: Sequence[str] = (),
    finetune: bool = False,
    protocol: str | None = None,
    accept_ceiling: bool = False,
) -> SweepSummary:
    """Try settings on the newest snapshot, or on the given one, and say which are best.

    `trials` stands in for `sweep.trials`, `timeout` (minutes) for `sweep.timeout_minutes`: no trial begins after it.
    `backbones` are tried in the place of `train.backbone`. With `finetune`, the settings of fine-tuning are sought.

    Raises:
        GateNotMet: there is no frozen validation set, train lacks a label, or people agree too little.
        UsageError: an unknown snapshot or protocol.
        CollectError: the extra `sweep` is missing, or every trial failed.
    """
    if find_spec("optuna") is None:
        raise CollectError("a sweep needs the sweep extra", hint="pip install 'collect-dataset[sweep]'")
    config = ws.section(SweepConfig)
    frozen = find(ws, ws.concept(concept).name, snapshot)
    told = require_agreement(ws, frozen.concept, accept=accept_ceiling)
    manifest = read_manifest(ws, frozen)
    told += require_held_out(ws, manifest)
    require_labels(manifest)
    name, weights = chosen(ws, backbones[0] if backbones else None, None)
    base = Asked(
        backbone=name,
        weights=weights,
        config=ws.section(TrainConfig),
        tuning=ws.section(FinetuneConfig),
        protocol=find_protocol(ws, manifest, protocol),
        finetune=finetune,
        device=ws.section(TrainConfig).device,
    )
    base = replace(base, seed=base.protocol.rules.seeds[0])
    begun = time.monotonic()
    minutes = config.timeout_minutes if timeout is None else timeout
    search = _Search(ws, frozen, base, space(base, backbones or (name,), manifest))
    search.go(config.trials if trials is None else trials, begun + 60 * minutes if minutes else math.inf)
    return _summary(search, told, time.monotonic() - begun)


def space(base: Asked, backbones: Sequence[str], manifest: Manifest) -> dict[str, Sequence[Any]]:
    """Setting -> what is tried of it; settings with one value are left as they are.

    How long to fine-tune is no setting: the protocol says it.
    """
    found: dict[str, Sequence[Any]] = {"backbone": tuple(dict.fromkeys(backbones))} | (
        TUNING if base.finetune else HEAD
    )
    if any(len(json.loads(row.votes or "{}")) > 1 for row in manifest.split("train")):
        found["soft"] = (False, True)  # else every vote distribution is its settled label
    return {name: values for name, values in found.items() if len(values) > 1}


def asked_for(ws: Workspace, base: Asked, settings: Mapping[str, Any]) -> Asked:
    """The run with these settings in the place of those of `base`."""
    name, weights = chosen(ws, settings.get("backbone", base.backbone), None)
    if name == base.backbone:
        weights = base.weights
    config = base.config.model_copy(update={"balanced": settings.get("balanced", base.config.balanced)})
    if "c" in settings:
        config = config.model_copy(update={"c_grid": (settings["c"],)})
    tuning = {key: value for key, value in settings.items() if key in TUNING and key in FinetuneConfig.model_fields}
    return replace(
        base,
        backbone=name,
        weights=weights,
        config=config,
        tuning=base.tuning.model_copy(update=tuning),
        soft=settings.get("soft", base.soft),
    )


class _Search:
    """The trials of one sweep, one after another: `tried` and `failed` by their settings."""

    def __init__(self, ws: Workspace, frozen: SnapshotRow, base: Asked, space: Mapping[str, Sequence[Any]]) -> None:
        self.ws, self.frozen, self.base, self.space = ws, frozen, base, space
        self.tried: dict[str, Tried] = {}
        self.failed: dict[str, str] = {}
        self.late = False

    def go(self, trials: int, until: float) -> None:
        """Try `trials` combinations, fewer if there are no more or time is up."""
        combinations = math.prod(map(len, self.space.values()))
        if combinations <= trials:
            for values in itertools.product(*self.space.values()):
                if self._over(until):
                    return
                self._try(dict(zip(self.space, values, strict=True)), combinations)
            return
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=self.ws.seed))
        for _ in range(PATIENCE * trials):
            if len(self.tried) + len(self.failed) >= trials or self._over(until):
                return
            trial = study.ask()
            score = self._try({name: self._suggest(trial, name, each) for name, each in self.space.items()}, trials)
            if score is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, score)

    def _over(self, until: float) -> bool:
        self.late = time.monotonic() > until
        return self.late

    def _suggest(self, trial: optuna.Trial, name: str, values: Sequence[Any]) -> Any:
        if isinstance(values[0], float):  # steps of a scale: neighbors are alike
            return values[trial.suggest_int(name, 0, len(values) - 1)]
        return trial.suggest_categorical(name, list(values))

    def _try(self, settings: dict[str, Any], trials: int) -> float | None:
        """The score of a run with these settings; None, with the reason in `failed`, where none comes to an end."""
        key = words(settings)
        if key not in self.tried and key not in self.failed:
            self.ws.progress("trials", len(self.tried) + len(self.failed), trials)
            try:
                done, reused = run(self.ws, self.frozen, asked_for(self.ws, self.base, settings))
                self.tried[key] = Tried(settings, done, reused, score_of(self.ws, done, self.base))
            except DiskFull:
                raise  # the next one would not fare better
            except CollectError as error:
                self.failed[key] = error.message
        return self.tried[key].score if key in self.tried else None


def score_of(ws: Workspace, done: Experiment, asked: Asked) -> float:
    """How good a run is by the metric of its protocol, higher is better.

    Of a linear head: on the train images, each judged by a head that had not learned from it. Fine-tuning has no such
    folds, so validation is asked.

    Raises:
        CollectError: cross-validation had nothing to hold out.
    """
    metric = asked.protocol.rules.metric
    if asked.finetune:
        value = float((done.metrics or {})[metric])
        return value if metric == "ap" else -value
    held = parquet.predictions(ws.data / done.path / parquet.CROSS_VALIDATED)
    if not held.images:
        raise CollectError("all training images are of one near-duplicate group, so nothing can be held out")
    names = read_manifest(ws, find(ws, done.concept, done.snapshot)).labels
    place = {name: k for k, name in enumerate(names)}
    truth, said = np.array([place[label] for label in held.labels]), held.probabilities
    if metric == "nll":
        return -calibrate.nll(said, truth)
    if metric == "error":
        return -float((said.argmax(axis=1) != truth).mean())
    scored = range(1 if len(names) == 2 else len(names))
    return float(np.nanmean([average_precision(truth == k, said[:, k]) for k in scored]))


def words(settings: Mapping[str, Any]) -> str:
    """Settings in one line."""
    return ", ".join(f"{name} {value}" for name, value in settings.items()) or "as configured"


def _summary(search: _Search, told: tuple[str, ...], seconds: float) -> SweepSummary:
    ranked = sorted(search.tried.values(), key=lambda each: (-each.score, each.done.run))
    if not ranked:
        why = next(iter(search.failed.values()), "time was up before the first trial")
        raise CollectError(f"no trial came to an end: {why}", hint="more `--timeout`, or other `--backbones`")
    best, finetuned = ranked[0], search.base.finetune
    metric = search.base.protocol.rules.metric
    figures = best.done.metrics or {}
    warnings = [*told]
    if finetuned:
        warnings.append(
            f"the best of {len(ranked)} runs on validation: its figures there are too good, and the interval does not "
            "know of it; `collect evaluate --split test` measures it on images that chose nothing"
        )
    if search.late:
        warnings.append(f"time was up after {len(ranked) + len(search.failed)} trials; the same command goes on")
    return SweepSummary(
        concept=search.frozen.concept,
        snapshot=search.frozen.digest,
        trials=len(ranked) + len(search.failed),
        fresh=sum(not each.reused for each in ranked),
        reused=sum(each.reused for each in ranked),
        failed=search.failed,
        ranked_by=f"{metric} on validation" if finetuned else f"{metric}, cross-validated on train",
        best=best.done.run,
        score=best.score if metric == "ap" else -best.score,
        settings=best.settings,
        ap=figures.get("ap"),
        ap_low=figures.get("ap_low"),
        ap_high=figures.get("ap_high"),
        table={
            each.done.run: {
                "score": each.score if metric == "ap" else -each.score,
                "ap": (each.done.metrics or {}).get("ap"),
                "settings": each.settings,
            }
            for each in ranked[:SHOWN]
        },
        seconds=round(seconds, 1),
        warnings=tuple(warnings),
        next=f"collect evaluate {search.frozen.concept} --run {best.done.run} --split test",
    )
