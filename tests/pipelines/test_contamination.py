"""Positives among the negatives are found, shown to people first, and bounded where nobody has looked."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from collector import splits
from collector.catalog import pools, quality, sightings, suspects
from collector.catalog.pools import PoolRow
from collector.catalog.quality import Measured
from collector.catalog.suspects import Suspect
from collector.errors import CollectError, UsageError
from collector.importing import import_folder
from collector.quality import keys_of_checks
from collector.workspace import Workspace
from pipelines import contamination as module
from pipelines.contamination import contamination, nearest
from pipelines.metrics import at_most
from pipelines.snapshot import snapshot
from pipelines.train import train_baseline
from tests.conftest import SHARED
from tests.pipelines.labeled import answer, settle, stripes
from tests.pipelines.pooled import pool, take

Make = Callable[..., Workspace]
CLASSIC = "[train]\nbackbone = 'classic'\n"
WEIGHTS = SHARED / "models" / "squeezenet1_1-imagenet.pth"


@pytest.fixture
def ws(make_workspace: Make) -> Workspace:
    return make_workspace(CLASSIC)


def contaminated(ws: Workspace, hidden: int = 3) -> tuple[list[str], list[str], list[str]]:
    """20 positives, 20 negatives, and `hidden` pictures of the concept that were pooled as negatives."""
    positives = take(ws, [stripes(0, n) for n in range(20)], "horse")
    negatives = take(ws, [stripes(1, n) for n in range(20)], "not-horse")
    wrong = take(ws, [stripes(0, n) for n in range(100, 100 + hidden)], "not-horse", source="other")
    pool(ws, positives, [*negatives, *wrong])
    return positives, negatives, wrong


def say(ws: Workspace, truth: dict[str, str]) -> None:
    answer(ws, truth, ("ann", "bob"))
    settle(ws, *((image, said, {said: 2}) for image, said in truth.items()))


def test_hidden_positives_are_the_first_suspects_beside_the_positive_they_resemble(ws: Workspace) -> None:
    positives, _, wrong = contaminated(ws)
    summary = contamination(ws, "horse")
    found = suspects.of(ws.catalog, "horse")
    assert {each.image for each in found[:2]} < set(wrong)  # noise hides the third from features as weak as these
    assert all(each.nearest in positives and each.score is None for each in found)
    assert all(each.similarity is not None and each.similarity > summary.threshold for each in found)
    assert "nearer to a positive than" in found[0].reason
    assert (summary.positives, summary.unseen, summary.backbone, summary.run) == (20, 23, "classic", "")
    assert summary.flagged >= summary.suspects == len(found)


def test_a_model_says_what_it_thinks_and_its_run_is_named(ws: Workspace) -> None:
    positives, negatives, wrong = contaminated(ws)
    home = pools.splits(ws.catalog, "horse")
    seen = {image: "not-horse" for image in negatives if home[image] != "train" or image < "8"}
    say(ws, dict.fromkeys(positives, "horse") | seen)
    run = train_baseline(ws, snapshot(ws, "horse"))
    summary = contamination(ws, "horse")
    found = suspects.of(ws.catalog, "horse")
    assert summary.run == run.run
    assert summary.unseen == 23 - len(seen)  # what people have settled is nobody's suspect any more
    assert {each.image for each in found[:3]} == set(wrong)
    assert all(each.score is not None and each.score > 0.5 for each in found[:3])
    assert "the model gives it" in found[0].reason
    with pytest.raises(UsageError, match="no finished run `zz`"):
        contamination(ws, "horse", run="zz")


def test_a_second_look_replaces_the_first_and_what_people_settled_is_gone(ws: Workspace) -> None:
    _, _, wrong = contaminated(ws)
    contamination(ws, "horse")
    first = {each.image for each in suspects.of(ws.catalog, "horse")}
    settled = [image for image in wrong if image in first][:2]
    say(ws, {settled[0]: "horse", settled[1]: "not-horse"})
    summary = contamination(ws, "horse")
    assert not {each.image for each in suspects.of(ws.catalog, "horse")} & set(settled)
    assert summary.positives == 21  # one more is known
    assert (summary.inspected, summary.contaminated) == (2, 1)


def test_only_the_first_go_to_people_but_everything_ambiguous_does(ws: Workspace) -> None:
    contaminated(ws)
    odd = take(ws, [stripes(2, n) for n in range(2)], "not-horse", source="odd")
    checks = {"ambiguous": "`horse` can also mean cavalry"}
    pools.add(ws.catalog, "horse", [PoolRow(image, "not-horse", "negative", "mid", "x", checks) for image in odd])
    summary = contamination(ws, "horse", limit=1)
    found = suspects.of(ws.catalog, "horse")
    assert {each.image for each in found} >= set(odd)
    assert summary.suspects == len(found) <= 3
    assert sum("ambiguous: `horse` can also mean cavalry" in each.reason for each in found) == 2


def test_where_people_are_asked_for_negatives_with_a_face_come_first(make_workspace: Make) -> None:
    person = '[concepts.horse]\nlabels = ["horse", "not-horse"]\nsynsets = { horse = "n00007846" }\n'
    ws = make_workspace(CLASSIC + person)
    _, negatives, _ = contaminated(ws)
    shown = sorted(negatives)[:2]
    quality.put(ws.catalog, [Measured(image, keys_of_checks()["faces"], 0.0, {}) for image in shown])
    contamination(ws, "horse", limit=1)
    found = suspects.of(ws.catalog, "horse")
    assert {each.image for each in found} == set(shown)
    assert all(each.reason.startswith("it shows a face") for each in found)


def test_what_was_seen_bounds_what_was_not(ws: Workspace) -> None:
    _, negatives, wrong = contaminated(ws)
    assert contamination(ws, "horse").bound == 1.0
    say(ws, dict.fromkeys(negatives[:15], "not-horse"))
    clean = contamination(ws, "horse")
    assert (clean.inspected, clean.contaminated, clean.bound) == (15, 0, 3 / 15)
    say(ws, {wrong[0]: "horse"})
    assert contamination(ws, "horse").bound == pytest.approx(stats.beta.ppf(0.95, 2, 15))


def test_without_positives_there_is_nothing_to_compare_with(ws: Workspace) -> None:
    pool(ws, [], take(ws, [stripes(1, 1)], "not-horse"))
    with pytest.raises(CollectError, match="holds 0 positives"):
        contamination(ws, "horse")


def test_a_pool_without_negatives_has_no_suspects(ws: Workspace) -> None:
    pool(ws, take(ws, [stripes(0, n) for n in range(3)], "horse"), [])
    summary = contamination(ws, "horse")
    assert (summary.unseen, summary.flagged, summary.suspects) == (0, 0, 0)


@given(found=st.integers(0, 30), more=st.integers(0, 300))
def test_the_bound_is_that_of_clopper_and_pearson_and_three_in_n_for_none(found: int, more: int) -> None:
    of = found + more
    if more == 0:
        assert at_most(found, of) == 1.0
    elif found == 0:
        assert at_most(0, of) == min(1.0, 3 / of)
    else:
        assert at_most(found, of) == pytest.approx(stats.beta.ppf(0.95, found + 1, more), abs=1e-9)


def test_the_nearest_is_found_in_blocks_and_nothing_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    whole = nearest(vectors, vectors, same=True)
    monkeypatch.setattr(module, "ROWS", 7)
    parts = nearest(vectors, vectors, same=True)
    assert (whole[0] == parts[0]).all()
    assert not (whole[0] == np.arange(50)).any()
    assert (nearest(vectors, vectors)[0] == np.arange(50)).all()
    np.testing.assert_allclose(nearest(vectors, vectors)[1], 1, rtol=1e-5)


def test_the_rows_of_another_concept_stay(ws: Workspace) -> None:
    contaminated(ws)
    ws.concept("donkey", create=True)
    suspects.put(ws.catalog, "donkey", [Suspect(pools.members(ws.catalog, "horse")[0].image, "by hand")])
    contamination(ws, "horse")
    assert len(suspects.of(ws.catalog, "donkey")) == 1


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.skipif(not WEIGHTS.is_file(), reason="the shared pictures and weights are not on this machine")
def test_horses_hidden_among_photographs_come_first(make_workspace: Make) -> None:
    ws = make_workspace(f"[train]\nbackbone = 'squeezenet1_1'\nweights = '{WEIGHTS}'\n")
    horses, others = (sorted((SHARED / "data" / name).glob("*.jpg")) for name in ("horses", "imagen"))
    folders = {"seen": horses[:150], "hidden": horses[150:165], "others": others[::3]}
    for name, paths in folders.items():
        (ws.root / name).mkdir()
        for path in paths:
            shutil.copy(path, ws.root / name)
        label = "horse" if name == "seen" else "not-horse"
        import_folder(ws, "horse", ws.root / name, license="unlicensed", label=label, source=name)
    splits.draw(ws, ws.concept("horse"))
    summary = contamination(ws, "horse")
    source = {seen.image: seen.found.source for seen in sightings.latest(ws.catalog, "horse")}
    first = [source[each.image] for each in suspects.of(ws.catalog, "horse")[:20]]
    assert first.count("hidden") >= 12
    assert summary.flagged < summary.unseen / 5
