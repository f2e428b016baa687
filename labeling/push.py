"""`push` gives pictures to people, `propose` gives them with a model's guess.

The catalog says what is to be labeled and by whom; Label Studio is where it happens.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from collector.catalog import labels as rows
from collector.catalog import models, suspects
from collector.catalog import rounds as book
from collector.catalog.labels import Guess, Round, Task
from collector.errors import CollectError, UsageError
from collector.records import Concept, Summary
from collector.splits import draw, position, settle
from collector.workspace import Workspace
from labeling import accounts, sentinels, votes
from labeling.accounts import ADMIN
from labeling.config import LabelConfig
from labeling.errata import doubted
from labeling.interface import Proposal
from labeling.lifecycle import folder_of
from labeling.order import arrange, disputed, listed, withheld
from labeling.projects import DISPUTED, HOLDOUT, POOL, PROPOSALS, shared
from labeling.rounds import Desk, Rules, seat
from labeling.sentinels import Wish


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """What one push asks for, beside how many images and how many people for each.

    `name` None: the standing rounds, or for the order `disputed` the round of that name. `arbiter` settles disputed
    images alone. `no_proposal_share` None: `label.no_proposal_share`.
    """

    name: str | None = None
    rules: Rules = field(default_factory=Rules)
    arbiter: str | None = None
    sentinels: Wish = field(default_factory=Wish)
    no_proposal_share: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PushSummary(Summary):
    """Tasks in Label Studio: `tasks` in all, `new` since this push, images of each round, tasks of each annotator.

    `sentinels` is the number of tasks whose answer is known. `shared` are the rounds in which all work in one project:
    they are blind by workflow only. `passwords` is the private file with the sign-ins that push made.
    """

    url: str
    tasks: int
    new: int
    images: dict[str, int]
    annotators: dict[str, int]
    sentinels: int
    shared: tuple[str, ...]
    passwords: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposeSummary(Summary):
    """`proposed` images carry a proposal of the model now; `new` tasks were made, some of them without a proposal."""

    proposed: int
    new: int


def push(
    ws: Workspace,
    concept: str | None = None,
    *,
    limit: int | None = None,
    overlap: int | None = None,
    campaign: Campaign = Campaign(),
) -> PushSummary:
    """Make the tasks that are missing: every held-out image, blind, then `limit` images of the pool (None: all).

    Negatives that `collect contamination` suspects come first of those. A `campaign` with a name has its own round of
    pool images that are in no other, in the order `next` only those that `collect next` chose; one in the order
    `disputed` gives open cases to one more person, or the arbiter.

    Raises:
        ServiceDown: Label Studio is not running.
        CollectError: the pool of the concept is empty.
        UsageError: the campaign cannot be followed.
    """
    chosen = ws.concept(concept)
    _check(campaign)
    with seat(ws, chosen) as desk:
        splits = draw(ws, chosen)
        if not splits:
            raise CollectError(
                f"`{chosen.name}` has no pictures to label yet", hint=f"`collect crawl {chosen.name}` finds some"
            )
        asked = ws.section(LabelConfig).overlap if overlap is None else overlap
        if campaign.rules.order == "disputed":
            new = _dispute(desk, campaign, limit)
        elif campaign.name is not None:
            new = _open_named(desk, splits, campaign, asked, limit)
        else:
            new = _fill_standing(desk, splits, campaign, asked, limit)
        return _pushed(ws, chosen, desk, new)


@dataclass(frozen=True, slots=True)
class Band:
    """Which proposals are worth showing, by the score of the proposed label: from `above` up to `below`."""

    above: float = 0.0
    below: float = 1.0

    def holds(self, score: float) -> bool:
        """Whether a score lies in it; both ends do."""
        return self.above <= score <= self.below


def propose(
    ws: Workspace, concept: str | None, model_run: str, *, limit: int | None = None, band: Band = Band()
) -> ProposeSummary:
    """Show the predictions of `model_run` (rows of the catalog) to people, for at most `limit` more images.

    They are training images that nobody has answered: never validation or test images. One that has tasks in the pool
    gets the proposal there, one that has none gets tasks in the round of proposals. `label.no_proposal_share` of them,
    by a keyed hash, stay without a proposal, so that its influence can be measured. A task that nobody has answered
    gets the newer proposal; answers are never touched. The least certain come first; where only those above a score
    are asked for, the surest.
    """
    chosen = ws.concept(concept)
    config = ws.section(LabelConfig)
    with seat(ws, chosen) as desk:
        settle(ws, chosen)
        answered = {row.image for row in rows.current(ws.catalog, chosen.name, sentinels=True)}
        tasks = rows.tasks(ws.catalog, chosen.name)
        carrying = {task.image for task in tasks if task.prediction is not None}
        sign = -1 if band.above > 0 else 1
        free = (
            (sign * score, image)
            for image, _, score in models.said(ws.catalog, model_run, chosen.name, "train")
            if band.holds(score) and image not in answered and image not in carrying
        )
        waiting = [image for _, image in (sorted(free) if limit is None else heapq.nsmallest(limit, free))]
        guesses = rows.guesses(ws.catalog, chosen.name, model_run, waiting)
        shown = _shown(desk, waiting, guesses, config.no_proposal_share)
        tasked = {task.image for task in tasks}
        fresh = [image for image in waiting if image not in tasked]
        new = 0
        if fresh:
            round_ = desk.open(PROPOSALS, PROPOSALS, min(config.overlap, len(desk.people)), Rules(proposals=True))
            new = desk.fill(round_, dict.fromkeys(fresh, round_.overlap), shown)
        _renew(desk, model_run, shown.keys())
    carrying = {task.image for task in rows.tasks(ws.catalog, chosen.name) if task.model_run == model_run}
    return ProposeSummary(
        proposed=len(carrying), new=new, warnings=tuple(desk.warnings), next=f"collect label pull {chosen.name}"
    )


def _check(campaign: Campaign) -> None:
    if campaign.name is not None and (campaign.name in (HOLDOUT, POOL) or not campaign.name.strip()):
        raise UsageError(f"`{campaign.name}` is made by every push", hint="choose another name for a round of your own")
    if campaign.arbiter and campaign.rules.order != "disputed":
        raise UsageError("an arbiter settles disputed images only", hint="add --order disputed")
    if campaign.arbiter and campaign.rules.people:
        raise UsageError("the arbiter works alone", hint="leave out --annotators")
    if campaign.rules.order == "disputed" and campaign.rules.proposals:
        raise UsageError("a model has no say in what people dispute", hint="leave out --proposals")


def _fill_standing(desk: Desk, splits: Mapping[str, str], campaign: Campaign, asked: int, limit: int | None) -> int:
    if campaign.rules.proposals or campaign.no_proposal_share is not None:
        raise UsageError("the standing rounds begin without proposals", hint="name a round of its own: --round NAME")
    shuffled = _shuffled(desk, splits)
    held = [image for image in shuffled if splits[image] != "train"]
    # Two people at least see what models are measured with; nobody sees a proposal there, or another's answer.
    rules = replace(campaign.rules, order=None, blind=None)
    holdout = desk.open(HOLDOUT, HOLDOUT, min(max(2, asked), len(rules.people or desk.people)), rules)
    new = desk.fill(holdout, dict.fromkeys(held, holdout.overlap))
    pool = desk.open(POOL, POOL, min(asked, len(campaign.rules.people or desk.people)), campaign.rules)
    return new + _fill_pool(desk, pool, [image for image in shuffled if splits[image] == "train"], campaign, limit)


def _open_named(desk: Desk, splits: Mapping[str, str], campaign: Campaign, asked: int, limit: int | None) -> int:
    name = campaign.name or ""
    rules = campaign.rules
    found = rows.rounds(desk.ws.catalog, desk.concept.name).get(name)
    if found is not None and rules.proposals is None:
        rules = replace(rules, proposals=found.proposals)
    elif name == PROPOSALS:
        rules = replace(rules, proposals=True)
    round_ = desk.open(
        name, PROPOSALS if rules.proposals else POOL, min(asked, len(rules.people or desk.people)), rules
    )
    images = [image for image in _shuffled(desk, splits) if splits[image] == "train"]
    return _fill_pool(desk, round_, images, campaign, limit)


def _fill_pool(desk: Desk, round_: Round, images: Iterable[str], campaign: Campaign, limit: int | None) -> int:
    """Fill a round with images of the pool that no other round has; `images` are all of them, shuffled."""
    catalog, concept = desk.ws.catalog, desk.concept.name
    planted = book.sentinels(catalog, round_.id)
    disputes = {row.id for row in rows.rounds(catalog, concept).values() if row.purpose == DISPUTED}
    mine, others = set(), set()
    for task in rows.tasks(catalog, concept):
        if task.round == round_.id:
            mine.add(task.image)
        elif task.round not in disputes:
            others.add(task.image)
    free = [image for image in images if image not in planted and (image in mine or image not in others)]
    if round_.order == "next" and campaign.name is not None:  # what was chosen, and nothing that merely comes after it
        wanted = mine.union(listed(desk.ws, concept))
        free = [image for image in free if image in wanted]
    free = arrange(desk.ws, concept, free, round_.order)  # type: ignore[arg-type]  # the catalog holds text
    doubted_first = round_.order != "next"  # the order of a list is kept: its random share must stay where it is
    suspicion = {row.image: rank for rank, row in enumerate(suspects.of(catalog, concept) if doubted_first else ())}
    # Stable: images that have tasks come first, then negatives that may show the concept, the likeliest in front.
    free.sort(key=lambda image: (image not in mine, suspicion.get(image, len(suspicion))))
    if not free and not mine:
        raise CollectError(
            f"no picture is left for the round `{round_.name}`: each is in another round", hint="collect more pictures"
        )
    chosen = free if limit is None else free[:limit]
    shown: dict[str, int] = {}
    if round_.proposals:
        model = book.newest_model(catalog, concept)
        if model is None:
            raise CollectError(
                f"no model has predicted for `{concept}` yet", hint="`collect prelabel`, then push again"
            )
        share = campaign.no_proposal_share
        shown = _shown(
            desk,
            chosen,
            rows.guesses(catalog, concept, model, chosen),
            desk.ws.section(LabelConfig).no_proposal_share if share is None else share,
        )
    extra = sentinels.plant(desk, round_, campaign.sentinels, chosen)
    new = desk.fill(round_, dict.fromkeys(chosen, round_.overlap), shown, extra)
    if round_.proposals and model:
        _renew(desk, model, ())
    return new


def _dispute(desk: Desk, campaign: Campaign, limit: int | None) -> int:
    """Give images with an open erratum, and those whose answers tie, to one more person, or to the arbiter.

    Not where somebody is at it already.
    """
    catalog, concept = desk.ws.catalog, desk.concept.name
    arbiter = campaign.arbiter
    rules = replace(campaign.rules, people=(arbiter,) if arbiter else campaign.rules.people)
    name = campaign.name or (f"disputed by {arbiter}" if arbiter else DISPUTED)
    round_ = desk.open(name, DISPUTED, 1, rules)
    most = desk.ws.section(LabelConfig).max_overlap
    answered = {row.task for row in rows.current(catalog, concept, sentinels=True)}
    waiting, given = set(), Counter[str]()
    for task in rows.tasks(catalog, concept):
        if task.id not in answered and task.annotator in desk.shares:
            waiting.add(task.image)
        given[task.image] += task.round == round_.id
    wanted, stuck = {}, 0
    cases = {**doubted(desk.ws, concept), **disputed(rows.current(catalog, concept))}  # open errata come first
    settled = votes.read(desk.ws, desk.concept).arbiter
    for image, people in cases.items():
        if image in waiting or image in settled:
            continue
        if arbiter in people if arbiter else len(people) >= most or people >= set(desk.crowd(round_)):
            stuck += 1
        else:
            wanted[image] = given[image] + 1
    if stuck:
        who = f"`{arbiter}` has answered them before" if arbiter else f"{most} people or everybody has answered them"
        desk.warnings.append(f"{stuck} disputed images stay open: {who}")
    chosen = list(wanted)[:limit]
    return desk.fill(round_, {image: wanted[image] for image in chosen})


def _shuffled(desk: Desk, images: Iterable[str]) -> list[str]:
    return sorted(images, key=lambda image: position(f"{desk.ws.seed}:{desk.concept.name}:order:{image}"))


def _shown(desk: Desk, images: Iterable[str], guesses: Mapping[str, Guess], without: float) -> dict[str, int]:
    """Image -> id of the prediction that is shown with it; a share of them stays without one."""
    return {
        image: guesses[image].id
        for image in images
        if image in guesses and not withheld(desk.ws, desk.concept.name, image, without)
    }


def _renew(desk: Desk, model_run: str, shown: Collection[str]) -> None:
    """Give every task that nobody has answered and that carries a proposal, or is of `shown`, that of `model_run`."""
    catalog, concept = desk.ws.catalog, desk.concept.name
    mine: defaultdict[int, list[tuple[Task, Guess]]] = defaultdict(list)
    known = list(rows.rounds(catalog, concept).values())
    planted = {row.id: book.sentinels(catalog, row.id) for row in known}
    lent = [row for row in known if row.proposals and any(each.proposal for each in planted[row.id].values())]
    every = rows.guesses(catalog, concept, model_run) if lent else {}  # any picture may lend its prediction
    wrong = {row.id: sentinels.renewed(desk, row, every) for row in lent}
    live = [
        task
        for task in rows.tasks(catalog, concept)
        if task.studio_task > 0 and (task.prediction is not None or task.image in shown)
    ]
    guesses = rows.guesses(catalog, concept, model_run, {task.image for task in live})
    for task in live:
        lender = wrong.get(task.round, {}) if task.image in planted[task.round] else guesses
        if guess := lender.get(task.image):
            mine[task.project].append((task, guess))
    for project, tasks in mine.items():
        older = [(task, guess) for task, guess in tasks if task.model_run != model_run]
        if older:
            open_ = {item.id: item for item, answers in desk.studio.answered(project) if not answers}
            older = [(task, guess) for task, guess in older if task.studio_task in open_]
            late = []
            for task, guess in older:
                before = open_[task.studio_task].proposal
                if before is None or before.model_version != model_run:  # else a push that was killed imported it
                    late.append((task.studio_task, Proposal(guess.label, guess.score, model_run)))
            desk.studio.import_proposals(project, late)
            rows.show(catalog, {task.id: guess.id for task, guess in older})
        desk.studio.show_version(project, model_run)


def _pushed(ws: Workspace, concept: Concept, desk: Desk, new: int) -> PushSummary:
    tasks = rows.tasks(ws.catalog, concept.name)
    rounds = {round_.id: round_ for round_ in rows.rounds(ws.catalog, concept.name).values()}
    planted = {number: book.sentinels(ws.catalog, number) for number in rounds}
    images: defaultdict[str, set[str]] = defaultdict(set)
    for task in tasks:
        images[rounds[task.round].name].add(task.image)
    together = tuple(round_.name for round_ in rounds.values() if shared(round_) and round_.name in images)
    others = set(desk.people) != {ADMIN}
    warnings = list(desk.warnings)
    if len(desk.shares) < 2:
        warnings.append("there is one annotator, so agreement cannot be measured: `collect label annotators add NAME`")
    if together:
        warnings.append(
            f"{', '.join(together)}: one project for all, so blind by workflow only; "
            "in Label Studio everybody can look up the answers of the others"
        )
    return PushSummary(
        url=desk.studio.url,
        tasks=len(tasks),
        new=new,
        images={name: len(found) for name, found in images.items()},
        annotators=dict(sorted(Counter(task.annotator for task in tasks).items())),
        sentinels=sum(task.image in planted[task.round] for task in tasks),
        shared=together,
        passwords=str(folder_of(ws) / accounts.FILE) if others else "",
        warnings=tuple(warnings),
        next=f"collect label pull {concept.name}",
    )
