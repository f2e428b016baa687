"""Quotas, caps and ranks: what is picked depends on seed and bytes alone, and picks stay."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from collector.negatives.config import FILL, QUOTED, TIERS, NegativesConfig, QuotasConfig
from collector.negatives.quotas import Caps, Drawing
from collector.negatives.sources import Candidate, ranked
from collector.records import License, Sighting

BY = License("by", "4.0")
TIER = st.sampled_from(FILL)
MADE = st.tuples(st.integers(0, 400), TIER, st.sampled_from(["a", "b", "c"]), st.sampled_from(["", "x", "y"]))
Made = tuple[int, str, str, str]


def candidate(made: Made) -> Candidate:
    number, tier, source, creator = made
    image = hashlib.sha256(f"{number}".encode()).hexdigest()
    checks = {"source": source, **({"creator": creator} if creator else {})}
    return Candidate(
        image, Sighting(source, f"{number}", f"https://x/{number}", BY, creator=creator), tier, None, checks
    )


def unique(several: Sequence[Made]) -> list[Candidate]:
    """Candidates, each image once."""
    return list({each.image: each for each in map(candidate, several)}.values())


def drawn(
    candidates: Sequence[Candidate], config: NegativesConfig, wanted: int, before: Sequence[Candidate] = ()
) -> tuple[list[Candidate], dict[str, int], Counter[str]]:
    """(picks in order, shortage, capped) of a run whose pictures are refused if their id ends in 0 or 1."""
    picks: list[Candidate] = []

    def take(batch: Sequence[Candidate]) -> list[bool]:
        good = [each.image[-1] not in "01" for each in batch]
        picks.extend(each for each, fits in zip(batch, good, strict=True) if fits)
        return good

    have = {each.image for each in before}
    fresh = ranked([each for each in candidates if each.image not in have], 0, "horse")
    drawing = Drawing(fresh, Caps(config, wanted, [each.checks for each in before]), take)
    short = drawing.fill(config.quotas.of(wanted), Counter(each.tier for each in before))
    return picks, short, drawing.capped


@given(st.integers(0, 5000), st.lists(st.floats(0, 1), min_size=5, max_size=5).filter(lambda each: sum(each) > 0.1))
def test_quotas_are_whole_and_sum_to_what_is_wanted(wanted: int, shares: list[float]) -> None:
    quotas = QuotasConfig(**{tier: 100 * share / sum(shares) for tier, share in zip(QUOTED, shares, strict=True)})
    found = quotas.of(wanted)
    assert sum(found.values()) == wanted
    assert all(abs(found[tier] - wanted * getattr(quotas, tier) / 100) < 1 for tier in QUOTED)


def test_every_tier_can_fill_for_others_and_has_a_meaning() -> None:
    assert sorted(FILL) == sorted(TIERS)


def test_quotas_that_do_not_sum_to_100_are_refused() -> None:
    with pytest.raises(ValidationError, match="must sum to 100, not 130"):
        NegativesConfig(quotas=QuotasConfig(near=60))


@given(st.lists(MADE, max_size=60), st.lists(MADE, max_size=60), st.integers(0, 9))
def test_adding_candidates_never_changes_the_order_of_the_others(some: list[Made], more: list[Made], seed: int) -> None:
    first = ranked(unique(some), seed, "horse")
    images = [each.image for each in first]
    both = [each.image for each in ranked(unique([*more, *some]), seed, "horse")]
    assert [image for image in both if image in set(images)] == images


@given(st.lists(MADE, max_size=80), st.lists(MADE, max_size=80), st.integers(0, 40), st.integers(0, 40))
def test_earlier_picks_stay_when_candidates_are_added(
    some: list[Made], more: list[Made], wanted: int, further: int
) -> None:
    config = NegativesConfig(per_creator=4, per_source=0.7)
    first, _, _ = drawn(unique(some), config, wanted)
    second, _, _ = drawn(unique([*some, *more]), config, wanted + further, before=first)
    assert not {each.image for each in first} & {each.image for each in second}
    again, _, _ = drawn(unique([*some, *more]), config, wanted + further, before=[*first, *second])
    assert again == []


@given(st.lists(MADE, max_size=80), st.integers(0, 40), st.randoms())
def test_the_picks_do_not_depend_on_the_order_of_arrival(some: list[Made], wanted: int, random: object) -> None:
    candidates = unique(some)
    shuffled = list(candidates)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    config = NegativesConfig(per_creator=3)
    assert drawn(candidates, config, wanted)[0] == drawn(shuffled, config, wanted)[0]


@given(st.lists(MADE, max_size=150), st.integers(1, 60))
def test_the_picks_of_a_tier_are_its_first_ranks_that_fit(some: list[Made], wanted: int) -> None:
    config = NegativesConfig(per_creator=0)
    candidates = unique(some)
    picks, short, capped = drawn(candidates, config, wanted)
    good = [each for each in ranked(candidates, 0, "horse") if each.image[-1] not in "01"]
    assert len(picks) == min(wanted, len(good))
    assert not capped
    for tier in FILL:
        order = [each for each in good if each.tier == tier]
        taken = [each for each in picks if each.tier == tier]
        assert taken == order[: len(taken)]
        quota = config.quotas.of(wanted).get(tier, 0)
        assert len(taken) >= min(quota, len(order))
        assert short.get(tier, 0) == max(0, quota - len(order))


@given(st.lists(MADE, max_size=150), st.integers(1, 60), st.integers(1, 5), st.sampled_from([0.2, 0.5, 1.0]))
def test_no_cap_is_exceeded_and_nothing_is_left_that_fits(
    some: list[Made], wanted: int, per_creator: int, per_source: float
) -> None:
    config = NegativesConfig(per_creator=per_creator, per_source=per_source)
    candidates = unique(some)
    picks, _, capped = drawn(candidates, config, wanted)
    creators = Counter((each.found.source, each.found.creator) for each in picks if each.found.creator)
    sources = Counter(each.found.source for each in picks)
    assert max(creators.values(), default=0) <= per_creator
    assert per_source == 1 or max(sources.values(), default=0) <= max(1, per_source * wanted)
    if len(picks) < wanted:
        left = [each for each in candidates if each not in picks and each.image[-1] not in "01"]
        assert len(left) <= capped.total()  # some of those would not have fit anyway


def test_ambiguous_candidates_come_last() -> None:
    clear, unsure = candidate((1, "near", "a", "")), candidate((2, "near", "a", ""))
    unsure = Candidate(unsure.image, unsure.found, "near", None, {"ambiguous": "why"})
    assert {tuple(ranked([unsure, clear], seed, "horse")) for seed in range(20)} == {(clear, unsure)}


def test_the_order_differs_by_seed_and_concept() -> None:
    some = unique([(n, "far", "a", "") for n in range(30)])
    orders = {tuple(each.image for each in ranked(some, seed, name)) for seed in (0, 1) for name in ("horse", "dog")}
    assert len(orders) == 4


def test_a_tier_whose_candidates_come_later_gets_its_quota_then() -> None:
    config = NegativesConfig()
    far = unique([(n, "far", "a", "") for n in range(200)])
    first, short, _ = drawn(far, config, 20)
    assert len(first) == 20
    assert short == {"near": 6, "mid": 4, "context": 3, "junk": 1}
    near = unique([(n, "near", "a", "") for n in range(200, 300)])
    second, short, _ = drawn([*far, *near], config, 20, before=first)
    assert [each.tier for each in second] == ["near"] * 6
    assert short == {"mid": 4, "context": 3, "junk": 1}
