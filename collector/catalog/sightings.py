"""Queries over sightings as they stand: each at its highest revision, which is what its source said last."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import sqlalchemy as sa

from collector import licenses
from collector.catalog.database import Catalog, insert_or_ignore, now
from collector.catalog.images import is_buried, sighting_row
from collector.catalog.tables import sighting
from collector.records import License, Sighting

AT_ONCE = 300  # values in one IN (...)
_FOUND = tuple(name for name in Sighting.__dataclass_fields__ if name not in ("license", "facts"))


class Seen(NamedTuple):
    """One sighting as it stands.

    `state` is `live`, `license-changed`, `withdrawn` (the source has it no longer) or `dead` (its page is gone).
    `agreed` is the license code under which the picture was taken in. `seen_at` is when this revision was read,
    `checked_at` when it was last found unchanged, empty if never.
    """

    id: int
    image: str
    found: Sighting
    revision: int
    state: str
    agreed: str
    seen_at: str
    checked_at: str

    @property
    def read_at(self) -> str:
        """When the source was last asked about it."""
        return max(self.seen_at, self.checked_at)

    def refusal(self, accepted: str | Collection[str]) -> str:
        """Why the picture must not be used any more (`withdrawn`, `license-changed`), or an empty string.

        A license that is as it was when the picture was taken in stays good, whatever is accepted today.
        """
        if self.state == "withdrawn":
            return self.state
        license = self.found.license
        changed = license.code != self.agreed and licenses.judge(license, accepted) is not None
        return "license-changed" if changed else ""


def newest() -> sa.ColumnElement[bool]:
    """The condition that a row of `sighting` is the highest revision of its sighting."""
    later = sighting.alias("later")
    keys = ("concept", "source", "source_id", "image")
    return ~sa.exists().where(
        *(later.c[name] == sighting.c[name] for name in keys), later.c.revision > sighting.c.revision
    )


def latest(
    catalog: Catalog, concept: str | None = None, sources: Iterable[str] | None = None, *, revised: bool = False
) -> list[Seen]:
    """Every sighting of a concept (or of all) at its highest revision, by some sources (or by all), first seen first.

    Images that were buried are left out; with `revised`, also those of which no source ever said something new.
    """
    first = sighting.alias("first")
    same = [first.c[name] == sighting.c[name] for name in ("concept", "source", "source_id", "image")]
    query = (
        sa.select(sighting, first.c.license.label("agreed"), first.c.id.label("first_id"))
        .join(first, sa.and_(*same, first.c.revision == 0))
        .where(newest(), ~is_buried(sighting.c.image))
        .order_by(first.c.id)
    )
    if concept is not None:
        query = query.where(sighting.c.concept == concept)
    if sources is not None:
        query = query.where(sighting.c.source.in_(list(sources)))
    if revised:
        again = sighting.alias("again")
        query = query.where(sighting.c.image.in_(sa.select(again.c.image).where(again.c.revision > 0)))
    with catalog.read() as connection:
        return [_seen(row) for row in connection.execute(query)]


def origins(catalog: Catalog, concept: str, accepted: str | Collection[str]) -> dict[str, Seen]:
    """Image of a concept -> the sighting that speaks for it."""
    return speaking(latest(catalog, concept), accepted)


def refused(catalog: Catalog, concept: str, accepted: str | Collection[str]) -> dict[str, str]:
    """Image of a concept that no source permits to use any more -> why: `withdrawn` or `license-changed`."""
    spoken = speaking(latest(catalog, concept, revised=True), accepted)
    return {image: why for image, seen in spoken.items() if (why := seen.refusal(accepted))}


def speaking(rows: Iterable[Seen], accepted: str | Collection[str]) -> dict[str, Seen]:
    """Image -> the sighting that speaks for it: one that still permits its use, the most open one, then by source.

    The choice depends on what was seen, not on when, so that a snapshot of the same facts is the same everywhere.
    """
    best: dict[str, Seen] = {}
    for seen in sorted(rows, key=lambda seen: _rank(seen, accepted)):
        best.setdefault(seen.image, seen)
    return best


def revise(catalog: Catalog, seen: Seen, told: Sighting, state: str) -> bool:
    """Add the next revision of a sighting: what its source says now. False when another process was first."""
    keep = ("concept", "label", "query", "source", "source_id", "url", "final_url")  # where and why we found the bytes
    mine = {name: getattr(seen.found, name) for name in keep}
    row = {**sighting_row(seen.image, told), **mine, "revision": seen.revision + 1, "state": state}
    with catalog.write() as connection:
        return bool(connection.execute(insert_or_ignore(sighting, row)).rowcount)


def confirm(catalog: Catalog, ids: Iterable[int]) -> None:
    """Write down that sightings were found unchanged just now."""
    wanted = list(ids)
    with catalog.write() as connection:
        for start in range(0, len(wanted), AT_ONCE):
            some = sighting.c.id.in_(wanted[start : start + AT_ONCE])
            connection.execute(sa.update(sighting).where(some).values(checked_at=now()))


def _seen(row: sa.Row[Any]) -> Seen:
    license = License(row.license, row.license_version, row.license_url, row.license_jurisdiction, row.license_evidence)
    found = Sighting(**{name: getattr(row, name) for name in _FOUND}, license=license, facts=row.facts)
    return Seen(row.id, row.image, found, row.revision, row.state, row.agreed, row.seen_at, row.checked_at)


def _rank(seen: Seen, accepted: str | Collection[str]) -> tuple[Any, ...]:
    found = seen.found
    facts = (found.source, found.source_id, found.url, found.page, found.title, found.creator, found.license.url)
    return (bool(seen.refusal(accepted)), seen.state == "dead", -licenses.openness(found.license.code), *facts)
