"""Exact search by Hamming distance: what brute force finds, whatever the radius, the data and the order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from collector.dedup import hamming
from collector.dedup.hamming import Pairs, near_between, near_pairs, nearest
from collector.errors import CollectError

Hashes = NDArray[np.uint64]
WORDS = st.sampled_from([1, 4])
SEEDS = st.integers(0, 2**32)


def drawn(rng: np.random.Generator, n: int, words: int, *, crowd: float = 0.0) -> Hashes:
    """Random hashes, a third of them copies of others with a few bits changed; `crowd` of all share 40 bits a word."""
    hashes = rng.integers(0, 2**64, (n, words), dtype=np.uint64)
    crowded = rng.random(n) < crowd
    hashes[crowded] &= np.uint64(0xFFFFFF)
    for i in range(max(1, n * 2 // 3), n):
        hashes[i] = hashes[int(rng.integers(0, i))]
        for bit in rng.integers(0, 64 * words, int(rng.integers(0, 12 * words))):
            hashes[i, bit // 64] ^= np.uint64(1) << np.uint64(bit % 64)
    return hashes[rng.permutation(n)] if words > 1 else hashes[rng.permutation(n), 0]


def all_distances(left: Hashes, right: Hashes) -> NDArray[np.int64]:
    counts = np.bitwise_count(left[:, None] ^ right[None])
    distances: NDArray[np.int64] = (counts if counts.ndim == 2 else counts.sum(axis=2)).astype(np.int64)
    return distances


def by_brute_force(left: Hashes, right: Hashes, radius: int) -> set[tuple[int, int, int]]:
    distances = all_distances(left, right)
    first, second = np.nonzero(distances <= radius)
    return set(zip(first.tolist(), second.tolist(), distances[first, second].tolist(), strict=True))


def rows(pairs: Pairs) -> list[tuple[int, int, int]]:
    return list(zip(*(each.tolist() for each in pairs), strict=True))


def some_plan(rng: np.random.Generator) -> Callable[[Hashes, Hashes, int], hamming._Plan]:
    """Reaches dealt out at random: that no pair is missed hangs on their sum alone."""

    def plan(left: Hashes, right: Hashes, radius: int) -> hamming._Plan:
        spots = [hamming._Chunk(word, *place, -1) for word in range(len(left)) for place in hamming._places(8)]
        for spot in rng.integers(0, len(spots), radius + 1):
            spots[spot] = spots[spot]._replace(reach=spots[spot].reach + 1)
        return hamming._Plan([spot for spot in spots if spot.reach >= 0], int(rng.integers(1, len(left) + 1)))

    return plan


@settings(max_examples=50)
@given(st.integers(0, 70), WORDS, st.integers(0, 256), SEEDS)
def test_every_pair_within_the_radius_is_found_once_and_no_other(n: int, words: int, radius: int, seed: int) -> None:
    hashes = drawn(np.random.default_rng(seed), n, words, crowd=0.3)
    found = rows(near_pairs(hashes, radius))
    assert found == sorted(row for row in by_brute_force(hashes, hashes, radius) if row[0] < row[1])


@settings(max_examples=30)
@given(st.integers(0, 70), WORDS, st.integers(0, 10), SEEDS)
def test_whatever_chunks_are_searched_no_pair_is_missed(n: int, words: int, radius: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    hashes = drawn(rng, n, words, crowd=0.5)
    cut = int(rng.integers(0, n + 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hamming, "_plan", some_plan(rng))
        patch.setattr(hamming, "CROWD", 8)
        patch.setattr(hamming, "PENDING", 20)
        found, between = rows(near_pairs(hashes, radius)), rows(near_between(hashes[:cut], hashes[cut:], radius))
    assert found == sorted(row for row in by_brute_force(hashes, hashes, radius) if row[0] < row[1])
    assert between == sorted(by_brute_force(hashes[:cut], hashes[cut:], radius))


@settings(max_examples=40)
@given(st.integers(0, 90), WORDS, st.integers(0, 40), SEEDS)
def test_hashes_that_arrive_in_parts_give_the_pairs_of_a_search_from_scratch(
    n: int, words: int, radius: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    hashes = drawn(rng, n, words)
    order = rng.permutation(n)
    found: set[tuple[int, int, int]] = set()
    known = order[:0]
    for new in np.split(order, np.sort(rng.integers(0, n + 1, 3))):
        for pairs, left, right in (
            (near_pairs(hashes[new], radius), new, new),
            (near_between(hashes[new], hashes[known], radius), new, known),
        ):
            first, second = left[pairs.first], right[pairs.second]
            ends = np.minimum(first, second).tolist(), np.maximum(first, second).tolist()
            found |= set(zip(*ends, pairs.distance.tolist(), strict=True))
        known = np.concatenate([known, new])
    assert sorted(found) == rows(near_pairs(hashes, radius))


@pytest.mark.parametrize(("words", "radius", "crowd"), [(1, 6, 0.0), (1, 10, 0.6), (4, 31, 0.0), (4, 24, 0.6)])
def test_a_large_set_is_searched_by_chunks_and_gives_what_brute_force_gives(
    words: int, radius: int, crowd: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    hashes = rng.integers(0, 2**64, (6000, words), dtype=np.uint64)
    crowded = rng.random(len(hashes)) < crowd
    hashes[crowded, 0] &= np.uint64(0xFFFFFFFFFF00)  # thousands that share three chunks of eight
    copies = hashes[:1500].copy()
    for _ in range(radius // 2):
        copies[np.arange(1500), rng.integers(0, words, 1500)] ^= np.uint64(1) << rng.integers(
            0, 64, 1500, dtype=np.uint64
        )
    hashes = np.concatenate([hashes, copies])
    monkeypatch.setattr(hamming, "CROWD", 500)
    assert hamming._plan(hamming._words(hashes), hamming._words(hashes), radius).chunks
    by_chunks = near_pairs(hashes, radius)
    monkeypatch.setattr(hamming, "FEW", 10**12)
    assert rows(by_chunks) == rows(near_pairs(hashes, radius))
    assert len(by_chunks.first) >= 1500


@pytest.mark.parametrize("words", [1, 4])
@pytest.mark.parametrize("radius", [0, 1, 5, 10, 31, 60])
def test_a_plan_covers_its_radius_with_chunks_that_do_not_overlap(words: int, radius: int) -> None:
    hashes = hamming._words(drawn(np.random.default_rng(2), 6000, words, crowd=0.5))
    chunks, tested = hamming._plan(hashes, hashes, radius)
    assert 1 <= tested <= words
    assert not chunks or sum(chunk.reach + 1 for chunk in chunks) == radius + 1
    bits = [(chunk.word, chunk.shift + bit) for chunk in chunks for bit in range(chunk.width)]
    assert len(bits) == len(set(bits))
    assert all(0 <= chunk.reach <= chunk.width and bit < 64 for chunk in chunks for _, bit in bits)


def test_the_exact_opposite_is_256_bits_away() -> None:
    hashes = np.zeros((2, 4), dtype=np.uint64)
    hashes[1] = ~hashes[1]
    assert rows(near_pairs(hashes, 255)) == []
    assert rows(near_pairs(hashes, 256)) == [(0, 1, 256)]
    assert [each.tolist() for each in nearest(hashes)] == [[1, 0], [256, 256]]


@settings(max_examples=30)
@given(st.integers(2, 80), st.integers(0, 60), WORDS, SEEDS)
def test_the_nearest_hash_is_the_nearest(n: int, queries: int, words: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    hashes, asked = drawn(rng, n, words), drawn(rng, queries, words)
    distances = all_distances(asked, hashes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hamming, "CELLS", 512)
        patch.setattr(hamming, "COLUMNS", 32)
        index, distance = nearest(asked, hashes)
        others, away = nearest(hashes)
    assert index.tolist() == distances.argmin(axis=1).tolist()
    assert distance.tolist() == distances.min(axis=1).tolist()
    among = all_distances(hashes, hashes) + 1000 * np.eye(n, dtype=np.int64)
    assert others.tolist() == among.argmin(axis=1).tolist()
    assert away.tolist() == among.min(axis=1).tolist()


def test_a_single_hash_is_near_to_none() -> None:
    one = np.array([7], dtype=np.uint64)
    assert rows(near_pairs(one, 64)) == []
    assert [len(each) for each in nearest(one[:0], one)] == [0, 0]
    with pytest.raises(ValueError, match="no hashes to be near to"):
        nearest(one)


def test_an_answer_that_would_fill_the_memory_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hamming, "MOST", 1000)
    with pytest.raises(CollectError, match="more than 1,000 pairs of hashes lie within 20 bits"):
        near_pairs(np.arange(1000, dtype=np.uint64), 20)


def test_hashes_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="must be uint64"):
        near_pairs(np.zeros(3, dtype=np.int64), 1)
    with pytest.raises(ValueError, match="cannot compare 64 bits with 256"):
        near_between(np.zeros(3, np.uint64), np.zeros((3, 4), np.uint64), 1)
    with pytest.raises(ValueError, match="within -1"):
        near_pairs(np.zeros(3, np.uint64), -1)
