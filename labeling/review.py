"""The step between people and training: how far annotators agree, what they settled, and what to look at again."""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from collector.catalog import consensus as consensus_rows
from collector.catalog import labels as label_rows
from collector.catalog.consensus import Settled
from collector.catalog.labels import Current
from collector.errors import CollectError, GateNotMet
from collector.records import Concept, Summary
from collector.workspace import Workspace
from labeling import agreement as figures
from labeling.agreement import AnnotatorFigures, Answers, Estimate, Ints, Pair
from labeling.config import AgreementConfig, LabelConfig
from labeling.consensus import settle
from labeling.disagreements import Disputed, Vote, rank


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementSummary(Summary):
    """Agreement over the `tasks` images that two or more annotators labeled, and what all answers settled.

    A figure that the data does not define is None, and `warnings` say why. `unanimous` is a share of `tasks`;
    `disputed` counts images with different labels, `ties` those without a winner, `settled` images with a label.
    """

    alpha: float | None
    alpha_low: float | None
    alpha_high: float | None
    tasks: int
    pairwise: float | None
    pairwise_low: float | None
    pairwise_high: float | None
    unanimous: float | None
    disputed: int
    ties: int
    settled: int
    annotators: dict[str, dict[str, float | int | None]]
    labels: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Confusion:
    """Two labels that annotators gave to the same images: the number of annotator pairs, and the images."""

    first: str
    second: str
    pairs: int
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class AgreementDetails:
    """Everything that the agreement and disagreement pages show. Figures may be nan: undefined, see `warnings`."""

    concept: Concept
    answers: Answers
    alpha: Estimate
    by_label: dict[str, Estimate]
    pairwise: Estimate
    unanimous: float
    fleiss: float
    annotators: tuple[AnnotatorFigures, ...]
    pairs: tuple[Pair, ...]
    confusion: Ints  # labels x labels, in the order of `answers.labels`
    confusions: tuple[Confusion, ...]  # its cells off the diagonal, most frequent first
    disputed: tuple[Disputed, ...]
    settled: tuple[Settled, ...]
    warnings: tuple[str, ...]


def agreement(ws: Workspace, concept: str | None = None, *, fail_under: float | None = None) -> AgreementSummary:
    """Measure agreement and write the consensus rows; the page with pictures comes from `collect report`.

    Raises:
        CollectError: nobody answered, or no image was labeled by two annotators. Consensus rows are written first.
        GateNotMet: alpha is below `fail_under`, or undefined. Consensus rows are written first.
    """
    found = details(ws, concept)
    consensus_rows.settle(ws.catalog, found.concept.name, found.settled)
    _refuse_single_labels(found)
    if fail_under is not None and not found.alpha.value >= fail_under:
        raise GateNotMet(
            _gate_message(found.alpha, fail_under),
            hint=f"look at the disputed images in `collect report {shlex.quote(found.concept.name)}`, sharpen the"
            " guideline or redefine the labels, and label again",
        )
    return AgreementSummary(
        alpha=_number(found.alpha.value),
        alpha_low=_number(found.alpha.low),
        alpha_high=_number(found.alpha.high),
        tasks=found.alpha.tasks,
        pairwise=_number(found.pairwise.value),
        pairwise_low=_number(found.pairwise.low),
        pairwise_high=_number(found.pairwise.high),
        unanimous=_number(found.unanimous),
        disputed=len(found.disputed),
        ties=sum(entry.tie for entry in found.disputed),
        settled=sum(row.label is not None for row in found.settled),
        annotators={person.name: _row(person) for person in found.annotators},
        labels={label: _number(estimate.value) for label, estimate in found.by_label.items()},
        warnings=found.warnings,
        next=f"collect snapshot {shlex.quote(found.concept.name)}",
    )


def details(ws: Workspace, concept: str | None = None) -> AgreementDetails:
    """Measure agreement on the current annotations; writes nothing."""
    chosen = ws.concept(concept)
    config = ws.section(AgreementConfig)
    rows = _one_each(label_rows.current(ws.catalog, chosen.name))
    answers = Answers.tabulate([(row.image, row.annotator, row.label) for row in rows], chosen.labels)
    counts = answers.counts()
    ws.progress("measuring agreement", 0, None)
    options = {"draws": config.draws, "seed": ws.seed}
    alpha = figures.alpha(counts, **options)
    by_label = figures.alpha_by_label(counts, **options)
    table = figures.confusion(counts)
    return AgreementDetails(
        concept=chosen,
        answers=answers,
        alpha=alpha,
        by_label=dict(zip(answers.labels, by_label, strict=True)),
        pairwise=figures.pairwise_agreement(counts, **options),
        unanimous=_unanimous(counts),
        fleiss=figures.fleiss_kappa(counts),
        annotators=tuple(_people(answers, rows, config, ws.section(LabelConfig).max_seconds)),
        pairs=tuple(figures.pairs(answers)),
        confusion=table,
        confusions=tuple(_confusions(answers, counts, table)),
        disputed=tuple(rank(_votes(rows))),
        settled=tuple(settle(answers, config.method)),
        warnings=tuple(_warnings(answers, rows, alpha, config, len(chosen.labels))),
    )


def _one_each(rows: Iterable[Current]) -> list[Current]:
    """The latest answer of each annotator to each image; "can't tell" is an answer, skipped and deleted are not."""
    latest = {}
    for row in sorted(rows, key=lambda row: row.id):
        if row.state in ("answered", "unsure"):
            latest[row.image, row.annotator] = row
    return list(latest.values())


def _people(answers: Answers, rows: Sequence[Current], config: AgreementConfig, cap_s: float) -> list[AnnotatorFigures]:
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    unsure: defaultdict[str, int] = defaultdict(int)
    for row in rows:
        unsure[row.annotator] += row.label is None
        if row.seconds is not None:
            seconds[row.annotator].append(row.seconds)
    return figures.by_annotator(answers, seconds, unsure, cap_s=cap_s, fast_s=config.fast_seconds)


def _votes(rows: Sequence[Current]) -> dict[str, list[Vote]]:
    votes: defaultdict[str, list[Vote]] = defaultdict(list)
    for row in rows:
        votes[row.image].append(Vote(row.annotator, row.label, row.note, row.seconds))
    return votes


def _confusions(answers: Answers, counts: Ints, table: Ints) -> list[Confusion]:
    found = []
    for a, b in zip(*np.nonzero(np.triu(table, 1)), strict=True):
        images = np.flatnonzero((counts[:, a] > 0) & (counts[:, b] > 0))
        found.append(
            Confusion(answers.labels[a], answers.labels[b], int(table[a, b]), tuple(answers.tasks[i] for i in images))
        )
    return sorted(found, key=lambda entry: -entry.pairs)


def _unanimous(counts: Ints) -> float:
    given = counts.sum(axis=1)
    shared = given >= 2
    return float((counts.max(axis=1, initial=0) == given)[shared].mean()) if shared.any() else math.nan


def _warnings(
    answers: Answers, rows: Sequence[Current], alpha: Estimate, config: AgreementConfig, known: int
) -> list[str]:
    found = []
    if 0 < alpha.tasks < config.min_tasks:
        found.append(f"only {alpha.tasks} images were labeled twice; below {config.min_tasks} the figures mean little")
    if alpha.reason:
        found.append(f"alpha is undefined: {alpha.reason}")
    given = (answers.matrix >= 0).sum(axis=0)
    for name, count in zip(answers.annotators, given.tolist(), strict=True):
        if len(given) > 1 and count > config.max_share * given.sum():
            found.append(f"{name} gave {count / given.sum():.0%} of all labels; the others hardly count")
    shown = sum(row.proposal is not None for row in rows)
    if shown:
        found.append(f"{shown} of {len(rows)} answers were given with a proposal shown; they agree with the model too")
    if len(answers.labels) > known:
        found.append(f"labels that the concept does not have: {', '.join(answers.labels[known:])}")
    return found


def _refuse_single_labels(found: AgreementDetails) -> None:
    name = shlex.quote(found.concept.name)
    if not found.answers.tasks:
        raise CollectError(
            f"nobody has answered anything for `{found.concept.name}` yet",
            hint=f"label in Label Studio, then `collect label pull {name}`",
        )
    if not found.alpha.tasks:
        raise CollectError(
            f"no image of `{found.concept.name}` was labeled by two annotators, and without that there is no agreement",
            hint="name a second person in `label.annotators` with `label.overlap = 2`, then `collect label push"
            f" {name}`; the {len(found.settled)} single answers are kept as they are",
        )


def _gate_message(alpha: Estimate, fail_under: float) -> str:
    if math.isnan(alpha.value):
        return f"alpha is undefined, so it is not at least {fail_under:g}: {alpha.reason}"
    return (
        f"alpha is {alpha.value:.3f} ({alpha.low:.3f} to {alpha.high:.3f}, {alpha.tasks} images), below {fail_under:g}"
    )


def _row(person: AnnotatorFigures) -> dict[str, Any]:
    row = dataclasses.asdict(person)
    del row["name"]
    return {key: _number(value) for key, value in row.items()}


def _number(value: float) -> float | None:
    """JSON has no nan."""
    return None if math.isnan(value) else value
