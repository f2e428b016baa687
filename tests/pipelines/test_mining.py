"""Hard negatives come in only when people confirmed them, and never near what validates or tests."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from collector import splits
from collector.catalog import pools, quality, sightings
from collector.catalog.pools import PoolRow
from collector.catalog.quality import Measured
from collector.errors import GateNotMet, UsageError
from collector.quality import keys_of_checks
from collector.workspace import Workspace
from pipelines.evaluate import evaluate
from pipelines.manifest import HELD_OUT, ManifestRow, find, read_manifest
from pipelines.mining import confirmed, mine
from pipelines.snapshot import snapshot
from pipelines.train import train_baseline
from tests.pipelines.labeled import answer, settle, stripes
from tests.pipelines.pooled import pool, take

Make = Callable[..., Workspace]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose run tells stripes across from stripes down; people have settled all of its pool."""
    folder = tmp_path_factory.mktemp("trained")
    settings = "[train]\nbackbone = 'classic'\n[splits]\nvalidation = 0.3\ntest = 0.2\ncalibration = 0.2\n"
    (folder / "config.toml").write_text(settings, encoding="utf-8")
    with Workspace.open(folder / "config.toml", environ={}) as ws:
        positives = take(ws, [stripes(0, n) for n in range(24)], "horse")
        negatives = take(ws, [stripes(1, n) for n in range(24)], "not-horse")
        pool(ws, positives, negatives)
        say(ws, dict.fromkeys(positives, "horse") | dict.fromkeys(negatives, "not-horse"))
        train_baseline(ws, snapshot(ws, "horse", accept_shortcut=True))
    return folder


@pytest.fixture
def ws(trained: Path, tmp_path: Path) -> Iterator[Workspace]:
    """A copy of `trained`."""
    shutil.copytree(trained, tmp_path / "ws")
    with Workspace.open(tmp_path / "ws" / "config.toml", environ={}) as ws:
        yield ws


def say(ws: Workspace, truth: dict[str, str]) -> None:
    answer(ws, truth, ("ann", "bob"))
    settle(ws, *((image, said, {said: 2}) for image, said in truth.items()))


def reserve(ws: Workspace) -> tuple[list[str], list[str]]:
    """Hard (like the positives) and easy negatives that are in no pool; people have settled them all."""
    hard = take(ws, [stripes(0, n) for n in range(100, 106)], "not-horse", source="hard")
    easy = take(ws, [stripes(1, n) for n in range(100, 106)], "not-horse", source="easy")
    say(ws, dict.fromkeys([*hard, *easy], "not-horse"))
    return hard, easy


def of_train(ws: Workspace, found: Iterable[str]) -> set[str]:
    """Those of some images that train, or would if they came into the pool by themselves."""
    return {image for image in found if splits.home(ws, ws.concept("horse"), image) == "train"}


def used(ws: Workspace) -> str:
    """The id of the only run."""
    (run,) = ws.catalog.frame("experiments")["run"]
    return str(run)


def measured(ws: Workspace) -> list[ManifestRow]:
    """What the newest snapshot validates and tests with."""
    return [row for row in read_manifest(ws, find(ws, "horse")).rows if row.split != "train"]


def rows(ws: Workspace) -> dict[str, PoolRow]:
    return {row.image: row for row in pools.members(ws.catalog, "horse")}


def test_the_hardest_confirmed_negatives_come_in_with_run_and_score(ws: Workspace) -> None:
    hard, _ = reserve(ws)
    limit = len(of_train(ws, hard))
    summary = mine(ws, "horse", run=used(ws)[:6], limit=limit)
    mined = {image: row for image, row in rows(ws).items() if "mined" in row.checks}
    assert (summary.mined, len(mined), summary.run) == (limit, limit, used(ws))
    assert mined.keys() <= set(hard)
    assert {row.checks["mined"] for row in mined.values()} == {used(ws)}
    assert {(row.role, row.tier, row.label) for row in mined.values()} == {("negative", "given", "not-horse")}
    scores = [row.checks["score"] for row in mined.values()]
    assert (min(scores), max(scores)) == (summary.lowest, summary.highest)
    assert summary.lowest is not None
    assert summary.lowest > 0.5


def test_nothing_that_validates_or_tests_is_taken_and_neither_changes(ws: Workspace) -> None:
    before, figures = measured(ws), evaluate(ws, "horse", split="validation")
    frozen = pools.splits(ws.catalog, "horse")
    found = [image for some in reserve(ws) for image in some]
    summary = mine(ws, "horse")
    home = pools.splits(ws.catalog, "horse")
    assert summary.mined == len(of_train(ws, found))
    assert {home[image] for image in of_train(ws, found)} == {"train"}
    assert frozen.items() <= home.items()
    assert all(home[image] == splits.home(ws, ws.concept("horse"), image) for image in home)
    snapshot(ws, "horse", accept_shortcut=True)
    assert measured(ws) == before
    assert evaluate(ws, "horse", run=used(ws), split="validation") == figures


def test_what_would_be_held_out_is_left_to_chance_however_hard(ws: Workspace) -> None:
    found = [image for some in reserve(ws) for image in some]
    mine(ws, "horse")
    drawn_later = set(found) - of_train(ws, found)
    assert drawn_later
    assert not drawn_later & rows(ws).keys()
    pool(ws, [], sorted(drawn_later))  # they come into the pool some day, unmined
    assert {pools.splits(ws.catalog, "horse")[image] for image in drawn_later} <= set(HELD_OUT)


def test_a_poor_picture_is_not_mined(ws: Workspace) -> None:
    hard, _ = reserve(ws)
    assert len(of_train(ws, hard)) > 1
    poor = min(of_train(ws, hard))
    ws.settings.raw["quality"] = {"exclude": ["dark"]}
    quality.put(ws.catalog, [Measured(poor, keys_of_checks()["dark"], 0.0, {})])
    mine(ws, "horse")
    assert of_train(ws, hard) - rows(ws).keys() == {poor}


def test_a_frozen_negative_stays_what_it_is_however_hard(ws: Workspace) -> None:
    hard, _ = reserve(ws)
    pools.freeze_splits(ws.catalog, "horse", {hard[0]: "validation", hard[1]: "test"}, "by hand")
    summary = mine(ws, "horse")
    assert not rows(ws).keys() & set(hard[:2])
    held_out = sum(name != "train" for image, name in pools.splits(ws.catalog, "horse").items())
    assert 2 < summary.held_out < held_out  # the negatives among them, the two included


def test_a_copy_of_a_held_out_picture_is_left_out_with_its_reason(ws: Workspace) -> None:
    home = pools.splits(ws.catalog, "horse")
    place = {seen.image: int(seen.found.source_id.rsplit("-", 1)[1]) for seen in sightings.latest(ws.catalog, "horse")}
    held = next(image for image, row in rows(ws).items() if home[image] == "validation" and row.role == "negative")
    copies = take(ws, [recompressed(stripes(1, place[held]))], "not-horse", source="copy")
    say(ws, dict.fromkeys(copies, "not-horse"))
    summary = mine(ws, "horse")
    assert (summary.mined, summary.excluded) == (0, {"copy-of-an-evaluation-image": 1})
    assert not rows(ws).keys() & set(copies)
    assert ws.catalog.frame("rejections")["reason"].tolist() == ["copy-of-an-evaluation-image"]


def test_only_what_people_confirmed_is_taken(ws: Workspace) -> None:
    unseen = take(ws, [stripes(0, 200)], "not-horse", source="unseen")
    tied = take(ws, [stripes(0, 201)], "not-horse", source="tied")
    settle(ws, (tied[0], None, {"horse": 1, "not-horse": 1}))
    horse = take(ws, [stripes(0, 202)], "not-horse", source="horse")
    say(ws, {horse[0]: "horse"})
    files = [stripes(0, n) for n in range(203, 209)]
    verified = take(ws, files, "not-horse", source="openimages", facts={"verified": "negative"})
    assert mine(ws, "horse").mined == len(of_train(ws, verified)) > 0
    added = rows(ws)
    assert added.keys().isdisjoint({*unseen, *tied, *horse})
    assert {added[image].tier for image in of_train(ws, verified)} == {"near"}
    assert {added[image].checks["source"] for image in of_train(ws, verified)} == {"openimages"}


def test_people_here_outweigh_those_who_verified_at_the_source(ws: Workspace) -> None:
    verified = take(ws, [stripes(0, 203)], "not-horse", source="openimages", facts={"verified": "negative"})
    say(ws, {verified[0]: "horse"})
    assert mine(ws, "horse").mined == 0


def test_mining_again_finds_nothing_new(ws: Workspace) -> None:
    found = [image for some in reserve(ws) for image in some]
    first = mine(ws, "horse")
    before = rows(ws)
    again = mine(ws, "horse")
    assert (first.mined, again.mined) == (len(of_train(ws, found)), 0)
    assert again.in_pool == first.in_pool + first.mined
    assert rows(ws) == before


def test_a_tier_that_was_given_once_is_kept(ws: Workspace) -> None:
    reserve(ws)
    told = sightings.origins(ws.catalog, "horse", "any")
    assert set(confirmed(ws, ws.concept("horse"), told).values()) == {"far", "given"}


def test_without_a_run_there_is_nothing_to_score_with(make_workspace: Make) -> None:
    ws = make_workspace(name="untrained")
    pool(ws, take(ws, [stripes(0, 1)], "horse"), [])
    with pytest.raises(GateNotMet, match="nothing was trained"):
        mine(ws, "horse")
    with pytest.raises(UsageError, match="no finished run"):
        mine(ws, "horse", run="zz")


def recompressed(data: bytes) -> bytes:
    """The same picture as a JPEG."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(data)) as file:
        file.convert("RGB").save(buffer, "JPEG", quality=88)
    return buffer.getvalue()
