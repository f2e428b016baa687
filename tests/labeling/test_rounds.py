from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.catalog import labels, models
from collector.catalog.labels import ANYBODY, Current
from collector.catalog.models import ModelRun, Prediction
from collector.errors import CollectError, UsageError
from collector.intake import take_in
from collector.records import Kept, License, Sighting
from collector.splits import draw
from collector.workspace import Workspace
from labeling import template
from labeling.interface import UNSURE, Item, choice
from labeling.order import disputed, diverse, farthest_first
from labeling.projects import title
from labeling.pull import pull
from labeling.push import Campaign, push
from labeling.rounds import Desk, Rules
from labeling.server import Server
from tests.conftest import jpeg
from tests.labeling.desks import PEOPLE, answer, model, tasks_of

NO_TASK: dict[str, Any] = dict.fromkeys(Current._fields)


def said(image: str, by: str, label: str | None) -> Current:
    return Current(**(NO_TASK | {"id": 1, "image": image, "annotator": by, "state": "answered", "label": label}))


def paper(ws: Workspace, concept: str = "horse", people: tuple[str, ...] = PEOPLE) -> Desk:
    """A desk without Label Studio."""
    labels.add_annotators(ws.catalog, {name: name for name in (*people, ANYBODY)})
    return Desk(ws, ws.concept(concept, create=True), None, dict.fromkeys(people, 1.0))  # type: ignore[arg-type]


def named(name: str, **rules: Any) -> Campaign:
    return Campaign(name=name, rules=Rules(**rules))


def test_a_round_keeps_the_rules_that_it_was_opened_with(ws: Workspace) -> None:
    desk = paper(ws)
    rules = Rules(people=("ann", "ben"), order="uncertain", several=True, proposals=True)
    opened = desk.open("r", "proposals", 2, rules)
    assert (opened.people, opened.order, opened.several, opened.blind) == (["ann", "ben"], "uncertain", True, True)
    assert desk.open("r", "proposals", 3, Rules())._replace(overlap=2) == opened
    assert desk.open("r", "proposals", 2, rules) == opened
    for change, word in (
        ({"people": ("ann",)}, "people ann, ben, not ann"),
        ({"order": "diverse"}, "order uncertain, not diverse"),
        ({"several": False}, "several on, not off"),
        ({"blind": False}, "blind on, not off"),
    ):
        with pytest.raises(UsageError, match=word):
            desk.open("r", "proposals", 2, replace(rules, **change))
    with pytest.raises(UsageError, match="does not label here"):
        desk.open("other", "pool", 2, Rules(people=("nobody",)))


def test_labels_that_could_not_be_told_apart_are_refused_for_several(make_workspace: Callable[..., Workspace]) -> None:
    ws = make_workspace('[concepts.horse]\nlabels = ["horse", "a|b", "none"]\n')
    with pytest.raises(UsageError, match=r"a\|b"):
        paper(ws).open("r", "pool", 2, Rules(several=True))
    assert paper(ws).open("r", "pool", 2, Rules()).labels == ["horse", "a|b", "none"]


def test_a_page_of_ones_own_stays_with_its_round(make_workspace: Callable[..., Workspace]) -> None:
    ws = make_workspace('[label]\ntemplate = "page.xml"\n')
    with pytest.raises(UsageError, match="cannot be read"):
        paper(ws).open("r", "pool", 2)
    page = (
        '<View><Image name="image" value="$image"/><Choices name="label" toName="image">'
        f'<Choice value="horse"/><Choice value="not-horse"/><Choice value="{UNSURE}"/></Choices></View>'
    )
    (ws.root / "page.xml").write_text(page)
    opened = paper(ws).open("r", "pool", 2)
    assert opened.template == page
    (ws.root / "page.xml").write_text(page.replace("<View>", "<View><Header value='new'/>"))
    assert paper(ws).open("r", "pool", 2).template == page


def test_every_text_that_was_shown_stays_in_the_catalog(ws: Workspace) -> None:
    round_ = paper(ws).open("r", "pool", 2)
    assert labels.guideline_version(ws.catalog, round_.id) == 1
    assert labels.guideline_in_force(ws.catalog, round_.id) == round_.guideline_hash
    assert labels.put_guideline(ws.catalog, round_.id, "new", "hash of new") == 2
    assert labels.guideline_in_force(ws.catalog, round_.id) == "hash of new"
    assert labels.rounds(ws.catalog, "horse")["r"].guideline == "new"
    frame = ws.catalog.frame("guideline")
    assert list(frame.text) == [round_.guideline, "new"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("pqr"), st.sampled_from(["x", "y", None]))))
def test_an_image_is_disputed_where_the_lead_is_shared(rows: list[tuple[str, str, str | None]]) -> None:
    found = disputed([said(*row) for row in rows])
    latest = {(image, by): label for image, by, label in rows}
    for image in "abc":
        votes = Counter(v for (i, _), v in latest.items() if i == image and v is not None).most_common()
        assert (image in found) == (len(votes) > 1 and votes[0][1] == votes[1][1])
        assert found.get(image, set()) <= {by for i, by in latest if i == image}


def test_the_farthest_comes_next() -> None:
    bits = np.array([[0], [1], [0b1111], [0xFFFF_FFFF_FFFF_FFFF]], dtype=np.uint64)
    assert farthest_first(bits, 10) == [0, 3, 2, 1]
    assert farthest_first(bits, 2) == [0, 3]
    same = np.zeros((5, 4), dtype=np.uint64)
    assert sorted(farthest_first(same, 10)) == [0, 1, 2, 3, 4]


def test_pictures_of_one_kind_wait_for_those_of_another(ws: Workspace) -> None:
    ws.concept("horse", create=True)
    images = []
    for number, (seed, quality) in enumerate([(1, 90), (1, 80), (1, 70), (2, 90), (3, 90)]):
        seen = Sighting("t", str(number), f"http://l/{number}", License("cc0"), concept="horse", label="horse")
        outcome = take_in(ws, jpeg(seed, (120, 96), quality), seen)
        assert isinstance(outcome, Kept)
        images.append(outcome.image)
    assert set(diverse(ws, images)[:3]) == {images[0], images[3], images[4]}
    assert sorted(diverse(ws, images)) == sorted(images)
    assert diverse(ws, ["unknown"]) == ["unknown"]


def test_two_hundred_thousand_images_are_planned_in_one_go(ws: Workspace) -> None:
    desk = paper(ws)
    round_ = desk.open("r", "pool", 2)
    wanted = dict.fromkeys((f"{n:064x}" for n in range(200_000)), 2)
    planned = desk._assign(round_, wanted, [])
    load = Counter(row.annotator for row in planned)
    assert len(planned) == 400_000
    assert max(load.values()) - min(load.values()) <= 1


@pytest.mark.studio
def test_a_round_of_its_own_has_images_that_no_other_has(desk: Workspace, concept: str, studio_server: Server) -> None:
    model(desk, concept, "m1", concept, 0.8)
    made = push(desk, concept, limit=3, overlap=3, campaign=named("pilot", several=True, people=("ann", "ben")))
    pilot = tasks_of(desk, concept, "pilot")
    assert made.images == {"pilot": 3}
    assert Counter(task.annotator for task in pilot) == {"ann": 3, "ben": 3}
    splits = draw(desk, desk.concept(concept))
    assert {splits[task.image] for task in pilot} == {"train"}
    push(desk, concept)
    assert not {task.image for task in pilot} & {task.image for task in tasks_of(desk, concept, "pool")}
    with studio_server.connect("ann") as studio:
        task = next(task for task in pilot if task.annotator == "ann")
        both = [choice(f"not-{concept}|{concept}", several=True)]
        studio._call("POST", f"/api/tasks/{task.studio_task}/annotations/", json={"result": both})
    pull(desk, concept)
    assert [row.label for row in labels.current(desk.catalog, concept)] == [f"{concept}|not-{concept}"]
    with pytest.raises(CollectError, match="no picture is left"):
        push(desk, concept, campaign=named("late"))
    for name in ("pool", "holdout", " "):
        with pytest.raises(UsageError, match="every push"):
            push(desk, concept, campaign=named(name))
    with pytest.raises(UsageError, match="without proposals"):
        push(desk, concept, campaign=Campaign(rules=Rules(proposals=True)))
    assert not [task for task in tasks_of(desk, concept, "holdout") if task.prediction]


@pytest.mark.studio
def test_a_shared_round_is_one_project_and_says_so(desk: Workspace, concept: str, studio_server: Server) -> None:
    rules = Rules(blind=False, order="uncertain")
    images = sorted(i for i, name in draw(desk, desk.concept(concept)).items() if name == "train")
    models_say = {image: 0.5 + n / 100 for n, image in enumerate(images)}
    models.put_model_run(desk.catalog, ModelRun("m", None, "t", "0", "0"))
    rows = [Prediction(image, concept, score, {}) for image, score in models_say.items()]
    models.add_predictions(desk.catalog, "m", concept, rows)
    made = push(desk, concept, limit=4, overlap=2, campaign=Campaign(rules=rules))
    assert made.shared == ("pool",)
    assert any("blind by workflow only" in warning for warning in made.warnings)
    pool = tasks_of(desk, concept, "pool")
    assert [task.image for task in pool] == images[:4]
    assert {task.annotator for task in pool} == {ANYBODY}
    assert len({task.project for task in tasks_of(desk, concept, "holdout")}) == len(PEOPLE)
    for name in ("ann", "ben"):
        with studio_server.connect(name) as studio:
            item = studio.next_item(pool[0].project)
            assert item is not None
            assert item.image == images[0]
            studio.submit(pool[0].project, item, concept, seconds=1)
    with studio_server.connect("cyd") as studio:
        third = studio.next_item(pool[0].project)
        assert third is not None
        assert third.image == images[1]
    assert pull(desk, concept).annotators == {"ann": 1, "ben": 1}
    assert push(desk, concept, limit=4, campaign=Campaign(rules=rules)).new == 0
    assert not labels.rounds(desk.catalog, concept)["pool"].blind


@pytest.mark.studio
def test_open_cases_go_to_one_more_person_at_a_time_and_then_to_the_arbiter(
    desk: Workspace, concept: str, studio_server: Server
) -> None:
    other = f"not-{concept}"
    dispute = Campaign(rules=Rules(order="disputed"))
    push(desk, concept, limit=0)
    held = tasks_of(desk, concept, "holdout")
    assert push(desk, concept, campaign=dispute).new == 0
    image = held[0].image
    pair = [task for task in held if task.image == image]
    for task, label in zip(pair, (concept, other), strict=True):
        answer(studio_server, task, label)
    pull(desk, concept)
    assert push(desk, concept, campaign=dispute).new == 1
    assert push(desk, concept, campaign=dispute).new == 0  # somebody is at it
    (third,) = tasks_of(desk, concept, "disputed")
    assert third.image == image
    assert third.annotator not in {task.annotator for task in pair}
    answer(studio_server, third, None)  # a skip settles nothing
    pull(desk, concept)
    stuck = push(desk, concept, campaign=dispute)
    assert stuck.new == 0
    assert any("stay open" in warning for warning in stuck.warnings)

    text = desk.settings.path.read_text().replace('"cyd"', '"cyd", "boss"')
    desk.settings.path.write_text(text)
    with Workspace.open(desk.settings.path, environ={}) as ws:
        judged = push(ws, concept, campaign=replace(dispute, arbiter="boss"))
        assert judged.new == 1
        (last,) = tasks_of(ws, concept, "disputed by boss")
        assert (last.image, last.annotator) == (image, "boss")
        answer(studio_server, last, concept)
        pull(ws, concept)
        assert not disputed(labels.current(ws.catalog, concept))
        assert push(ws, concept, campaign=replace(dispute, arbiter="boss")).new == 0
        with pytest.raises(UsageError, match="disputed images only"):
            push(ws, concept, campaign=Campaign(arbiter="boss"))


@pytest.mark.studio
def test_another_guideline_is_shown_after_what_was_given_under_the_last_is_read_in(
    desk: Workspace, concept: str, studio_server: Server
) -> None:
    push(desk, concept, limit=0)
    task, second, *_ = [each for each in tasks_of(desk, concept, "holdout") if each.annotator == "ann"]
    answer(studio_server, task, concept)
    before = labels.rounds(desk.catalog, concept)["holdout"]
    text = desk.settings.path.read_text().replace("[label]", '[label]\nguideline = "Look **twice**, <b>please</b>."')
    desk.settings.path.write_text(text)
    with Workspace.open(desk.settings.path, environ={}) as ws:
        push(ws, concept, limit=0)
        after = labels.rounds(ws.catalog, concept)["holdout"]
        assert after.guideline == "Look **twice**, <b>please</b>."
        with studio_server.connect() as studio:
            shown = studio.project(task.project).instruction
            assert "Look <b>twice</b>, &lt;b&gt;please&lt;/b&gt;." in shown
            assert "version 2" in shown
            studio.change_project(task.project, expert_instruction="by hand")
            push(ws, concept, limit=0)
            assert "version 2" in studio.project(task.project).instruction
        answer(studio_server, second, concept)
        pull(ws, concept)
        under = {row.task: row.guideline for row in labels.heads(ws.catalog, concept)}
        assert under == {task.id: before.guideline_hash, second.id: after.guideline_hash}
        assert len(ws.catalog.frame("guideline")) == 4


@pytest.mark.studio
def test_what_was_changed_by_hand_is_restored_or_told(desk: Workspace, concept: str, studio_server: Server) -> None:
    push(desk, concept, limit=0)
    task = tasks_of(desk, concept, "holdout")[0]
    with studio_server.connect() as studio:
        page = studio.project(task.project).page
        studio.change_project(task.project, label_config=page.replace(f'value="{concept}"', 'value="zebra"'))
        studio.import_items(task.project, [Item(task.image)])
        studio.change_project(task.project, title=f"renamed {concept}")
        summary = push(desk, concept, limit=0)
        assert studio.projects()[title(concept, "holdout", task.annotator)] == task.project
        assert any("was renamed in Label Studio" in warning for warning in summary.warnings)
        assert template.choices(studio.project(task.project).page) == (concept, f"not-{concept}", UNSURE)
        assert summary.new == 0
        assert any("they are restored" in warning for warning in summary.warnings)
        assert any("1 tasks of round `holdout` were made by hand" in warning for warning in summary.warnings)
        studio._call("DELETE", f"/api/tasks/{task.studio_task}/")
        push(desk, concept, limit=0)
        assert labels.tasks(desk.catalog, concept)[0].studio_task == studio.items(task.project)[task.image].id


@pytest.mark.studio
def test_the_page_may_read_pictures_and_nothing_else(desk: Workspace, concept: str, studio_server: Server) -> None:
    text = desk.settings.path.read_text().replace("[label]", "[label]\npreview_above = 1")
    desk.settings.path.write_text(text)
    seen = Sighting("test", "big", "http://localhost/big", License("cc0"), concept=concept, label=concept)
    with Workspace.open(desk.settings.path, environ={}) as ws:
        outcome = take_in(ws, jpeg(99, (900, 700)), seen)
        assert isinstance(outcome, Kept)
        push(ws, concept)
        image = outcome.image
        task = next(task for task in labels.tasks(ws.catalog, concept) if task.image == image)
        with studio_server.connect(task.annotator) as studio:
            (data,) = [row["data"] for row in studio._tasks(task.project, "id,data") if row["data"]["sha256"] == image]
            assert studio._http.get(data["image"]).content != ws.store.get(image)
            link = data["original"].split('href="')[1].split('"')[0]
            assert studio._http.get(link).content == ws.store.get(image)
            assert studio._http.get(link).headers["content-type"] == "image/jpeg"
            private = ("label-studio/accounts.json", "catalog.sqlite", "previews", "store")
            for path in (f"{start}{name}" for name in private for start in ("", "../", "objects/../", "..%2F")):
                assert studio._http.get("/data/local-files/", params={"d": path}).status_code >= 400, path
            pack = next(Path(ws.store.root).glob("previews/*.pack"))
            assert studio._http.get("/data/local-files/", params={"d": f"previews/{pack.name}"}).status_code == 404
        assert httpx.get(f"{studio_server.url}{data['image']}").status_code in (401, 403, 302)
