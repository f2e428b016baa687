"""What the figures say of each annotator."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from labeling.agreement import MISSING, Estimate, Floats, Ints, annotators
from labeling.agreement.bootstrap import Estimates, undefined
from labeling.figures import Figures
from labeling.measured import Anchoring, Person, Window

Found = dict[str, Estimates]
NOTHING = "no such answers"


def people_of(figures: Figures, found: Found, *, cap_s: float, fast_s: float) -> Iterator[Person]:
    """The annotators by name; times are capped at `cap_s`, and `fast` counts those below `fast_s`."""
    main, rest = figures.main, figures.rest
    answers = main.answers
    crowd = len(answers.annotators)
    compared = np.bincount(figures.shared.annotator[rest.compared], minlength=crowd).tolist()
    given = np.bincount(answers.annotator, minlength=crowd)
    labeled = np.bincount(answers.annotator[answers.label != MISSING], minlength=crowd)
    fast = np.bincount(answers.annotator[main.seconds < fast_s], minlength=crowd).tolist()
    table = annotators.said_beside(figures.shared, rest)
    told = annotators.information(table)
    times = np.split(main.seconds[np.argsort(answers.annotator, kind="stable")], np.cumsum(given)[:-1])
    drifts = dict(_drifts(figures, found))
    nothing = (), undefined(0, "too few answers with a time for two windows")
    for j, name in enumerate(answers.annotators):
        windows, drift = drifts.get(j, nothing)
        yield Person(
            name=name,
            answers=int(labeled[j]),
            unsure=1 - int(labeled[j]) / int(given[j]) if given[j] else 0.0,
            seconds=median_s(times[j], cap_s),
            fast=fast[j],
            agreement=found["rest"].estimate(j, compared[j], "nobody else decided on the same images"),
            alpha_without=found["rest"].estimate(
                4 * crowd + 3 + j, len(figures.shared.tasks), "too little remains without"
            ),
            right=share_of(figures, found, "known", 0, j),
            sentinels=share_of(figures, found, "planted", 0, j),
            anchoring=anchoring_of(figures, found, j),
            information=float(told[j]),
            swaps=_swaps(table[j], answers.labels),
            windows=windows,
            drift=drift,
        )


def share_of(figures: Figures, found: Found, family: str, part: int, who: int) -> Estimate:
    """A share of answers of one annotator; `who` one past the last is everybody."""
    if family not in found:
        return undefined(0, NOTHING)
    crowd = len(figures.shared.annotators)
    tasks = int(figures.counted[family][part, who])
    return found[family].estimate(part * (crowd + 1) + who, tasks, NOTHING)


def anchoring_of(figures: Figures, found: Found, who: int) -> Anchoring:
    """What proposals did to one annotator; `who` one past the last is everybody."""
    crowd = len(figures.shared.annotators)
    with_, without = figures.counted["rest"][:, who].tolist()
    everybody = 3 * crowd, 3 * crowd + 1, 4 * crowd + 2
    rows = everybody if who == crowd else (crowd + who, 2 * crowd + who, 3 * crowd + 2 + who)
    rest = found["rest"]
    return Anchoring(
        accepted=share_of(figures, found, "known", 1, who),
        resisted=share_of(figures, found, "planted", 1, who),
        shown=rest.estimate(rows[0], with_, "no proposal was shown"),
        blank=rest.estimate(rows[1], without, "every answer had a proposal"),
        change=rest.estimate(rows[2], min(with_, without), "needs answers with and without a proposal"),
    )


def median_s(seconds: Floats, cap_s: float) -> float:
    """The median time in seconds, each capped (a form left open counts idle time); nan without any."""
    known = seconds[~np.isnan(seconds)]
    return float(np.median(np.minimum(known, cap_s))) if known.size else math.nan


def _drifts(figures: Figures, found: Found) -> Iterator[tuple[int, tuple[tuple[Window, ...], Estimate]]]:
    """Annotator -> his windows, and the last less the first."""
    cut = figures.windows
    starts = np.flatnonzero(np.diff(cut.owner, prepend=-1)).tolist()
    ends = [*starts[1:], len(cut.owner)][: len(starts)]
    moments = [str(pd.Timestamp(at, unit="ns", tz="UTC").isoformat(timespec="seconds")) for at in cut.begins.tolist()]
    for i, (first, last) in enumerate(zip(starts, ends, strict=True)):
        parts = [found["windows"].estimate(w, int(cut.compared[w])) for w in range(first, last)]
        windows = tuple(Window(moments[w], part) for w, part in zip(range(first, last), parts, strict=True))
        yield (
            int(cut.owner[first]),
            (windows, found["windows"].estimate(len(cut.owner) + i, sum(p.tasks for p in parts))),
        )


def _swaps(table: Ints, labels: tuple[str, ...]) -> tuple[str, str, float] | None:
    """Where an annotator differs most often from what the others say: theirs, his, share of theirs."""
    wrong = table * (1 - np.eye(len(table), dtype=np.int64))
    if not wrong.any():
        return None
    a, b = divmod(int(wrong.argmax()), len(table))
    return labels[a], labels[b], int(table[a, b]) / int(table[a].sum())
