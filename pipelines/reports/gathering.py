"""The pages about where images come from: crawl, duplicates. None means: that step has not run."""

from __future__ import annotations

from typing import Any

from collector.catalog import funnel, images
from pipelines.reports.material import Material

SAMPLE = 60  # pictures on the crawl page


def crawl(of: Material) -> dict[str, Any] | None:
    """Candidates and refusals by reason, source by source, and a sample."""
    names = funnel.sources(of.catalog, of.name)
    if not names:
        return None
    seen, kept, refused = images.counts(of.catalog, of.name)
    unlicensed = sum(each.found.license.code == "unlicensed" for each in of.origins.values())
    return {
        "seen": seen,
        "kept": kept,
        "refused": sorted(refused.items(), key=lambda item: (-item[1], item[0])),
        "details": funnel.refusals(of.catalog, of.name),
        "sources": {name: images.counts(of.catalog, of.name, [name]) for name in names},
        "unlicensed": unlicensed / kept if kept else 0.0,
        "sample": [of.album.picture(image) for image in sorted(of.found)[:SAMPLE]],
    }
