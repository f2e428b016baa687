"""Tables of learning: frozen data sets, runs, what models said, and how often a held-out split was opened."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Float, ForeignKey, Index, Integer, Table, Text, UniqueConstraint

from collector.catalog.tables.base import concept_column, image_column, metadata, texts

snapshot = Table(
    "snapshot",
    metadata,
    Column("digest", Text, primary_key=True),
    concept_column(),
    Column("path", Text, nullable=False),  # of the Parquet manifest, relative to the data folder
    Column("config", JSON, nullable=False),
    Column("counts", JSON, nullable=False),  # split -> label -> images
    Column("made_at", Text, nullable=False),
    Column("name", Text),  # horse-1, horse-2, ... or as its maker called it; null: made before names were
    Index(None, "name", unique=True),
)

experiment = Table(
    "experiment",
    metadata,
    Column("run", Text, primary_key=True),  # hash of snapshot, protocol, config, source tree, seed
    concept_column(),
    Column("snapshot", Text, ForeignKey("snapshot.digest"), nullable=False),
    Column("state", Text, nullable=False),  # running, finished
    Column("config", JSON, nullable=False),
    Column("metrics", JSON),
    Column("path", Text, nullable=False),  # of the run folder, relative to the data folder
    Column("started_at", Text, nullable=False),
    Column("finished_at", Text),
)

model_run = Table(
    "model_run",
    metadata,
    Column("id", Text, primary_key=True),  # what Label Studio shows as the model version
    Column("experiment", Text, ForeignKey("experiment.run")),
    *texts("backbone", "weights_digest", "transform_digest", "made_at"),
)

prediction = Table(
    "prediction",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("model_run", Text, ForeignKey("model_run.id"), nullable=False),
    concept_column(),
    image_column(),
    Column("label", Text, nullable=False),
    Column("score", Float, nullable=False),  # probability of `label`
    Column("probabilities", JSON, nullable=False),  # label -> probability, of the most probable ones
    Column("predicted_at", Text, nullable=False),
    UniqueConstraint("model_run", "concept", "image"),
)

opening = Table(
    "opening",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run", Text, ForeignKey("experiment.run"), nullable=False),
    Column("snapshot", Text, ForeignKey("snapshot.digest"), nullable=False),
    *texts("protocol", "split"),
    Column("metrics", JSON, nullable=False),  # every figure that was seen
    Column("opened_at", Text, nullable=False),
    UniqueConstraint("run", "split"),
)
