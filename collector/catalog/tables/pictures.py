"""Tables of pictures: what was found where, what is a copy of what, what serves which concept."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Float, ForeignKey, Index, Integer, Table, Text, UniqueConstraint

from collector.catalog.tables.base import concept_column, image_column, metadata, texts

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
    image_column(),
    concept_column(),
    Column("label", Text, nullable=False),  # the label whose query found it
    *texts("source", "source_id", "url", "page", "title"),
    *texts("creator", "creator_url", "license", "license_version", "license_url", "license_jurisdiction"),
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
    concept_column(),
    *texts("source", "source_id", "url", "page", "reason", "detail", "query", "seen_at"),
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
    image_column(),  # the copy that is set aside
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
    *texts("by", "note", "said_at"),
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
    concept_column(),
    image_column(),
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
    Column("name", Text, nullable=False),  # train, calibration, validation, test
    Column("rule", Text, nullable=False),  # the keyed hash and shares that drew it
    Column("frozen_at", Text, nullable=False),
)

tombstone = Table(
    "tombstone",
    metadata,
    Column("sha256", Text, primary_key=True),
    *texts("phash", "reason", "buried_at"),
)

forgotten = Table(
    "forgotten",
    metadata,
    Column("id", Integer, primary_key=True),
    *texts("kind", "value", "why", "at"),  # of url, sha256, creator the digest; allowed: a sha256 that may come in
    UniqueConstraint("kind", "value"),
)
