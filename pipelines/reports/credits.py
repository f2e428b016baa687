"""Whom to name: the files of `collect credits` about a concept or a snapshot, and the page of the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from collector.catalog.sightings import latest, speaking
from collector.credits import Credit, credit, in_order, lacking, of_sightings, to_csv, to_markdown
from collector.errors import CollectError
from collector.licenses import OURS, from_url
from collector.records import Concept, License, Sighting, Summary
from collector.spiders.config import CrawlConfig
from collector.workspace import Workspace
from pipelines.manifest import ManifestRow, find, read_manifest
from pipelines.pages import site
from pipelines.pages.files import folder_name, publish
from pipelines.reports.contact_sheet import PER_PAGE, Picture
from pipelines.reports.material import Material

ROWS = 2000  # credits on a page of the report; the CSV file has all


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditsSummary(Summary):
    """The files in the folder `path` about `images` images by `creators` named creators.

    `snapshot` is the digest of the snapshot, empty for the concept as it is. `licenses` counts images by license,
    `lacking` those whose license asks for a part that the source does not give, by part.
    """

    concept: str
    snapshot: str
    path: str
    images: int
    creators: int
    licenses: dict[str, int]
    lacking: dict[str, int]


class Group(NamedTuple):
    """The credits of one license: some as pictures, some as rows, and how many more there are."""

    title: str
    license: License
    images: int
    pictures: list[tuple[Picture, Credit]]
    rows: list[Credit]
    more: int


def credits(
    ws: Workspace, concept: str | None = None, *, snapshot: str | None = None, out: Path | None = None
) -> CreditsSummary:
    """Write the credits of all images of a concept, or of a snapshot whose digest begins with `snapshot`.

    Args:
        ws: the workspace.
        concept: its name; may be left out when there is one only.
        snapshot: beginning of a digest; credits what that snapshot holds, under the licenses that it froze.
        out: folder to write to; default: `credits/CONCEPT` in the data folder.

    Raises:
        CollectError: there is nothing to credit, or the folder cannot be written.
        UsageError: no snapshot is called so.
    """
    about = ws.concept(concept)
    digest, name = "", about.name
    if snapshot is None:
        found = _of_concept(ws, about)
    else:
        row = find(ws, about.name, snapshot)
        digest, name = row.digest, f"{about.name}, snapshot {row.digest[:16]}"
        found = in_order(_of_row(each) for each in read_manifest(ws, row).rows)
    if not found:
        raise CollectError(f"`{about.name}` has no images to credit", hint=f"run `collect crawl {about.name}` first")
    folder = out or ws.data / "credits" / "-".join(filter(None, (folder_name(about.name), digest[:16])))
    page = site.renderer()("attribution", {"name": name, "groups": groups(found), "total": len(found)})
    with ws.lock("credits"):
        publish(
            folder.resolve(),
            {"attribution.csv": to_csv(found), "attribution.html": page, "ATTRIBUTION.md": to_markdown(name, found)},
        )
    return CreditsSummary(
        concept=about.name,
        snapshot=digest,
        path=str(folder.resolve()),
        images=len(found),
        creators=len({each.creator for each in found if each.creator}),
        licenses=dict(sorted(Counter(each.license_title for each in found).items())),
        lacking=lacking(found),
        warnings=_warnings(found),
    )


def page(of: Material) -> dict[str, Any] | None:
    """Whom to name: each license with pictures first, then rows; None before the first image."""
    if not of.credits:
        return None
    owed = [each for each in of.credits if each.license.code not in OURS]
    grouped = groups(of.credits, ROWS)
    room = PER_PAGE // len(grouped)
    shown = [
        each._replace(pictures=[(of.album.picture(row.image), row) for row in each.rows[:room]], rows=each.rows[room:])
        for each in grouped
    ]
    return {"groups": shown, "total": len(owed), "nameless": sum("creator" in each.lacks for each in owed)}


def groups(credits: Sequence[Credit], most: int | None = None) -> list[Group]:
    """Credits by license, at most `most` rows of each."""
    made = []
    for title, some in groupby(credits, key=lambda each: each.license_title):
        rows = list(some)
        made.append(Group(title, rows[0].license, len(rows), [], rows[:most], max(0, len(rows) - (most or len(rows)))))
    return made


def _of_concept(ws: Workspace, about: Concept) -> list[Credit]:
    rows = latest(ws.catalog, about.name)
    return of_sightings(speaking(rows, ws.section(CrawlConfig).license), rows)


def _of_row(row: ManifestRow) -> Credit:
    license = License(row.license, row.license_version, row.license_url)
    license = replace(license, jurisdiction=getattr(from_url(row.license_url), "jurisdiction", ""))
    names = ("source", "source_id", "url", "page", "title", "creator", "creator_url")
    return credit(row.image, Sighting(**{name: getattr(row, name) for name in names}, license=license))


def _warnings(found: Sequence[Credit]) -> tuple[str, ...]:
    said = []
    if unlicensed := sum(each.license.code == "unlicensed" for each in found):
        said.append(f"{unlicensed} images have no license: never publish them")
    if withdrawn := sum(each.state == "withdrawn" for each in found):
        said.append(f"{withdrawn} images were withdrawn by their source")
    return tuple(said)
