"""The page of all runs side by side: by protocol, because only figures of one protocol can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from collector.catalog import models, openings
from collector.catalog.models import Experiment
from collector.errors import CollectError
from pipelines.compare import curves, rank, row_of, sentence, spelled, yardstick
from pipelines.evaluate import TEST, protocol_of
from pipelines.reports.contact_sheet import Picture
from pipelines.reports.material import Material
from pipelines.reports.said import said_of

MOST = 100  # runs in the table of a protocol
OVERLAID = 10  # runs whose curves are drawn
APART = 12  # images that one of the two best runs gets right and the other wrong
MEASURED = 6  # runs that are measured on the same draws
CELLS = 2_000_000  # validation images x labels of all of them together: more takes too long for a report


def runs(of: Material) -> dict[str, Any] | None:
    """Every run, grouped by what it was measured with, the newest group first."""
    known = models.experiments(of.catalog, of.name)
    if not known:
        return None
    groups: dict[tuple[str, str] | None, list[Experiment]] = {}
    for run in sorted(known, key=lambda each: each.finished_at or "", reverse=True):
        groups.setdefault(yardstick(run), []).append(run)
    made = [_group(of, each) for each in groups.values()]
    best = made[0].pop("best")
    return {"groups": made, "total": len(known), "apart": _apart(of, *best) if best else []}


def _group(of: Material, found: Sequence[Experiment]) -> dict[str, Any]:
    """One protocol: its runs, best first, what separates them, and their curves."""
    done = sorted((run for run in found if run.metrics is not None), key=_worst)
    opened = openings.opened(of.catalog, of.name, protocol_of(found[0]), TEST)
    seen = {row.run: row.metrics.get("ap") for row in opened}
    known = yardstick(found[0]) is not None
    metric = found[0].config["protocol"]["metric"] if known else "ap"
    called = {row.digest: row.name or row.digest[:12] for row in models.snapshots(of.catalog, of.name)}
    listed = [*done, *(run for run in found if run.metrics is None)]
    differences, trouble = _differences(of, done[:MEASURED]) if known else ([], "")
    return {
        "protocol": protocol_of(found[0]),
        "known": known,
        "metric": spelled(metric),
        "validation": found[0].config["protocol"]["validation"] if known else "",
        "openings": len(opened),
        "rows": [
            {
                **row_of(run, run.state),
                "opened": run.run in seen,
                "test": seen.get(run.run),
                "of": called[run.snapshot],
            }
            for run in listed[:MOST]
        ],
        "hidden": max(0, len(listed) - MOST),
        "says": [sentence(each, metric) for each in differences],
        "measured": min(len(done), MEASURED),
        "finished": len(done),
        "trouble": trouble,
        "best": done[:2] if differences else [],
        "charts": curves(of.ws, done[:OVERLAID]) if known and done else [],
        "overlaid": min(len(done), OVERLAID),
    }


def _worst(run: Experiment) -> tuple[bool, float, str]:
    """The order of a table: best by the metric of the protocol, those without it last."""
    found, protocol = run.metrics or {}, run.config["protocol"]
    metric = protocol["metric"] if isinstance(protocol, dict) else "ap"
    value = found.get(metric)
    return (value is None, (-value if metric == "ap" else value) if value is not None else 0.0, run.run)


def _differences(of: Material, done: Sequence[Experiment]) -> tuple[list[dict[str, Any]], str]:
    """By how much the best run is better than each of the others, or why nobody can tell."""
    if len(done) < 2:
        return [], ""
    first = done[0].metrics or {}
    if first["images"] * len(first["labels"]) * len(done) > CELLS:
        return [], "so many images and labels take a while: `collect compare` measures the runs against each other"
    try:
        ranked, found = rank(of.ws, done)
    except CollectError as error:
        return [], error.message
    return found[: len(ranked) - 1], ""


Shown = tuple[Picture, str, str]  # an image, its label, and what the run that is wrong says


def _apart(of: Material, first: Experiment, second: Experiment) -> list[tuple[str, int, list[Shown]]]:
    """What two runs disagree on: the run that alone is right, on how many images, and some of them."""
    found = []
    for run, other in ((first, second), (second, first)):
        mine, theirs = said_of(of.ws, run), said_of(of.ws, other)
        right = {image for image, ok in zip(mine.images, mine.said == mine.truth, strict=True) if ok}
        rows = [k for k in theirs.errors().tolist() if theirs.images[k] in right]
        shown = [
            (of.album.picture(theirs.images[k]), theirs.labels[theirs.truth[k]], theirs.labels[theirs.said[k]])
            for k in rows[:APART]
        ]
        if rows:
            found.append((run.run, len(rows), shown))
    return found
