"""`push` gives pictures to people, `propose` gives them with a model's guess.

The catalog says what is to be labeled and by whom; Label Studio is where it happens.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from collector.catalog import labels as rows
from collector.catalog import suspects
from collector.catalog.labels import Guess, Task
from collector.errors import CollectError
from collector.records import Concept, Summary
from collector.splits import draw, position
from collector.workspace import Workspace
from labeling import accounts
from labeling.accounts import ADMIN
from labeling.config import LabelConfig
from labeling.interface import Proposal
from labeling.lifecycle import folder_of
from labeling.rounds import Desk, seat

HOLDOUT, POOL, PROPOSALS = "holdout", "pool", "proposals"


@dataclass(frozen=True, slots=True, kw_only=True)
class PushSummary(Summary):
    """Tasks in Label Studio: `tasks` in all, `new` since this push, images of each round, tasks of each annotator.

    `passwords` is the private file with the sign-ins that push made.
    """

    url: str
    tasks: int
    new: int
    images: dict[str, int]
    annotators: dict[str, int]
    passwords: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposeSummary(Summary):
    """`proposed` images carry a proposal of the model now; `new` tasks were made, some of them without a proposal."""

    proposed: int
    new: int


def push(
    ws: Workspace, concept: str | None = None, *, limit: int | None = None, overlap: int | None = None
) -> PushSummary:
    """Make the tasks that are missing: every held-out image, blind, then `limit` images of the pool (None: all).

    Negatives that `collect contamination` suspects come first of those.

    Raises:
        ServiceDown: Label Studio is not running.
        CollectError: the pool of the concept is empty.
    """
    chosen = ws.concept(concept)
    with seat(ws, chosen) as desk:
        splits = draw(ws, chosen)
        if not splits:
            raise CollectError(
                f"`{chosen.name}` has no pictures to label yet", hint=f"`collect crawl {chosen.name}` finds some"
            )
        asked = ws.section(LabelConfig).overlap if overlap is None else overlap
        shuffled = sorted(splits, key=lambda image: position(f"{ws.seed}:{chosen.name}:order:{image}"))
        held = [image for image in shuffled if splits[image] != "train"]
        # Two people at least see what models are measured with; nobody sees a proposal there.
        holdout = desk.open(HOLDOUT, HOLDOUT, min(max(2, asked), len(desk.people)))
        new = desk.fill(holdout, held)
        pool = desk.open(POOL, POOL, min(asked, len(desk.people)))
        taken = {name: desk.images(name) for name in (POOL, PROPOSALS)}
        free = [image for image in shuffled if splits[image] == "train" and image not in taken[PROPOSALS]]
        suspicion = {row.image: rank for rank, row in enumerate(suspects.of(ws.catalog, chosen.name))}
        # Stable: images that have tasks come first, then negatives that may show the concept, the likeliest in front.
        free.sort(key=lambda image: (image not in taken[POOL], suspicion.get(image, len(suspicion))))
        new += desk.fill(pool, free if limit is None else free[:limit])
        return _pushed(ws, chosen, desk, new)


def propose(ws: Workspace, concept: str | None, model_run: str, *, limit: int | None = None) -> ProposeSummary:
    """Show the predictions of `model_run` (rows of the catalog) to people, for at most `limit` more images.

    They are training images that nobody has answered: never validation or test images. One that has tasks in the pool
    gets the proposal there, one that has none gets tasks in the round of proposals. `label.no_proposal_share` of them,
    by a keyed hash, stay without a proposal, so that its influence can be measured. A task that nobody has answered
    gets the newer proposal; answers are never touched.
    """
    chosen = ws.concept(concept)
    guesses = rows.guesses(ws.catalog, chosen.name, model_run)
    config = ws.section(LabelConfig)
    with seat(ws, chosen) as desk:
        splits = draw(ws, chosen)
        answered = {row.image for row in rows.current(ws.catalog, chosen.name)}
        tasks = rows.tasks(ws.catalog, chosen.name)
        carrying = {task.image for task in tasks if task.prediction is not None}
        waiting = [i for i in guesses if splits.get(i) == "train" and i not in answered and i not in carrying]
        waiting.sort(key=lambda image: (guesses[image].score, image))  # the least certain first
        shown = {
            image: guesses[image].id
            for image in waiting[:limit]
            if position(f"{ws.seed}:{chosen.name}:no proposal:{image}") >= config.no_proposal_share
        }
        tasked = {task.image for task in tasks}
        fresh = [image for image in waiting[:limit] if image not in tasked]
        new = 0
        if fresh:
            round_ = desk.open(PROPOSALS, PROPOSALS, min(config.overlap, len(desk.people)))
            new = desk.fill(round_, fresh, shown)
        _renew(desk, model_run, guesses, shown.keys())
    carrying = {task.image for task in rows.tasks(ws.catalog, chosen.name) if task.model_run == model_run}
    return ProposeSummary(proposed=len(carrying), new=new, next=f"collect label pull {chosen.name}")


def _renew(desk: Desk, model_run: str, guesses: Mapping[str, Guess], shown: Collection[str]) -> None:
    """Give every task that nobody has answered and that carries a proposal, or is of `shown`, that of `model_run`."""
    mine: defaultdict[int, list[Task]] = defaultdict(list)
    for task in rows.tasks(desk.ws.catalog, desk.concept.name):
        if task.studio_task > 0 and task.image in guesses and (task.prediction is not None or task.image in shown):
            mine[task.project].append(task)
    for project, tasks in mine.items():
        older = [task for task in tasks if task.model_run != model_run]
        if older:
            answered = {answer.item for answer in desk.studio.answers(project)}
            older = [task for task in older if task.studio_task not in answered]
            there = desk.studio.items(project)
            late = []
            for task in older:
                known = there[task.image].proposal
                if known is None or known.model_version != model_run:  # else a push that was killed imported it
                    guess = guesses[task.image]
                    late.append((task.studio_task, Proposal(guess.label, guess.score, model_run)))
            desk.studio.import_proposals(project, late)
            rows.show(desk.ws.catalog, {task.id: guesses[task.image].id for task in older})
        desk.studio.show_version(project, model_run)


def _pushed(ws: Workspace, concept: Concept, desk: Desk, new: int) -> PushSummary:
    tasks = rows.tasks(ws.catalog, concept.name)
    names = {round_.id: round_.name for round_ in rows.rounds(ws.catalog, concept.name).values()}
    images: defaultdict[str, set[str]] = defaultdict(set)
    for task in tasks:
        images[names[task.round]].add(task.image)
    others = set(desk.people) != {ADMIN}
    alone = ("there is one annotator, so agreement cannot be measured: add to `label.annotators`",)
    return PushSummary(
        url=desk.studio.url,
        tasks=len(tasks),
        new=new,
        images={name: len(found) for name, found in images.items()},
        annotators=dict(sorted(Counter(task.annotator for task in tasks).items())),
        passwords=str(folder_of(ws) / accounts.FILE) if others else "",
        warnings=alone if len(desk.people) < 2 else (),
        next=f"collect label pull {concept.name}",
    )
