"""Every table of the record book; `docs/catalog.md` draws them.

Times are ISO 8601 text in UTC. Image ids are the sha256 of the original bytes, in hex. Rows of the
tables in `APPEND_ONLY` can only be added: triggers refuse UPDATE and DELETE.
"""

from collector.catalog.tables.base import metadata
from collector.catalog.tables.judgments import (
    annotation,
    annotator,
    consensus,
    erratum,
    guideline,
    resolution,
    round_,
    sentinel,
    task,
)
from collector.catalog.tables.learning import experiment, model_run, opening, prediction, snapshot
from collector.catalog.tables.pictures import (
    comparison,
    concept,
    dedup_pass,
    duplicate,
    fingerprint,
    forgotten,
    image,
    pool,
    quality,
    rejection,
    search,
    searched,
    sighting,
    split,
    suspect,
    tombstone,
    verdict,
)

APPEND_ONLY = (
    "annotation", "prediction", "rejection", "erratum", "resolution", "guideline", "verdict", "opening", "forgotten",
)  # fmt: skip

__all__ = [
    "APPEND_ONLY", "annotation", "annotator", "comparison", "concept", "consensus", "dedup_pass", "duplicate",
    "erratum", "experiment", "fingerprint", "forgotten", "guideline", "image", "metadata", "model_run", "opening",
    "pool", "prediction", "quality", "rejection", "resolution", "round_", "search", "searched", "sentinel",
    "sighting", "snapshot", "split", "suspect", "task", "tombstone", "verdict",
]  # fmt: skip
