"""Every table of the record book on one page; `docs/catalog.md` draws them.

Times are ISO 8601 text in UTC. Image ids are the sha256 of the original bytes, in hex. Rows of the
tables in `APPEND_ONLY` can only be added: triggers refuse UPDATE and DELETE.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import JSON, Boolean, Column, Float, ForeignKey, Index, Integer, MetaData, Table, Text, UniqueConstraint

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
APPEND_ONLY = ("annotation", "prediction", "rejection", "erratum", "resolution", "guideline", "verdict")


def _image() -> Column[str]:
    return Column("image", Text, ForeignKey("image.id"), nullable=False)


def _concept() -> Column[str]:
    return Column("concept", Text, ForeignKey("concept.name"), nullable=False)


def _texts(*names: str) -> Iterator[Column[str]]:
    return (Column(name, Text, nullable=False) for name in names)


concept = Table(
    "concept",
    metadata,
    Column("name", Text, primary_key=True),
    Column("labels", JSON, nullable=False),  # the concept first, "none of them" last
    Column("queries", JSON, nullable=False),  # label -> search words
    Column("synsets", JSON, nullable=False),  # label -> WordNet 3.0 id
    Column("exclude", JSON, nullable=False),
    Column("added_at", Text, nullable=False),
)

image = Table(
    "image",
    metadata,
    Column("id", Text, primary_key=True),
    Column("bytes", Integer, nullable=False),
    Column("width", Integer, nullable=False),  # after EXIF orientation, in pixels
    Column("height", Integer, nullable=False),
    Column("format", Text, nullable=False),  # JPEG, PNG, WEBP, GIF, AVIF: as decoded, not as named
    Column("mode", Text, nullable=False),  # Pillow's word for the stored pixels: RGB, CMYK, I;16, ...
    Column("frames", Integer, nullable=False),  # of a GIF, counted up to 1,000
    Column("orientation", Integer, nullable=False),  # EXIF tag 274; 1 is upright
    Column("preview_pack", Text),  # null: the original is small enough to be its own preview
    Column("preview_offset", Integer),
    Column("preview_bytes", Integer),
    Column("added_at", Text, nullable=False),
)

sighting = Table(
    "sighting",
    metadata,
    Column("id", Integer, primary_key=True),
    _image(),
    _concept(),
    Column("label", Text, nullable=False),  # the label whose query found it
    *_texts("source", "source_id", "url", "page", "title"),
    *_texts("creator", "creator_url", "license", "license_version", "license_url", "license_jurisdiction"),
    Column("license_evidence", Text, nullable=False),  # which field of which answer said so
    Column("query", Text, nullable=False),
    Column("seen_at", Text, nullable=False),  # when the license was read
    Column("final_url", Text, nullable=False),  # where redirects led; empty: `url` itself
    Column("facts", JSON, nullable=False),  # what else the source says (records.Sighting)
    Column("revision", Integer, nullable=False),  # 0: the crawl; higher: `collect recheck`
    Column("state", Text, nullable=False),  # live, license-changed, withdrawn, dead
    Column("checked_at", Text, nullable=False),  # when `collect recheck` last found it unchanged
    UniqueConstraint("concept", "source", "source_id", "image", "revision"),
    Index(None, "image"),
    Index(None, "url"),
)

rejection = Table(
    "rejection",
    metadata,
    Column("id", Integer, primary_key=True),
    _concept(),
    *_texts("source", "source_id", "url", "page", "reason", "detail", "query", "seen_at"),
    UniqueConstraint("concept", "source", "source_id", "reason"),
)

search = Table(
    "search",
    metadata,
    Column("concept", Text, ForeignKey("concept.name"), primary_key=True),
    Column("source", Text, primary_key=True),
    Column("asked", Text, primary_key=True),  # digest of words, license preset and facets
    Column("cursor", JSON),  # the page to ask for next; null: the beginning
    Column("exhausted", Boolean, nullable=False),
    Column("pages", Integer, nullable=False),
    Column("asked_at", Text, nullable=False),
)

fingerprint = Table(
    "fingerprint",
    metadata,
    Column("image", Text, ForeignKey("image.id"), primary_key=True),
    Column("algorithm", Text, primary_key=True),  # name and parameters: phash64/lanczos32/gray288
    Column("value", Text, nullable=False),  # hex
    Column("quality", Float, nullable=False),  # 0 flat .. 1; flat pictures are not matched
)

dedup_pass = Table(
    "dedup_pass",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("settings", JSON, nullable=False),
    Column("images", Integer, nullable=False),
    Column("digest", Text, nullable=False),  # over the duplicate rows: an equal result writes no new pass
    Column("at", Text, nullable=False),
)

duplicate = Table(
    "duplicate",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("dedup_pass", Integer, ForeignKey("dedup_pass.id"), nullable=False),
    _image(),  # the copy that is set aside
    Column("keeper", Text, ForeignKey("image.id"), nullable=False),
    Column("distance", Integer, nullable=False),  # in bits of the hash of `method`; 0 for equal pixels
    Column("method", Text, nullable=False),  # what showed it: pixels, a hash, geometry, person
    Column("evidence", JSON, nullable=False),  # the figures behind it
    Column("reason", Text, nullable=False),  # why the keeper was kept
    UniqueConstraint("dedup_pass", "image"),
)

comparison = Table(
    "comparison",
    metadata,
    Column("first", Text, ForeignKey("image.id"), primary_key=True),  # the smaller id
    Column("second", Text, ForeignKey("image.id"), primary_key=True),
    Column("algorithm", Text, primary_key=True),  # name and parameters
    Column("same", Boolean, nullable=False),
    Column("distance", Float, nullable=False),  # in bits, for hashes; inlying points for geometry
    Column("evidence", JSON, nullable=False),
)

searched = Table(
    "searched",
    metadata,
    Column("image", Text, ForeignKey("image.id"), primary_key=True),
    Column("algorithm", Text, primary_key=True),  # all pairs of images searched by it are in `comparison`
)

verdict = Table(
    "verdict",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("first", Text, ForeignKey("image.id"), nullable=False),  # the smaller id
    Column("second", Text, ForeignKey("image.id"), nullable=False),
    Column("same", Boolean),  # null: a person takes back what was said before
    *_texts("by", "note", "said_at"),
    Index(None, "first", "second"),
)

quality = Table(
    "quality",
    metadata,
    Column("image", Text, ForeignKey("image.id"), primary_key=True),
    Column("check", Text, primary_key=True),  # name and version: blurry/1
    Column("score", Float, nullable=False),  # 0 bad .. 1 good
    Column("details", JSON, nullable=False),  # faces: boxes; gps: what stands there
)

suspect = Table(
    "suspect",
    metadata,
    Column("concept", Text, ForeignKey("concept.name"), primary_key=True),
    Column("image", Text, ForeignKey("image.id"), primary_key=True),  # a negative that may show the concept
    Column("rank", Integer, nullable=False),  # 1: look at this first
    Column("similarity", Float),  # cosine to the nearest positive
    Column("nearest", Text, ForeignKey("image.id")),  # that positive
    Column("score", Float),  # the model's probability of the concept
    Column("reason", Text, nullable=False),
    Column("found_at", Text, nullable=False),
)

pool = Table(
    "pool",
    metadata,
    Column("id", Integer, primary_key=True),
    _concept(),
    _image(),
    Column("label", Text, nullable=False),  # what it was collected as; people decide what it is
    Column("role", Text, nullable=False),  # positive, negative
    Column("tier", Text, nullable=False),  # positive; near, mid, far, context, junk, given
    Column("reason", Text, nullable=False),
    Column("checks", JSON, nullable=False),
    Column("added_at", Text, nullable=False),
    UniqueConstraint("concept", "image"),
)

split = Table(
    "split",
    metadata,
    Column("concept", Text, ForeignKey("concept.name"), primary_key=True),
    Column("image", Text, ForeignKey("image.id"), primary_key=True),
    Column("name", Text, nullable=False),  # train, validation, test
    Column("rule", Text, nullable=False),  # the keyed hash and shares that drew it
    Column("frozen_at", Text, nullable=False),
)

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
    _concept(),
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
    Column("order", Text),  # random, uncertain, disputed, diverse; null: random
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
    _image(),
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
    _concept(),
    _image(),
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
    _concept(),
    _image(),
    Column("annotation", Integer, ForeignKey("annotation.id")),
    *_texts("was", "should_be", "severity", "why", "opened_by", "opened_at"),
    Column("evidence", JSON),  # votes, the model's out-of-sample probabilities
)

resolution = Table(
    "resolution",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("erratum", Integer, ForeignKey("erratum.id"), nullable=False),
    Column("state", Text, nullable=False),  # applied, dismissed, open (taken back)
    *_texts("by", "note", "at"),
    Index(None, "erratum"),
)

snapshot = Table(
    "snapshot",
    metadata,
    Column("digest", Text, primary_key=True),
    _concept(),
    Column("path", Text, nullable=False),  # of the Parquet manifest, relative to the data folder
    Column("config", JSON, nullable=False),
    Column("counts", JSON, nullable=False),  # split -> label -> images
    Column("made_at", Text, nullable=False),
)

experiment = Table(
    "experiment",
    metadata,
    Column("run", Text, primary_key=True),  # hash of snapshot, protocol, config, source tree, seed
    _concept(),
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
    *_texts("backbone", "weights_digest", "transform_digest", "made_at"),
)

prediction = Table(
    "prediction",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("model_run", Text, ForeignKey("model_run.id"), nullable=False),
    _concept(),
    _image(),
    Column("label", Text, nullable=False),
    Column("score", Float, nullable=False),  # probability of `label`
    Column("probabilities", JSON, nullable=False),  # label -> probability
    Column("predicted_at", Text, nullable=False),
    UniqueConstraint("model_run", "concept", "image"),
)

tombstone = Table(
    "tombstone",
    metadata,
    Column("sha256", Text, primary_key=True),
    *_texts("phash", "reason", "buried_at"),
)
