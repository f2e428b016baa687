from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from collector.catalog import labels, models
from collector.catalog import rounds as book
from collector.catalog.labels import Current
from collector.catalog.models import ModelRun, Prediction
from collector.errors import UsageError
from collector.splits import draw
from collector.workspace import Workspace
from labeling.pull import pull
from labeling.push import Campaign, propose, push
from labeling.rounds import Rules
from labeling.sentinels import Wish, unanimous
from labeling.server import Server
from tests.labeling.desks import PEOPLE, answer, tasks_of

NO_TASK: dict[str, Any] = dict.fromkeys(Current._fields)


def said(image: str, by: str, label: str | None) -> Current:
    return Current(**(NO_TASK | {"id": 1, "image": image, "annotator": by, "label": label}))


def test_an_answer_is_known_when_two_people_agree_and_nobody_doubts() -> None:
    rows = [
        *(said("agreed", who, "horse") for who in "ab"),
        said("alone", "a", "horse"),
        *(said("split", who, label) for who, label in (("a", "horse"), ("b", "none"))),
        *(said("doubted", who, label) for who, label in (("a", "horse"), ("b", "horse"), ("c", None))),
        *(said("changed", who, label) for who, label in (("a", "none"), ("b", "horse"), ("a", "horse"))),
        *(said("nobody", who, None) for who in "ab"),
    ]
    assert unanimous(rows) == {"agreed": "horse", "changed": "horse"}


def labeled(ws: Workspace, server: Server, concept: str) -> list[str]:
    """Two training images that ann and ben have labeled alike."""
    push(ws, concept, limit=2, overlap=2, campaign=Campaign(name="first", rules=Rules(people=("ann", "ben"))))
    for task in tasks_of(ws, concept, "first"):
        answer(server, task, concept)
    pull(ws, concept)
    return sorted({task.image for task in tasks_of(ws, concept, "first")})


def predict(ws: Workspace, concept: str, run: str, known: list[str]) -> None:
    models.put_model_run(ws.catalog, ModelRun(run, None, "test", "0", "0"))
    images = sorted(set(draw(ws, ws.concept(concept))) - set(known))
    rows = [Prediction(image, (concept, f"not-{concept}")[n % 2], 0.6 + n / 100, {}) for n, image in enumerate(images)]
    models.add_predictions(ws.catalog, run, concept, rows)


@pytest.mark.studio
def test_known_answers_are_mixed_in_for_those_who_have_not_seen_them(
    desk: Workspace, concept: str, studio_server: Server
) -> None:
    known = labeled(desk, studio_server, concept)
    rules = Rules(people=PEOPLE)
    campaign = Campaign(name="second", rules=rules, sentinels=Wish(plain=2))
    made = push(desk, concept, limit=4, overlap=1, campaign=campaign)
    second = tasks_of(desk, concept, "second")
    planted = [task for task in second if task.image in known]
    assert {(task.image, task.annotator) for task in planted} == {(image, "cyd") for image in known}
    assert made.sentinels == 2
    assert any("4 sentinels are missing" in warning for warning in made.warnings)
    assert push(desk, concept, limit=4, overlap=1, campaign=campaign).new == 0
    assert Counter(task.image for task in second).most_common(1)[0][1] == 1

    before = labels.current(desk.catalog, concept)
    answer(studio_server, planted[0], f"not-{concept}")
    pull(desk, concept)
    assert labels.current(desk.catalog, concept) == before
    assert len(labels.current(desk.catalog, concept, sentinels=True)) == len(before) + 1
    push(desk, concept)
    assert not set(known) & {task.image for task in tasks_of(desk, concept, "pool")}
    with pytest.raises(UsageError, match="shows no proposals"):
        push(desk, concept, campaign=Campaign(name="second", rules=rules, sentinels=Wish(wrong=1)))


@pytest.mark.studio
def test_wrong_proposals_look_like_any_other_and_stay_wrong_with_the_next_model(
    desk: Workspace, concept: str, studio_server: Server
) -> None:
    known = labeled(desk, studio_server, concept)
    predict(desk, concept, "m1", known)
    campaign = Campaign(
        name="hints", rules=Rules(proposals=True, people=("cyd",)), sentinels=Wish(wrong=1), no_proposal_share=0.0
    )
    push(desk, concept, limit=3, overlap=1, campaign=campaign)
    number = labels.rounds(desk.catalog, concept)["hints"].id
    (wrong,) = book.sentinels(desk.catalog, number).values()
    assert (wrong.label, wrong.proposal) == (concept, f"not-{concept}")
    (task,) = [task for task in tasks_of(desk, concept, "hints") if task.image == wrong.image]
    with studio_server.connect("cyd") as studio:
        shown = {image: item.proposal for image, item in studio.items(task.project).items()}
        assert len(shown) == 4
        assert {each.model_version for each in shown.values() if each} == {"m1"}
        lie = shown[wrong.image]
        assert lie is not None
        assert lie.label == f"not-{concept}"
        assert 0.6 <= lie.score <= 1
        predict(desk, concept, "m2", known)
        propose(desk, concept, "m2", limit=1)
        lie = studio.items(task.project)[wrong.image].proposal
        assert lie is not None
        assert (lie.label, lie.model_version) == (f"not-{concept}", "m2")
    answer(studio_server, task, f"not-{concept}")
    pull(desk, concept)
    (row,) = [row for row in labels.current(desk.catalog, concept, sentinels=True) if row.task == task.id]
    assert (row.proposal, row.proposal_kept) == (f"not-{concept}", True)
    held = {image for image, name in draw(desk, desk.concept(concept)).items() if name != "train"}
    assert not [t for t in labels.tasks(desk.catalog, concept) if t.image in held and t.prediction is not None]


@pytest.mark.studio
def test_known_answers_may_come_from_a_file_and_its_errors_name_the_line(
    desk: Workspace, concept: str, tmp_path: Path
) -> None:
    splits = draw(desk, desk.concept(concept))
    train = sorted(image for image, name in splits.items() if name == "train")
    held = sorted(image for image, name in splits.items() if name != "train")
    file = tmp_path / "known.csv"

    def wish(text: str, wrong: int = 0) -> Campaign:
        file.write_text(text, encoding="utf-8")
        return Campaign(name="r", rules=Rules(people=("ann",)), sentinels=Wish(0, wrong, file))

    for text, said_ in (
        ("picture,label\n", "no columns image and label"),
        (f"image,label\n{train[0]},zebra\n", "line 2: `zebra` is not a label"),
        (f"image,label\n{train[0]},{concept}\n{'0' * 64},{concept}\n", "line 3: .* no image"),
        (f"image,label\nab,{concept}\n", "line 2: `ab` is no image"),
        (f"image,label\n{train[0]},{concept}\n{train[0]},not-{concept}\n", "has two labels"),
    ):
        with pytest.raises(UsageError, match=said_):
            push(desk, concept, limit=1, overlap=1, campaign=wish(text))
    file.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UsageError, match="cannot be read"):
        push(desk, concept, limit=1, overlap=1, campaign=Campaign(name="r", sentinels=Wish(file=file)))
    text = f"image,label\n{train[0][:16].upper()},{concept}\n{held[0]},{concept}\n"
    made = push(desk, concept, limit=0, overlap=1, campaign=wish(text))
    assert made.sentinels == 2
    assert {task.image for task in tasks_of(desk, concept, "r")} == {train[0], held[0]}
