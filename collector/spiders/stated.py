"""Pictures whose license only their page, or their file, states: the file is read before it is believed."""

from __future__ import annotations

from dataclasses import replace

from collector.records import Rejected, Sighting
from collector.spiders import embedded
from collector.spiders.base import ImageSpider

FORBIDS = "opted_out"  # of Sighting.facts: the statement by which a page forbids to take its pictures


class StatedByPage(ImageSpider):
    """Base of spiders that read pages of strangers. What forbids the page's pictures goes to `facts["opted_out"]`."""

    looks_inside = True

    def verify(self, found: Sighting, data: bytes) -> Rejected | None:
        """A file may forbid learning from it, or contradict what its page says."""
        told = embedded.read_file(data)
        if told.mining:
            return Rejected("opted-out", f"the file says {told.mining}")
        if found.license.code != "missing" and (against := embedded.contradiction(told, found.license)):
            return Rejected("license-contradictory", f"the page says {found.license.evidence}, the file {against}")
        return None

    def inside(self, found: Sighting, data: bytes) -> Sighting:
        """The candidate with the license, and the creator, that the file itself states."""
        told = embedded.read_file(data)
        return replace(found, license=embedded.license_of(told), creator=found.creator or told.creator)

    def judge(self, found: Sighting) -> Rejected | None:
        """As always, and whether the page forbids it."""
        forbids = found.facts.get(FORBIDS)
        return Rejected("opted-out", str(forbids)[:300]) if forbids else super().judge(found)
