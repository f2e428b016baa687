"""Can positives be told from negatives without looking at them? Then a model may learn that, and nothing else.

A small classifier sees only metadata: what lies in the files beside their pixels, and where and when they were found.
It is judged on images that it was not fitted on. An area under the ROC curve (AUC) near 0.5 is good news. Near 1 the
classes were collected in two ways, and a score on them says little about the subject (Torralba and Efros, Unbiased Look
at Dataset Bias, CVPR 2011).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from collector.catalog import pools, sightings
from collector.errors import GateNotMet
from collector.metadata import Metadata, metadata
from collector.records import Summary
from collector.spiders.config import CrawlConfig
from collector.splits import position
from collector.workspace import Workspace
from pipelines.backbones import need_extra
from pipelines.calibrate import Floats
from pipelines.config import ShortcutsConfig
from pipelines.metrics import auc

WORDS = {  # feature of a file that is no number -> field of its header
    "format": "format",
    "quantization tables": "tables",
    "chroma subsampling": "chroma",
    "gray": "gray",
    "progressive": "progressive",
    "EXIF": "exif",
    "ICC profile": "icc",
}
ORIGIN = ("source", "host", "day seen")  # features that do not lie in the files
LEAST = 20  # images of each class: fewer tell nothing
MOST = 4000  # images of each class that are looked at: the interval is narrow enough
FREQUENT = 30  # words of a feature that are told apart
FOLDS = 5
DRAWS = 1000
CELLS = 1_000_000  # resamples x images counted at once
TOP = 5  # features that a summary names


class Estimate(NamedTuple):
    """An AUC with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Shortcut:
    """What metadata tells of two classes of images, image -> metadata.

    `files` is from what lies in the files, `everything` from source, host and day as well, `alone` from each feature
    by itself, the highest AUC first. All are empty where a class has fewer than `LEAST` images.
    """

    positives: Mapping[str, Metadata]
    negatives: Mapping[str, Metadata]
    files: Estimate | None = None
    everything: Estimate | None = None
    alone: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortcutsSummary(Summary):
    """How well metadata alone tells the pool's positives from its negatives.

    `auc` is from what lies in the files, `auc_with_origin` from source, host and day as well; `features` are those that
    tell most by themselves.
    """

    concept: str
    positives: int
    negatives: int
    auc: float | None
    auc_low: float | None
    auc_high: float | None
    auc_with_origin: float | None
    auc_with_origin_low: float | None
    auc_with_origin_high: float | None
    features: dict[str, float]


def shortcuts(ws: Workspace, concept: str | None = None) -> ShortcutsSummary:
    """Measure how well metadata alone tells the positives of a concept's pool from its negatives.

    Raises:
        CollectError: the extra `train` is missing.
    """
    about = ws.concept(concept)
    need_extra()
    pool = pools.members(ws.catalog, about.name)
    positives, negatives = ([row.image for row in pool if row.role == role] for role in ("positive", "negative"))
    found = measure(ws, about.name, positives, negatives)
    few = (f"a class has fewer than {LEAST} images: too few to tell",)
    return ShortcutsSummary(
        concept=about.name,
        positives=len(found.positives),
        negatives=len(found.negatives),
        **figures("auc", found.files),
        **figures("auc_with_origin", found.everything),
        features=dict(found.alone[:TOP]),
        warnings=warnings(ws, found) if found.files else few,
        next=f"collect label push {about.name}",
    )


def gate(
    ws: Workspace, concept: str, positives: Iterable[str], negatives: Iterable[str], *, accept: bool
) -> Shortcut | None:
    """Measure two classes of images, and refuse a shortcut; None where the extra `train` is missing.

    Raises:
        GateNotMet: without `accept`, when the files alone tell the classes apart better than `shortcuts.gate` allows.
    """
    if find_spec("sklearn") is None:
        return None
    found = measure(ws, concept, positives, negatives)
    # An interval that holds 0.5 may be chance: 20 images of each class reach 0.75 without any shortcut now and then.
    if found.files and found.files.value > ws.section(ShortcutsConfig).gate and found.files.low > 0.5 and not accept:
        raise GateNotMet(
            _told(found, found.files, origin=False),
            hint=f"`collect negatives {concept} --match` draws negatives that are made like the positives; "
            "--accept-shortcut goes on all the same",
        )
    return found


def measure(ws: Workspace, concept: str, positives: Iterable[str], negatives: Iterable[str]) -> Shortcut:
    """What metadata tells of two classes of images; at most `MOST` of each are looked at, drawn by a keyed hash."""
    origins = sightings.origins(ws.catalog, concept, ws.section(CrawlConfig).license)
    drawn = [_drawn(images, f"{ws.seed}:{concept}:shortcuts") for images in (positives, negatives)]
    known = metadata(ws, [image for images in drawn for image in images], origins)
    first, second = ({image: known[image] for image in images if image in known} for images in drawn)
    if min(len(first), len(second)) < LEAST:
        return Shortcut(first, second)
    return compared(first, second, ws.seed)


def compared(positives: Mapping[str, Metadata], negatives: Mapping[str, Metadata], seed: int) -> Shortcut:
    """The AUC of boosted trees on all features, and of a tree on each feature alone, cross-validated."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.tree import DecisionTreeClassifier

    truth = np.repeat([True, False], [len(positives), len(negatives)])
    table = columns([*positives.values(), *negatives.values()])
    table = {name: column for name, column in table.items() if (column != column[0]).any()}
    leaf = max(5, min(20, len(truth) // 20))
    boosted = HistGradientBoostingClassifier(
        max_iter=50, max_leaf_nodes=8, min_samples_leaf=leaf, early_stopping=False, random_state=seed
    )
    tree = DecisionTreeClassifier(max_leaf_nodes=16, min_samples_leaf=leaf, random_state=seed)
    in_files = {name: column for name, column in table.items() if name not in ORIGIN}
    scores = [_out_of_fold(boosted, truth, some, seed) for some in (in_files, table)]
    alone = {name: _out_of_fold(tree, truth, {name: column}, seed) for name, column in table.items()}
    ranked = sorted(((name, float(auc(truth, each)[0])) for name, each in alone.items()), key=lambda each: -each[1])
    files, everything = (_estimate(truth, each, seed) for each in scores)
    return Shortcut(positives, negatives, files, everything, tuple(ranked))


def columns(rows: Sequence[Metadata]) -> dict[str, Floats]:
    """Feature -> its value for each row; -1 for an unknown number, and words numbered by how frequent they are."""
    found = {name: np.array(values, dtype=np.float64) for name, values in numbers(rows).items()}
    return found | {name: _numbered(values) for name, values in words(rows).items()}


def numbers(rows: Iterable[Metadata]) -> dict[str, list[float]]:
    """The features that are numbers: sides in pixels, dates as days, -1 where a file does not say."""
    pairs = [(row, row.header) for row in rows]
    return {
        "width": [header.width for _, header in pairs],
        "height": [header.height for _, header in pairs],
        "long side": [header.long_side for _, header in pairs],
        "aspect": [header.aspect for _, header in pairs],
        "bytes per pixel": [header.bytes_per_pixel for _, header in pairs],
        "JPEG quality": [header.quality or -1 for _, header in pairs],
        "day taken": [_day(header.taken[:10]) for _, header in pairs],
        "day seen": [_day(row.seen) for row, _ in pairs],
    }


def words(rows: Iterable[Metadata]) -> dict[str, list[str]]:
    """The features that are words, or yes and no."""
    pairs = [(row, row.header) for row in rows]
    return {
        **{name: [_word(getattr(header, field)) for _, header in pairs] for name, field in WORDS.items()},
        "source": [row.source for row, _ in pairs],
        "host": [row.host for row, _ in pairs],
    }


def warnings(ws: Workspace, found: Shortcut | None) -> tuple[str, ...]:
    """A sentence for a shortcut above `shortcuts.warn`, or for none measured (None: the extra `train` is missing)."""
    if found is None:
        return (
            "whether the files without their pixels tell the classes apart was not measured: that needs the train "
            "extra (pip install 'collect-dataset[train]')",
        )
    limit = ws.section(ShortcutsConfig).warn
    if found.files and found.files.value > limit:
        return (f"{_told(found, found.files, origin=False)}: a model may learn how the pictures were made",)
    if found.everything and found.everything.value > limit:
        return (f"{_told(found, found.everything, origin=True)}: better take both from the same sources",)
    return ()


def figures(name: str, found: Estimate | None) -> dict[str, Any]:
    """An estimate as fields of a summary: `name`, `name_low`, `name_high`."""
    value, low, high = found or (None, None, None)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _out_of_fold(classifier: Any, truth: NDArray[np.bool_], table: Mapping[str, Floats], seed: int) -> Floats:
    """How positive each image looks to a classifier that was fitted on the other folds."""
    from sklearn.base import clone
    from sklearn.model_selection import StratifiedKFold
    from threadpoolctl import threadpool_limits

    scores = np.zeros(len(truth))
    if not table:
        return scores
    matrix = np.column_stack(list(table.values()))
    with threadpool_limits(1):  # the tables are small: threads cost more than they give
        for inside, outside in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(matrix, truth):
            fitted = clone(classifier).fit(matrix[inside], truth[inside])
            scores[outside] = fitted.predict_proba(matrix[outside])[:, 1]
    return scores


def _estimate(truth: NDArray[np.bool_], scores: Floats, seed: int) -> Estimate:
    """With the percentile bootstrap over images (Efron and Tibshirani, 1993, ch. 13)."""
    rng = np.random.default_rng(seed)
    n = len(truth)
    at_once = max(1, CELLS // n)
    values = []
    for start in range(0, DRAWS, at_once):
        weights = [np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(min(at_once, DRAWS - start))]
        values.append(auc(truth, scores, np.stack(weights).astype(np.float64)))
    low, high = np.nanpercentile(np.concatenate(values), [2.5, 97.5])
    return Estimate(float(auc(truth, scores)[0]), float(low), float(high))


def _word(value: str | bool) -> str:
    return value if isinstance(value, str) else "yes" if value else "no"


def _numbered(words: Sequence[str]) -> Floats:
    """0 for the most frequent word, 1 for the next; all rare ones are one."""
    _, places, counts = np.unique(words, return_inverse=True, return_counts=True)
    rank = np.argsort(np.argsort(-counts, kind="stable"))
    return np.minimum(rank, FREQUENT)[places].astype(np.float64)


def _drawn(images: Iterable[str], key: str) -> list[str]:
    return sorted(sorted(images, key=lambda image: position(f"{key}:{image}"))[:MOST])


def _day(text: str) -> float:
    try:
        return float(date.fromisoformat(text).toordinal())
    except ValueError:
        return -1.0


def _told(found: Shortcut, estimate: Estimate, *, origin: bool) -> str:
    by = "source, host and day" if origin else "the files"
    top = [f"{name} {value:.2f}" for name, value in found.alone if (name in ORIGIN) is origin and value > 0.6]
    named = f" ({', '.join(top[:TOP])})" if top else ""
    return f"{by} tell positives from negatives without the pixels, AUC {estimate.value:.2f}{named}"
