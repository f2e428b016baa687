"""What must not become a negative for the sake of its pixels: copies of positives, of held-out pictures, of picks.

A copy is within `dedup.threshold` bits of the 64-bit hash, or within `negatives.copy_bits` of the 256-bit one in any
of its 8 mirrored and turned forms. Flat pictures have no hashes worth comparing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from collector.catalog import concepts, consensus, images, labels, pools
from collector.dedup import DedupConfig
from collector.dedup.hamming import near_between
from collector.fingerprints import DCT, PHASH, dihedral, pack
from collector.intake import fill_fingerprints
from collector.negatives.config import NegativesConfig
from collector.records import Concept, Rejected
from collector.workspace import Workspace

LABELED = "labeled-as-the-concept"
COPY = "copy-of-a-positive"
HELD_OUT = "copy-of-an-evaluation-image"
REPEAT = "copy-of-a-negative"
REASONS = (LABELED, COPY, HELD_OUT, REPEAT)


def called_positive(ws: Workspace, about: Concept) -> set[str]:
    """The images that people call the concept: their consensus, or anybody's answer where there is none."""
    settled = {row.image: row.label for row in consensus.settled(ws.catalog, about.name)}
    answers = {row.image for row in labels.current(ws.catalog, about.name) if row.label not in (None, about.negative)}
    by_consensus = {image for image, label in settled.items() if label not in (None, about.negative)}
    return by_consensus | (answers - {image for image, label in settled.items() if label is not None})


class Hashes(NamedTuple):
    """Images that are not flat, with their 64-bit (n,) and 256-bit (n, 4) hashes."""

    images: tuple[str, ...]
    phash: NDArray[np.uint64]
    dct: NDArray[np.uint64]

    def plus(self, other: Hashes, chosen: Sequence[int]) -> Hashes:
        """These and the chosen ones of others."""
        names = tuple(other.images[i] for i in chosen)
        return Hashes(
            self.images + names,
            np.concatenate([self.phash, other.phash[list(chosen)]]),
            np.concatenate([self.dct, other.dct[list(chosen)]]),
        )


class Guard:
    """Knows the hashes of what candidates must differ from, strongest reason first; picks are added as they come."""

    def __init__(self, ws: Workspace, about: Concept, picked: set[str]) -> None:
        fill_fingerprints(ws)
        dedup = ws.section(DedupConfig)
        self.threshold, self.min_quality = dedup.threshold, dedup.min_quality
        self.copy_bits = ws.section(NegativesConfig).copy_bits
        self._catalog = ws.catalog
        reasons = dict.fromkeys(picked, REPEAT)
        for name in [each.name for each in concepts.all_concepts(ws.catalog)]:
            held_out = [image for image, part in pools.splits(ws.catalog, name).items() if part != "train"]
            reasons |= dict.fromkeys(held_out, HELD_OUT)
        pool = pools.members(ws.catalog, about.name)
        reasons |= dict.fromkeys((row.image for row in pool if row.role == "positive"), COPY)
        reasons |= dict.fromkeys(called_positive(ws, about), LABELED)
        self._reasons = reasons
        phash, dct = (images.hashes(ws.catalog, algorithm) for algorithm in (PHASH, DCT))
        strongest_first = sorted(reasons, key=lambda image: (REASONS.index(reasons[image]), image))
        self._known = self._hashes(strongest_first, phash, dct)

    def judge(self, found: Sequence[str]) -> list[Rejected | None]:
        """Why each stored image must not become a negative, None if it may and is picked; earlier ones count."""
        phash, dct = (images.hashes(self._catalog, algorithm, found) for algorithm in (PHASH, DCT))
        own = self._hashes(found, phash, dct)
        known = self._copies(own, self._known)
        among = self._copies(own, own)
        place = {image: i for i, image in enumerate(own.images)}
        outcomes: list[Rejected | None] = []
        picked: set[int] = set()
        for image in found:
            i = place.get(image, -1)
            same = self._reasons.get(image)
            near = next((self._known.images[j] for j in known.get(i, ())), None)
            sibling = next((own.images[j] for j in among.get(i, ()) if j in picked), None)
            reason = same or (near and self._reasons[near]) or (sibling and REPEAT)
            outcomes.append(Rejected(reason, f"within the threshold of {near or sibling or image}") if reason else None)
            if not reason:
                self._reasons[image] = REPEAT
                picked |= {i} - {-1}
        self._known = self._known.plus(own, sorted(picked))
        return outcomes

    def _hashes(
        self, wanted: Iterable[str], phash: Mapping[str, tuple[str, float]], dct: Mapping[str, tuple[str, float]]
    ) -> Hashes:
        clear = [name for name in wanted if name in phash and name in dct and phash[name][1] >= self.min_quality]
        wide = pack([dct[name][0] for name in clear]).reshape(-1, 4)
        return Hashes(tuple(clear), pack([phash[name][0] for name in clear]), wide)

    def _copies(self, own: Hashes, others: Hashes) -> dict[int, list[int]]:
        """Which of `others` each of `own` is a copy of, in their order."""
        upright = near_between(own.phash, others.phash, self.threshold)
        turned = near_between(dihedral(own.dct).reshape(-1, 4), others.dct, self.copy_bits)
        pairs = {*zip(upright.first.tolist(), upright.second.tolist(), strict=True)}
        pairs |= {*zip((turned.first % max(1, len(own.dct))).tolist(), turned.second.tolist(), strict=True)}
        found: dict[int, list[int]] = {}
        for i, j in sorted(pairs):
            found.setdefault(i, []).append(j)
        return found
