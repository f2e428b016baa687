"""Push, propose and pull between a real catalog and the real Label Studio."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from collector.catalog import labels, suspects
from collector.catalog.suspects import Suspect
from collector.errors import CollectError, ServiceDown, UsageError
from collector.splits import draw
from collector.workspace import Workspace
from labeling import accounts
from labeling.interface import UNSURE, Item
from labeling.lifecycle import folder_of
from labeling.projects import title
from labeling.pull import pull
from labeling.push import propose, push
from labeling.server import Server
from labeling.studio import Studio
from tests.labeling.desks import PEOPLE, add, answer, model, tasks_of

pytestmark = pytest.mark.studio


def test_held_out_images_go_to_two_people_and_the_pool_to_as_many_as_asked(desk: Workspace, concept: str) -> None:
    summary = push(desk, concept, limit=5, overlap=1)
    splits = draw(desk, desk.concept(concept))
    held = {image for image, name in splits.items() if name != "train"}
    holdout, pool = tasks_of(desk, concept, "holdout"), tasks_of(desk, concept, "pool")
    assert {task.image for task in holdout} == held
    assert set(Counter(task.image for task in holdout).values()) == {2}
    assert set(Counter(task.image for task in pool).values()) == {1}
    assert len(pool) == 5
    assert not held & {task.image for task in pool}
    assert summary.images == {"holdout": len(held), "pool": 5}
    assert summary.tasks == summary.new == len(holdout) + len(pool)
    for tasks in (holdout, pool):
        load = Counter(task.annotator for task in tasks)
        assert max(load.values()) - min(load.values()) <= 1
        assert len({(task.image, task.annotator) for task in tasks}) == len(tasks)
        assert len({task.project for task in tasks}) == len(PEOPLE)
    rounds = labels.rounds(desk.catalog, concept)
    assert rounds["holdout"].blind
    assert not rounds["holdout"].proposals


def test_suspects_are_the_first_of_the_pool_that_people_get(desk: Workspace, concept: str) -> None:
    home = draw(desk, desk.concept(concept))
    suspected = sorted(image for image, name in home.items() if name == "train")[-3:]
    suspects.put(desk.catalog, concept, [Suspect(image, "looks like it") for image in suspected])
    push(desk, concept, limit=2)
    assert {task.image for task in tasks_of(desk, concept, "pool")} == set(suspected[:2])


def test_a_second_push_makes_no_second_task_and_new_images_get_theirs(
    desk: Workspace, concept: str, studio_server: Server
) -> None:
    push(desk, concept)
    before = labels.tasks(desk.catalog, concept)
    again = push(desk, concept)
    assert again.new == 0
    assert labels.tasks(desk.catalog, concept) == before
    add(desk, concept, range(16, 20))
    later = push(desk, concept)
    assert later.new == 4 * 2
    assert labels.tasks(desk.catalog, concept)[: len(before)] == before
    with studio_server.connect() as studio:
        for project in {task.project for task in before}:
            rows = [task for task in labels.tasks(desk.catalog, concept) if task.project == project]
            assert {task.image: task.studio_task for task in rows} == {
                image: item.id for image, item in studio.items(project).items()
            }


KILLED = """
import os, signal, sys
from collector.workspace import Workspace
from labeling import rounds
from labeling.push import push
from labeling.studio import Studio
owner = Studio if hasattr(Studio, sys.argv[3]) else rounds.rows
real = getattr(owner, sys.argv[3])
def then_die(*args, **options):
    real(*args, **options)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(owner, sys.argv[3], then_die)
push(Workspace.open(sys.argv[1], environ={}), sys.argv[2])
"""


def test_a_push_that_is_killed_anywhere_is_completed_by_the_next(
    desk: Workspace, concept: str, studio_server: Server
) -> None:
    for moment in ("plan", "create_project", "serve_images", "import_items", "place"):
        program = [sys.executable, "-c", KILLED, str(desk.settings.path), concept, moment]
        assert subprocess.run(program, check=False).returncode == -signal.SIGKILL, moment
    push(desk, concept)
    tasks = labels.tasks(desk.catalog, concept)
    assert set(Counter(task.image for task in tasks).values()) == {2}
    with studio_server.connect() as studio:
        titles = [name for name in studio.projects() if name.startswith(f"{concept} /")]
        assert len(titles) == 2 * len(PEOPLE)
        for project in {task.project for task in tasks}:
            rows = list(studio._tasks(project, "id,data"))
            mine = {task.image: task.studio_task for task in tasks if task.project == project}
            assert [row["data"]["sha256"] for row in rows] == list(mine)
            assert [row["id"] for row in rows] == list(mine.values())


def test_every_answer_becomes_a_row_and_every_change_another(
    desk: Workspace, concept: str, studio_server: Server
) -> None:
    push(desk, concept, limit=0)
    a, b, c, d, *_ = tasks_of(desk, concept, "holdout")
    answer(studio_server, a, concept, seconds=5000)
    answer(studio_server, b, f"not-{concept}")
    answer(studio_server, c, UNSURE)
    answer(studio_server, d, None)
    first = pull(desk, concept)
    assert (first.annotations, first.new, first.changed, first.deleted) == (4, 4, 0, 0)
    assert (first.skipped, first.unsure) == (1, 1)
    assert sum(first.annotators.values()) == 4
    standing = {row.task: row for row in labels.current(desk.catalog, concept)}
    assert [(standing[t.id].state, standing[t.id].label, standing[t.id].annotator) for t in (a, b, c, d)] == [
        ("answered", concept, a.annotator),
        ("answered", f"not-{concept}", b.annotator),
        ("unsure", None, c.annotator),
        ("skipped", None, d.annotator),
    ]
    assert standing[a.id].seconds == 300.0
    assert standing[a.id].proposal is None
    assert pull(desk, concept).new == 0

    number = {row.task: row.studio_annotation for row in standing.values()}
    with studio_server.connect(a.annotator) as studio:
        studio.change(number[a.id] or 0, f"not-{concept}")
        studio.withdraw(number[b.id] or 0)
    second = pull(desk, concept)
    assert (second.annotations, second.new, second.changed, second.deleted) == (3, 0, 1, 1)
    now = {row.task: row for row in labels.current(desk.catalog, concept)}
    assert now[a.id].label == f"not-{concept}"
    assert b.id not in now
    frame = desk.catalog.frame("annotation")
    assert len(frame) == 6
    assert set(frame.loc[frame.supersedes.notna(), "supersedes"]) == {standing[a.id].id, standing[b.id].id}
    assert pull(desk, concept).annotations == 3
    assert len(desk.catalog.frame("annotation")) == 6


def test_an_answer_by_somebody_else_counts_as_his(desk: Workspace, concept: str, studio_server: Server) -> None:
    push(desk, concept, limit=0)
    task = tasks_of(desk, concept, "holdout")[0]
    other = next(name for name in PEOPLE if name != task.annotator)
    with studio_server.connect(other) as studio:
        studio.submit(task.project, Item(task.image, id=task.studio_task), concept, seconds=1)
    summary = pull(desk, concept)
    assert summary.annotators == {other: 1}
    assert any(f"{other} answered in the project of {task.annotator}" in warning for warning in summary.warnings)


def test_proposals_reach_only_training_images_that_nobody_has_seen(
    desk: Workspace, concept: str, studio_server: Server
) -> None:
    push(desk, concept, limit=2)
    earlier = {task.image for task in labels.tasks(desk.catalog, concept)}
    model(desk, concept, "m1", concept, 0.8)
    made = propose(desk, concept, "m1")
    tasks = tasks_of(desk, concept, "proposals")
    splits = draw(desk, desk.concept(concept))
    assert {task.image for task in tasks} == {i for i, name in splits.items() if name == "train"} - earlier
    with_one = {task.image for task in tasks if task.prediction is not None}
    there = {task.image for task in tasks_of(desk, concept, "pool") if task.prediction is not None}
    assert made.proposed == len(with_one) + len(there)
    assert not [task for task in tasks_of(desk, concept, "holdout") if task.prediction is not None]
    assert 0 < len(with_one) < len({task.image for task in tasks})
    assert propose(desk, concept, "m1").new == 0

    shown = [task for task in tasks if task.prediction is not None]
    plain = next(task for task in tasks if task.prediction is None)
    answer(studio_server, shown[0], concept)
    answer(studio_server, shown[1], f"not-{concept}")
    answer(studio_server, plain, concept)
    pull(desk, concept)
    standing = {row.task: row for row in labels.current(desk.catalog, concept)}
    told = [(standing[t.id].proposal, standing[t.id].proposal_kept) for t in (shown[0], shown[1], plain)]
    assert told == [(concept, True), (concept, False), (None, None)]

    model(desk, concept, "m2", f"not-{concept}", 0.6)
    propose(desk, concept, "m2")
    now = {task.id: task.model_run for task in tasks_of(desk, concept, "proposals")}
    assert {now[t.id] for t in shown[:2]} == {"m1"}
    assert {now[t.id] for t in shown[2:]} == {"m2"}
    assert now[plain.id] is None
    with studio_server.connect(shown[2].annotator) as studio:
        item = studio.next_item(shown[2].project)
        assert item is not None
        assert item.proposal is None or (item.proposal.label, item.proposal.model_version) == (f"not-{concept}", "m2")
    assert pull(desk, concept).changed == 0


def test_an_image_that_waits_in_the_pool_gets_its_proposal_there(
    desk: Workspace, concept: str, studio_server: Server
) -> None:
    push(desk, concept)
    tasks = tasks_of(desk, concept, "pool")
    answer(studio_server, tasks[0], concept)
    pull(desk, concept)
    model(desk, concept, "m1", concept, 0.8)
    made = propose(desk, concept, "m1")
    assert made.new == 0
    carrying = {task.image for task in tasks_of(desk, concept, "pool") if task.model_run == "m1"}
    assert made.proposed == len(carrying) > 0
    assert tasks[0].image not in carrying
    task = next(task for task in tasks_of(desk, concept, "pool") if task.image in carrying)
    with studio_server.connect(task.annotator) as studio:
        shown = studio.items(task.project)[task.image].proposal
    assert shown is not None
    assert (shown.label, shown.model_version) == (concept, "m1")


def test_answers_survive_the_loss_of_a_project(desk: Workspace, concept: str, studio_server: Server) -> None:
    push(desk, concept, limit=0)
    mine = [task for task in tasks_of(desk, concept, "holdout") if task.annotator == "ann"]
    answer(studio_server, mine[0], concept)
    assert pull(desk, concept).annotations == 1
    with studio_server.connect() as studio:
        studio.delete_project(mine[0].project)
    after = pull(desk, concept)
    assert (after.annotations, after.deleted) == (1, 0)
    assert any("is gone" in warning for warning in after.warnings)
    push(desk, concept, limit=0)
    assert pull(desk, concept).annotations == 1
    with studio_server.connect() as studio:
        project = studio.projects()[title(concept, "holdout", "ann")]
        assert set(studio.items(project)) == {task.image for task in mine[1:]}


def test_annotators_sign_in_with_what_the_private_file_says(desk: Workspace, concept: str) -> None:
    summary = push(desk, concept, limit=0)
    known = accounts.load(folder_of(desk))
    assert Path(summary.passwords).samefile(folder_of(desk) / accounts.FILE)
    assert {*PEOPLE, "me"} <= set(known)
    for name in PEOPLE:
        with Studio(summary.url, known[name].token) as studio:
            assert studio.check() == known[name].email


def test_labels_are_frozen_when_labeling_begins(
    desk: Workspace, concept: str, make_workspace: Callable[..., Workspace]
) -> None:
    push(desk, concept, limit=0)
    text = desk.settings.path.read_text()
    changed = make_workspace(f'{text}\n[concepts.{concept}]\nlabels = ["{concept}", "mule", "none"]\n')
    with pytest.raises(UsageError, match="had the labels"):
        push(changed, concept, limit=0)


def test_an_empty_pool_is_said_clearly(desk: Workspace) -> None:
    desk.concept("nothing", create=True)
    with pytest.raises(CollectError, match="no pictures"):
        push(desk, "nothing")


def test_without_label_studio_the_hint_is_to_start_it(ws: Workspace) -> None:
    ws.concept("horse", create=True)
    for step in (push, pull):
        with pytest.raises(ServiceDown) as caught:
            step(ws, "horse")
        assert "collect label start" in caught.value.hint
    assert os.listdir(ws.data / "locks")


def test_titles_stay_apart_when_they_are_cut_to_length() -> None:
    long = [title("a concept with a rather long name", "proposals", f"somebody-{n}@example.org") for n in range(9)]
    assert len(set(long)) == 9
    assert max(map(len, long)) <= 50
    assert title("horse", "pool", "ann") == "horse / pool / ann"
