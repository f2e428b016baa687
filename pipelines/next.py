"""Choose which pictures people should label next, write the list down, and give it to the annotators if asked to.

Only pictures of the train part of the pool that nobody has answered are chosen: a held-out set that somebody could
choose from would no longer be a random one. A share of every list is drawn at random, so that what choosing does to
the sample is measured, not guessed.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from collector import durable
from collector.catalog import labels
from collector.errors import CollectError, GateNotMet, ServiceDown, UsageError
from collector.records import Concept, Summary
from collector.splits import position
from collector.workspace import Workspace
from labeling import push
from labeling.order import next_folder, next_lists, read_list
from labeling.rounds import Rules
from pipelines.candidates import Candidates, look
from pipelines.config import By, NextConfig
from pipelines.predict import Model, load_model
from pipelines.prelabel import unlabeled

ROUND = "next"
SHOWN = 10  # images in a summary
MODELLESS = ("k-center", "random")
WHY = {
    "entropy": "entropy {:.2f}",
    "margin": "1 - margin {:.2f}",
    "bald": "the committee disagrees by {:.3f}",
    "hybrid": "settles doubt {:.3f}",
    "k-center": "at {:.2f} from the nearest labeled or chosen one",
    "typical": "typical of its kind: {:.2f}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NextSummary(Summary):
    """`chosen` of `unlabeled` images stand in the list `path`, `random` of them drawn at random, the others by `by`.

    `waiting` unlabeled images are tasks already, and are left out unless asked for. `run` is the model that was asked,
    None in a cold start. `first` are the first images of the list: score and why. `found` says what people have
    answered of the lists before: `chosen` and `random` -> label -> images. `tasks` are new in Label Studio.
    """

    concept: str
    by: str
    run: str | None
    unlabeled: int
    waiting: int
    chosen: int
    random: int
    path: str
    first: dict[str, dict[str, Any]]
    found: dict[str, dict[str, int]]
    tasks: int

    def for_people(self) -> dict[str, Any]:
        """A line for each of the first images."""
        lines = [f"{image[:12]}  {row['why']}" for image, row in self.first.items()]
        return {**self.as_json(), "first": "\n".join(lines)}


class Choice(NamedTuple):
    """A row of the list: what chose it, the score it has there (None: drawn), and what the model says of it."""

    rank: int
    image: str
    by: str
    score: float | None
    label: str | None
    probability: float | None
    why: str


def next_images(  # noqa: PLR0913  # one for each option of the command
    ws: Workspace,
    concept: str | None = None,
    *,
    count: int | None = None,
    by: By | None = None,
    run: str | None = None,
    tasked: bool = False,
    send: bool = False,
    file: Path | None = None,
) -> NextSummary:
    """Choose `count` images to label next, and with `send` make them tasks of the round `next`.

    `by` stands in for `next.by`, `count` for `next.count`. The run that begins with `run` is asked, or the newest
    finished one; before anything is trained, typical pictures are chosen, which needs no model. With `tasked`, images
    that are tasks already and that nobody has answered are chosen from, too. `file` also gets the list, as .csv or
    .json by its ending.

    Raises:
        CollectError: no image is left to choose from.
        UsageError: no finished run is called so, or `file` has another ending.
        ServiceDown: Label Studio does not answer; the list is saved.
    """
    about = ws.concept(concept)
    config = ws.section(NextConfig)
    by = by or config.by
    if file is not None and file.suffix not in (".csv", ".json"):
        raise UsageError(f"{file} ends neither in .csv nor in .json", hint="as in `--out next.csv`")
    with ws.lock("next"):
        free = unlabeled(ws, about)
        tasks = {task.image for task in labels.tasks(ws.catalog, about.name)}
        images = [image for image in free if tasked or image not in tasks]
        if not images:
            raise CollectError(
                f"no unlabeled picture of `{about.name}` is left to choose: {len(free)} are tasks already",
                hint=f"`collect label pull {about.name}` fetches answers, `collect crawl {about.name}` finds pictures",
            )
        model = _model(ws, about, run)
        used = by if model or by in MODELLESS else "typical"
        rows = _choose(ws, about, images, model, used, min(count or config.count, len(images)))
        found = _found(ws, about)
        path = next_folder(ws, about.name) / f"{len(next_lists(ws, about.name)) + 1:06}.json"
        durable.save(path, _json(rows))
    if file is not None:
        durable.save(file, _json(rows) if file.suffix == ".json" else _csv(rows))
    summary = NextSummary(
        concept=about.name,
        by=used,
        run=model.experiment.run if model else None,
        unlabeled=len(free),
        waiting=len(tasks & set(free)),
        chosen=len(rows),
        random=sum(row.by == "random" for row in rows),
        path=str(path),
        first={row.image: {"score": row.score, "why": row.why} for row in rows[:SHOWN]},
        found=found,
        tasks=0,
        warnings=_warnings(about, by, used, model),
        next=f"collect label push {about.name} --round {ROUND} --order next",
    )
    return _sent(ws, about, summary) if send else summary


def _model(ws: Workspace, about: Concept, run: str | None) -> Model | None:
    try:
        return load_model(ws, about.name, run)
    except GateNotMet:  # nothing was trained yet
        return None


def _choose(
    ws: Workspace, about: Concept, images: Sequence[str], model: Model | None, by: str, count: int
) -> list[Choice]:
    """The list: some drawn from all images by a keyed hash, strewn evenly among those chosen from the rest."""
    share = 1.0 if by == "random" else ws.section(NextConfig).random_share
    drawn = sorted(range(len(images)), key=lambda at: position(f"{ws.seed}:{about.name}:next:{images[at]}"))
    drawn = drawn[: round(share * count)]
    given = look(ws, about, images, model, by)
    best: list[int] = []
    scores: Sequence[float] = ()
    if len(drawn) < count:
        ws.progress("choosing", 0, None)
        rest = np.setdiff1d(np.arange(len(images)), drawn)
        best, found = given.best(rest, by, count - len(drawn), ws.seed)
        scores = found.tolist()
    gap = len(best) / max(1, len(drawn))
    ranked: list[tuple[float, int, float | None]] = [
        (float(k), at, score) for k, (at, score) in enumerate(zip(best, scores, strict=True))
    ]
    ranked += [((k + 0.5) * gap - 0.5, at, None) for k, at in enumerate(drawn)]
    ranked.sort(key=lambda each: each[0])
    return [_choice(given, rank, at, by, score) for rank, (_, at, score) in enumerate(ranked, start=1)]


def _choice(given: Candidates, rank: int, at: int, by: str, score: float | None) -> Choice:
    how, why = (by, WHY[by].format(score)) if score is not None else ("random", "drawn at random")
    score = None if score is None else round(score, 6)
    if not given.names:
        return Choice(rank, given.images[at], how, score, None, None, why)
    label, probability = given.names[given.labels[at]], round(float(given.probabilities[at]), 6)
    why += f"; the model says `{label}` at {probability:.2f}"
    return Choice(rank, given.images[at], how, score, label, probability, why)


def _json(rows: Sequence[Choice]) -> bytes:
    return json.dumps([row._asdict() for row in rows], indent=1).encode()


def _csv(rows: Sequence[Choice]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([Choice._fields, *rows])
    return buffer.getvalue().encode()


def _found(ws: Workspace, about: Concept) -> dict[str, dict[str, int]]:
    """What people have said of the images of earlier lists; of several answers to an image the first counts."""
    said = {row.image: row.label for row in reversed(labels.current(ws.catalog, about.name)) if row.label}
    listed: dict[str, str] = {}
    for path in next_lists(ws, about.name):
        with suppress(CollectError):  # a damaged list says nothing more; the one to be made takes its place
            for row in read_list(path):
                listed.setdefault(row["image"], "random" if row["by"] == "random" else "chosen")
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for image, how in listed.items():
        if image in said:
            found[how][said[image]] += 1
    return {how: dict(found[how]) for how in ("chosen", "random")}


def _warnings(about: Concept, by: str, used: str, model: Model | None) -> tuple[str, ...]:
    if used == "typical":
        told = (
            f"nothing was trained for `{about.name}` yet, so `{by}` has no model to ask: typical pictures were chosen"
        )
        return (f"{told}, of every kind some",)
    return ("chosen at random: nothing is gained over `collect label push`",) if used == "random" else ()


def _sent(ws: Workspace, about: Concept, summary: NextSummary) -> NextSummary:
    """Make tasks of the list that was just written, in the round `next` and after those that are in it."""
    campaign = push.Campaign(name=ROUND, rules=Rules(order="next"))
    try:
        pushed = push.push(ws, about.name, campaign=campaign)
    except ServiceDown as error:
        raise ServiceDown(f"{error.message}; the list is saved", hint=error.hint) from error
    return replace(
        summary,
        tasks=pushed.new,
        warnings=(*summary.warnings, *pushed.warnings),
        next=f"collect label pull {about.name}",
    )
