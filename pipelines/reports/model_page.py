"""The page of the newest model: its figures on validation, how far they can be trusted, and what is behind them."""

from __future__ import annotations

from typing import Any

import numpy as np

from collector.catalog import openings
from collector.catalog.models import Experiment
from labeling.ceiling import ceiling
from pipelines import calibrate
from pipelines.compare import history_of
from pipelines.config import EvaluateConfig
from pipelines.evaluate import TEST, cautions, protocol_of, votes_on
from pipelines.metrics import at_prevalence, table_of
from pipelines.pages import charts
from pipelines.reports.contact_sheet import PER_PAGE
from pipelines.reports.judgment import heat_rows
from pipelines.reports.material import Material
from pipelines.reports.said import Said

WIDE = 12  # labels: of more the most confused pairs are shown, not the matrix
IN_A_CELL = 12  # pictures
MOST_SLICES = 30
MOST_LABELS = 50  # in the table of labels: the worst
SHARES = (0.5, 0.1, 0.01, 0.001)  # of the first label among what the model will see
CURVES = {  # figure -> its name
    "ap": "average precision",
    "error": "error",
    "nll": "log loss",
    "ece": "calibration error (ECE)",
    "brier": "Brier score",
    "train_loss": "training loss",
}


def model(of: Material) -> dict[str, Any] | None:
    """The newest run on validation: headline, curves, confusion with pictures, calibration, slices, alarms."""
    run = of.run
    if run is None or run.metrics is None:
        return None
    found, said = run.metrics, of.validation
    reached = ceiling(votes_on(of.ws, of.name, "validation", said.labels))
    pairs = _pairs(said)
    wide = len(said.labels) > WIDE
    return {
        "run": run,
        "facts": _facts(run),
        "found": found,
        "protocol": protocol_of(run),
        "openings": openings.opened(of.catalog, of.name, protocol_of(run), TEST),
        "alarms": [line for line in (found.get("drift"), *found.get("notes", ())) if line]
        + list(cautions(of.ws, run, found, "validation")),
        "curve": "" if wide else _precision_recall(found, said, reached and (reached.precision, reached.recall)),
        "spread": _by_label(found) if wide else "",
        "calibration": _calibration(found, said),
        "confusion": [] if wide else heat_rows(said.labels, np.array(found["confusion"])),
        "cells": [_cell(of, said, *pair, share=_share(len(pairs))) for pair in pairs],
        "cut": _different(said) - len(pairs),
        "histories": _histories(of, run),
        "slices": found.get("slices", [])[:MOST_SLICES],
        "unshown": max(0, len(found.get("slices", [])) - MOST_SLICES),
        "prevalent": [] if wide else _prevalent(of, found),
        "labels": sorted(
            found.get("by_label", {}).items(), key=lambda each: (each[1]["ap"] is None, each[1]["ap"] or 0, each[0])
        )[:MOST_LABELS],
        "wrong": int((said.said != said.truth).sum()),
    }


def _pairs(said: Said) -> list[tuple[int, int]]:
    """Cells of the confusion with images (true label, said label): errors first, the most frequent of them in front.

    Of a matrix that is too large to show, errors only.
    """
    size = len(said.labels)
    cells, counts = np.unique(said.truth * size + said.said, return_counts=True)
    wrong = cells // size != cells % size
    order = np.lexsort((cells, -counts, ~wrong))
    if size > WIDE:
        order = order[wrong[order]][:40]
    return [(int(cells[k]) // size, int(cells[k]) % size) for k in order[:PER_PAGE]]


def _different(said: Said) -> int:
    """How many kinds of cells `_pairs` could show."""
    cells = np.unique(said.truth * len(said.labels) + said.said)
    wrong = int((cells // len(said.labels) != cells % len(said.labels)).sum())
    return wrong if len(said.labels) > WIDE else len(cells)


def _share(cells: int) -> int:
    return max(1, min(IN_A_CELL, PER_PAGE // max(cells, 1)))


def _cell(of: Material, said: Said, truth: int, guess: int, *, share: int) -> dict[str, Any]:
    """The surest images of one cell, with the probability of what the model says of them."""
    rows = np.flatnonzero((said.truth == truth) & (said.said == guess))
    first = rows[np.argsort(-said.sure()[rows], kind="stable")][:share]
    return {
        "at": (truth, guess),
        "truth": said.labels[truth],
        "said": said.labels[guess],
        "images": len(rows),
        "pictures": [(of.album.picture(said.images[k]), float(said.sure()[k])) for k in first],
    }


def _by_label(found: dict[str, Any]) -> str:
    """How the AP of the labels is spread; of a thousand nobody looks at each curve."""
    known = [row["ap"] for row in found["by_label"].values() if row["ap"] is not None]
    return charts.histogram(known, (0, 1), 20, ("average precision of a label", "labels"))


def _precision_recall(found: dict[str, Any], said: Said, human: tuple[float | None, float | None] | None) -> str:
    about = found.get("by_label", {}).get(said.labels[0], {})
    threshold = float(found["threshold"])
    nearest = min(found["pr_curve"], key=lambda point: abs(point[0] - threshold))
    precision, recall = about.get("precision"), about.get("recall")
    chosen = (threshold, nearest[1] if precision is None else precision, nearest[2] if recall is None else recall)
    point = (human[0], human[1]) if human and human[0] is not None and human[1] is not None else None
    return charts.precision_recall(
        found["pr_curve"],
        chosen,
        float((said.truth == 0).mean()),
        marks=about.get("recall_at_precision", {}),
        human=point,
    )


def _calibration(found: dict[str, Any], said: Said) -> str:
    heat = found.get("temperature", 1.0)
    before = calibrate.reliability(calibrate.soften(said.probabilities, 1 / heat), said.truth) if heat != 1 else []
    return charts.calibration(calibrate.reliability(said.probabilities, said.truth), before)


def _histories(of: Material, run: Experiment) -> list[tuple[str, str]]:
    """Charts of what the training went through, each with its caption: by epoch, or by penalty of a head."""
    rows = history_of(of.ws, run)
    drawn = []
    for x, name in (("epoch", "epoch"), ("c", "inverse penalty")):
        for y, figure in CURVES.items():
            line = [(row[x], row[y]) for row in rows if x in row and np.isfinite(row.get(y, np.nan))]
            if len(line) > 1:
                whose = " of cross-validation" if x == "c" else "" if y == "train_loss" else " on validation"
                best = (max if y == "ap" else min)(line, key=lambda point: point[1])
                caption = f"{figure.capitalize()} {whose} by {name}: best {best[1]:.3f} at {best[0]:g}."
                drawn.append(
                    (charts.overlaid({run.run: line}, (name, figure), log=x == "c"), " ".join(caption.split()))
                )
    return drawn


def _prevalent(of: Material, found: dict[str, Any]) -> list[tuple[float, Any]]:
    """Share of the first label -> the precision that is to be expected there."""
    own = of.ws.section(EvaluateConfig).prevalence
    shares = sorted({*SHARES, *([own] if own else [])}, reverse=True)
    table = table_of(found)
    return [(share, at_prevalence(table, share)) for share in shares]


def _facts(run: Experiment) -> list[tuple[str, str]]:
    """What decides the result of a run. Where its weights file lies stays on this machine."""
    found = []
    for name, value in run.config.items():
        nested = value if isinstance(value, dict) else {"": value}
        found += [
            (f"{name} {key}".strip().replace("_", " "), str(each))
            for key, each in nested.items()
            if each not in (None, "") and name not in _ELSEWHERE
        ]
    return found


_ELSEWHERE = ("snapshot", "weights")
