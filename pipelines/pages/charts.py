"""Charts as SVG in data: URIs. The same figures give the same bytes: fixed ids, no date, letters drawn as outlines."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

ACCENT, OTHER, QUIET, INK = "#1f6f78", "#cf8a3b", "#c9d1d6", "#39424a"  # a dark page inverts them, see style.css
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "collect",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",  # ships with matplotlib, so that every machine draws the same
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6eaed",
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}


class Chart:
    """One pair of axes, and after its `with` block the finished image in `uri`."""

    axes: Any
    uri: str


@contextmanager
def _chart(width: float, height: float, x: str, y: str) -> Iterator[Chart]:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        made = Chart()
        made.axes = figure.subplots()
        made.axes.set(xlabel=x, ylabel=y)
        yield made
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    made.uri = f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def precision_recall(
    points: Sequence[Sequence[float]],
    chosen: tuple[float, float, float],
    prevalence: float,
    *,
    marks: Mapping[str, float | None],
    human: tuple[float, float] | None,
) -> str:
    """The curve of [threshold, precision, recall] rows, and what guessing would reach.

    Args:
        points: the curve.
        chosen: the threshold in use with its precision and recall.
        prevalence: the share of images that guessing gets right.
        marks: precision, as text, -> the recall that is reached with it.
        human: precision and recall of one person against the others.
    """
    threshold, precise, recalled = chosen
    with _chart(4.6, 3.6, "recall", "precision") as chart:
        axes = chart.axes
        axes.axhline(prevalence, color=QUIET, linestyle="--", linewidth=1)
        axes.text(0.01, prevalence + 0.015, "guessing", color=INK, fontsize=8)
        recall, precision = [0.0, *(row[2] for row in points)], [points[0][1], *(row[1] for row in points)]
        axes.step(recall, precision, where="pre", color=ACCENT, linewidth=2)
        known = [(reached, float(level)) for level, reached in marks.items() if reached is not None]
        axes.plot([recalled], [precise], "o", color=ACCENT, markersize=8, markeredgecolor="white", zorder=3,
                  label=f"threshold {threshold:.2f}")  # fmt: skip
        if human:
            axes.plot(*human[::-1], "D", color=OTHER, markersize=7, markeredgecolor="white", label="one person")
        if known:
            levels = ", ".join(f"{level:g}" for _, level in known)
            axes.plot(*zip(*known, strict=True), "|", color=INK, markersize=9, markeredgewidth=1.6,
                      label=f"at precision {levels}")  # fmt: skip
        axes.set(xlim=(0, 1.02), ylim=(0, 1.03))
        axes.legend(frameon=False, fontsize=8, loc="lower left")
    return chart.uri


Bins = Sequence[Sequence[float]]  # of mean probability, share that was right, images


def calibration(bins: Bins, before: Bins = ()) -> str:
    """Share that was right against mean probability, one dot for each bin; hollow ones: `before` the temperature."""
    with _chart(4.6, 3.6, "probability of the label that was said", "share that was right") as chart:
        axes = chart.axes
        axes.plot([0, 1], [0, 1], color=QUIET, linestyle="--", linewidth=1)
        if before:
            axes.scatter(
                *list(zip(*before, strict=True))[:2], s=28, facecolors="none", edgecolors=OTHER, label="before"
            )
        probability, share, count = zip(*bins, strict=True)
        axes.vlines(probability, probability, share, color=ACCENT, alpha=0.35, linewidth=2)
        areas = [20 + 60 * n / max(count) for n in count]
        axes.scatter(probability, share, s=areas, color=ACCENT, edgecolors="white", label="with the temperature")
        if before:
            axes.legend(frameon=False, fontsize=8, loc="upper left")
        low = max(0.0, min(value for row in (*bins, *before) for value in row[:2]) - 0.08)
        axes.set(xlim=(low, 1.02), ylim=(low, 1.03))
    return chart.uri


def power_law(points: Sequence[Mapping[str, float]], band: Sequence[Sequence[float]], error: str) -> str:
    """Error against labels on log-log axes with the intervals of the points, and the law with its band, if any.

    `band` has rows of labels, error, low and high; what lies right of the last point is foretold.
    """
    from matplotlib.ticker import LogLocator

    seen = [point for point in points if point["error"] > 0]  # a log scale has no zero
    floor = min(point["error"] for point in seen) / 100
    drawn = [point["error"] for point in seen] + [row[1] for row in band if row[1] > floor]
    with _chart(7.6, 3.6, "training labels", error) as chart:
        axes = chart.axes
        axes.set(xscale="log", yscale="log")
        if band:
            labels, law, low, high = zip(*band, strict=True)
            axes.fill_between(labels, low, high, color=ACCENT, alpha=0.15, linewidth=0)
            axes.plot(labels, law, color=ACCENT, linewidth=1.6, label="power law")
        at, errors, least, most = (
            [point[name] for point in seen] for name in ("labels", "error", "error_low", "error_high")
        )
        axes.vlines(at, [max(value, floor) for value in least], most, color=INK, alpha=0.5, linewidth=1.4)
        axes.plot(at, errors, "o", color=INK, markersize=5, label="measured")
        axes.axvline(at[-1], color=QUIET, linestyle="--", linewidth=1)
        axes.set_ylim(min(drawn) / 2, max(drawn) * 2)
        for axis, numbers in ((axes.xaxis, [*at, *(row[0] for row in band)]), (axes.yaxis, drawn)):
            axis.set_major_formatter("{x:g}")
            near = max(numbers) < 100 * min(numbers)  # few powers of ten are among them
            axis.set_major_locator(LogLocator(subs=(1, 2, 5) if near else (1,)))
            axis.set_minor_formatter("")
        axes.legend(frameon=False, fontsize=8)
    return chart.uri


def histogram(values: Sequence[float], limits: tuple[float, float], bins: int, labels: tuple[str, str]) -> str:
    """How many images have which value between `limits`; `labels` name the two axes."""
    with _chart(7.6, 2.4, *labels) as chart:
        chart.axes.hist(values, bins=bins, range=limits, color=ACCENT, edgecolor="white", linewidth=0.6)
        chart.axes.set_xlim(*limits)
        chart.axes.grid(axis="x", visible=False)
        if all(isinstance(value, int) for value in values):
            chart.axes.xaxis.get_major_locator().set_params(integer=True)
        chart.axes.yaxis.get_major_locator().set_params(integer=True)
    return chart.uri


def two_classes(positives: Sequence[float], negatives: Sequence[float], x: str) -> str:
    """How the values of positives and negatives are spread, as shares of each class in the same bins."""
    import numpy as np

    limits = np.percentile([*positives, *negatives], [0.5, 99.5])  # what lies outside is drawn at the edge
    edges = np.histogram_bin_edges([], bins=16, range=(limits[0], max(limits[1], limits[0] + 1e-6)))
    width = float(edges[1] - edges[0])
    with _chart(4.6, 2.4, x, "share of the class") as chart:
        for values, color, name, shift in (
            (positives, ACCENT, "positives", 0.27),
            (negatives, OTHER, "negatives", 0.73),
        ):
            heights = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / max(len(values), 1)
            chart.axes.bar(edges[:-1] + shift * width, heights, 0.44 * width, color=color, label=name)
        chart.axes.grid(axis="x", visible=False)
        chart.axes.legend(frameon=False, fontsize=8)
    return chart.uri


def scores(values: Sequence[float], threshold: float) -> str:
    """How many images have which score, 0 to 1, with a line at the threshold; what lies below it is flagged."""
    with _chart(4.6, 1.9, "score: 0 bad, 1 good", "images") as chart:
        axes = chart.axes
        axes.hist(values, bins=40, range=(0, 1), color=ACCENT, edgecolor="white", linewidth=0.4)
        axes.axvline(threshold, color=OTHER, linewidth=1.6)
        right = threshold < 0.7
        axes.annotate(
            f"threshold {threshold:g}", (threshold, 0.93), (5 if right else -5, 0), xycoords=("data", "axes fraction"),
            textcoords="offset points", ha="left" if right else "right", fontsize=8,
        )  # fmt: skip
        axes.set_xlim(0, 1)
        axes.set_yscale("symlog", linthresh=10)  # a few bad images among thousands of good ones must be seen
        axes.set_yticks([n for n in (0, 10, 100, 1000, 10_000, 100_000) if n <= 10 * max(len(values), 1)])
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.minorticks_off()
        axes.grid(axis="x", visible=False)
    return chart.uri


def nearest(counts: Mapping[int, int], threshold: int) -> str:
    """How many images have their nearest neighbor at which distance, in bits of 256, and where copies end."""
    with _chart(7.6, 2.6, "bits of 256 to the nearest other image, in its best form", "images") as chart:
        axes = chart.axes
        axes.hist(list(counts), weights=list(counts.values()), bins=range(0, 153, 4), color=ACCENT, edgecolor="white")
        axes.axvline(threshold, color=INK, linestyle="--", linewidth=1.2)
        axes.annotate(
            f"copies: up to {threshold}", (threshold, 0.96), (6, 0), xycoords=("data", "axes fraction"),
            textcoords="offset points", va="top", fontsize=8,
        )  # fmt: skip
        axes.set_xlim(0, 152)
        axes.grid(axis="x", visible=False)
        axes.yaxis.get_major_locator().set_params(integer=True)
    return chart.uri


def sizes(sides: Sequence[int]) -> str:
    """How many images have a shorter side of so many pixels; each step to the right is 1.41 times as long."""
    steps = [2 ** (power / 2) for power in range(8, 29)]  # 16 to 16,384
    low = max((k for k, step in enumerate(steps) if step <= min(sides)), default=0)
    high = min((k for k, step in enumerate(steps) if step > max(sides)), default=len(steps) - 1)
    edges = steps[max(0, low - 1) : high + 2]
    with _chart(7.6, 2.4, "shorter side, pixels", "images") as chart:
        axes = chart.axes
        axes.hist(sides, bins=edges, color=ACCENT, edgecolor="white", linewidth=0.6)
        axes.set_xscale("log", base=2)
        whole = [edge for edge in edges if edge == int(edge)]
        axes.set_xticks(whole, labels=[f"{edge:.0f}" for edge in whole])
        axes.minorticks_off()
        axes.set_xlim(edges[0], edges[-1])
        axes.grid(axis="x", visible=False)
        axes.yaxis.get_major_locator().set_params(integer=True)
    return chart.uri


def overlaid(lines: Mapping[str, Sequence[tuple[float, float]]], labels: tuple[str, str], *, log: bool = False) -> str:
    """One line of (x, y) for each run on the same axes; `labels` name the axes, `log` spreads x."""
    from matplotlib import colormaps

    colors = colormaps["tab10" if len(lines) <= 10 else "tab20"]
    with _chart(7.6, 3.2, *labels) as chart:
        for at, (name, line) in enumerate(lines.items()):
            x, y = zip(*line, strict=True)
            chart.axes.plot(x, y, "o-", color=colors(at % colors.N), linewidth=1.6, markersize=3.5, label=name[:8])
        if log:
            chart.axes.set_xscale("log")
        else:
            chart.axes.xaxis.get_major_locator().set_params(integer=True)
        if len(lines) > 1:
            chart.axes.legend(frameon=False, fontsize=8)
    return chart.uri
