"""Known answers planted among the tasks of a round, to see how well people label and how much proposals sway them.

A *sentinel* is an image whose answer is known. A *wrong* sentinel comes with a proposal that is not that answer,
borrowed from another picture: label, score and model version are those of a real prediction, so nobody can tell.
Answers to sentinels judge the annotator; they are no votes (`rows.current` leaves them out).
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from collector.catalog import images as image_rows
from collector.catalog import labels as rows
from collector.catalog import rounds as book
from collector.catalog.labels import ANYBODY, Current, Guess, Planned, Round, Task
from collector.catalog.rounds import Sentinel
from collector.errors import UsageError
from collector.splits import draw, position
from labeling.interface import JOINT
from labeling.rounds import Desk

SHORTEST = 8  # hexadecimal digits that name an image


@dataclass(frozen=True, slots=True)
class Wish:
    """How many sentinels each annotator is to have in a round, and of these how many with a wrong proposal.

    `file` is a table with the columns image and label; without it, images are taken that two or more people have
    labeled, all of them alike.
    """

    plain: int = 0
    wrong: int = 0
    file: Path | None = None


def plant(desk: Desk, round_: Round, wish: Wish, wanted: Collection[str]) -> list[Planned]:
    """The tasks of the sentinels that each annotator still lacks; their answers are written down.

    Nobody gets one that he has seen, and no image is one that is an ordinary task of the round (or of `wanted`).
    Held-out images are sentinels only where no proposals are shown.

    Raises:
        UsageError: the file is wrong, or wrong sentinels are asked for where no proposals are shown.
    """
    if not (wish.plain or wish.wrong or wish.file):
        return []
    if wish.wrong and not round_.proposals:
        raise UsageError(
            f"the round `{round_.name}` shows no proposals, so it cannot show wrong ones",
            hint="--wrong-sentinels goes with a round of proposals",
        )
    catalog, concept = desk.ws.catalog, desk.concept.name
    tasks = rows.tasks(catalog, concept)
    answers = rows.current(catalog, concept, sentinels=True)
    known = _from_file(desk, round_, wish.file) if wish.file else unanimous(rows.current(catalog, concept))
    if wish.file and not (wish.plain or wish.wrong):
        wish = replace(wish, plain=len(known))  # all of them
    there = book.sentinels(catalog, round_.id)
    home = draw(desk.ws, desk.concept)
    ordinary = ({task.image for task in tasks if task.round == round_.id} | set(wanted)) - there.keys()
    free = {
        image: label
        for image, label in known.items()
        if image not in ordinary and not (round_.proposals and home.get(image, "train") != "train")
    }
    planter = _Planter(desk, round_, wish, _Lender(desk, round_))
    planter.choose(free, there)
    planned = planter.deal(tasks, _seen(tasks, answers))
    used = {row.image for row in planned}
    book.plant(catalog, round_.id, [row for image, row in planter.sentinels.items() if image in used - there.keys()])
    dealt = sum(task.round == round_.id and task.image in there for task in tasks) + len(planned)
    short = len(desk.crowd(round_)) * (wish.plain + wish.wrong) - dealt
    if short > 0:
        desk.warnings.append(f"{short} sentinels are missing: too few known answers that the annotator has not seen")
    return planned


def unanimous(answers: Sequence[Current]) -> dict[str, str]:
    """Image -> label, of the images that two or more people labeled, all alike; the last answer of each counts."""
    said: defaultdict[str, dict[str, str | None]] = defaultdict(dict)
    for row in answers:
        said[row.image][row.annotator] = row.label
    return {
        image: label
        for image, by in said.items()
        if len(by) > 1 and len(set(by.values())) == 1 and (label := next(iter(by.values()))) is not None
    }


def renewed(desk: Desk, round_: Round, guesses: Mapping[str, Guess]) -> dict[str, Guess]:
    """Image -> wrong proposal of another model, for the wrong sentinels of a round."""
    lender = _Lender(desk, round_, guesses)
    found = {}
    for image, row in book.sentinels(desk.ws.catalog, round_.id).items():
        guess = lender.lend(image, row.proposal) if row.proposal else None
        if guess:
            found[image] = guess
    return found


class _Lender:
    """Finds real predictions of other pictures, by label."""

    def __init__(self, desk: Desk, round_: Round, guesses: Mapping[str, Guess] | None = None) -> None:
        self._key = f"{desk.ws.seed}:{desk.concept.name}:{round_.name}"
        self._labels = round_.labels
        if guesses is None:
            model = book.newest_model(desk.ws.catalog, desk.concept.name)
            guesses = rows.guesses(desk.ws.catalog, desk.concept.name, model) if model else {}
        self._guesses: defaultdict[str, list[Guess]] = defaultdict(list)
        for guess in guesses.values():
            self._guesses[guess.label].append(guess)

    def lend(self, image: str, label: str) -> Guess | None:
        """A prediction that says `label`; the same for the same picture."""
        found = self._guesses.get(label)
        return found[int(position(f"{self._key}:{image}:lend") * len(found))] if found else None

    def wrong(self, image: str, right: str) -> str | None:
        """A label that is not `right` and that the model does propose."""
        other = [label for label in self._labels if label != right and label in self._guesses]
        return other[int(position(f"{self._key}:{image}:wrong") * len(other))] if other else None


@dataclass(slots=True)
class _Planter:
    """Chooses sentinels (image -> sentinel, wrong ones as far as they are wanted) and deals them out."""

    desk: Desk
    round_: Round
    wish: Wish
    lender: _Lender
    sentinels: dict[str, Sentinel] = field(default_factory=dict)

    def choose(self, free: Mapping[str, str], there: Mapping[str, Sentinel]) -> None:
        why = f"from {self.wish.file.name}" if self.wish.file else "two or more people agree"
        key = f"{self.desk.ws.seed}:{self.desk.concept.name}:{self.round_.name}:sentinel"
        wrong = self.wish.wrong * len(self.desk.crowd(self.round_))
        self.sentinels = dict(there)
        for image in sorted(free.keys() - there.keys(), key=lambda image: position(f"{key}:{image}")):
            proposal = self.lender.wrong(image, free[image]) if wrong > 0 else None
            wrong -= proposal is not None
            self.sentinels[image] = Sentinel(image, free[image], proposal, why)

    def deal(self, tasks: Sequence[Task], seen: Mapping[str, set[str]]) -> list[Planned]:
        has = Counter(
            (task.annotator, self.sentinels[task.image].proposal is not None)
            for task in tasks
            if task.round == self.round_.id and task.image in self.sentinels
        )
        everybody = {*self.desk.shares, ANYBODY}
        planned = []
        for name in self.desk.crowd(self.round_):
            for image, row in self.sentinels.items():
                wrong = row.proposal is not None
                saw = seen.get(image, set()) & (everybody if name == ANYBODY else {name})
                if saw or has[name, wrong] >= (self.wish.wrong if wrong else self.wish.plain):
                    continue
                guess = self.lender.lend(image, row.proposal) if row.proposal else None
                if guess or not wrong:
                    planned.append(Planned(image, name, guess.id if guess else None))
                    has[name, wrong] += 1
        return planned


def _seen(tasks: Sequence[Task], answers: Sequence[Current]) -> dict[str, set[str]]:
    seen: defaultdict[str, set[str]] = defaultdict(set)
    for image, name in [*((t.image, t.annotator) for t in tasks), *((a.image, a.annotator) for a in answers)]:
        seen[image].add(name)
    return seen


def _from_file(desk: Desk, round_: Round, file: Path) -> dict[str, str]:
    images = sorted(image_rows.ids(desk.ws.catalog))
    known: dict[str, str] = {}
    for line, name, label in _lines(file):
        found = [image for image in images if image.startswith(name)] if len(name) >= SHORTEST else []
        if len(found) != 1:
            count = "several images" if found else "no image"
            raise UsageError(
                f"{file}, line {line}: `{name[:80]}` is {count} of this workspace",
                hint=f"give the sha256 of an image, or its first {SHORTEST} digits or more",
            )
        if not set(label.split(JOINT) if round_.several else [label]) <= set(round_.labels):
            raise UsageError(
                f"{file}, line {line}: `{label[:80]}` is not a label of `{desk.concept.name}`",
                hint=f"its labels: {', '.join(round_.labels)}",
            )
        if known.setdefault(found[0], label) != label:
            raise UsageError(f"{file}, line {line}: image {name} has two labels", hint="leave one of the lines out")
    return known


def _lines(file: Path) -> Iterator[tuple[int, str, str]]:
    try:
        with open(file, newline="", encoding="utf-8-sig") as stream:
            table = csv.DictReader(stream)
            if not {"image", "label"} <= set(table.fieldnames or ()):
                raise UsageError(f"{file} has no columns image and label", hint="its first line must be `image,label`")
            for row in table:
                yield table.line_num, (row["image"] or "").strip().lower(), (row["label"] or "").strip()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{file} cannot be read: {error}", hint="give a CSV file: image,label") from None
