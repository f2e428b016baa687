"""All figures of a table of answers, each with a 95 % bootstrap interval over tasks: numbers in, numbers out.

`labeling.agreement` has the formulas and their sources. `words` says what the figures mean and what to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd

from collector.errors import UsageError
from labeling.advice import words
from labeling.agreement import MISSING, Estimate, Ints, Level, Pair, Scale, cohen, entropy, majority
from labeling.agreement.bootstrap import Estimates
from labeling.agreement.coefficients import HEADLINE, NO_PAIR, ONE_LABEL, RAGGED
from labeling.columns import SEVERAL, Columns, Row, arrange
from labeling.config import ConsensusMethod
from labeling.consensus import ModelView, winners
from labeling.figures import Figures
from labeling.measured import Confusion, Measured
from labeling.people import anchoring_of, median_s, people_of, share_of

__all__ = ["Measured", "Options", "Row", "measure", "words"]


_MOST_PAIRS = 10_000  # pairs of annotators with an interval, those that share most tasks


@dataclass(frozen=True, slots=True)
class Options:
    """How to measure: `cap_s` is the longest time that an answer counts, faster than `fast_s` is not looked at.

    Fewer than `min_tasks` tasks with two labels, and one annotator with more than `max_share` of all, give a warning.
    """

    method: ConsensusMethod = "majority"
    draws: int = 1000
    seed: int = 0
    cap_s: float = 300.0
    fast_s: float = 0.5
    min_tasks: int = 30
    max_share: float = 0.8


def measure(
    rows: Sequence[Row] | pd.DataFrame,
    labels: Sequence[str] = (),
    *,
    several: bool = False,
    level: Level = "nominal",
    options: Options | None = None,
    model: ModelView | None = None,
) -> Measured:
    """Measure agreement, annotators, time and consensus.

    Args:
        rows: one `Row` for each answer, or a frame with these columns; the last of an annotator to a task counts.
        labels: the label set; on an ordinal scale from low to high.
        several: a picture may get several labels at once, joined by `|`.
        level: the scale of the labels, see `agreement.Scale`.
        options: everything that has a usual value.
        model: for method `crowdlab`, in the order of the sorted tasks and of the labels.

    Raises:
        UsageError: labels that are no numbers on an interval scale, or without an order on an ordinal one; a method
            without what it needs.
    """
    options = options or Options()
    main, planted = arrange(rows, labels, several=several)
    names = main.answers.labels
    if level == "ordinal" and not labels and not all(name.replace(".", "", 1).isdecimal() for name in names):
        raise UsageError("an ordinal scale needs its labels from low to high", hint="name them all in this order")
    sets = [frozenset(name.split(SEVERAL)) for name in names]
    members = np.array([[one in group for one in main.classes] for group in sets], dtype=np.int64)
    scale = Scale.masi(sets) if several else Scale.of(level, names)
    members = members.reshape(len(names), -1) if several else np.eye(len(names), dtype=np.int64)
    answers, counts = main.answers, main.answers.counts()
    decided: dict[str, Ints] = {"majority": majority(counts), options.method: winners(answers, options.method, model)}
    figures = Figures(main, planted, scale, members, decided)
    with ThreadPoolExecutor(1) as beside:  # pairs of annotators have draws of their own
        pairs = beside.submit(_pairs, figures, level, options)
        found = figures.estimates(options.draws, options.seed)
    heads = _headline(figures, found)
    return Measured(
        answers=answers,
        counts=counts,
        level=level,
        several=several,
        shared=len(figures.shared.tasks),
        **heads,
        by_label=_by_label(figures, found["labels"]),
        people=tuple(people_of(figures, found, cap_s=options.cap_s, fast_s=options.fast_s)),
        pairs=tuple(pairs.result()),
        confusion=figures.confusion,
        confusions=tuple(_confusions(figures, found["confusions"])),
        guidelines=_guidelines(figures, found),
        anchoring=anchoring_of(figures, found, len(answers.annotators)),
        bits=entropy(counts),
        method=options.method,
        majority=decided["majority"],
        winners=decided[options.method],
        truth=main.truth,
        accuracy=_accuracy(figures, found),
        seconds=median_s(main.seconds, options.cap_s),
        warnings=tuple(_warnings(main, heads["alpha"], labels, options)),
    )


def _headline(figures: Figures, found: dict[str, Estimates]) -> dict[str, Estimate]:
    n, given = len(figures.shared.tasks), figures.votes.sum(axis=1)
    why = ONE_LABEL if n else NO_PAIR
    reasons = {"fleiss": RAGGED if n and (given != given[0]).any() else why}
    rows = {name: found["headline"].estimate(i, n, reasons.get(name, why)) for i, name in enumerate(HEADLINE)}
    return {**rows, "cohen": found["cohen"].estimate(0, n, why)}


def _by_label(figures: Figures, found: Estimates) -> dict[str, Estimate]:
    n = len(figures.shared.tasks)
    used = (figures.votes @ figures.members).sum(axis=0)
    return {
        name: found.estimate(k, n, (ONE_LABEL if used[k] else "nobody gave this label") if n else NO_PAIR)
        for k, name in enumerate(figures.main.classes)
    }


def _pairs(figures: Figures, level: Level, options: Options) -> list[Pair]:
    rows, size = figures.rows, len(figures.shared.labels)
    ordered = [cohen.weights_of(scheme, size) for scheme in ("linear", "quadratic")] if level != "nominal" else []
    values = cohen.kappas(rows, np.stack([figures.distance(), *ordered]))
    often = np.argsort(-rows.shared, kind="stable")[:_MOST_PAIRS]
    bounds = cohen.intervals(rows, figures.distance(), often, draws=options.draws, seed=options.seed)
    return cohen.named(rows, figures.shared.annotators, np.column_stack([values[:, :1], bounds, values[:, 1:]]))


def _confusions(figures: Figures, found: Estimates) -> list[Confusion]:
    labels, tasks = figures.shared.labels, np.array(figures.shared.tasks, dtype=object)
    listed = []
    for i, (a, b) in enumerate(zip(*figures.confused, strict=True)):
        images = tasks[(figures.votes[:, a] > 0) & (figures.votes[:, b] > 0)]
        share = found.estimate(i, len(tasks))
        listed.append(Confusion(labels[a], labels[b], int(figures.confusion[a, b]), share, tuple(images)))
    return listed


def _guidelines(figures: Figures, found: dict[str, Estimates]) -> dict[str, Estimate]:
    listed = {}
    for i, (name, votes) in enumerate(zip(figures.main.guidelines, figures.versions(), strict=True)):
        tasks = int((votes.sum(axis=1) >= 2).sum())
        listed[name] = found["guidelines"].estimate(i, tasks, ONE_LABEL if tasks else NO_PAIR)
    return listed


def _accuracy(figures: Figures, found: dict[str, Estimates]) -> dict[str, Estimate]:
    if "accuracy" not in found:
        return {}
    everybody = share_of(figures, found, "known", 0, len(figures.shared.annotators))
    labeled = np.unique(figures.main.answers.task[figures.main.answers.label != MISSING])
    tasks = int((figures.main.truth[labeled] != MISSING).sum())
    methods = {name: found["accuracy"].estimate(i, tasks) for i, name in enumerate(figures.decided)}
    return {"answers": everybody, **methods}


def _warnings(main: Columns, alpha: Estimate, labels: Sequence[str], options: Options) -> Iterator[str]:
    answers = main.answers
    if 0 < alpha.tasks < options.min_tasks:
        yield f"only {alpha.tasks} images were labeled twice; below {options.min_tasks} the figures mean little"
    if alpha.reason:
        yield f"alpha is undefined: {alpha.reason}"
    given = np.bincount(answers.annotator[answers.label != MISSING], minlength=len(answers.annotators))
    for name, count in zip(answers.annotators, given.tolist(), strict=True):
        if len(given) > 1 and count > options.max_share * given.sum():
            yield f"{name} gave {count / given.sum():.0%} of all labels; the others hardly count"
    if main.shown.any():
        shown = int(main.shown.sum())
        yield f"{shown} of {len(main.shown)} answers were given with a proposal shown; they agree with the model too"
    if labels and set(main.classes) - set(labels):
        yield f"labels that the concept does not have: {', '.join(main.classes[len(labels) :])}"
    if main.repeated:
        yield f"{main.repeated} answers were given again by the same annotator to the same image; the last counts"
    if main.unread:
        yield f"{main.unread} times could not be read; ISO 8601 is asked for, as 2026-01-31T09:30:00Z"
    if main.contradicted:
        yield f"the truth of {main.contradicted} images is stated differently in different rows; the last counts"
