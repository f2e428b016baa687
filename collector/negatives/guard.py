"""What must not become a negative for the sake of its pixels: copies of positives, of held-out pictures, of picks.

What a copy is, `collect dedup` says: equal small pixels, or hashes within the limits of its last pass, which follow
from the size of the pool; what lies a little above them is compared point by point; a person's word comes first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from collector.catalog import comparisons, concepts, consensus, images, labels, pools
from collector.dedup import DedupConfig, across
from collector.dedup.across import Side
from collector.dedup.step import current
from collector.fingerprints import DCT, PHASH, PIXELS, pack
from collector.intake import fill_fingerprints
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


class Guard:
    """Knows the fingerprints of what candidates must differ from; picks are added as they come.

    `limits` are those of deduplication, in bits.
    """

    def __init__(self, ws: Workspace, about: Concept, picked: set[str]) -> None:
        fill_fingerprints(ws)
        self._ws = ws
        self._min_quality = ws.section(DedupConfig).min_quality
        gallery, self.limits = current(ws)
        self._said = {pair: bool(each.same) for pair, each in comparisons.verdicts(ws.catalog).items()}
        self._reasons = _reasons(ws, about, picked)
        rows = sorted(gallery.rows[image] for image in self._reasons.keys() & gallery.rows.keys())
        self._known = across.of_rows(gallery, np.array(rows, np.int64))

    def judge(self, found: Sequence[str]) -> list[Rejected | None]:
        """Why each stored image must not become a negative, None if it may and is picked; earlier ones count."""
        own = self._side(found)
        self._known = _joined(self._known, own)
        near = self._copies(own)
        outcomes: list[Rejected | None] = []
        for image in found:
            others = [other for other in (image, *sorted(near[image])) if other in self._reasons]
            if others:
                other = min(others, key=lambda other: REASONS.index(self._reasons[other]))
                outcomes.append(Rejected(self._reasons[other], f"a copy of {other}, as `collect dedup` sees it"))
            else:
                outcomes.append(None)
                self._reasons[image] = REPEAT
        return outcomes

    def _side(self, found: Sequence[str]) -> Side:
        pixels, phash, dct = (images.hashes(self._ws.catalog, each, found) for each in (PIXELS, PHASH, DCT))
        names = [name for name in found if name in pixels and name in phash and name in dct]
        clear = np.flatnonzero([dct[name][1] >= self._min_quality for name in names])
        contents = [pixels[name][0] for name in names]
        wide = pack([dct[name][0] for name in names]).reshape(-1, 4)
        return Side(names, names, contents, pack([phash[name][0] for name in names]), wide, clear, clear)

    def _copies(self, own: Side) -> defaultdict[str, set[str]]:
        """The known images that each of `own` is a copy of."""
        sure = self._within(own, self.limits.phash, self.limits.dct)
        sure |= {pair for pair, same in self._said.items() if same}
        grey = self._within(own, self.limits.grey_phash, self.limits.grey_dct) - sure - self._said.keys()
        found: defaultdict[str, set[str]] = defaultdict(set)
        for first, second in (sure | self._same(sorted(grey))) - {
            pair for pair, same in self._said.items() if not same
        }:
            found[first].add(second)
            found[second].add(first)
        return found

    def _within(self, own: Side, phash: int, dct: int) -> set[tuple[str, str]]:
        limits = self.limits._replace(phash=phash, dct=dct)
        pairs = ((each.first, each.second) for each in across.copies(own, self._known, limits))
        return {(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]}

    def _same(self, pairs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those pairs that geometry calls copies."""
        if not pairs:
            return set()
        from collector.dedup.keypoints import compare  # imports OpenCV, which clear cases never need

        matches = zip(pairs, compare(self._ws, pairs), strict=True)
        return {pair for pair, match in matches if match is not None and match.same}


def _reasons(ws: Workspace, about: Concept, picked: set[str]) -> dict[str, str]:
    """Image -> why no copy of it may become a negative."""
    reasons = dict.fromkeys(picked, REPEAT)
    for name in [each.name for each in concepts.all_concepts(ws.catalog)]:
        held_out = [image for image, part in pools.splits(ws.catalog, name).items() if part != "train"]
        reasons |= dict.fromkeys(held_out, HELD_OUT)
    pool = pools.members(ws.catalog, about.name)
    reasons |= dict.fromkeys((row.image for row in pool if row.role == "positive"), COPY)
    return reasons | dict.fromkeys(called_positive(ws, about), LABELED)


def _joined(first: Side, second: Side) -> Side:
    n = len(first.names)
    return Side(
        [*first.names, *second.names],
        [*first.files, *second.files],
        [*first.contents, *second.contents],
        np.concatenate([first.phash, second.phash]),
        np.concatenate([first.dct, second.dct]),
        np.concatenate([first.by_phash, n + second.by_phash]),
        np.concatenate([first.by_dct, n + second.by_dct]),
    )
