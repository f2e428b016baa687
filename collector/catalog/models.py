"""Queries over snapshots, experiments, model runs and predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from collector.catalog.database import Catalog, insert_or_ignore, now
from collector.catalog.tables import experiment, model_run, prediction, snapshot


class SnapshotRow(NamedTuple):
    """One frozen manifest: `path` is relative to the data folder, `counts` is split -> label -> images."""

    digest: str
    concept: str
    path: str
    config: dict[str, Any]
    counts: dict[str, dict[str, int]]
    made_at: str


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
    """What a model said of one image; `score` is the probability of `label`."""

    image: str
    label: str
    score: float
    probabilities: Mapping[str, float]


def put_snapshot(catalog: Catalog, row: SnapshotRow) -> bool:
    """Write a snapshot down; False when it is there already."""
    with catalog.write() as connection:
        return bool(connection.execute(insert_or_ignore(snapshot, row._asdict())).rowcount)


def find_snapshot(catalog: Catalog, concept: str, digest: str | None = None) -> SnapshotRow | None:
    """The newest snapshot of a concept, or the newest whose digest begins with `digest`."""
    query = sa.select(*(snapshot.c[name] for name in SnapshotRow._fields)).where(snapshot.c.concept == concept)
    if digest is not None:
        query = query.where(snapshot.c.digest.startswith(digest, autoescape=True))
    with catalog.read() as connection:
        row = connection.execute(query.order_by(snapshot.c.made_at.desc()).limit(1)).first()
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
    query = sa.select(*(snapshot.c[name] for name in SnapshotRow._fields)).where(snapshot.c.concept == concept)
    with catalog.read() as connection:
        return [SnapshotRow(*row) for row in connection.execute(query.order_by(snapshot.c.made_at))]


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
    values = [
        {
            "model_run": model,
            "concept": concept,
            "image": row.image,
            "label": row.label,
            "score": row.score,
            "probabilities": dict(row.probabilities),
            "predicted_at": now(),
        }
        for row in rows
    ]
    with catalog.write() as connection:
        return sum(connection.execute(insert_or_ignore(prediction, value)).rowcount for value in values)


def prediction_ids(catalog: Catalog, model: str, concept: str, images: Sequence[str]) -> dict[str, int]:
    """Image -> row id of what a model said of it, for at most a few thousand images."""
    query = sa.select(prediction.c.image, prediction.c.id).where(
        prediction.c.model_run == model, prediction.c.concept == concept, prediction.c.image.in_(images)
    )
    with catalog.read() as connection:
        return {row.image: row.id for row in connection.execute(query)}


def _experiments() -> sa.Select[Any]:
    return sa.select(*(experiment.c[name] for name in Experiment._fields))
