"""Measure a trained run on a split of its own snapshot; the test split is for the end, and every look is counted."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from collector.catalog import consensus, openings, pools
from collector.catalog import errata as book
from collector.catalog.models import Experiment
from collector.catalog.openings import Opening
from collector.errors import GateNotMet, UsageError
from collector.records import Summary
from collector.workspace import Workspace
from labeling.agreement import pairwise_agreement
from labeling.ceiling import ceiling
from pipelines import metrics
from pipelines.calibrate import UNSCALED, Floats, Ints, Temperature
from pipelines.config import EvaluateConfig
from pipelines.manifest import Manifest, find, named, read_manifest
from pipelines.predict import Model, load_model
from pipelines.slices import slices

TEST = "test"
SHOWN = 3  # slices and confusions that a person sees at once; the rest is in --json and in the report
WIDE = 10  # labels: a larger confusion table is not shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured(Summary):
    """The figures of a run on one split, see docs/figures.md. None is a figure that is not defined there.

    `human_ap` and `human_error` are the ceiling: one annotator's label as the score of what the others say, see
    `labeling.ceiling`. `human_agreement` is how often two annotators agree there. `uncalibrated` has the calibration
    figures without the temperature. `open_errata` are errors known and not yet resolved in this split; `openings` is
    how often the test split of this protocol was opened.
    """

    run: str
    concept: str
    snapshot: str
    backbone: str
    split: str
    images: int
    ap: float | None
    ap_low: float | None
    ap_high: float | None
    human_ap: float | None
    recall_at_precision: dict[str, float | None] = dataclasses.field(default_factory=dict)
    recall_at_precision_low: dict[str, float | None] = dataclasses.field(default_factory=dict)
    recall_at_precision_high: dict[str, float | None] = dataclasses.field(default_factory=dict)
    precision_at_recall: dict[str, float | None] = dataclasses.field(default_factory=dict)
    ece: float
    ece_low: float | None = None
    ece_high: float | None = None
    classwise_ece: float | None = None
    brier: float
    nll: float
    temperature: float = 1.0
    uncalibrated: dict[str, float] = dataclasses.field(default_factory=dict)
    threshold: float
    error: float
    error_low: float | None = None
    error_high: float | None = None
    human_error: float | None
    majority_error: float
    human_agreement: float | None
    open_errata: int = 0
    openings: int = 0

    def for_people(self) -> dict[str, Any]:
        """Without what only repeats the rest, and large tables in a line."""
        shown = {key: value for key, value in self.as_json().items() if value not in ({}, [])}
        before = shown.pop("uncalibrated", {})
        ends = [shown.pop(f"recall_at_precision_{end}", {}) for end in ("low", "high")]
        for level, value in self.recall_at_precision.items():
            if value is not None and ends[0].get(level) is not None:
                told = f"{value:.3f} ({ends[0][level]:.3f} to {ends[1][level]:.3f})"
                shown["recall_at_precision"] = {**shown["recall_at_precision"], level: told}
        if self.temperature != 1:
            shown["before the temperature"] = {key: before[key] for key in ("ece", "nll") if key in before}
        return shown


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateSummary(Measured):
    """`Measured`, and how often each label was taken for which: rows are the truth.

    `precision_at_prevalence` is the precision of the first label where it is on a share `prevalence` of the pictures.
    `slices` are the worst first. `stored`: the figures of the first look at this split, nothing was opened.
    """

    labels: list[str]
    confusion: list[list[int]]
    confused: list[list[Any]]
    ap_by_label: dict[str, float | None]
    slices: list[dict[str, Any]]
    prevalence: float | None
    precision_at_prevalence: float | None
    precision_at_prevalence_low: float | None
    precision_at_prevalence_high: float | None
    stored: bool

    def for_people(self) -> dict[str, Any]:
        """The worst slices that are not small, and no table that does not fit."""
        shown = super(EvaluateSummary, self).for_people()
        if len(self.labels) > WIDE:
            del shown["confusion"]
            shown["labels"] = len(self.labels)
            known = sorted((ap, label) for label, ap in self.ap_by_label.items() if ap is not None)
            shown["ap_by_label"] = {f"lowest {label}": ap for ap, label in known[:SHOWN]}
        shown["confused"] = [f"{true} taken for {said}: {n}" for true, said, n in self.confused[:SHOWN]]
        worst = [row for row in self.slices if not row["small"]][:SHOWN]
        shown["slices"] = [
            f"{row['by']} {row['name']}: error {row['error']:.3f} of {row['images']}{', worse' * row['worse']}"
            for row in worst
        ]
        shown = {key: value for key, value in shown.items() if "prevalence" not in key}
        if self.prevalence is not None:
            odds = f"1 in {round(1 / self.prevalence):,}" if self.prevalence < 0.5 else f"{self.prevalence:.0%}"
            shown[f"precision at {odds}"] = self.precision_at_prevalence
            for end in ("low", "high"):
                shown[f"precision at {odds}_{end}"] = getattr(self, f"precision_at_prevalence_{end}")
        return shown


def evaluate(  # noqa: PLR0913  # one for each option of the command
    ws: Workspace,
    concept: str | None = None,
    *,
    run: str | None = None,
    split: str = TEST,
    fail_under: float | None = None,
    prevalence: float | None = None,
    again: bool = False,
    device: str | None = None,
) -> EvaluateSummary:
    """Measure the newest finished run of a concept, or `run`, on a split of the snapshot it was trained on.

    The test split is opened once for a protocol: the same run prints its stored figures, another one is refused.

    Args:
        ws: the workspace.
        concept: its name.
        run: the beginning of a run's id.
        split: `validation` or `test`.
        fail_under: the smallest AP that is good enough.
        prevalence: share of pictures with the first label where the model will work, instead of `evaluate.prevalence`.
        again: open the test split though it was opened before, on purpose.
        device: what looks at the pictures, instead of `train.device`.

    Raises:
        GateNotMet: AP is below `fail_under`, nothing was trained yet, the split is empty, or it was opened before.
    """
    if split not in ("validation", TEST):
        raise UsageError(f"`{split}` is not a split to measure on", hint="use `validation` or `test`")
    name = ws.concept(concept).name
    model = load_model(ws, name, run, device=device)
    found, stored = _opened(ws, model, again=again) if split == TEST else (_figures(ws, model, split), False)
    share = prevalence if prevalence is not None else ws.section(EvaluateConfig).prevalence or None
    expected = metrics.at_prevalence(metrics.table_of(found), share) if share else None
    summary = EvaluateSummary(
        **pick(EvaluateSummary, found | as_it_stands(ws, model.experiment, split)),
        run=model.experiment.run,
        concept=name,
        snapshot=model.experiment.snapshot,
        backbone=model.backbone.name,
        split=split,
        prevalence=share,
        precision_at_prevalence=expected.value if expected else None,
        precision_at_prevalence_low=expected.low if expected else None,
        precision_at_prevalence_high=expected.high if expected else None,
        stored=stored,
        next="collect prelabel",
        warnings=cautions(ws, model.experiment, found, split),
    )
    if fail_under is not None and (summary.ap is None or summary.ap < fail_under):
        raise GateNotMet(
            f"AP on {split} is {_said(summary)}, below {fail_under}", hint="label more, or try another `--backbone`"
        )
    return summary


def figures(  # noqa: PLR0913  # what was chosen before the split was looked at comes with it
    ws: Workspace,
    manifest: Manifest,
    split: str,
    probabilities: Floats,
    *,
    threshold: float | Mapping[str, float] | None = None,
    draws: int,
    temperature: Temperature = UNSCALED,
) -> dict[str, Any]:
    """Every figure of one split: `metrics.measure`, the slices, and the people's own.

    Args:
        ws: the workspace.
        manifest: the snapshot.
        split: one of its splits.
        probabilities: of every label for every image of the split, in its order, with the temperature in them.
        threshold: label -> threshold as it was chosen on validation; of the first label alone, the others are chosen
            here; None: all are chosen here, on validation itself.
        draws: resamples behind every interval.
        temperature: what the probabilities were calibrated with.
    """
    sample = sample_of(manifest, split, probabilities)
    first = manifest.labels[0]
    chosen = threshold if isinstance(threshold, Mapping) else None
    if isinstance(threshold, float):
        chosen = {**metrics.best_thresholds(sample), first: threshold}
    measured = metrics.measure(sample, thresholds=chosen, draws=draws, seed=ws.seed, temperature=temperature)
    wrong = metrics.decide(probabilities, measured["threshold"]) != sample.truth
    votes = votes_on(ws, manifest.concept, split, manifest.labels)
    reached = ceiling(votes)
    return {
        **measured,
        "slices": slices(manifest.split(split), sample, wrong, draws=draws, seed=ws.seed),
        "human_ap": reached.ap if reached else None,
        "human_error": 1 - reached.accuracy if reached else None,
        "human_agreement": human_agreement(votes),
    }


def sample_of(manifest: Manifest, split: str, probabilities: Floats) -> metrics.Sample:
    """What is said of a split, beside what is true of it."""
    groups = _groups([row.group for row in manifest.split(split)])
    return metrics.Sample(manifest.labels, probabilities, truth_of(manifest, split), groups)


def as_it_stands(ws: Workspace, done: Experiment, split: str) -> dict[str, int]:
    """What changes after a run was measured: errata that are open in its split, and looks at the test split."""
    register = book.register(ws.catalog, done.concept)
    return {
        "open_errata": sum(row.state == book.OPEN and row.severity == split for row in register),
        "openings": len(openings.opened(ws.catalog, done.concept, protocol_of(done), TEST)),
    }


def cautions(ws: Workspace, done: Experiment, found: Mapping[str, Any], split: str) -> tuple[str, ...]:
    """Sentences on how far the figures of a run on a split can be trusted."""
    standing = as_it_stands(ws, done, split)
    undefined = dict(found.get("undefined", {}))
    absent = [figure.removeprefix("ap of ") for figure in undefined if figure.startswith("ap of ")]
    if absent:  # of a thousand labels, one sentence
        undefined = {"ap": f"no image here is {named(absent)}: the mean AP is over the other labels"}
    said = [*no_width(found), *undefined.values()]
    heat = Temperature(**found["temperature_fit"]) if "temperature_fit" in found else UNSCALED
    if heat.reason:
        said.append(f"probabilities are as they were learned: {heat.reason}")
    if standing["open_errata"]:
        many = f"{standing['open_errata']} errata are open in {split}, and those labels count as they are"
        said.append(f"{many}: `collect errata list`")
    if standing["openings"] > 1:
        said.append(
            f"the test split of protocol `{protocol_of(done)}` was opened {standing['openings']} times: the more runs "
            "are chosen by it, the more its figures flatter"
        )
    worse = [f"{row['by']} `{row['name']}`" for row in found.get("slices", ()) if row["worse"] and not row["small"]]
    if worse:
        said.append(f"the error is higher than elsewhere, and not by chance, on {', '.join(worse[:SHOWN])}")
    return tuple(said)


def no_width(found: Mapping[str, Any]) -> tuple[str, ...]:
    """A sentence for an interval without width: a perfect ranking is no proof of a perfect classifier.

    0 of n seen allows up to 3/n unseen at 95 % (Hanley and Lippman-Hand, 1983).
    """
    if found["ap_low"] is None or found["ap_low"] < 1:
        return ()
    each = metrics.table_of(found).sum(axis=1)
    n = int(each[each > 0].min())  # a label without an image is not ranked
    return (
        f"every image is ranked right, so the bootstrap interval has no width; with {n} images of the smaller class, "
        f"up to {min(1.0, 3 / n):.0%} of such images could still be ranked wrong: label more to know",
    )


def protocol_of(done: Experiment) -> str:
    """The name of the protocol of a run."""
    protocol = done.config["protocol"]
    return str(protocol["name"] if isinstance(protocol, Mapping) else protocol)


def truth_of(manifest: Manifest, split: str) -> Ints:
    """The true labels of a split, as indices into the labels of the manifest."""
    place = {label: k for k, label in enumerate(manifest.labels)}
    return np.array([place[row.label] for row in manifest.split(split)], dtype=np.int64)


def votes_on(ws: Workspace, concept: str, split: str, labels: Sequence[str] = ()) -> Ints:
    """The votes on the images of a split, images x labels; labels that the concept does not have come last.

    Ties count, though no snapshot holds them: without them people would look as if they never disagreed.
    """
    home = pools.splits(ws.catalog, concept)
    votes = [row.votes for row in consensus.settled(ws.catalog, concept) if home.get(row.image) == split]
    names = [*labels, *sorted({label for vote in votes for label in vote} - set(labels))]
    counts = np.array([[vote.get(label, 0) for label in names] for vote in votes], dtype=np.int64)
    return counts.reshape(len(votes), len(names))


def human_agreement(votes: Ints) -> float | None:
    """How often two annotators gave one image the same label; None where no image has two labels."""
    found = pairwise_agreement(votes, draws=1)
    return found.value if found.tasks else None


def pick(model: type[Summary], found: dict[str, Any]) -> dict[str, Any]:
    """Those of the figures that are fields of a summary."""
    return {field.name: found[field.name] for field in dataclasses.fields(model) if field.name in found}


def _figures(ws: Workspace, model: Model, split: str) -> dict[str, Any]:
    """The figures of a run on a split, with what its training chose."""
    experiment = model.experiment
    manifest = read_manifest(ws, find(ws, experiment.concept, experiment.snapshot))
    rows = manifest.split(split)
    if not rows:
        raise GateNotMet(f"the {split} split of this snapshot is empty", hint="label more of it, then train again")
    known = experiment.metrics or {}
    probabilities = model.probabilities(ws, [row.image for row in rows])
    ws.progress("measuring", 0, None)
    return figures(
        ws,
        manifest,
        split,
        probabilities,
        threshold=known.get("thresholds") or float(known["threshold"]),
        draws=experiment.config["train"]["bootstrap"],
        temperature=Temperature(**known.get("temperature_fit", {})),
    )


def _opened(ws: Workspace, model: Model, *, again: bool) -> tuple[dict[str, Any], bool]:
    """The figures of a run on the test split: of its first look, or of a look now, which is written down."""
    done, protocol = model.experiment, protocol_of(model.experiment)
    with ws.lock(f"test-{done.concept}"):
        before = openings.opened(ws.catalog, done.concept, protocol, TEST)
        mine = [row for row in before if row.run == done.run]
        if mine:
            return mine[0].metrics, True
        if before and not again:
            raise GateNotMet(
                f"the test split of protocol `{protocol}` was opened {_times(len(before))} already, last with run "
                f"{before[-1].run}: choosing runs by it would make its figures flatter",
                hint="choose on validation (--split validation), or open it again on purpose with --again",
            )
        found = _figures(ws, model, TEST)
        openings.put(ws.catalog, Opening(done.run, done.snapshot, protocol, TEST, found, ""))
    return found, False


def _groups(names: Sequence[str]) -> Ints | None:
    """The number of each image's near-duplicate group, None where no group has two of them."""
    known, numbers = np.unique(np.array(names, dtype=str), return_inverse=True)
    return None if len(known) == len(names) else np.asarray(numbers, dtype=np.int64)


def _said(summary: EvaluateSummary) -> str:
    if summary.ap is None or summary.ap_low is None or summary.ap_high is None:
        return "not defined"
    return f"{summary.ap:.4f} [{summary.ap_low:.4f}, {summary.ap_high:.4f}]"


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n} times"
