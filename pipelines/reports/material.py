"""`Material`: what the pages are made from, each part read once, when the first page asks for it."""

from __future__ import annotations

from functools import cached_property

from collector.catalog import funnel, models, pools, sightings
from collector.catalog.funnel import Answered
from collector.catalog.models import Experiment, SnapshotRow
from collector.catalog.pools import Duplicate
from collector.catalog.sightings import Seen
from collector.credits import Credit, of_sightings
from collector.errors import CollectError
from collector.records import Concept
from collector.spiders.config import CrawlConfig
from collector.workspace import Workspace
from labeling.review import Details, details
from pipelines.errata import Judged, out_of_sample, views
from pipelines.manifest import Manifest, find, read_manifest
from pipelines.reports.contact_sheet import Album
from pipelines.reports.said import Said, said_of


class Material:
    """One concept of one workspace, as the pages see it."""

    def __init__(self, ws: Workspace, concept: Concept) -> None:
        self.ws = ws
        self.catalog = ws.catalog
        self.concept = concept
        self.name = concept.name
        self._manifests: dict[str, Manifest] = {}

    @cached_property
    def album(self) -> Album:
        """The pictures."""
        return Album(self.ws, self.origins)

    @cached_property
    def found(self) -> set[str]:
        """Every image that was seen for the concept."""
        return funnel.found(self.catalog, self.name)

    @cached_property
    def origins(self) -> dict[str, Seen]:
        """Image -> the sighting that speaks for it."""
        return sightings.speaking(self.seen, self.ws.section(CrawlConfig).license)

    @cached_property
    def seen(self) -> list[Seen]:
        """Every sighting as it stands."""
        return sightings.latest(self.catalog, self.name)

    @cached_property
    def credits(self) -> list[Credit]:
        """Whom to name for each image."""
        return of_sightings(self.origins, self.seen)

    @cached_property
    def copies(self) -> dict[str, Duplicate]:
        """Image of the concept that was set aside -> its row."""
        return {image: row for image, row in pools.duplicates(self.catalog).items() if image in self.found}

    @cached_property
    def answered(self) -> Answered:
        """What people did."""
        return funnel.answered(self.catalog, self.name)

    @cached_property
    def review(self) -> Details:
        """How far people agree; ask only when somebody has answered."""
        return details(self.ws, self.name, model=views)

    @cached_property
    def judged(self) -> Judged | None:
        """What the newest run says of images that it was not trained on; None where that cannot be told."""
        try:
            return out_of_sample(self.ws, self.run) if self.run else None
        except CollectError:
            return None  # its snapshot is damaged, which its own page says

    @cached_property
    def snapshot(self) -> SnapshotRow | None:
        """The newest snapshot."""
        return models.find_snapshot(self.catalog, self.name)

    @cached_property
    def run(self) -> Experiment | None:
        """The run that finished last."""
        return models.find_finished(self.catalog, self.name)

    @cached_property
    def validation(self) -> Said:
        """What that run says of validation; a `CollectError` when its file is gone or damaged."""
        assert self.run is not None
        return said_of(self.ws, self.run)

    def manifest(self, digest: str) -> Manifest:
        """The rows of a snapshot; a `CollectError` when its file is gone or was changed."""
        if digest not in self._manifests:
            self._manifests[digest] = read_manifest(self.ws, find(self.ws, self.name, digest))
        return self._manifests[digest]
