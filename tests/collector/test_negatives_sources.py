"""Where negatives come from: what was crawled as negative, folders with a tier, and the plan of what to crawl."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from collector.catalog import pools, suspects
from collector.errors import UsageError
from collector.intake import Intake, take_in
from collector.negatives import TIERS, negatives, plan
from collector.negatives.config import QUOTED
from collector.negatives.ontology import REASONS as RELATED
from collector.records import License, Sighting
from collector.workspace import Workspace
from pipelines.cli.negatives import TIERS as OFFERED
from pipelines.machine import WORDNET
from tests.collector.test_dedup import keep
from tests.conftest import SHARED, jpeg, need

NO_IMAGEN = '[negatives]\narchive = ""\n'
DATA = SHARED / "data"


@pytest.fixture
def ws(make_workspace: Callable[..., Workspace]) -> Workspace:
    need(WORDNET)
    ws = make_workspace(NO_IMAGEN)
    for seed in range(10):
        keep(ws, jpeg(seed), f"horse{seed}")
    return ws


def found(
    ws: Workspace, seed: int, query: str, title: str = "", creator: str = "", label: str = "not-horse", **facts: Any
) -> str:
    """One picture as the crawl stores it."""
    seen = Sighting(
        "openverse", f"{label}{seed}", f"https://x/{label}{seed}", License("by"), "horse", label, query,
        title=title, creator=creator, facts=facts,
    )  # fmt: skip
    outcome = take_in(ws, jpeg(seed), seen)
    assert hasattr(outcome, "image")
    return str(outcome.image)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder."""
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


def rows(ws: Workspace) -> Mapping[str, pools.PoolRow]:
    return {row.image: row for row in pools.members(ws.catalog, "horse") if row.role == "negative"}


def test_what_was_crawled_as_negative_has_the_tier_of_its_query(ws: Workspace) -> None:
    queries = {"donkey": "near", "dog": "mid", "car": "far", "stable": "context", "meadow": "context", "logo": "junk"}
    images = {found(ws, 100 + n, query): tier for n, (query, tier) in enumerate(queries.items())}
    summary = negatives(ws, "horse")
    assert {image: row.tier for image, row in rows(ws).items()} == images
    assert summary.tiers == {"near": 1, "mid": 1, "far": 1, "context": 2, "junk": 1}
    assert (
        summary.quotas == {"near": 3, "mid": 2, "far": 3, "context": 1, "junk": 1} or sum(summary.quotas.values()) == 10
    )
    assert summary.sources == {"openverse": 6}
    (near,) = [row for row in rows(ws).values() if row.tier == "near"]
    assert near.reason == "openverse: found by `donkey`"
    assert near.checks["query"] == "donkey"
    assert near.checks["wnid"] == "n02389559"


def test_crawled_negatives_wait_for_this_step(ws: Workspace) -> None:
    from collector.splits import draw

    found(ws, 100, "donkey")
    assert len(draw(ws, ws.concept("horse"))) == 10
    negatives(ws, "horse")
    assert len(draw(ws, ws.concept("horse"))) == 11


def test_what_people_verified_as_negative_is_near(ws: Workspace) -> None:
    image = found(ws, 100, "horse", title="My horse", verified="negative")
    summary = negatives(ws, "horse")
    row = rows(ws)[image]
    assert (row.tier, row.checks["verified"]) == ("near", "negative")
    assert "ambiguous" not in row.checks
    assert summary.ambiguous == 0


def test_a_query_for_a_kind_or_a_parent_of_the_concept_gives_no_negatives(ws: Workspace) -> None:
    for n, query in enumerate(("pony", "mare", "equine", "hoof")):
        found(ws, 100 + n, query)
    summary = negatives(ws, "horse")
    assert summary.negatives == 0
    assert summary.excluded == {"kind-of-the-concept": 2, "parent-of-the-concept": 1, "part-of-the-concept": 1}


def test_what_another_query_found_as_the_concept_is_no_negative(ws: Workspace) -> None:
    found(ws, 100, "donkey")
    found(ws, 100, "horse", label="horse")
    assert negatives(ws, "horse").excluded == {"found-as-the-concept": 1}
    assert rows(ws) == {}


def test_titles_and_tags_that_speak_of_the_concept_go_to_people_first(ws: Workspace) -> None:
    clear = found(ws, 100, "meadow", title="A meadow")
    by_title = found(ws, 101, "meadow", title="Two ponies")
    by_tag = found(ws, 102, "meadow", tags=["green", "horses"])
    summary = negatives(ws, "horse")
    assert {image for image, row in rows(ws).items() if "ambiguous" in row.checks} == {by_title, by_tag}
    listed = suspects.of(ws.catalog, "horse")
    assert {each.image for each in listed} == {by_title, by_tag}
    assert all(each.reason.startswith("ambiguous: ") for each in listed)
    assert summary.ambiguous == 2
    assert clear in rows(ws)
    negatives(ws, "horse")
    assert suspects.of(ws.catalog, "horse") == listed


def test_suspects_found_by_others_stay_behind_the_ambiguous_ones(ws: Workspace) -> None:
    first = found(ws, 100, "meadow")
    negatives(ws, "horse")
    suspects.put(ws.catalog, "horse", [suspects.Suspect(first, "looks like a positive", similarity=0.9)])
    second = found(ws, 101, "meadow", title="horse")
    negatives(ws, "horse")
    assert [each.image for each in suspects.of(ws.catalog, "horse")] == [second, first]


def test_one_creator_gives_no_more_than_the_cap(make_workspace: Callable[..., Workspace]) -> None:
    need(WORDNET)
    ws = make_workspace(NO_IMAGEN + "per_creator = 2\n")
    for seed in range(10):
        keep(ws, jpeg(seed), f"horse{seed}")
    for seed in range(100, 105):
        found(ws, seed, "car", creator="Ada")
    found(ws, 105, "car", creator="Ben")
    summary = negatives(ws, "horse")
    assert summary.negatives == 3
    assert summary.capped == {"per-creator": 3}
    assert negatives(ws, "horse").new == 0


def test_a_folder_may_be_of_a_tier(ws: Workspace, tmp_path: Path) -> None:
    for tier, seeds in (("junk", range(200, 203)), ("far", range(210, 213))):
        folder = tmp_path / tier
        folder.mkdir()
        for seed in seeds:
            (folder / f"{seed}.jpg").write_bytes(jpeg(seed))
        negatives(ws, "horse", folder=folder, tier=tier, license="own")
    assert {row.tier for row in rows(ws).values()} == {"junk", "far"}
    assert len(rows(ws)) == 6


def test_the_class_in_a_name_excludes_whatever_the_tier(ws: Workspace, folder: Path) -> None:
    (folder / "n02374451_1_horse.jpg").write_bytes(jpeg(200))
    (folder / "n02958343_1_car.jpg").write_bytes(jpeg(201))
    summary = negatives(ws, "horse", folder=folder, tier="junk")
    assert summary.excluded == {"is-the-concept": 1}
    assert summary.tiers == {"junk": 1}


def test_the_command_offers_the_tiers_that_have_quotas() -> None:
    assert tuple(TIERS)[:-1] == QUOTED == OFFERED


def test_tiers_that_lack_pictures_are_said(ws: Workspace) -> None:
    found(ws, 100, "car")
    summary = negatives(ws, "horse")
    assert summary.short.items() >= {"near": 3, "mid": 2, "far": 2}.items()
    assert sum(summary.short.values()) == 9
    said = " ".join(summary.warnings)
    assert "near 3" in said
    assert "--plan" in said


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0, -1, float("nan"), float("inf")])
def test_a_ratio_that_asks_for_nothing_is_refused(ws: Workspace, ratio: float) -> None:
    with pytest.raises(UsageError, match="ratio"):
        negatives(ws, "horse", ratio=ratio)


def test_a_tier_without_a_folder_or_of_no_meaning_is_refused(ws: Workspace, folder: Path) -> None:
    for given in ({"tier": "near"}, {"tier": "nearly", "folder": folder}):
        with pytest.raises(UsageError, match="says nothing here"):
            negatives(ws, "horse", **given)


def test_a_folder_that_is_no_imagen_is_said(ws: Workspace, folder: Path) -> None:
    (folder / "a.jpg").write_bytes(jpeg(1))
    with pytest.raises(UsageError, match="is no copy of ImageN"):
        negatives(ws, "horse", imagen=folder)
    with pytest.raises(UsageError, match="is not a folder"):
        negatives(ws, "horse", imagen=folder / "nowhere")


def test_a_setting_that_names_no_imagen_is_said_with_its_origin(make_workspace: Callable[..., Workspace]) -> None:
    ws = make_workspace('[negatives]\nimagen = "elsewhere"\n')
    ws.concept("horse", create=True)
    with pytest.raises(UsageError, match=r"elsewhere is not a folder"):
        negatives(ws, "horse")


@pytest.mark.parametrize("wnid", ["n99999999", "horse", "n2374451", "n02374452"])
def test_a_synset_that_wordnet_does_not_know_is_refused(
    make_workspace: Callable[..., Workspace], folder: Path, wnid: str
) -> None:
    ws = make_workspace(f'[concepts.horse]\nsynsets = {{ horse = "{wnid}" }}\n')
    (folder / "n02958343_1_car.jpg").write_bytes(jpeg(201))
    with pytest.raises(UsageError, match=f"no WordNet synset {wnid} is known for `horse`"):
        negatives(ws, "horse", folder=folder)


def test_quotas_that_do_not_sum_are_refused_with_their_origin(make_workspace: Callable[..., Workspace]) -> None:
    ws = make_workspace("[negatives.quotas]\nnear = 90\n")
    ws.concept("horse", create=True)
    with pytest.raises(UsageError, match=r"config\.toml: `negatives\.quotas`.* must sum to 100, not 160"):
        negatives(ws, "horse")


def test_a_concept_without_positives_wants_no_negatives(make_workspace: Callable[..., Workspace], folder: Path) -> None:
    ws = make_workspace(NO_IMAGEN)
    ws.concept("horse", create=True)
    (folder / "a.jpg").write_bytes(jpeg(1))
    summary = negatives(ws, "horse", folder=folder)
    assert (summary.wanted, summary.negatives, summary.short) == (0, 0, {})
    assert "no positives yet" in summary.warnings[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_a_reason(ws: Workspace, folder: Path) -> None:
    (folder / "a.jpg").write_bytes(jpeg(200))
    (folder / "b.jpg").write_bytes(jpeg(201))
    (folder / "b.jpg").chmod(0)
    assert negatives(ws, "horse", folder=folder).excluded == {"unreadable": 1}


def test_a_folder_that_changes_while_it_is_read_loses_only_what_changed(
    ws: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(200, 206):
        (folder / f"{seed}.jpg").write_bytes(jpeg(seed))
    take = Intake.take

    def changing(self: Intake, *given: Any) -> Any:
        (folder / "204.jpg").write_bytes(jpeg(999))
        (folder / "205.jpg").unlink(missing_ok=True)
        (folder / "new.jpg").write_bytes(jpeg(998))
        return take(self, *given)

    monkeypatch.setattr(Intake, "take", changing)
    monkeypatch.setattr("collector.negatives.quotas.AT_ONCE", 1)
    summary = negatives(ws, "horse", folder=folder)
    lost = set(summary.excluded)
    assert lost <= {"changed-while-read", "unreadable"}
    assert summary.negatives + sum(summary.excluded.values()) == 6
    monkeypatch.undo()
    again = negatives(ws, "horse", folder=folder)
    assert again.negatives >= 6  # what was changed or new is a candidate now


# -- the plan ----------------------------------------------------------------------------------------------------------


def test_the_plan_says_which_searches_fill_the_tiers(ws: Workspace) -> None:
    found(ws, 100, "donkey")
    negatives(ws, "horse")
    made = plan(ws, "horse", ratio=10)
    assert made.have["near"] == 1
    assert sum(made.wanted.values()) == 100
    assert "zebra" in made.words["near"]
    crawls = [shlex.split(command) for command in made.commands]
    assert crawls[-1] == ["collect", "crawl", "horse", "--source", "openimages", "--limit", "110"]
    limits = [int(words[words.index("--limit") + 1]) for words in crawls[:-1]]
    assert limits == sorted(limits)
    assert limits[-1] == 110  # ten horses and a donkey were there, 99 are lacking
    assert all(words[words.index("--label") + 1] == "not-horse" for words in crawls[:-1])


def test_a_plan_without_need_has_no_commands(ws: Workspace) -> None:
    made = plan(ws, "horse", ratio=0.01)
    assert made.commands == ()


# -- ImageN itself -----------------------------------------------------------------------------------------------------


@pytest.mark.realdata
@pytest.mark.skipif(not (DATA / "imagen").is_dir(), reason="the real pictures in ../shared are absent")
@pytest.mark.parametrize(("target", "shows"), [("dog", 5), ("bird", 5), ("person", 5), ("wheel", 60)])
def test_no_class_of_imagen_that_shows_the_target_becomes_a_negative_of_it(
    make_workspace: Callable[..., Workspace], target: str, shows: int
) -> None:
    need(WORDNET)
    ws = make_workspace()
    ws.concept(target, create=True)
    found = Sighting("test", "1", "https://x/1", License("by"), concept=target, label=target)
    take_in(ws, jpeg(1), found)
    summary = negatives(ws, target, imagen=DATA / "imagen", ratio=40)
    assert sum(n for reason, n in summary.excluded.items() if reason in RELATED) == shows
    assert summary.negatives == 40
