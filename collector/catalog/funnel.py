"""Queries for the report: how far each image of a concept has come, and where the images are from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import sqlalchemy as sa

from collector.catalog import labels
from collector.catalog.database import Catalog
from collector.catalog.images import is_buried
from collector.catalog.tables import (
    annotation,
    consensus,
    dedup_pass,
    experiment,
    image,
    model_run,
    pool,
    prediction,
    rejection,
    round_,
    sighting,
    snapshot,
    task,
)


class Pass(NamedTuple):
    """The current pass of deduplication: `images` were compared, `threshold` is in bits of 64."""

    images: int
    threshold: int


class Shape(NamedTuple):
    """What one image is like; `frames` above 1: an animation."""

    id: str
    width: int
    height: int
    bytes: int
    format: str
    frames: int


class Answered(NamedTuple):
    """Images of a concept by what people did with them, later stages within earlier ones."""

    sent: set[str]
    touched: set[str]
    labeled: set[str]


def found(catalog: Catalog, concept: str) -> set[str]:
    """The images that were seen for a concept and are not buried."""
    query = sa.select(sighting.c.image).where(sighting.c.concept == concept, ~is_buried(sighting.c.image))
    with catalog.read() as connection:
        return set(connection.execute(query).scalars())


def sources(catalog: Catalog, concept: str) -> list[str]:
    """The sources that have shown a candidate for a concept, kept or refused, by name."""
    with catalog.read() as connection:
        names = [
            connection.execute(sa.select(table.c.source).where(table.c.concept == concept).distinct()).scalars().all()
            for table in (sighting, rejection)
        ]
    return sorted({name for some in names for name in some})


def refusals(catalog: Catalog, concept: str) -> dict[str, str]:
    """Reason -> what the latest refusal for that reason said."""
    query = (
        sa.select(rejection.c.reason, rejection.c.detail).where(rejection.c.concept == concept).order_by(rejection.c.id)
    )
    with catalog.read() as connection:
        return {row.reason: row.detail for row in connection.execute(query)}


def shapes(catalog: Catalog, concept: str) -> list[Shape]:
    """Width, height (pixels), bytes and format of every image that was seen for a concept."""
    seen = sa.select(sighting.c.image).where(sighting.c.concept == concept, ~is_buried(sighting.c.image))
    query = sa.select(*(image.c[name] for name in Shape._fields)).where(image.c.id.in_(seen)).order_by(image.c.id)
    with catalog.read() as connection:
        return [Shape(*row) for row in connection.execute(query)]


def current_pass(catalog: Catalog) -> Pass | None:
    """The newest pass of deduplication, None before the first."""
    query = sa.select(dedup_pass.c.images, dedup_pass.c.settings).order_by(dedup_pass.c.id.desc()).limit(1)
    with catalog.read() as connection:
        row = connection.execute(query).first()
    return Pass(row.images, int(row.settings["threshold"])) if row else None


def answered(catalog: Catalog, concept: str) -> Answered:
    """Which images went to annotators, which of them somebody opened, and which have a label by somebody.

    Only the newest answer of an annotator to an image counts.
    """
    sent = sa.select(task.c.image).join(round_).where(round_.c.concept == concept)
    with catalog.read() as connection:
        tasks = set(connection.execute(sent).scalars())
    answers = labels.current(catalog, concept)
    touched = {row.image for row in answers}
    labeled = {row.image for row in answers if row.state == "answered"}
    return Answered(tasks | touched, touched, labeled)


def newest_model(catalog: Catalog, concept: str) -> str | None:
    """The id of the model that predicted last for a concept."""
    query = (
        sa.select(model_run.c.id)
        .join(prediction, prediction.c.model_run == model_run.c.id)
        .where(prediction.c.concept == concept)
        .order_by(prediction.c.id.desc())
        .limit(1)
    )
    with catalog.read() as connection:
        return connection.execute(query).scalar()


def predictions(
    catalog: Catalog, concept: str, model: str, *, answered: bool = False
) -> Iterator[tuple[str, dict[str, float]]]:
    """(image, label -> probability) of everything that a model said, one after another, never all in memory.

    `answered`: only of images that somebody was asked about and answered, or passed over.
    """
    query = sa.select(prediction.c.image, prediction.c.probabilities).where(
        prediction.c.concept == concept, prediction.c.model_run == model
    )
    if answered:
        asked = sa.select(annotation.c.image).where(annotation.c.concept == concept)
        query = query.where(prediction.c.image.in_(asked))
    with catalog.read() as connection:
        for row in connection.execution_options(yield_per=1000).execute(query):
            yield row.image, row.probabilities


def proposed(catalog: Catalog, concept: str) -> set[str]:
    """The images that annotators see with a proposal."""
    query = sa.select(task.c.image).join(round_).where(round_.c.concept == concept, task.c.prediction.is_not(None))
    with catalog.read() as connection:
        return set(connection.execute(query).scalars())


def newest_row(catalog: Catalog, concept: str) -> str:
    """When the newest row about a concept was written; empty when there is none."""
    columns = (
        sighting.c.seen_at,
        rejection.c.seen_at,
        pool.c.added_at,
        annotation.c.seen_at,
        consensus.c.settled_at,
        snapshot.c.made_at,
        experiment.c.finished_at,
        prediction.c.predicted_at,
    )
    with catalog.read() as connection:
        times = [
            connection.execute(sa.select(sa.func.max(column)).where(column.table.c.concept == concept)).scalar()
            for column in columns
        ]
        times.append(connection.execute(sa.select(sa.func.max(dedup_pass.c.at))).scalar())
    return max((time for time in times if time), default="")
