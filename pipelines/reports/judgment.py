"""The pages about people's answers: how far they agree, and which images they dispute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from collector.catalog import funnel, models
from collector.catalog import labels as label_rows
from labeling.advice import effort
from labeling.agreement import MISSING, Ints
from labeling.config import LabelConfig
from labeling.consensus import winners
from labeling.measured import Measured
from labeling.server import EVERYWHERE, HOST
from pipelines.reports.contact_sheet import PER_PAGE, Picture
from pipelines.reports.material import Material

MOST_PEOPLE = 12  # in the matrix
MOST_LABELS = 50  # in the table of labels: the lowest
WIDE = 30  # labels: a larger matrix cannot be read, and one of a thousand has 20 MB
PAIRS, EXAMPLES = 4, 7  # confused pairs of labels with pictures, and how many of each
DIFFERENCES = 16  # pictures on which the methods of consensus differ


def agreement(of: Material) -> dict[str, Any] | None:
    """Alpha with its interval, what to do, each label, annotator and pair of them, time and cost."""
    if not of.answered.touched:
        return None
    found = of.review
    content = agreement_of(found.measured, found.words, found.warnings, of.album.picture)
    own = {"left": found.left, "cost": found.cost, "pace": _pace(of), "guideline": found.votes.guideline}
    return {**content, **own, "ties": found.left.ties, "disputed": len(found.disputed)}


def agreement_of(
    found: Measured,
    words: Sequence[str],
    warnings: Sequence[str],
    picture: Callable[[str], Picture] | None = None,
) -> dict[str, Any]:
    """The content of the agreement page of any table of answers; without `picture` its tasks are named only."""
    most = sorted(found.people, key=lambda person: (-person.answers, person.name))[:MOST_PEOPLE]
    names = [person.name for person in sorted(most, key=lambda person: person.name)]
    pairs = {(pair.first, pair.second): pair for pair in found.pairs}
    pairs |= {(second, first): pair for (first, second), pair in pairs.items()}
    model = winners(found.answers, "dawid-skene")
    differ = np.flatnonzero(model != found.majority)
    lowest = list(found.by_label.items())
    if len(lowest) > MOST_LABELS:
        lowest = sorted((row for row in lowest if not row[1].reason), key=lambda row: row[1].value)
    confused = [
        (pair, [picture(image) if picture else image for image in pair.images[:EXAMPLES]])
        for pair in found.confusions[:PAIRS]
    ]
    return {
        "found": found,
        "words": words,
        "warnings": warnings,
        "left": effort(found),
        "cost": None,
        "names": names,
        "crowd": len(found.people),
        "pairs": pairs,
        "confusion": heat_rows(found.answers.labels, found.confusion) if len(found.by_label) <= WIDE else [],
        "labels": lowest[:MOST_LABELS],
        "confused": confused,
        "ties": int(found.ties.sum()),
        "disputed": int(found.disputed.sum()),
        "differ": len(differ),
        "differences": [_difference(found, model, int(i), picture) for i in differ[:DIFFERENCES]],
        "linked": picture is not None,
        "pace": None,
        "guideline": "",
    }


def disagreements(of: Material) -> dict[str, Any] | None:
    """The disputed images, most disputed first, with every vote, note and time, the model's view and the way there."""
    if not of.answered.touched:
        return None
    disputed = of.review.disputed
    settled = {row.image: row for row in of.review.settled}
    base = _address(of.ws.section(LabelConfig))
    there = {
        (task.image, task.annotator): f"{base}/projects/{task.project}/data?task={task.studio_task}"
        for task in label_rows.tasks(of.catalog, of.name)
        if task.project > 0 and task.studio_task > 0
    }
    said = _views(of)
    return {
        "disputed": [
            (of.album.picture(entry.image), entry, settled[entry.image], said.get(entry.image))
            for entry in disputed[:PER_PAGE]
        ],
        "links": there,
        "total": len(disputed),
        "hidden": max(0, len(disputed) - PER_PAGE),
        "tasks": of.review.measured.shared,
        "script": True,
    }


def heat_rows(labels: Sequence[str], table: Ints) -> list[tuple[str, list[tuple[int, int, bool]]]]:
    """A matrix for a page: label -> cells of (count, shade 0 to 9, on the diagonal); style.css has the shades."""
    largest = max(int(table.max(initial=0)), 1)
    return [
        (label, [(int(n), round(9 * int(n) / largest), i == j) for j, n in enumerate(row)])
        for i, (label, row) in enumerate(zip(labels, table, strict=True))
    ]


def _difference(
    found: Measured, model: Ints, task: int, picture: Callable[[str], Picture] | None
) -> tuple[Picture | str, str, str]:
    """An image on which majority and Dawid-Skene differ, and what each says."""
    labels, name = found.answers.labels, found.answers.tasks[task]
    votes = "a tie" if found.majority[task] == MISSING else labels[found.majority[task]]
    inferred = "a tie" if model[task] == MISSING else labels[model[task]]
    return (picture(name) if picture else name, votes, inferred)


def _address(config: LabelConfig) -> str:
    """Where Label Studio is, or will be when it is started."""
    here = HOST if config.host == EVERYWHERE else config.host
    return config.url.rstrip("/") or f"http://{here}:{config.port}"


def _pace(of: Material) -> dict[str, float] | None:
    """Median and 90th percentile of seconds for an answer, capped, and hours in all."""
    cap = of.ws.section(LabelConfig).max_seconds
    times = [vote.seconds for votes in of.review.votes.by_image.values() for vote in votes if vote.seconds is not None]
    if not times:
        return None
    capped = np.minimum(times, cap)
    return {
        "median": float(np.median(capped)),
        "slow": float(np.percentile(capped, 90)),
        "hours": float(capped.sum() / 3600),
        "answers": len(times),
    }


def _views(of: Material) -> dict[str, tuple[str, float]]:
    """Image -> the label that the newest model gives it and its probability; only images that it did not learn from."""
    if of.run is None:
        newest = funnel.newest_model(of.catalog, of.name)
        said = models.said(of.catalog, newest, of.name) if newest else ()
        return {image: (label, score) for image, label, score in said}
    judged = of.judged
    if judged is None:
        return {}
    best = judged.probabilities.argmax(axis=1)
    return {
        image: (judged.labels[k], float(row[k]))
        for image, k, row in zip(judged.images, best.tolist(), judged.probabilities, strict=True)
    }
