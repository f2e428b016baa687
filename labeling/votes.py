"""What people said of the images of one concept, read from the catalog and sorted by what it may count for.

* Agreement is measured on answers that people gave independently of what others had said: not on sentinels, and not on
  disputed images that were given out once more, which would count the hard images twice.
* Consensus is taken from all answers but those to sentinels. Where an arbiter answered, his word settles the image.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from collector.catalog import labels as label_rows
from collector.catalog import rounds as book
from collector.catalog.labels import Current, Round
from collector.records import Concept
from collector.workspace import Workspace
from labeling.agreement import Answers
from labeling.columns import Row
from labeling.disagreements import Vote

DISPUTED = "disputed"  # the purpose of rounds that give out disputed images once more
SAID = ("answered", "unsure")  # "can't tell" is an answer, skipped and deleted are not


@dataclass(frozen=True, slots=True, eq=False)
class Votes:
    """All answers to a concept, each annotator's last one to each image.

    `rows` are measured, sentinels among them marked; `answers` decide on labels, and `by_image` shows them. `arbiter`
    is image -> label where one decided. `guideline` is the text shown last. `repeated` answers of an annotator to an
    image that he had answered before have replaced the earlier ones.
    """

    rows: list[Row]
    answers: Answers
    by_image: dict[str, list[Vote]]
    arbiter: dict[str, str]
    several: bool
    guideline: str
    repeated: int


def read(ws: Workspace, concept: Concept) -> Votes:
    """The standing answers of a concept."""
    rounds = {row.id: row for row in label_rows.rounds(ws.catalog, concept.name).values()}
    round_of = {task.id: task.round for task in label_rows.tasks(ws.catalog, concept.name)} if rounds else {}
    planted = book.planted(ws.catalog, concept.name)
    shown = book.guidelines(ws.catalog, concept.name)
    versions = {digest: f"version {number}" for number, digest in enumerate(shown, 1)}
    sentinels: list[Row] = []
    given: list[tuple[Current, bool]] = []  # an answer, and whether it was one to a dispute
    for row in label_rows.current(ws.catalog, concept.name, sentinels=True):
        number = round_of.get(row.task or 0, 0)
        if row.state not in SAID:
            continue
        if (number, row.image) in planted:
            sentinels.append(_row(row, versions, planted[number, row.image].label))
        else:
            given.append((row, number in rounds and rounds[number].purpose == DISPUTED))
    measured = _latest(row for row, again in given if not again)
    standing = _latest(row for row, _ in given)
    deciding = {row.id: label for row, again in given if again and (label := _word(row, rounds, round_of))}
    return Votes(
        rows=[*(_row(row, versions) for row in measured), *sentinels],
        answers=Answers.tabulate([(row.image, row.annotator, row.label) for row in standing], concept.labels),
        by_image=_by_image(standing),
        arbiter={row.image: deciding[row.id] for row in standing if row.id in deciding},
        several=any(row.several for row in rounds.values()),
        guideline=next(reversed(shown.values()), next((row.guideline for row in reversed(rounds.values())), "")),
        repeated=sum(not again for _, again in given) - len(measured),
    )


def _latest(rows: Iterable[Current]) -> list[Current]:
    last = {(row.image, row.annotator): row for row in sorted(rows, key=lambda row: row.id)}
    return list(last.values())


def _word(row: Current, rounds: dict[int, Round], round_of: dict[int, int]) -> str | None:
    """The label of an arbiter: who labels disputed images alone."""
    people = rounds[round_of[row.task or 0]].people
    return row.label if people is not None and len(people) == 1 else None


def _row(row: Current, versions: dict[str, str], sentinel: str | None = None) -> Row:
    return Row(
        task=row.image,
        annotator=row.annotator,
        label=row.label,
        seconds=row.seconds,
        note=row.note,
        at=row.studio_updated_at,
        guideline=versions.get(row.guideline or ""),
        proposal=row.proposal,
        kept=row.proposal_kept,
        sentinel=sentinel,
    )


def _by_image(rows: Iterable[Current]) -> dict[str, list[Vote]]:
    found: defaultdict[str, list[Vote]] = defaultdict(list)
    for row in rows:
        found[row.image].append(Vote(row.annotator, row.label, row.note, row.seconds))
    return dict(found)
