"""The step between people and training: how far annotators agree, what they settled, and what to look at again."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from collector.catalog import consensus as consensus_rows
from collector.catalog import errata as register
from collector.catalog.consensus import Settled
from collector.errors import CollectError
from collector.records import Concept, Summary
from collector.workspace import Workspace
from labeling import advice, errata, passages, votes
from labeling.advice import Effort
from labeling.agreement import Answers, Estimate, Ints
from labeling.config import AgreementConfig, LabelConfig
from labeling.consensus import ModelView, settle, winners
from labeling.disagreements import Disputed, rank
from labeling.measure import Measured, Options, measure
from labeling.measured import Person

# What a model says of a concept's images that it was not trained on: image -> label -> probability.
Model = Callable[[Workspace, str], Mapping[str, Mapping[str, float]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementSummary(Summary):
    """Agreement over the `tasks` images that two or more annotators labeled, and what all answers settled.

    A figure that the data does not define is None, and `warnings` say why. `unanimous` is a share of `tasks`;
    `disputed` counts images with different labels, `ties` those without a winner, `settled` images with a label.
    `words` say what it means and what to do. About `answers_left` more answers settle the `open` images (ties, and
    those nobody could tell), in `hours` of labeling that cost `cost`. `anchoring` is what proposals did to answers, and
    `errata` counts those in state open.
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
    anchoring: dict[str, float | None]
    open: int
    answers_left: int
    hours: float | None
    cost: float | None
    errata: int
    words: tuple[str, ...]

    def for_people(self) -> dict[str, Any]:
        """The figures, with a few for each annotator, and the words last."""
        shown = ("answers", "agreement", "sentinels", "seconds", "fast")
        figures = self.as_json()
        people = {
            name: {key: each[key] for key in shown if each[key] is not None} for name, each in self.annotators.items()
        }
        anchoring = {key: value for key, value in self.anchoring.items() if value is not None}
        left_out = {"words", *(key for key in ("cost", "hours") if figures[key] is None)}
        figures = {key: value for key, value in figures.items() if key not in left_out}
        return {**figures, "annotators": people, "anchoring": anchoring, "in words": "\n".join(self.words)}


@dataclass(frozen=True, slots=True, eq=False)
class Details:
    """Everything that the pages show. `votes` decide on labels; `measured` are those that were given independently.

    `left` is what would settle the open images, at `cost` where `agreement.hourly_rate` is known.
    """

    concept: Concept
    votes: votes.Votes
    measured: Measured
    settled: tuple[Settled, ...]
    disputed: tuple[Disputed, ...]
    left: Effort
    cost: float | None
    words: tuple[str, ...]
    warnings: tuple[str, ...]


def agreement(
    ws: Workspace,
    concept: str | None = None,
    *,
    fail_under: float | None = None,
    model: Model | None = None,
) -> AgreementSummary:
    """Measure agreement and write the consensus rows; the page with pictures comes from `collect report`.

    A consensus that contradicts a known answer (a sentinel) opens an erratum; nothing is changed by that.

    Raises:
        CollectError: nobody answered, or no image was labeled by two annotators. Consensus rows are written first.
        GateNotMet: alpha is below `fail_under`, or undefined. Consensus rows are written first.
    """
    found = details(ws, concept, model=model)
    name = found.concept.name
    consensus_rows.settle(ws.catalog, name, found.settled)
    opened = errata.open_contradictions(ws, name, found.settled)
    _refuse_single_labels(found)
    if fail_under is not None:
        advice.gate(found.measured.alpha, fail_under)
    told = (f"{opened} settled labels contradict known answers: `collect errata list`",) if opened else ()
    return _summary(
        found,
        errata=sum(row.state == register.OPEN for row in register.register(ws.catalog, name)),
        warnings=found.warnings + told,
    )


def settle_first(ws: Workspace, concept: Concept) -> tuple[str, ...]:
    """Write the consensus rows of a concept that has none, as `agreement` does, and measure nothing.

    Where there are some, a sentence if answers have come since that they do not hold.
    """
    if consensus_rows.is_empty(ws.catalog, concept.name):
        found = votes.read(ws, concept)
        rows = settle(found.answers, ws.section(AgreementConfig).method)
        consensus_rows.settle(ws.catalog, concept.name, _arbitrated(rows, found))
        return ()
    if not consensus_rows.may_lag(ws.catalog, concept.name):
        return ()
    held = {row.image: row.votes for row in consensus_rows.settled(ws.catalog, concept.name)}
    given = {row.image: row.votes for row in settle(votes.read(ws, concept).answers)}
    late = sum(held.get(image) != given.get(image) for image in held.keys() | given.keys())
    said = f"{late} images have newer answers than `collect agreement` settled: they count as settled until it is run"
    return (said,) if late else ()


def spelled(alpha: Estimate) -> str:
    """Alpha with its interval and the number of images."""
    return f"{alpha.value:.3f} ({alpha.low:.3f} to {alpha.high:.3f}, {alpha.tasks} images)"


def details(ws: Workspace, concept: str | None = None, *, model: Model | None = None) -> Details:
    """Measure agreement on the current annotations; writes nothing.

    `model` is asked only where `agreement.method` is crowdlab.
    """
    chosen = ws.concept(concept)
    config = ws.section(AgreementConfig)
    found = votes.read(ws, chosen)
    ws.progress("measuring agreement", 0, None)
    options = Options(
        method=config.method,
        draws=config.draws,
        seed=ws.seed,
        cap_s=ws.section(LabelConfig).max_seconds,
        fast_s=config.fast_seconds,
        min_tasks=config.min_tasks,
        max_share=config.max_share,
    )
    measured_on = Answers.tabulate(
        [(row.task, row.annotator, row.label) for row in found.rows if row.sentinel is None], chosen.labels
    )
    several = found.several
    said = model(ws, chosen.name) if model and config.method == "crowdlab" else None
    view = _view(measured_on, said)
    measured = measure(found.rows, chosen.labels, several=several, options=options, model=view)
    whole = found.answers
    rows = settle(whole, config.method, _view(whole, said))
    settled = _arbitrated(rows, found)
    standing = replace(measured, answers=whole, counts=whole.counts(), majority=_majority(whole, found.arbiter))
    left = advice.effort(standing)
    cost = round(left.hours * config.hourly_rate, 2) if config.hourly_rate and not math.isnan(left.hours) else None
    told = advice.words(measured, config.minimum, config.target, standing=standing)
    return Details(
        concept=chosen,
        votes=found,
        measured=measured,
        settled=settled,
        disputed=tuple(rank(found.by_image)),
        left=left,
        cost=cost,
        words=(*told, *_more_words(measured, found.guideline, cost, config.hourly_rate)),
        warnings=(*measured.warnings, *_repeated(found.repeated)),
    )


def _more_words(measured: Measured, guideline: str, cost: float | None, rate: float) -> Iterator[str]:
    """What only a workspace knows: the guideline, the price of an hour, how often proposals are left as they are."""
    if measured.confusions:
        yield passages.advice(guideline, measured.confusions[0].first, measured.confusions[0].second)
    if cost:
        yield f"What is left costs about {cost:,.2f} at {rate:g} an hour."
    accepted = measured.anchoring.accepted
    if accepted.tasks:
        yield f"{accepted.value:.0%} of the {accepted.tasks} proposals that were shown were left as they were."


def number(value: float) -> float | None:
    """JSON has no nan."""
    return None if math.isnan(value) else value


def _majority(answers: Answers, arbiter: Mapping[str, str]) -> Ints:
    """The label of each task by votes, or by an arbiter."""
    found = winners(answers)
    for place, task in enumerate(answers.tasks):
        if task in arbiter:
            found[place] = answers.labels.index(arbiter[task])
    return found


def _arbitrated(rows: Sequence[Settled], found: votes.Votes) -> tuple[Settled, ...]:
    """What was settled, with the word of the arbiter where there is one."""
    return tuple(
        row._replace(label=word, confidence=1.0, method="arbiter") if (word := found.arbiter.get(row.image)) else row
        for row in rows
    )


def _view(answers: Answers, probabilities: Mapping[str, Mapping[str, float]] | None) -> ModelView | None:
    if not probabilities:
        return None
    blank = dict.fromkeys(answers.labels, math.nan)
    table = [
        [said.get(label, 0.0) for label in answers.labels]
        for said in (probabilities.get(image, blank) for image in answers.tasks)
    ]
    return ModelView(np.array(table, dtype=np.float64).reshape(len(answers.tasks), len(answers.labels)))


def _repeated(count: int) -> tuple[str, ...]:
    many = f"{count} answers were given again by the same annotator to the same image; the last counts"
    return (many,) if count else ()


def _summary(found: Details, *, errata: int, warnings: tuple[str, ...]) -> AgreementSummary:
    measured = found.measured
    effect = measured.anchoring
    return AgreementSummary(
        alpha=number(measured.alpha.value),
        alpha_low=number(measured.alpha.low),
        alpha_high=number(measured.alpha.high),
        tasks=measured.shared,
        pairwise=number(measured.pairwise.value),
        pairwise_low=number(measured.pairwise.low),
        pairwise_high=number(measured.pairwise.high),
        unanimous=number(measured.unanimous.value),
        disputed=len(found.disputed),
        ties=found.left.ties,
        settled=sum(row.label is not None for row in found.settled),
        annotators={person.name: _figures(person) for person in measured.people},
        labels={label: number(estimate.value) for label, estimate in measured.by_label.items()},
        anchoring={
            key: number(getattr(effect, key).value) for key in ("accepted", "resisted", "shown", "blank", "change")
        },
        open=found.left.ties + found.left.blank,
        answers_left=found.left.answers,
        hours=number(found.left.hours),
        cost=found.cost,
        errata=errata,
        words=found.words,
        warnings=warnings,
        next=f"collect snapshot {shlex.quote(found.concept.name)}",
    )


def _refuse_single_labels(found: Details) -> None:
    name = shlex.quote(found.concept.name)
    if not found.votes.answers.tasks:
        raise CollectError(
            f"nobody has answered anything for `{found.concept.name}` yet",
            hint=f"label in Label Studio, then `collect label pull {name}`",
        )
    if not found.measured.shared:
        raise CollectError(
            f"no image of `{found.concept.name}` was labeled by two annotators, and without that there is no agreement",
            hint="`collect label annotators add NAME` with `label.overlap = 2`, then `collect label push"
            f" {name}`; the {len(found.settled)} single answers are kept as they are",
        )


def _figures(person: Person) -> dict[str, float | int | None]:
    """One annotator as plain JSON. `sentinels` is a share of those given, `resisted` of those with a wrong proposal."""
    shares = {
        "agreement": person.agreement,
        "alpha_without": person.alpha_without,
        "sentinels": person.sentinels,
        "accepted": person.anchoring.accepted,
        "resisted": person.anchoring.resisted,
        "shown": person.anchoring.shown,
        "blank": person.anchoring.blank,
        "drift": person.drift,
    }
    return {
        "answers": person.answers,
        "compared": person.compared,
        **{key: number(estimate.value) for key, estimate in shares.items()},
        "sentinels_given": person.sentinels.tasks,
        "wrong_sentinels_given": person.anchoring.resisted.tasks,
        "information": number(person.information),
        "unsure": number(person.unsure),
        "seconds": number(person.seconds),
        "fast": person.fast,
    }
