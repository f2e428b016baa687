"""Group near-duplicates, keep one image of each group, say why.

Two images are copies when their pixels are equal (those of the small gray pictures that fingerprints are made of), or
when their 64-bit perceptual hashes differ in at most `dedup.threshold` bits and neither is flat. The search is exact
(multi-index hashing: no pair is missed). Groups are stars: images are taken best first, and each one sets aside every
lesser image within the threshold, so every image set aside lies within the threshold of the one that is kept for it.
Nothing is deleted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from collector.catalog import pools
from collector.catalog.pools import Candidate, Duplicate
from collector.config import Section
from collector.fingerprints import PHASH, PIXELS
from collector.intake import fill_fingerprints
from collector.licenses import openness
from collector.records import Summary
from collector.workspace import Workspace

SLICE = 4_000_000  # candidate pairs compared at once: about 100 MB


class DedupConfig(Section):
    """How alike two pictures must be to count as copies."""

    section = "dedup"
    threshold: int = Field(10, ge=0, le=20, description="largest distance of two copies, in bits of 64")
    min_quality: float = Field(0.1, ge=0, le=1, description="pictures flatter than this are matched by pixels only")


@dataclass(frozen=True, slots=True, kw_only=True)
class DedupSummary(Summary):
    """What deduplication found; `images = kept + duplicates`, and `changed` is False when nothing is new."""

    images: int
    groups: int
    duplicates: int
    kept: int
    exact: int
    threshold: int
    changed: bool


def dedup(ws: Workspace, *, threshold: int | None = None, dry_run: bool = False) -> DedupSummary:
    """Compare all images of the workspace and write down which are copies of which."""
    config = ws.section(DedupConfig)
    limit = config.threshold if threshold is None else threshold
    with ws.lock("dedup"):
        fill_fingerprints(ws)
        ws.progress("reading fingerprints", 0, None)
        ranked = sorted(pools.candidates(ws.catalog, PIXELS, PHASH), key=_rank)
        ws.progress(f"comparing {len(ranked)} images", 0, None)
        found = stars(ranked, limit, config.min_quality)
        digest = hashlib.sha256(json.dumps([limit, config.min_quality, found]).encode()).hexdigest()
        settings = {"threshold": limit, "min_quality": config.min_quality}
        changed = not dry_run and pools.write_pass(ws.catalog, settings, len(ranked), digest, found)
    return DedupSummary(
        images=len(ranked),
        groups=len({row.keeper for row in found}),
        duplicates=len(found),
        kept=len(ranked) - len(found),
        exact=sum(row.method == "pixels" for row in found),
        threshold=limit,
        changed=changed,
        next="collect negatives",
    )


def stars(ranked: Sequence[Candidate], threshold: int, min_quality: float) -> list[Duplicate]:
    """The copies among `ranked` (best image first), each with its keeper; sorted by image."""
    by_pixels: dict[str, list[int]] = {}
    by_hash: dict[int, list[int]] = {}  # equal hashes are one: a placeholder seen 100,000 times makes no pairs
    for i, each in enumerate(ranked):
        by_pixels.setdefault(each.pixels, []).append(i)
        if each.quality >= min_quality:
            by_hash.setdefault(each.phash, []).append(i)
    hashes = sorted(by_hash)
    near: dict[int, list[tuple[int, int]]] = {value: [(value, 0)] for value in hashes}
    for a, b, distance in near_pairs(np.array(hashes, dtype=np.uint64), threshold):
        near[hashes[a]].append((hashes[b], distance))
        near[hashes[b]].append((hashes[a], distance))
    found: dict[int, Duplicate] = {}
    for i, keeper in enumerate(ranked):
        if i in found:
            continue
        equal = [(j, 0, "pixels") for j in by_pixels[keeper.pixels]]
        alike = near[keeper.phash] if keeper.quality >= min_quality else []
        close = [(j, distance, "phash") for value, distance in alike for j in by_hash[value]]
        for j, distance, method in (*equal, *close):
            if j > i and j not in found:
                found[j] = Duplicate(ranked[j].image, keeper.image, distance, method, _why(keeper, ranked[j]))
    return sorted(found.values())


def near_pairs(hashes: NDArray[np.uint64], radius: int) -> Iterator[tuple[int, int, int]]:
    """Every pair (i, j, distance) of 64-bit hashes with i < j and Hamming distance <= radius, each once.

    Multi-index hashing (Norouzi, Punjani and Fleet, 2012) in the generalized form: four 16-bit chunks with radii r_k
    find every pair within `radius` if sum(r_k + 1) > radius, since a pair that misses all differs in that many bits.
    """
    spare = radius + 1 - 4
    radii = [spare // 4 + (k < spare % 4) for k in range(4)] if spare >= 0 else [0] * (radius + 1)
    seen: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    n = len(hashes)
    for chunk, reach in enumerate(radii):
        value = ((hashes >> np.uint64(16 * chunk)) & np.uint64(0xFFFF)).astype(np.int64)
        order = np.argsort(value, kind="stable")
        ordered, starts = hashes[order], np.searchsorted(value[order], np.arange(65537))
        for mask in (sum(1 << bit for bit in bits) for k in range(reach + 1) for bits in combinations(range(16), k)):
            low = starts[value[order] ^ mask]
            count = starts[(value[order] ^ mask) + 1] - low
            for a, b in _expand(low, count):
                keep = np.flatnonzero(np.bitwise_count(ordered[a] ^ ordered[b]) <= radius)
                i, j = order[a[keep]], order[b[keep]]
                seen.append(np.unique((i * n + j)[i < j]))
    pairs = np.unique(np.concatenate(seen))
    i, j = pairs // max(n, 1), pairs % max(n, 1)
    yield from zip(i.tolist(), j.tolist(), np.bitwise_count(hashes[i] ^ hashes[j]).tolist(), strict=True)


def _expand(low: NDArray[np.int64], count: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The candidate pairs (row, low[row] + 0 .. count[row] - 1), in slices that fit into memory."""
    ends = np.cumsum(count)
    begin = 0
    while begin < len(count):
        base = ends[begin - 1] if begin else 0
        stop = max(begin + 1, int(np.searchsorted(ends, base + SLICE, side="right")))
        part = count[begin:stop]
        a = np.repeat(np.arange(begin, stop), part)
        first = np.repeat(np.cumsum(part) - part, part)
        yield a, np.repeat(low[begin:stop], part) + np.arange(len(a)) - first
        begin = stop


def _rank(each: Candidate) -> tuple[object, ...]:
    """Best first: in use already, most open license, most pixels, most bytes, seen first; the id settles ties."""
    return (not each.in_pool, -_openness(each), -each.area, -each.bytes, each.first_seen, each.image)


def _openness(each: Candidate) -> int:
    return max((openness(code) for code in each.licenses), default=0)


def _why(keeper: Candidate, copy: Candidate) -> str:
    if keeper.in_pool != copy.in_pool:
        return "already in the pool"
    if _openness(keeper) != _openness(copy):
        return f"more open license ({'/'.join(keeper.licenses)} against {'/'.join(copy.licenses)})"
    if keeper.area != copy.area:
        return f"more pixels ({keeper.area} against {copy.area})"
    if keeper.bytes != copy.bytes:
        return f"less compressed ({keeper.bytes} bytes against {copy.bytes})"
    return "seen first"
