"""Whether two images are copies: verdicts, equal pixels, near hashes, and geometry where hashes leave it open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from collector.catalog.comparisons import Comparison
from collector.dedup import dihedral
from collector.dedup.gallery import Gallery, Rows
from collector.dedup.thresholds import Limits
from collector.fingerprints import DIHEDRAL
from collector.fingerprints import dihedral as dihedral_forms

FAR = 999  # bits, of hashes that mean nothing

Pair = tuple[int, int]  # rows, the smaller first


class Evidence(NamedTuple):
    """What shows that two images are copies: `distance` is in bits of the hash that `method` names, else of 256."""

    method: str
    distance: int
    figures: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Relation:
    """Compares images of a gallery within limits.

    `said` is what people say, row -> other row -> copies or not, both ways; `hinted` are pairs that something else than
    a hash suggests, both ways, and `family` (row -> the row that speaks for it) with `alike` the same for whole
    families (families.py); `checked` is what geometry found, and `open` gathers the pairs that it should be asked
    about. Pairs that nobody has checked are no copies.
    """

    gallery: Gallery
    limits: Limits
    said: Mapping[int, Mapping[int, bool]]
    hinted: Mapping[int, set[int]]
    checked: dict[Pair, Comparison]
    family: Rows | None = None
    alike: Mapping[int, set[int]] = field(default_factory=dict)
    open: set[Pair] = field(default_factory=set)
    _forms: dict[int, NDArray[np.uint64]] = field(default_factory=dict, repr=False)

    def copies(self, row: int, rest: Rows) -> NDArray[np.bool_]:
        """Which of the other rows are copies of `row`."""
        phash, dct, _ = self._distances(row, rest)
        same = self._sure(row, rest, phash, dct)
        asked = (phash <= self.limits.grey_phash) | (dct <= self.limits.grey_dct)
        if hints := self.hinted.get(row):
            asked |= np.isin(rest, list(hints))
        if self.family is not None and (families := self.alike.get(int(self.family[row]))):
            asked |= np.isin(self.family[rest], list(families))
        for k in np.flatnonzero(asked & ~same).tolist():
            pair = ordered(row, int(rest[k]))
            if pair in self.checked:
                same[k] = self.checked[pair].same
            elif pair[1] not in self.said.get(pair[0], {}):
                self.open.add(pair)
        for other, verdict in self.said.get(row, {}).items():
            same[rest == other] = verdict
        return same

    def sure(self, row: int, rest: Rows) -> NDArray[np.bool_]:
        """Which of the other rows equal pixels or hashes alone show to be copies."""
        phash, dct, _ = self._distances(row, rest)
        return self._sure(row, rest, phash, dct)

    def differ(self, row: int, rest: Rows) -> NDArray[np.bool_]:
        """Which of the other rows a person said to be different from `row`."""
        return np.isin(rest, [other for other, same in self.said.get(row, {}).items() if not same])

    def evidence(self, row: int, rest: Rows) -> list[Evidence]:
        """What shows that other images are copies of `row`, or how far from it they are (method `none`)."""
        phash, dct, form = self._distances(row, rest)
        equal = self.gallery.pixels[rest] == self.gallery.pixels[row]
        columns = (rest.tolist(), phash.tolist(), dct.tolist(), form.tolist(), equal.tolist())
        return [self._shown(row, *each) for each in zip(*columns, strict=True)]

    def _shown(self, row: int, other: int, phash: int, dct: int, form: int, equal: bool) -> Evidence:
        figures: dict[str, Any] = {}
        if dct < FAR:
            figures = {"phash": phash, "dct": dct, **({"form": DIHEDRAL[form]} if form else {})}
        verdict, found = self.said.get(row, {}).get(other), self.checked.get(ordered(row, other))
        if verdict is not None:
            return Evidence("person" if verdict else "none", min(dct, 256), figures)
        if equal:
            return Evidence("pixels", 0, figures)
        if phash <= self.limits.phash:
            return Evidence("phash", phash, figures)
        if dct <= self.limits.dct:
            return Evidence("dct", dct, figures)
        if found is not None:
            figures |= {"inliers": int(found.distance), **found.evidence}
        return Evidence("geometry" if found is not None and found.same else "none", min(dct, 256), figures)

    def forms(self, row: int, rest: Rows) -> tuple[Rows, Rows]:
        """Bits of 256 from an image to others, in the form of it that is nearest, and which form that is."""
        known = self._forms.get(row)
        if known is None:
            known = self._forms[row] = dihedral_forms(self.gallery.dct[[row]])[:, 0]
        return dihedral.from_one(known, self.gallery.dct[rest])

    def prepare(self, rows: Rows) -> None:
        """Turn the hashes of some images at once: a tenth of the time of one by one."""
        turned = dihedral_forms(self.gallery.dct[rows]).transpose(1, 0, 2)
        self._forms.update(zip(rows.tolist(), turned, strict=True))

    def _distances(self, row: int, rest: Rows) -> tuple[Rows, Rows, Rows]:
        at = self.gallery
        phash = np.bitwise_count(at.phash[rest] ^ at.phash[row]).astype(np.int64)
        dct, form = self.forms(row, rest)
        flat = ~at.clear[rest] | ~at.clear[row]
        phash[flat], dct[flat] = FAR, FAR
        return phash, dct, form

    def _sure(self, row: int, rest: Rows, phash: Rows, dct: Rows) -> NDArray[np.bool_]:
        equal = self.gallery.pixels[rest] == self.gallery.pixels[row]
        return np.asarray(equal | (phash <= self.limits.phash) | (dct <= self.limits.dct))


def ordered(row: int, other: int) -> Pair:
    """The pair with the smaller row, and so the smaller id, first."""
    return (row, other) if row < other else (other, row)


def both_ways(said: Mapping[Pair, bool]) -> dict[int, dict[int, bool]]:
    """Row -> other row -> whether a person called them copies."""
    found: dict[int, dict[int, bool]] = {}
    for (first, second), same in said.items():
        found.setdefault(first, {})[second] = same
        found.setdefault(second, {})[first] = same
    return found
