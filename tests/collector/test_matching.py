"""A matched draw looks like the positives, is the same every time, and never makes up what is not there."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from collector.catalog import pools
from collector.importing import import_folder
from collector.matching import Stratum, matched, places, stratum
from collector.metadata import read
from collector.negatives import negatives
from collector.workspace import Workspace
from tests.conftest import jpeg

LARGE, SMALL = Stratum(9, 2, 5, "flickr"), Stratum(4, 2, 3, "flickr")
STRATA = st.sampled_from([Stratum(side, 2, quality, name) for side in (1, 4) for quality in (-1, 3) for name in "ab"])
CROWDS = st.lists(STRATA, min_size=1, max_size=40)


def candidates(strata: list[Stratum]) -> dict[str, Stratum]:
    return {f"image {n}": each for n, each in enumerate(strata)}


def test_a_draw_has_the_shares_of_the_positives() -> None:
    drawn = matched(candidates([LARGE] * 100 + [SMALL] * 100), [LARGE] * 9 + [SMALL] * 3, 40, "seed")
    assert len(drawn) == 40
    assert Counter(int(name.split()[1]) < 100 for name in drawn) == {True: 30, False: 10}


def test_what_a_stratum_lacks_is_not_taken_from_others() -> None:
    assert len(matched(candidates([LARGE] * 2 + [SMALL] * 100), [LARGE] * 5 + [SMALL] * 5, 20, "seed")) == 12
    assert matched(candidates([SMALL] * 9), [LARGE], 5, "seed") == []


def test_a_source_that_both_have_is_matched_and_one_that_no_positive_has_is_not_drawn() -> None:
    own, other = LARGE, LARGE._replace(source="imagen")
    drawn = matched(candidates([own] * 10 + [other] * 90), [own] * 10, 10, "seed")
    assert {int(name.split()[1]) < 10 for name in drawn} == {True}


def test_where_no_source_is_shared_only_the_files_are_matched() -> None:
    other = candidates([LARGE._replace(source="imagen")] * 10 + [SMALL._replace(source="imagen")] * 10)
    assert len(matched(other, [LARGE] * 10, 10, "seed")) == 10


def test_nothing_to_draw_from_or_to_match_gives_nothing() -> None:
    assert matched({}, [LARGE], 5, "seed") == matched(candidates([LARGE]), [], 5, "seed") == []
    assert matched(candidates([LARGE]), [LARGE], 0, "seed") == []


@given(strata=CROWDS, positives=CROWDS, wanted=st.integers(0, 50))
def test_a_larger_draw_contains_the_smaller_and_no_stratum_is_overdrawn(
    strata: list[Stratum], positives: list[Stratum], wanted: int
) -> None:
    crowd = candidates(strata)
    drawn = matched(crowd, positives, wanted, "seed")
    assert len(set(drawn)) == len(drawn) <= wanted
    assert set(drawn) <= set(matched(crowd, positives, wanted + 1, "seed"))
    assert drawn == matched(dict(reversed(crowd.items())), positives, wanted, "seed")


@given(positives=CROWDS, wanted=st.integers(0, 100))
def test_places_are_those_of_webster(positives: list[Stratum], wanted: int) -> None:
    votes, found = Counter(positives), places(positives, wanted)
    assert found.total() == wanted
    gains = [votes[place] / (found[place] + 0.5) for place in votes]  # who would get one more place
    losses = [votes[place] / (found[place] - 0.5) for place in votes if found[place]]  # who holds one
    assert not losses or max(gains) <= min(losses) + 1e-9


@given(strata=CROWDS, positives=CROWDS, more=STRATA)
def test_another_candidate_takes_at_most_one_place(
    strata: list[Stratum], positives: list[Stratum], more: Stratum
) -> None:
    shared = {each.source for each in positives} & {each.source for each in strata}
    if not shared:
        return  # the newcomer may bring the first shared source, and change what is matched
    crowd = candidates(strata)
    before, after = (set(matched(each, positives, 20, "k")) for each in (crowd, crowd | {"new": more}))
    assert len(before - after) <= 1
    assert after - before <= {"new"}


def test_the_stratum_of_a_file_is_its_size_and_compression() -> None:
    def of(size: tuple[int, int], quality: int) -> Stratum:
        found = read(jpeg(1, size, quality))
        assert found is not None
        return stratum(found, "here")

    assert of((500, 375), 96) == of((510, 380), 95) == Stratum(4, 2, 6, "here")
    assert of((375, 500), 96) == Stratum(4, 0, 6, "here")
    assert of((500, 375), 75) != of((500, 375), 96) != of((800, 600), 96)


def test_negatives_are_drawn_from_a_folder_as_the_positives_are_made(ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "horses").mkdir()
    (tmp_path / "others").mkdir()
    for n in range(12):  # two thirds small and rough, one third large and fine
        (tmp_path / "horses" / f"{n}.jpg").write_bytes(jpeg(n, *(((160, 120), 60) if n % 3 else ((340, 255), 92))))
    for n in range(60):  # as many of each kind, and as many that no positive is like
        kind = [((160, 120), 60), ((340, 255), 92), ((160, 120), 99)][n % 3]
        (tmp_path / "others" / f"{n}.jpg").write_bytes(jpeg(1000 + n, *kind))
    import_folder(ws, "horse", tmp_path / "horses", license="own")
    summary = negatives(ws, "horse", folder=tmp_path / "others", license="own", match=True)
    sizes = ws.catalog.frame("images").set_index("id")["width"]
    drawn = [row for row in pools.members(ws.catalog, "horse") if row.role == "negative"]
    assert Counter(int(sizes[row.image]) for row in drawn) == {160: 8, 340: 4}
    assert all(int(row.reason.split(": ")[1].split(".")[0]) % 3 != 2 for row in drawn)
    assert summary.capped["match"] > 0
    more = negatives(ws, "horse", folder=tmp_path / "others", license="own", ratio=2, match=True)
    assert {row.image for row in drawn} < {row.image for row in pools.members(ws.catalog, "horse")}
    assert (more.negatives, more.new) == (24, 12)
    assert negatives(ws, "horse", folder=tmp_path / "others", license="own", ratio=9, match=True).negatives == 40
