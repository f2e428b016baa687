"""What the figures mean, in plain sentences: is the task well defined, and what to do next."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median
from typing import NamedTuple

import numpy as np

from collector.errors import GateNotMet
from labeling.agreement import MISSING, Estimate
from labeling.measured import Measured, Person

_FEW = 20  # compared answers below which nobody is judged
_FAST = 0.1  # share of answers too fast to have looked, from which on it is said
_FALL = 0.1  # change of agreement with the others, from which on it is said


class Effort(NamedTuple):
    """What would settle the open images: `ties` and `blank` ones, about `answers` more, `hours` (nan: unknown)."""

    ties: int
    blank: int
    answers: int
    hours: float


def words(
    measured: Measured, minimum: float = 0.667, target: float = 0.8, *, standing: Measured | None = None
) -> list[str]:
    """The figures in sentences; alpha is judged by `minimum` (usable) and `target` (well defined).

    `standing` is the same with answers that agreement is not measured on, which settle images all the same.
    """
    return [
        definition(measured.alpha, minimum, target),
        *_classes(measured, minimum),
        *_people(measured),
        *_proposals(measured),
        _left(standing or measured),
    ]


def definition(alpha: Estimate, minimum: float, target: float) -> str:
    """Whether the task is well defined; the interval decides, not the figure alone."""
    if math.isnan(alpha.value):
        return f"Whether the task is well defined cannot be told: {alpha.reason}."
    figure = f"alpha is {_with_interval(alpha)} over {alpha.tasks} images"
    if alpha.low >= target:
        return f"The task is well defined: {figure}, surely at or above the target of {target:g}."
    if alpha.low >= minimum:
        return f"The task is usable: {figure}, surely at or above the minimum of {minimum:g}, not surely {target:g}."
    if alpha.value >= minimum:
        return f"The task may be usable: {figure}, but that is not surely {minimum:g}; label more images twice."
    if alpha.high >= minimum:
        return f"The task is not yet well defined: {figure}, below the minimum of {minimum:g}, perhaps by chance."
    return (
        f"The task is not well defined: {figure}, surely below the minimum of {minimum:g}. Sharpen the guideline or"
        " redefine the labels before anything is trained."
    )


def gate(alpha: Estimate, fail_under: float) -> None:
    """Refuse an alpha that is below, or undefined.

    Raises:
        GateNotMet: it is.
    """
    if alpha.value >= fail_under:
        return
    if math.isnan(alpha.value):
        raise GateNotMet(f"alpha is undefined, so it is not at least {fail_under:g}: {alpha.reason}")
    raise GateNotMet(
        f"alpha is {alpha.value:.3f} ({alpha.low:.3f} to {alpha.high:.3f}, {alpha.tasks} images), below {fail_under:g}",
        hint="sharpen the guideline or redefine the labels, and label again",
    )


def effort(measured: Measured) -> Effort:
    """About how many more answers, one at a time, give every open image a majority, and what they cost.

    A tie is broken by an answer on one of its leading labels: the share of such answers on the tied images is how often
    the next one will be. An image of which nobody could tell needs one label.
    """
    ties, blank = int(measured.ties.sum()), int(measured.blank.sum())
    labeled = measured.answers.label != MISSING
    tells = float(labeled.mean()) if len(labeled) else 1.0
    votes = measured.counts[measured.ties]
    top = votes.max(axis=1, initial=0, keepdims=True)
    leading = float(votes[votes == top].sum() / votes.sum()) if ties else 1.0
    answers = math.ceil(ties / max(tells * leading, 0.01) + blank / max(tells, 0.01))
    return Effort(ties, blank, answers, answers * measured.seconds / 3600)


def _classes(measured: Measured, minimum: float) -> Iterator[str]:
    if measured.confusions:
        first = measured.confusions[0]
        yield (
            f"Work on `{first.first}` against `{first.second}`: {_with_interval(first.share, percent=True)} of all"
            f" disagreements are between these two, on {len(first.images)} images. Write into the guideline how to tell"
            " them apart."
        )
    known = {name: alpha for name, alpha in measured.by_label.items() if not math.isnan(alpha.value)}
    if len(known) > 2:
        name = min(known, key=lambda label: known[label].value)
        if known[name].value < minimum:
            yield f"The label least agreed on is `{name}`: alpha against all others is {_with_interval(known[name])}."


def _people(measured: Measured) -> Iterator[str]:
    judged = [person for person in measured.people if person.compared >= _FEW]
    found = False
    for person in sorted(judged, key=lambda one: one.agreement.value):
        others = [other for other in judged if other is not person]
        reason = _reason(person, others) if others else None
        if reason:
            found = True
            yield f"Look at the answers of {person.name}: {reason}{_gain(person, measured.alpha)}."
        if person.drift.high < 0 and person.drift.value <= -_FALL:
            found = True
            first, last = person.windows[0].agreement.value, person.windows[-1].agreement.value
            yield f"{person.name} drifts: agreement with the others fell from {first:.0%} to {last:.0%}."
    for person in measured.people:
        if person.answers and person.fast >= max(2, _FAST * person.answers):
            found = True
            yield f"{person.name} gave {person.fast} of {person.answers} answers too fast to have looked."
    if judged and not found:
        yield "No annotator stands out from the others."


def _reason(person: Person, others: list[Person]) -> str | None:
    """Why somebody's answers need a look: agreement surely below the others', and what kind of error it is."""
    usual = median(other.agreement.value for other in others)
    told = median(other.information for other in others)
    if not person.agreement.high < usual - _FALL / 2:
        return None
    figure = f"{_with_interval(person.agreement, percent=True)} agree with the others (usual: {usual:.0%})"
    if person.swaps and person.information >= told / 2 and person.swaps[2] > 0.5:
        theirs, his, share = person.swaps
        return (
            f"{figure}, and the errors are systematic: {share:.0%} of what others call `{theirs}` is `{his}` to"
            f" {person.name}; the guideline was misread, or keys were mixed up"
        )
    if person.information < told / 4:
        return f"{figure}, and they tell next to nothing of what the others say: as if drawn at random"
    return figure


def _gain(person: Person, alpha: Estimate) -> str:
    without = person.alpha_without.value
    return f"; without these alpha would be {without:.3f}" if without > alpha.value else ""


def _proposals(measured: Measured) -> Iterator[str]:
    change, resisted = measured.anchoring.change, measured.anchoring.resisted
    if change.low > 0:
        yield (
            f"Proposals pull answers: agreement is {measured.anchoring.shown.value:.0%} with a proposal shown and"
            f" {measured.anchoring.blank.value:.0%} without. Measure agreement without proposals."
        )
    if resisted.tasks:
        yield f"Where a wrong proposal was planted, {_with_interval(resisted, percent=True)} of the answers were right."


def _left(measured: Measured) -> str:
    left = effort(measured)
    open_ = left.ties + left.blank
    if not open_:
        return "Every image with an answer has a majority."
    cost = (
        f", {_hours(left.hours)} at a median of {measured.seconds:.1f} s an answer"
        if not math.isnan(left.hours)
        else "; what they cost is not known, as no times are"
    )
    parts = [f"{n} {what}" for n, what in ((left.ties, "tied"), (left.blank, "nobody could tell")) if n]
    return f"{open_} images are open ({', '.join(parts)}): about {left.answers} more answers would settle them{cost}."


def _hours(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{max(1, round(60 * hours))} minutes"


def _with_interval(figure: Estimate, *, percent: bool = False) -> str:
    spec = ".0%" if percent else ".3f"
    if not np.isfinite(figure.low):
        return f"{figure.value:{spec}}"
    return f"{figure.value:{spec}} ({figure.low:{spec}} to {figure.high:{spec}})"
