"""Errata where pictures and models meet: suspects that a model points at, and the runs that a correction touches.

A model is heard only on images that it was not trained on: validation, the folds of cross-validation, and the pool. It
opens errata and changes nothing. The test split is left alone: labels that are looked at again because one model
doubts them would come to favor that model.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from collector.catalog import consensus, funnel, models
from collector.catalog import errata as book
from collector.catalog.errata import APPLIED, Erratum, Found
from collector.catalog.models import Experiment, SnapshotRow
from collector.errors import GateNotMet, UsageError
from collector.records import Summary
from collector.workspace import Workspace
from labeling.errata import CONFIRMED, POOL, chosen, state_of
from pipelines import parquet
from pipelines.calibrate import Floats, Ints, soften, temperature
from pipelines.manifest import find, read_manifest

SHOWN = 20  # suspects in a summary
DOUBTFUL = 0.2  # share of the labels: people err less, so a model that doubts more is weak
TOLD = 5  # labels whose probability stands in the evidence: the most probable ones, and the one that stands
MODEL = "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplySummary(Summary):
    """`applied` errata; `runs` (run -> snapshot and images) learned or were measured with the old labels of theirs."""

    concept: str
    applied: tuple[int, ...]
    runs: dict[str, dict[str, Any]]
    snapshots: tuple[str, ...]

    def for_people(self) -> dict[str, Any]:
        """A line for each run."""
        lines = [f"{run} (snapshot {row['snapshot'][:12]}, {row['images']} images)" for run, row in self.runs.items()]
        return {
            "concept": self.concept,
            "applied": " ".join(map(str, self.applied)) or "none",
            "runs to repeat": "\n".join(lines) or "none",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspectsSummary(Summary):
    """`judged` labeled images that the model `run` had not learned from, by `splits`; `suspects` among them.

    `opened` are errata that are new, and `worst` the first suspects of all: image -> label, guess and probabilities.
    `temperature` is what calibrated the model's probabilities.
    """

    concept: str
    run: str
    judged: int
    splits: dict[str, int]
    temperature: float
    suspects: int
    opened: tuple[int, ...]
    worst: dict[str, dict[str, Any]]

    def for_people(self) -> dict[str, Any]:
        """How many errata are new, and a line for each of the clearest suspects."""
        worst = [
            f"{image[:12]} {row['was']}: rather {row['should_be']}, {row[row['should_be']]:.1%} against "
            f"{row[row['was']]:.1%}"
            for image, row in self.worst.items()
        ]
        return self.as_json() | {"opened": len(self.opened), "worst": worst or "none"}


class Judged(NamedTuple):
    """What a model said of images that it was not trained on: probabilities are images x labels."""

    images: list[str]
    splits: list[str]
    labels: tuple[str, ...]
    probabilities: Floats


def apply(
    ws: Workspace,
    ids: Sequence[int] = (),
    *,
    all_confirmed: bool = False,
    concept: str | None = None,
    by: str = "me",
) -> ApplySummary:
    """Let errata count from the next snapshot on, and say which runs must be repeated; older snapshots stay.

    Raises:
        UsageError: an id is unknown, or neither ids nor `all_confirmed` are given.
    """
    name = ws.concept(concept).name
    if not ids and not all_confirmed:
        raise UsageError("say which errata to apply", hint="their numbers, or --all-confirmed")
    rows = {row.id: row for row in chosen(ws, name, ids)}
    if all_confirmed:
        rows |= {row.id: row for row, state in state_of(ws, name) if state == CONFIRMED}
    _refuse_two_labels(list(rows.values()))
    book.resolve(ws.catalog, [row.id for row in rows.values() if row.state != APPLIED], APPLIED, by)
    touched = touched_by(ws, name, {row.image: row.should_be for row in rows.values()})
    runs = {
        each.run: {"snapshot": each.snapshot, "images": touched[each.snapshot], "state": each.state}
        for each in models.experiments(ws.catalog, name)
        if each.snapshot in touched
    }
    quoted = shlex.quote(name)
    return ApplySummary(
        concept=name,
        applied=tuple(sorted(rows)),
        runs=runs,
        snapshots=tuple(touched),
        next=f"collect snapshot {quoted}" if rows else f"collect errata list {quoted}",
        warnings=("nothing was confirmed, so nothing was applied",) if not rows else (),
    )


def touched_by(ws: Workspace, concept: str, labels: Mapping[str, str]) -> dict[str, int]:
    """Digest -> images of `labels` that a snapshot holds under another label, for the snapshots that hold any.

    A snapshot whose file is gone or was changed counts as holding all of them.
    """
    found = {row.digest: _held(ws, row, labels) for row in models.snapshots(ws.catalog, concept)}
    return {digest: count for digest, count in found.items() if count}


def suspects(ws: Workspace, concept: str | None = None, *, run: str | None = None) -> SuspectsSummary:
    """Queue labels that the out-of-sample predictions of a run contradict confidently, the clearest case first.

    Confident learning (Northcutt, Jiang and Chuang, JAIR 70 (2021) 1373): label k is confident where its probability
    reaches the mean of it over the images that people gave k. That tells how many labels are wrong, and those furthest
    behind are suspects, ranked by how far. Errata in state open, for people to decide.

    Raises:
        UsageError: there is no such run.
        GateNotMet: nothing was trained yet, or no labeled image is out of its sample.
    """
    name = ws.concept(concept).name
    done = _finished(ws, name, run)
    judged = out_of_sample(ws, done)
    stands = {row.image: row for row in consensus.settled(ws.catalog, name)}
    amended = {image: row.should_be for image, row in book.applied(ws.catalog, name).items()}
    given = [amended.get(image) or (stands[image].label if image in stands else None) for image in judged.images]
    known = set(judged.labels)
    kept = [i for i, label in enumerate(given) if label in known]
    if not kept:
        raise GateNotMet(
            f"no labeled image of `{name}` is out of the sample of run {done.run}",
            hint="`collect train-baseline` keeps the predictions of its cross-validation since this version",
        )
    place = {label: k for k, label in enumerate(judged.labels)}
    truth = np.array([place[given[i] or ""] for i in kept], dtype=np.int64)
    heat = temperature(judged.probabilities[kept], truth)
    probabilities = soften(judged.probabilities[kept], heat)
    order, guess = ranked(probabilities, truth)
    found = []
    for i in order.tolist():
        image = judged.images[kept[i]]
        told = [*np.argsort(-probabilities[i], kind="stable")[:TOLD].tolist(), int(truth[i])]
        said = {judged.labels[k]: round(float(probabilities[i, k]), 4) for k in dict.fromkeys(told)}
        label, other = judged.labels[truth[i]], judged.labels[guess[i]]
        votes = dict(stands[image].votes) if image in stands else {}
        evidence = {"kind": MODEL, "run": done.run, "probabilities": said, "votes": votes}
        why = f"the model, not trained on it, says {other} with {said[other]:.0%} and {label} with {said[label]:.0%}"
        found.append(Found(image, label, other, judged.splits[kept[i]], why, f"run {done.run}", evidence))
    places = [judged.splits[i] for i in kept]
    return SuspectsSummary(
        concept=name,
        run=done.run,
        judged=len(kept),
        splits={split: places.count(split) for split in dict.fromkeys(places)},
        temperature=heat,
        suspects=len(found),
        opened=tuple(book.open_(ws.catalog, name, found)),
        worst={
            row.image: {"was": row.was, "should_be": row.should_be, **row.evidence["probabilities"]}
            for row in found[:SHOWN]
        },
        next=f"collect errata list {shlex.quote(name)}",
        warnings=_weak(len(found), len(kept)),
    )


def _weak(suspects: int, judged: int) -> tuple[str, ...]:
    """A sentence where a model doubts so many labels that it is rather the one that is wrong."""
    if suspects <= DOUBTFUL * judged:
        return ()
    return (
        f"this model doubts {suspects / judged:.0%} of the labels it was asked about: most of that is its own "
        "weakness, so look at the first ones only, or train a better one",
    )


def ranked(probabilities: Floats, truth: Ints) -> tuple[Ints, Ints]:
    """Row numbers of the suspects, clearest first, and for all rows the most probable label but the one that stands.

    `probabilities` are images x labels, `truth` the labels that stand. Confident answers estimate how many images of
    each label really are of each other one; so many of them are suspects, those whose label is furthest behind, unless
    it is the most probable ("prune by noise rate"). The rank is the normalized margin, the probability of the label
    that stands less the highest of the others.
    """
    rows = np.arange(len(truth))
    size = probabilities.shape[1]
    counts = np.bincount(truth, minlength=size)
    own = np.bincount(truth, probabilities[rows, truth], minlength=size)
    bar = np.divide(own, counts, out=np.full(size, np.inf), where=counts > 0)
    confident = np.where(probabilities >= bar, probabilities, -1.0)
    sure = confident.max(axis=1) >= 0
    joint = np.bincount(truth[sure] * size + confident.argmax(axis=1)[sure], minlength=size * size).reshape(size, size)
    wrong = np.round(joint * (counts / np.maximum(joint.sum(axis=1), 1))[:, None]).astype(np.int64)
    np.fill_diagonal(wrong, 0)
    behind = probabilities - probabilities[rows, truth][:, None]
    doubted: list[int] = []
    for label, other in np.argwhere(wrong):
        mine = np.flatnonzero(truth == label)
        doubted += mine[np.argsort(-behind[mine, other], kind="stable")[: wrong[label, other]]].tolist()
    behind[rows, truth] = -np.inf
    margin = -behind.max(axis=1)
    found = np.unique(np.array(doubted, dtype=np.int64))
    found = found[margin[found] < 0]
    return found[np.argsort(margin[found], kind="stable")], np.asarray(behind.argmax(axis=1))


def out_of_sample(ws: Workspace, done: Experiment) -> Judged:
    """What a run said of validation, in cross-validation of train, and of images that people answered since then."""
    manifest = read_manifest(ws, find(ws, done.concept, done.snapshot))
    size = len(manifest.labels)
    images, splits, said = list[str](), list[str](), list[Floats]()
    for split, file in (("validation", parquet.VALIDATION), ("train", parquet.CROSS_VALIDATED)):
        kept = parquet.predictions(ws.data / done.path / file)
        images += kept.images
        splits += [split] * len(kept.images)
        said.append(kept.probabilities.reshape(len(kept.images), size))
    held = set(manifest.column("image"))
    version = f"{done.config['backbone']}-{done.run[:8]}"
    later = funnel.predictions(ws.catalog, done.concept, version, answered=True)
    pool = {image: models.over(found, manifest.labels) for image, found in later if image not in held}
    said.append(np.array(list(pool.values()), dtype=np.float64).reshape(len(pool), size))
    return Judged([*images, *pool], splits + [POOL] * len(pool), manifest.labels, np.concatenate(said))


def views(ws: Workspace, concept: str | None = None) -> dict[str, dict[str, float]]:
    """What the newest run says of train and pool, out of sample: image -> label -> probability, for `crowdlab`.

    Held-out images are left to people alone, because models are measured there.
    """
    done = models.find_finished(ws.catalog, ws.concept(concept).name)
    if done is None:
        return {}
    said = out_of_sample(ws, done)
    return {
        image: dict(zip(said.labels, map(float, row), strict=True))
        for image, split, row in zip(said.images, said.splits, said.probabilities, strict=True)
        if split != "validation"
    }


def _held(ws: Workspace, row: SnapshotRow, labels: Mapping[str, str]) -> int:
    columns = parquet.columns(ws.data / row.path, ["image", "label"])
    if columns is None:
        return len(labels)
    return sum(image in labels and labels[image] != label for image, label in zip(*columns, strict=True))


def _finished(ws: Workspace, concept: str, run: str | None) -> Experiment:
    done = models.find_finished(ws.catalog, concept, run)
    if done is None and run is not None:
        raise UsageError(f"`{concept}` has no finished run `{run}`", hint="`collect train-baseline` prints the run")
    if done is None:
        raise GateNotMet(
            f"nothing was trained for `{concept}` yet", hint=f"run `collect train-baseline {shlex.quote(concept)}`"
        )
    return done


def _refuse_two_labels(rows: Sequence[Erratum]) -> None:
    wanted: dict[str, Erratum] = {}
    for row in rows:
        other = wanted.setdefault(row.image, row)
        if other.should_be != row.should_be:
            raise UsageError(
                f"errata {other.id} and {row.id} give one image two labels: {other.should_be} and {row.should_be}",
                hint=f"apply one of them, and dismiss the other: `collect errata dismiss {row.id} --why ...`",
            )
