"""The pages about what was learned: the frozen snapshot, the model, and what it proposes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from collector.catalog import funnel
from collector.catalog.models import Experiment
from collector.errors import CollectError
from pipelines import calibrate
from pipelines.manifest import SPLITS
from pipelines.parquet import VALIDATION
from pipelines.reports import charts
from pipelines.reports.contact_sheet import PER_PAGE
from pipelines.reports.judgment import heat_rows
from pipelines.reports.material import Material

ERRORS = 48  # pictures of confident errors


def snapshot(of: Material) -> dict[str, Any] | None:
    """Splits by label, the digest, licenses, and a sample of each split."""
    row = of.snapshot
    if row is None:
        return None
    manifest = of.manifest(row.digest)
    cells = [(split, label) for split in SPLITS for label in manifest.labels]
    share = PER_PAGE // len(cells)
    samples = []
    for split, label in cells:
        here = [each.image for each in manifest.split(split) if each.label == label]
        if here:
            samples.append((split, label, len(here), [of.album.picture(image) for image in here[:share]]))
    return {
        "row": row,
        "labels": manifest.labels,
        "counts": manifest.counts(),
        "total": len(manifest.rows),
        "unlicensed": sum(each.license == "unlicensed" for each in manifest.rows) / len(manifest.rows),
        "methods": Counter(each.method for each in manifest.rows).most_common(),
        "samples": samples,
    }


def model(of: Material) -> dict[str, Any] | None:
    """The newest run on validation: AP, curve, confusion, calibration, and the most confident errors."""
    run = of.run
    if run is None or run.metrics is None:
        return None
    found = run.metrics
    rows = _validation(of, run)
    truth = np.array([found["labels"].index(row["label"]) for row in rows], dtype=np.int64)
    probabilities = np.array([row["probabilities"] for row in rows], dtype=np.float64)
    errors = _errors(rows, found["labels"])
    return {
        "run": run,
        "facts": _facts(run),
        "found": found,
        "curve": charts.precision_recall(found["pr_curve"], found["threshold"], float((truth == 0).mean())),
        "calibration": charts.calibration(calibrate.reliability(probabilities, truth)),
        "confusion": heat_rows(found["labels"], np.array(found["confusion"])),
        "errors": [(of.album.picture(row["image"]), row, surely) for row, surely in errors[:ERRORS]],
        "wrong": len(errors),
    }


def prelabels(of: Material) -> dict[str, Any] | None:
    """What the newest model says of the images that nobody has labeled: surest, least likely, most uncertain."""
    newest = funnel.newest_model(of.catalog, of.name)
    if newest is None:
        return None
    said = funnel.predictions(of.catalog, of.name, newest)
    open_ = {image: row for image, row in said.items() if image not in of.answered.labeled and image not in of.copies}
    positive = of.concept.positive
    chance = {image: row.get(positive, 0.0) for image, row in open_.items()}
    ranked = sorted(chance, key=lambda image: (-chance[image], image))
    share = min(PER_PAGE // 3, (len(ranked) + 1) // 2)
    sheets = {
        f"Most likely {positive}": ranked[:share],
        f"Least likely {positive}": ranked[::-1][:share],
        "Most uncertain": sorted(open_, key=lambda image: (_margin(open_[image]), image))[:share],
    }
    return {
        "model": newest,
        "predicted": len(said),
        "open": len(open_),
        "proposed": len(funnel.proposed(of.catalog, of.name) & open_.keys()),
        "sheets": [(name, [(of.album.picture(image), chance[image]) for image in row]) for name, row in sheets.items()],
        "chart": charts.histogram(
            list(chance.values()), (0, 1), 20, (f"probability of {positive}", "images without a label")
        ),
    }


def _validation(of: Material, run: Experiment) -> list[dict[str, Any]]:
    """What a run said of each validation image: image, label, predicted, probabilities."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = of.ws.data / run.path / VALIDATION
    try:
        return list(pq.read_table(path).to_pylist())
    except (OSError, pa.ArrowInvalid) as error:
        raise CollectError(
            f"the validation predictions of run {run.run} cannot be read: {error}",
            hint="`collect train-baseline` makes a new run after any change, or restore the run folder",
        ) from error


def _errors(rows: Sequence[dict[str, Any]], labels: Sequence[str]) -> list[tuple[dict[str, Any], float]]:
    """The rows that the model got wrong with the probability of what it said, surest first."""
    place = {label: k for k, label in enumerate(labels)}
    wrong = [(row, row["probabilities"][place[row["predicted"]]]) for row in rows if row["label"] != row["predicted"]]
    return sorted(wrong, key=lambda each: (-each[1], each[0]["image"]))


def _facts(run: Experiment) -> list[tuple[str, str]]:
    """What decides the result of a run. Where its weights file lies stays on this machine."""
    config = {**run.config, **run.config["train"]}
    return [(name.replace("_", " "), str(value)) for name, value in config.items() if name not in _ELSEWHERE]


_ELSEWHERE = ("snapshot", "train", "weights")


def _margin(probabilities: Mapping[str, float]) -> float:
    """How far the most probable label is ahead of the next."""
    first, second = sorted(probabilities.values(), reverse=True)[:2]
    return first - second
