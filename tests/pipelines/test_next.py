from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from click.testing import CliRunner

from collector.catalog import labels, pools
from collector.errors import CollectError, GateNotMet, ServiceDown, UsageError
from collector.workspace import Workspace
from labeling.order import arrange, listed
from labeling.push import push
from labeling.server import Server
from pipelines import candidates
from pipelines.cli.main import cli
from pipelines.config import By
from pipelines.next import NextSummary, next_images
from tests.labeling.conftest import backend_port as backend_port
from tests.labeling.conftest import free_port as free_port
from tests.labeling.conftest import studio_data as studio_data
from tests.labeling.conftest import studio_server as studio_server
from tests.pipelines.labeled import answer, collect
from tests.pipelines.test_prelabel import half_labeled

Make = Callable[..., Workspace]
CLASSIC = "[train]\nbackbone = 'classic'\n"


def rows(summary: NextSummary) -> list[dict[str, Any]]:
    return list(json.loads(Path(summary.path).read_bytes()))


def test_every_method_ranks_unlabeled_train_images_and_says_why(make_workspace: Make) -> None:
    ws = make_workspace(CLASSIC)
    left = half_labeled(ws)
    for by in get_args(By):
        found = next_images(ws, "horse", count=5, by=by)
        listed_ = rows(found)
        assert len({row["image"] for row in listed_}) == found.chosen == 5
        assert {row["image"] for row in listed_} <= left.keys()
        assert [row["rank"] for row in listed_] == [1, 2, 3, 4, 5]
        assert all(row["why"] for row in listed_)
        assert (found.by, found.unlabeled, found.waiting, found.random) == (by, 8, 0, 5 if by == "random" else 0)
        assert found.run is not None
        scores = [row["score"] for row in listed_ if row["by"] != "random"]
        assert scores == sorted(scores, reverse=True)
        assert rows(next_images(ws, "horse", count=5, by=by)) == listed_


def test_a_share_of_the_list_is_drawn_at_random_and_does_not_depend_on_the_method(make_workspace: Make) -> None:
    ws = make_workspace(CLASSIC + "[next]\nrandom_share = 0.4\n")
    half_labeled(ws)
    drawn = set()
    methods: tuple[By, ...] = ("hybrid", "margin")
    for by in methods:
        found = next_images(ws, "horse", count=5, by=by)
        mine = [row for row in rows(found) if row["by"] == "random"]
        assert (found.random, len(mine)) == (2, 2)
        assert all(row["score"] is None for row in mine)
        assert not {row["image"] for row in mine} & {row["image"] for row in rows(found) if row["by"] != "random"}
        drawn.add(frozenset(str(row["image"]) for row in mine))
    assert len(drawn) == 1
    assert [row["by"] for row in rows(found)].index("random") > 0


def test_held_out_answered_copied_and_tasked_images_are_never_chosen(make_workspace: Make) -> None:
    ws = make_workspace(CLASSIC)
    left = half_labeled(ws)
    unsure, waiting, copy, *free = sorted(left)
    answer(ws, {unsure: None}, ("ann",))
    made = labels.open_round(
        ws.catalog, "horse", "pool",
        {"purpose": "pool", "labels": ["horse", "not-horse"], "guideline": "", "guideline_hash": "", "overlap": 1,
         "blind": True, "proposals": False},
    )  # fmt: skip
    labels.plan(ws.catalog, made.id, [labels.Planned(waiting, "ann")])
    keeper = pools.Duplicate(copy, free[0], 0, "pixels", "larger")
    pools.write_pass(ws.catalog, {}, 9, "made", [keeper])
    found = next_images(ws, "horse", count=50)
    assert {row["image"] for row in rows(found)} == set(free)
    assert (found.unlabeled, found.waiting, found.chosen) == (6, 1, 5)
    assert found.next.endswith("--round next --order next")
    named = labels.open_round(ws.catalog, "horse", "next", made._asdict() | {"name": "next", "id": made.id + 1})
    labels.plan(ws.catalog, named.id, [labels.Planned(free[0], "ann")])
    more = next_images(ws, "horse", count=50)
    assert more.chosen == 4
    free = free[1:]
    again = next_images(ws, "horse", count=50, tasked=True)
    assert {row["image"] for row in rows(again)} >= {waiting, *free}


def test_before_training_typical_images_are_chosen_and_it_is_said(make_workspace: Make) -> None:
    ws = make_workspace(CLASSIC + "[next]\nrandom_share = 0\n")
    place = collect(ws)
    found = next_images(ws, "horse", count=4)
    assert (found.by, found.run) == ("typical", None)
    assert "nothing was trained" in found.warnings[0]
    assert all(place[str(row["image"])][1] == "train" for row in rows(found))
    assert len({place[str(row["image"])][0] for row in rows(found)}) == 2
    assert next_images(ws, "horse", count=4, by="k-center").by == "k-center"


def test_what_earlier_lists_found_is_told_for_chosen_and_random_images_apart(make_workspace: Make) -> None:
    ws = make_workspace(CLASSIC + "[next]\nrandom_share = 0.25\n")
    left = half_labeled(ws)
    first = rows(next_images(ws, "horse", count=4))
    answer(ws, {str(row["image"]): left[str(row["image"])][0] for row in first}, ("ann", "bob"))
    found = next_images(ws, "horse", count=4).found
    assert sum(found["chosen"].values()) == 3
    assert sum(found["random"].values()) == 1
    truth = {left[str(row["image"])][0] for row in first if row["by"] == "random"}
    assert found["random"].keys() == truth


def test_nothing_left_to_choose_names_the_next_step(make_workspace: Make) -> None:
    ws = make_workspace(CLASSIC)
    left = half_labeled(ws)
    answer(ws, {image: label for image, (label, _) in left.items()}, ("ann",))
    with pytest.raises(CollectError, match="no unlabeled picture") as caught:
        next_images(ws, "horse")
    assert "collect crawl" in caught.value.hint


def test_the_list_is_written_where_it_is_asked_for(make_workspace: Make, tmp_path: Path) -> None:
    ws = make_workspace(CLASSIC)
    half_labeled(ws)
    config = ["--config", str(ws.root / "config.toml")]
    for name in ("list.csv", "list.json"):
        run = CliRunner().invoke(cli, ["next", "horse", "-n", "3", "--out", str(tmp_path / name), *config])
        assert run.exit_code == 0, run.output
    written = json.loads((tmp_path / "list.json").read_bytes())
    with open(tmp_path / "list.csv", newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [row["image"] for row in table] == [row["image"] for row in written]
    assert list(table[0]) == list(written[0])
    with pytest.raises(UsageError, match="neither"):
        next_images(ws, "horse", file=tmp_path / "list.txt")


def test_pushes_take_the_order_of_the_newest_list(make_workspace: Make) -> None:
    ws = make_workspace(CLASSIC)
    left = half_labeled(ws)
    with pytest.raises(GateNotMet, match="nothing was chosen") as caught:
        arrange(ws, "horse", sorted(left), "next")
    assert "collect next" in caught.value.hint
    next_images(ws, "horse", count=2, by="random")
    chosen = [str(row["image"]) for row in rows(next_images(ws, "horse", count=3))]
    order = arrange(ws, "horse", sorted(left), "next")
    assert order[:3] == chosen == listed(ws, "horse")
    assert sorted(order) == sorted(left)


def test_a_damaged_list_is_told_and_the_next_one_takes_its_place(make_workspace: Make) -> None:
    ws = make_workspace(CLASSIC)
    half_labeled(ws)
    Path(next_images(ws, "horse").path).write_bytes(b"[{")
    with pytest.raises(CollectError, match="cannot be read"):
        listed(ws, "horse")
    again = next_images(ws, "horse", count=2)
    assert len(listed(ws, "horse")) == again.chosen


def test_without_label_studio_the_list_is_saved(make_workspace: Make) -> None:
    ws = make_workspace(CLASSIC)
    half_labeled(ws)
    with pytest.raises(ServiceDown, match="the list is saved"):
        next_images(ws, "horse", count=3, send=True)
    assert len(listed(ws, "horse")) == 3


def test_hybrid_asks_the_margin_and_only_bald_a_committee() -> None:
    said = np.array([[0.9, 0.1], [0.6, 0.4]])
    assert candidates.scores("hybrid", said, None).tolist() == pytest.approx([0.2, 0.8])
    members = np.array([[[0.9, 0.1, 0], [1, 0, 0]], [[0.1, 0.9, 0], [1, 0, 0]]])
    found = candidates.scores("bald", members.mean(axis=0), members)
    assert found[0] > 0.3
    assert found[1] == pytest.approx(0)


TEAM = """[workspace]
store = "{store}"
[train]
backbone = "classic"
[label]
annotators = ["ann", "bob"]
overlap = 2
"""


@pytest.mark.studio
@pytest.mark.slow
def test_the_chosen_pictures_and_only_they_arrive_in_label_studio(
    make_workspace: Make, studio_server: Server, studio_data: Path
) -> None:
    ws = make_workspace(TEAM.format(store=studio_data / "store"))
    (ws.data / "label-studio").symlink_to(studio_server.folder)
    left = half_labeled(ws)
    pushed = CliRunner().invoke(cli, ["next", "horse", "-n", "3", "--push", "--config", str(ws.root / "config.toml")])
    assert pushed.exit_code == 0, pushed.output
    chosen = listed(ws, "horse")
    assert in_studio(ws, studio_server) == {"ann": chosen, "bob": chosen}
    assert set(chosen) <= left.keys()  # unlabeled pictures of train

    gone = chosen.pop()  # a copy of another one, as it turns out: what comes next is chosen as well
    pools.write_pass(ws.catalog, {}, 9, "made", [pools.Duplicate(gone, chosen[0], 0, "pixels", "larger")])
    second = next_images(ws, "horse", count=2, send=True)
    assert (second.chosen, second.tasks) == (2, 4)
    more = listed(ws, "horse")
    assert not set(more) & {gone, *chosen}
    there = in_studio(ws, studio_server)
    assert there["ann"] == there["bob"]
    assert sorted(there["ann"]) == sorted([*chosen, gone, *more])

    waiting = next_images(ws, "horse", count=50, tasked=True, send=True)
    assert waiting.tasks == 2 * (waiting.chosen - 4)  # four wait already, and get no second task
    assert set(in_studio(ws, studio_server)["ann"]) <= left.keys()
    push(ws, "horse")
    assert not set(in_studio(ws, studio_server)["ann"]) - left.keys()


def in_studio(ws: Workspace, server: Server) -> dict[str, list[str]]:
    """Annotator -> images of the tasks of the round `next` in Label Studio, in the order in which they come."""
    projects = labels.rounds(ws.catalog, "horse")["next"].projects
    with server.connect() as studio:
        found = {name: studio.items(project) for name, project in projects.items()}
    return {name: sorted(items, key=lambda image: items[image].id or 0) for name, items in found.items()}
