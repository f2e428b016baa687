"""A pool of positives and negatives, filled with given bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from collector import splits
from collector.catalog import pools
from collector.catalog.pools import PoolRow
from collector.intake import take_in
from collector.records import Kept, License, Sighting
from collector.workspace import Workspace

BY = License("by", "4.0", "https://creativecommons.org/licenses/by/4.0/", evidence="license=by")


def take(
    ws: Workspace, files: Iterable[bytes], label: str, *, source: str = "made", facts: Mapping[str, Any] | None = None
) -> list[str]:
    """Take pictures in as `label` of `horse`; the images, in the order of the files."""
    ws.concept("horse", create=True)
    found = []
    for n, data in enumerate(files):
        name = f"{label}-{source}-{n}"
        seen = Sighting(source, name, f"https://{source}.example/{name}", BY, "horse", label, facts=facts or {})
        outcome = take_in(ws, data, seen)
        assert isinstance(outcome, Kept)
        found.append(outcome.image)
    return found


def pool(ws: Workspace, positives: Iterable[str], negatives: Iterable[str], **checks: Any) -> None:
    """Put images into the pool of `horse`, and draw their splits."""
    sides = {"positive": (positives, "horse", "positive"), "negative": (negatives, "not-horse", "far")}
    for role, (found, label, tier) in sides.items():
        pools.add(ws.catalog, "horse", [PoolRow(image, label, role, tier, "made", checks) for image in found])
    splits.draw(ws, ws.concept("horse"))
