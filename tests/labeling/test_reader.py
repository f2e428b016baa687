"""Reading answers in: what becomes a row, from whatever stands on the shelf of a Label Studio that people use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, cast

import pytest

from collector.catalog import labels as rows
from collector.catalog.labels import ANYBODY, Planned, Task
from collector.intake import take_in
from collector.records import License, Sighting
from collector.workspace import Workspace
from labeling.events import events
from labeling.interface import Answer, Item, choice, read_answer
from labeling.reader import MANY, Reader, read_in
from labeling.studio import Studio
from tests.conftest import jpeg

PROJECT = 7


class Shelf:
    """The answers in one project, as Label Studio would list them; the n-th look misses what `missed[n]` says."""

    def __init__(self) -> None:
        self.people = {1: "ann@collect.local", 2: "ben@collect.local"}
        self.items: dict[int, str] = {}
        self.answers: dict[int, Answer] = {}
        self.missed: list[set[int]] = []
        self.meanwhile: Callable[[], None] | None = None  # happens after the next look, before it is written
        self.clock = 0

    def users(self) -> dict[int, str]:
        return self.people

    def answered(self, project: int) -> Iterator[tuple[Item, list[Answer]]]:
        missed = self.missed.pop(0) if self.missed else set()
        answers, happens = list(self.answers.values()), self.meanwhile
        self.meanwhile = None
        if happens is not None:
            happens()
        for item, image in self.items.items():
            if project == PROJECT and item not in missed:
                yield Item(image, id=item), [each for each in answers if each.item == item]

    def give(self, number: int, item: int, label: str | None, *, by: int = 1, **more: Any) -> None:
        """Put an answer there, or another version of it."""
        self.clock += 1
        state = "skipped" if label is None else "answered"
        values = {"state": state, "note": "", "seconds": 2.0, "proposal": None, "updated_by": by, **more}
        self.answers[number] = Answer(
            id=number, item=item, by=by, label=label, updated_at=f"2020-01-01T00:00:{self.clock:02}Z", **values
        )


class Place:
    """A workspace with one round for ann, and the shelf where it is answered."""

    def __init__(self, ws: Workspace, annotator: str = "ann", several: bool = False) -> None:
        self.ws = ws
        self.concept = ws.concept("horse", create=True)
        self.shelf = Shelf()
        for seed in range(3):
            place = Sighting("test", str(seed), f"http://localhost/{seed}", License("cc0"), concept="horse")
            take_in(ws, jpeg(seed, (120, 96)), place)
        values: dict[str, Any] = {"purpose": "pool", "labels": list(self.concept.labels)}
        values |= {"guideline": "look", "guideline_hash": "g1"}
        values |= {"overlap": 1, "blind": True, "proposals": False, "several": several}
        round_ = rows.open_round(ws.catalog, "horse", "pool", values)
        emails = {name: f"{name}@collect.local" for name in ("ann", "ben")}
        rows.add_annotators(ws.catalog, emails | ({ANYBODY: ""} if annotator == ANYBODY else {}))
        images = sorted(set(ws.catalog.frame("images")["id"]))
        rows.plan(ws.catalog, round_.id, [Planned(image, annotator) for image in images])
        self.shelf.items = dict(enumerate(images, start=100))
        there = {image: item for item, image in self.shelf.items.items()}
        rows.place(ws.catalog, PROJECT, {task.id: there[task.image] for task in self.tasks})
        self.round = round_.id

    @property
    def tasks(self) -> list[Task]:
        return rows.tasks(self.ws.catalog, "horse")

    def read(self) -> Reader:
        return read_in(self.ws, self.concept, cast("Studio", self.shelf))

    def standing(self) -> list[tuple[str, str | None]]:
        return [(row.annotator, row.label) for row in rows.current(self.ws.catalog, "horse")]

    def count(self) -> int:
        return len(self.ws.catalog.frame("annotations"))


@pytest.fixture
def place(ws: Workspace) -> Place:
    return Place(ws)


def test_what_is_as_it_was_adds_nothing_and_a_second_submission_is_a_row_but_no_event(place: Place) -> None:
    place.shelf.give(1, 100, "horse")
    assert place.read().added == {"new": 1}
    assert not place.read().added
    place.shelf.give(1, 100, "horse", seconds=9.0)
    assert place.read().added == {"changed": 1}
    assert place.count() == 2
    assert not events(place.ws, "horse")
    assert rows.current(place.ws.catalog, "horse")[0].seconds == 9.0


def test_each_answer_carries_the_guideline_it_was_given_under(place: Place) -> None:
    place.shelf.give(1, 100, "horse")
    place.read()
    rows.put_guideline(place.ws.catalog, place.round, "look twice", "g2")
    place.shelf.give(2, 101, "horse")
    place.read()
    del place.shelf.answers[1]
    place.read()
    frame = place.ws.catalog.frame("annotations")
    assert list(frame["guideline"]) == ["g1", "g2", "g1"]
    assert list(frame["state"]) == ["answered", "answered", "deleted"]


def test_a_page_that_shifts_while_we_read_deletes_nothing(place: Place) -> None:
    for item in (100, 101, 102):
        place.shelf.give(item, item, "horse")
    place.read()
    place.shelf.missed = [{101}]
    assert not place.read().added.total()
    place.shelf.missed = [{101}, {101}]
    assert place.read().added == {"deleted": 1}
    assert place.read().added == {"changed": 1}  # it was there all the time
    assert [event.kind for event in events(place.ws, "horse")] == ["withdrawn", "restored"]


def test_a_project_that_is_gone_or_another_one_takes_no_answer_with_it(place: Place) -> None:
    place.shelf.give(1, 100, "horse")
    place.read()
    there, place.shelf.items = place.shelf.items, {}
    assert "is gone from Label Studio" in place.read().warnings[0]
    place.shelf.items = {1: "another picture", 2: ""}
    place.shelf.give(5, 1, "zebra")
    assert place.read().warnings[-1].startswith("the project of round pool for ann is gone")
    place.shelf.items = there
    place.shelf.missed = [{100}, set(there)]  # it goes between two looks
    place.read()
    assert place.standing() == [("ann", "horse")]
    assert place.count() == 1


def test_many_that_vanish_at_once_are_kept(place: Place) -> None:
    for number in range(MANY):
        place.shelf.give(number, 100, "horse")
    place.read()
    place.shelf.answers.clear()
    assert place.read().warnings == [f"{MANY} answers vanished from Label Studio at once; they are kept here"]
    assert place.count() == MANY


def test_the_answers_of_a_closed_account_stay_as_they_are(place: Place) -> None:
    place.shelf.give(1, 100, "horse")
    place.shelf.give(2, 101, "horse", by=2)
    place.read()
    place.shelf.people = {}
    place.shelf.answers = {n: replace(each, by=0, updated_by=0) for n, each in place.shelf.answers.items()}
    assert not place.read().added
    place.shelf.give(3, 102, "horse", by=0)
    assert "an account that is gone" in " ".join(place.read().warnings)
    assert place.standing() == [("ann", "horse"), ("ben", "horse"), ("ann", "horse")]


def test_every_hand_in_an_answer_shows(place: Place) -> None:
    place.shelf.give(1, 100, "horse")
    place.shelf.give(2, 101, "horse", by=2)
    place.shelf.give(3, 102, "horse", updated_by=2)
    first = place.read()
    assert first.warnings == [
        "ben answered in the project of ann, which counts as ben's: 1",
        "answers in the name of ann, given by ben: 1",
    ]
    place.shelf.give(1, 100, "not-horse", updated_by=2)
    place.shelf.give(2, 101, None, by=2)
    del place.shelf.answers[3]
    second = place.read()
    assert "answers of ann changed after submission by ben, both versions kept: 1" in second.warnings
    found = [(e.kind, e.annotator, e.by, e.was, e.became) for e in events(place.ws, "horse")]
    assert found == [
        ("in another's project", "ben", "ben", "", "horse"),
        ("in another's name", "ann", "ben", "", "horse"),
        ("changed", "ann", "ben", "horse", "not-horse"),
        ("changed", "ben", "ben", "horse", "skipped"),
        ("withdrawn", "ann", None, "horse", "deleted"),
    ]
    assert {(e.round, e.assigned) for e in events(place.ws, "horse")} == {("pool", "ann")}


def test_names_and_labels_with_braces_and_tags_are_only_text(place: Place) -> None:
    place.shelf.people[3] = "{n}{0.__class__}<script>"
    place.shelf.give(1, 100, "{zebra}", by=3)
    assert "answers that say `{zebra}`, no label of round pool: 1" in place.read().warnings
    assert place.standing() == [("{n}{0.__class__}<script>", "{zebra}")]


def test_answers_to_copies_count_and_those_to_strange_tasks_are_told(place: Place) -> None:
    place.shelf.items |= {200: place.shelf.items[100], 201: "", 202: "0" * 64}
    place.shelf.give(1, 100, "horse")
    place.shelf.give(2, 200, "not-horse")
    place.shelf.give(3, 201, "horse")
    place.shelf.give(4, 202, "horse")
    assert place.read().warnings == ["answers to tasks that collect did not make, left in Label Studio: 2"]
    assert place.standing() == [("ann", "not-horse")]
    del place.shelf.answers[2]
    place.read()
    assert place.standing() == [("ann", "horse")]


def test_in_a_shared_project_everybody_answers_under_his_own_name(ws: Workspace) -> None:
    place = Place(ws, annotator=ANYBODY)
    place.shelf.give(1, 100, "horse")
    place.shelf.give(2, 100, "not-horse", by=2)
    assert place.read().warnings == []
    assert place.standing() == [("ann", "horse"), ("ben", "not-horse")]
    assert not events(ws, "horse")


def test_several_labels_stand_in_the_order_of_the_concept(ws: Workspace) -> None:
    place = Place(ws, several=True)
    place.shelf.give(1, 100, "not-horse|horse", proposal="not-horse|horse")
    assert place.read().warnings == []
    row = rows.current(ws.catalog, "horse")[0]
    assert (row.label, row.proposal_kept) == ("horse|not-horse", True)


def test_clocks_are_never_compared(place: Place) -> None:
    place.shelf.give(1, 100, "horse")
    place.read()
    for stamp in ("1970-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "1980-01-01T00:00:00Z"):
        label = f"said at {stamp}"
        place.shelf.answers[1] = replace(place.shelf.answers[1], label=label, updated_at=stamp)
        place.read()
        assert place.standing() == [("ann", label)]
    assert place.count() == 4


def test_two_machines_that_read_at_once_do_no_harm(place: Place) -> None:
    place.shelf.give(1, 100, "horse")

    def meanwhile() -> None:
        place.shelf.give(1, 100, "not-horse")
        place.read()

    place.shelf.meanwhile = meanwhile
    Reader(place.ws, place.concept, cast("Studio", place.shelf)).read()  # without the lock, which is of one machine
    assert place.count() == 2
    place.read()
    assert place.standing() == [("ann", "not-horse")]
    place.shelf.answers.clear()
    place.read()
    assert place.standing() == []


def test_a_label_under_a_control_that_was_renamed_by_hand_is_no_skip() -> None:
    row = {"id": 1, "completed_by": 1, "updated_by": 1, "updated_at": "", "was_cancelled": False, "lead_time": None}
    row |= {"parent_prediction": None, "result": [choice("horse") | {"from_name": "animal"}]}
    read = read_answer({"id": 5, "predictions": []}, row)
    assert (read.state, read.label) == ("answered", "horse")
