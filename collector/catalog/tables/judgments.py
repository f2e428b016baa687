"""Tables of human judgment: who was asked what, what they said, what is settled, what is known to be wrong."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Float, ForeignKey, Index, Integer, Table, Text, UniqueConstraint

from collector.catalog.tables.base import concept_column, image_column, metadata, texts

annotator = Table(
    "annotator",
    metadata,
    Column("name", Text, primary_key=True),
    Column("email", Text, nullable=False),
    Column("added_at", Text, nullable=False),
    Column("state", Text),  # active, removed: by `collect label annotators`; null: known from elsewhere
    Column("share", Float),  # weight of the share of tasks; null: 1
)

round_ = Table(
    "round",
    metadata,
    Column("id", Integer, primary_key=True),
    concept_column(),
    Column("name", Text, nullable=False),
    Column("purpose", Text, nullable=False),  # holdout (validation and test, blind), pool, proposals, disputed
    Column("labels", JSON, nullable=False),
    Column("guideline", Text, nullable=False),
    Column("guideline_hash", Text, nullable=False),
    Column("overlap", Integer, nullable=False),
    Column("blind", Boolean, nullable=False),
    Column("proposals", Boolean, nullable=False),
    Column("projects", JSON, nullable=False),  # annotator -> Label Studio project id
    Column("opened_at", Text, nullable=False),
    Column("several", Boolean),  # true: one picture may get several labels at once
    Column("order", Text),  # random, uncertain, disputed, diverse, next; null: random
    Column("people", JSON),  # who labels in it; null: everybody
    Column("template", Text),  # own labeling page, Label Studio's XML; null: ours
    UniqueConstraint("concept", "name"),
)

guideline = Table(
    "guideline",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("round", Integer, ForeignKey("round.id"), nullable=False),
    Column("version", Integer, nullable=False),  # 1, 2, ... in each round
    Column("text", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("shown_at", Text, nullable=False),  # from then on annotators saw it
    UniqueConstraint("round", "version"),
)

sentinel = Table(
    "sentinel",
    metadata,
    Column("round", Integer, ForeignKey("round.id"), primary_key=True),
    Column("image", Text, ForeignKey("image.id"), primary_key=True),
    Column("label", Text, nullable=False),  # what is known to be right
    Column("proposal", Text),  # a wrong proposal that was shown; null: shown without one
    Column("why", Text, nullable=False),  # where the known answer comes from
    Column("planted_at", Text, nullable=False),
)

task = Table(
    "task",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("round", Integer, ForeignKey("round.id"), nullable=False),
    image_column(),
    Column("annotator", Text, ForeignKey("annotator.name"), nullable=False),
    Column("project", Integer, nullable=False),  # Label Studio's ids
    Column("studio_task", Integer, nullable=False),
    Column("prediction", Integer, ForeignKey("prediction.id")),  # the proposal that is shown, if any
    Column("pushed_at", Text, nullable=False),
    UniqueConstraint("round", "image", "annotator"),
)

annotation = Table(
    "annotation",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("task", Integer, ForeignKey("task.id")),
    concept_column(),
    image_column(),
    Column("annotator", Text, ForeignKey("annotator.name"), nullable=False),
    Column("state", Text, nullable=False),  # answered, unsure ("can't tell"), skipped, deleted
    Column("label", Text),  # null unless answered
    Column("note", Text, nullable=False),
    Column("seconds", Float),
    Column("proposal", Text),  # the label that was shown, if any
    Column("proposal_kept", Boolean),
    Column("studio_annotation", Integer),
    Column("studio_updated_at", Text),
    Column("studio_updated_by", Text),
    Column("content", Text, nullable=False),  # sha256 of the answer as pulled: the key of "only what is new"
    Column("supersedes", Integer, ForeignKey("annotation.id")),
    Column("seen_at", Text, nullable=False),
    Column("guideline", Text),  # hash of the text that was shown; null: answered elsewhere
    Column("origin", Text),  # format and file of an import; null: Label Studio
    UniqueConstraint("content"),
    Index(None, "concept", "image"),
)

consensus = Table(
    "consensus",
    metadata,
    Column("concept", Text, ForeignKey("concept.name"), primary_key=True),
    Column("image", Text, ForeignKey("image.id"), primary_key=True),
    Column("label", Text),  # null: a tie, or nobody could tell
    Column("confidence", Float, nullable=False),  # share of the votes for `label`
    Column("method", Text, nullable=False),
    Column("votes", JSON, nullable=False),  # label -> number of annotators
    Column("settled_at", Text, nullable=False),
)

erratum = Table(
    "erratum",
    metadata,
    Column("id", Integer, primary_key=True),
    concept_column(),
    image_column(),
    Column("annotation", Integer, ForeignKey("annotation.id")),
    *texts("was", "should_be", "severity", "why", "opened_by", "opened_at"),
    Column("evidence", JSON),  # votes, the model's out-of-sample probabilities
)

resolution = Table(
    "resolution",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("erratum", Integer, ForeignKey("erratum.id"), nullable=False),
    Column("state", Text, nullable=False),  # applied, dismissed, open (taken back)
    *texts("by", "note", "at"),
    Index(None, "erratum"),
)
