"""`--match`: negatives whose files are like those of the positives, so that only the pixels can tell them apart."""

from __future__ import annotations

from collections.abc import Sequence

from collector import folders
from collector.catalog import pools, sightings
from collector.catalog.pools import PoolRow
from collector.config import IntakeConfig
from collector.matching import Stratum, comparable, places, stratum
from collector.metadata import metadata, read
from collector.negatives.config import NegativesConfig
from collector.negatives.quotas import Caps
from collector.negatives.sources import Candidate
from collector.records import Concept
from collector.workspace import Workspace


class AlikeCaps(Caps):
    """Caps, and as many negatives of each stratum as the positives' share of it asks for."""

    def __init__(
        self, ws: Workspace, about: Concept, wanted: int, before: Sequence[PoolRow], candidates: Sequence[Candidate]
    ) -> None:
        super().__init__(ws.section(NegativesConfig), wanted, [row.checks for row in before])
        positives = [row.image for row in pools.members(ws.catalog, about.name) if row.role == "positive"]
        known = _stored(ws, about, [*positives, *(row.image for row in before)])
        shape = [known.pop(image) for image in positives if image in known]
        self._strata, shape = comparable(known | _offered(ws, about, candidates), shape)
        self._left = places(shape, wanted)
        for row in before:
            self._use(row.image, +1)

    def binds(self, each: Candidate) -> str:
        """The cap that leaves no room for a candidate; `match` where the positives have no more files like it."""
        where = self._strata.get(each.image)
        return super().binds(each) or ("" if where and self._left[where] > 0 else "match")

    def count(self, each: Candidate, by: int) -> None:
        """Use a place, or with -1 give it back."""
        super().count(each, by)
        self._use(each.image, by)

    def _use(self, image: str, by: int) -> None:
        if where := self._strata.get(image):
            self._left[where] -= by


def _stored(ws: Workspace, about: Concept, images: Sequence[str]) -> dict[str, Stratum]:
    origins = sightings.origins(ws.catalog, about.name, "any-cc")
    return {name: stratum(each.header, each.source) for name, each in metadata(ws, images, origins).items()}


def _offered(ws: Workspace, about: Concept, candidates: Sequence[Candidate]) -> dict[str, Stratum]:
    """The strata of candidates, in the store or still in their folder; what cannot be read has none."""
    found = _stored(ws, about, [each.image for each in candidates if each.path is None])
    waiting = [each for each in candidates if each.path is not None]
    for done, each in enumerate(waiting):
        ws.progress("comparing files", done, len(waiting))
        data = folders.read(each.path, ws.section(IntakeConfig)) if each.path else b""
        header = read(data) if isinstance(data, bytes) else None
        if header is not None:
            found[each.image] = stratum(header, each.found.source)
    return found
