"""Queries over snapshots, experiments, model runs and predictions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from collector.catalog import pools
from collector.catalog.database import Catalog, insert_or_ignore, now, storable
from collector.catalog.tables import experiment, model_run, pool, prediction, snapshot
from collector.errors import UsageError


class SnapshotRow(NamedTuple):
    """One frozen manifest: `path` is relative to the data folder, `counts` is split -> label -> images.

    `name` is None where it was made before snapshots had names.
    """

    digest: str
    concept: str
    path: str
    config: dict[str, Any]
    counts: dict[str, dict[str, int]]
    made_at: str
    name: str | None = None


class Experiment(NamedTuple):
    """One training run: `state` is `running` or `finished`, `path` is relative to the data folder."""

    run: str
    concept: str
    snapshot: str
    state: str
    config: dict[str, Any]
    metrics: dict[str, Any] | None
    path: str
    started_at: str
    finished_at: str | None


class ModelRun(NamedTuple):
    """One model that predicts; `id` is the version that Label Studio shows. `experiment` is None for zero-shot."""

    id: str
    experiment: str | None
    backbone: str
    weights_digest: str
    transform_digest: str


class Prediction(NamedTuple):
    """What a model said of one image; `score` is the probability of `label`.

    `probabilities` lists the most probable labels; those that are not listed share evenly what is left of 1.
    """

    image: str
    label: str
    score: float
    probabilities: Mapping[str, float]


def over(listed: Mapping[str, float], labels: Sequence[str]) -> list[float]:
    """The probability of each label, from those that a prediction lists."""
    left = unlisted(listed, len(labels))
    return [listed.get(label, left) for label in labels]


def unlisted(listed: Mapping[str, float], labels: int) -> float:
    """The probability of each of the `labels` that a prediction does not list: they share evenly what is left of 1."""
    others = labels - len(listed)
    return max(0.0, 1 - sum(listed.values())) / others if others > 0 else 0.0


def put_snapshot(catalog: Catalog, row: SnapshotRow) -> tuple[SnapshotRow, bool]:
    """Write a snapshot down; what stands there, and whether it is new. Without a name it is called CONCEPT-1, -2, ...

    Raises:
        UsageError: another snapshot has that name.
    """
    with catalog.write() as connection:
        there = connection.execute(_snapshots().where(snapshot.c.digest == row.digest)).first()
        if there is not None:
            return SnapshotRow(*there), False
        mine = sa.select(sa.func.count()).select_from(snapshot).where(snapshot.c.concept == row.concept)
        number = connection.execute(mine).scalar_one()
        while True:
            number += 1
            named = row._replace(name=row.name or f"{row.concept}-{number}")
            if connection.execute(insert_or_ignore(snapshot, named._asdict())).rowcount:
                return named, True
            there = connection.execute(_snapshots().where(snapshot.c.digest == row.digest)).first()
            if there is not None:  # another process wrote it just now
                return SnapshotRow(*there), False
            if row.name:
                raise UsageError(f"another snapshot is called `{row.name}`", hint="choose another `--name`")


def find_snapshot(catalog: Catalog, concept: str, wanted: str | None = None) -> SnapshotRow | None:
    """The newest snapshot of a concept, or the one of that name, or the newest whose digest begins so."""
    query = _snapshots().where(snapshot.c.concept == concept).order_by(snapshot.c.made_at.desc()).limit(1)
    with catalog.read() as connection:
        if wanted is None:
            row = connection.execute(query).first()
        else:
            row = connection.execute(query.where(snapshot.c.name == wanted)).first()
            begins = snapshot.c.digest.startswith(wanted, autoescape=True)
            row = row or connection.execute(query.where(begins)).first()
    return SnapshotRow(*row) if row else None


def snapshot_named(catalog: Catalog, wanted: str) -> SnapshotRow | None:
    """The snapshot of any concept with that name, or the newest whose digest begins so."""
    begins = snapshot.c.digest.startswith(wanted, autoescape=True)
    query = _snapshots().where(sa.or_(snapshot.c.name == wanted, begins))
    exact_first = sa.case((snapshot.c.name == wanted, 0), else_=1)
    with catalog.read() as connection:
        row = connection.execute(query.order_by(exact_first, snapshot.c.made_at.desc()).limit(1)).first()
    return SnapshotRow(*row) if row else None


def start_experiment(catalog: Catalog, row: Experiment) -> None:
    """Write down that a run has begun; one that had begun before stays as it is."""
    with catalog.write() as connection:
        connection.execute(insert_or_ignore(experiment, row._asdict()))


def finish_experiment(catalog: Catalog, run: str, metrics: Mapping[str, Any]) -> None:
    """Write down the figures of a run; a finished run keeps its first ones."""
    with catalog.write() as connection:
        connection.execute(
            sa.update(experiment)
            .where(experiment.c.run == run, experiment.c.state == "running")
            .values(state="finished", metrics=dict(metrics), finished_at=now())
        )


def experiment_of(catalog: Catalog, run: str) -> Experiment | None:
    """The experiment with exactly this run id."""
    with catalog.read() as connection:
        row = connection.execute(_experiments().where(experiment.c.run == run)).first()
    return Experiment(*row) if row else None


def find_finished(catalog: Catalog, concept: str, run: str | None = None) -> Experiment | None:
    """The finished run of a concept that ended last, or the last whose id begins with `run`."""
    query = _experiments().where(experiment.c.concept == concept, experiment.c.state == "finished")
    if run is not None:
        query = query.where(experiment.c.run.startswith(run, autoescape=True))
    with catalog.read() as connection:
        row = connection.execute(query.order_by(experiment.c.finished_at.desc()).limit(1)).first()
    return Experiment(*row) if row else None


def snapshots(catalog: Catalog, concept: str) -> list[SnapshotRow]:
    """Every snapshot of a concept, oldest first."""
    query = _snapshots().where(snapshot.c.concept == concept).order_by(snapshot.c.made_at)
    with catalog.read() as connection:
        return [SnapshotRow(*row) for row in connection.execute(query)]


def experiments(catalog: Catalog, concept: str) -> list[Experiment]:
    """Every run of a concept, oldest first."""
    query = _experiments().where(experiment.c.concept == concept).order_by(experiment.c.started_at)
    with catalog.read() as connection:
        return [Experiment(*row) for row in connection.execute(query)]


def put_model_run(catalog: Catalog, row: ModelRun) -> None:
    """Write a model down; the same model is written once."""
    with catalog.write() as connection:
        connection.execute(insert_or_ignore(model_run, {**row._asdict(), "made_at": now()}))


def add_predictions(catalog: Catalog, model: str, concept: str, rows: Iterable[Prediction]) -> int:
    """Append predictions of a model; images that it has judged already are left alone. Returns how many are new."""
    same = storable({"model_run": model, "concept": concept, "predicted_at": now()})
    ordered = sorted(rows, key=lambda row: row.image)  # as the index lies: a page of it is written once
    texts = storable({row.label: row.label for row in ordered})
    values = [{**same, **row._asdict(), "label": texts[row.label]} for row in ordered]
    if not values:
        return 0
    with catalog.write() as connection:
        return connection.execute(postgresql.insert(prediction).on_conflict_do_nothing(), values).rowcount


def said(catalog: Catalog, model: str, concept: str, split: str | None = None) -> Iterator[tuple[str, str, float]]:
    """(image, label, score) of everything that a model said of a concept, one after another, never all in memory.

    `split`: only of the images of the pool in that split.
    """
    columns = (prediction.c.image, prediction.c.label, prediction.c.score)
    mine = sa.and_(prediction.c.model_run == model, prediction.c.concept == concept)
    if split is None:
        aside, query = {}, sa.select(*columns).where(mine)
    else:
        same = sa.and_(mine, prediction.c.image == pool.c.image)
        aside, query = pools.out(catalog), pools.in_split(concept, split, *columns).join(prediction, same)
    with catalog.read() as connection:
        rows = connection.execution_options(yield_per=10_000).execute(query)
        yield from ((row.image, row.label, row.score) for row in rows if row.image not in aside)


def prediction_ids(catalog: Catalog, model: str, concept: str, images: Sequence[str]) -> dict[str, int]:
    """Image -> row id of what a model said of it, for at most a few thousand images."""
    query = sa.select(prediction.c.image, prediction.c.id).where(
        prediction.c.model_run == model, prediction.c.concept == concept, prediction.c.image.in_(images)
    )
    with catalog.read() as connection:
        return {row.image: row.id for row in connection.execute(query)}


def _experiments() -> sa.Select[Any]:
    return sa.select(*(experiment.c[name] for name in Experiment._fields))


def _snapshots() -> sa.Select[Any]:
    return sa.select(*(snapshot.c[name] for name in SnapshotRow._fields))
