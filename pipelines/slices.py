"""Where a classifier is worse: figures of the images of one source, license, size, tier or label at a time.

Many slices are looked at together, and some look bad by chance alone. A slice is called worse only if its error is
higher than that of all other images after Holm's correction for the number of slices (Scandinavian Journal of
Statistics 6, 1979).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.calibrate import Floats
from pipelines.manifest import ManifestRow
from pipelines.metrics import Sample, macro
from pipelines.ranking import draws_of, interval

SMALL = 30  # images: fewer make a slice that says little
MOST = 20  # slices of one kind; the rest are one slice together
FEW_LABELS = 20  # AP is told of slices of concepts with at most so many labels
DRAWS = 200  # resamples at most behind the interval of a slice
SIZES = (256, 512, 1024, 2048)  # pixels of the shorter side
OTHERS = "all others"


def _size(row: ManifestRow) -> str:
    side = min(row.width, row.height)
    if not side:
        return "unknown"
    upper = next((edge for edge in SIZES if side < edge), None)
    return f"under {upper} px" if upper else f"{SIZES[-1]} px or more"


KINDS: dict[str, Callable[[ManifestRow], str]] = {
    "source": lambda row: row.source,
    "license": lambda row: f"{row.license} {row.license_version}".strip(),
    "size": _size,
    "tier": lambda row: row.tier,
    "label": lambda row: row.label,
    "label and source": lambda row: f"{row.label}, {row.source}",
}


def slices(
    rows: Sequence[ManifestRow], sample: Sample, wrong: NDArray[np.bool_], *, draws: int, seed: int
) -> list[dict[str, Any]]:
    """Figures of every slice, of those that are not small the one with the highest error first.

    Each has `by` (the kind), `name`, `images`, `positives` (of the first label), `error` with its interval (Wilson,
    1927), `ap` with its interval (bootstrap, or null with the `reason`), `small`, `p` (Fisher's exact test against all
    other images, one-sided, corrected) and `worse`. A kind with one value only is left out: it is the whole split.
    """
    found = []
    for by, of in KINDS.items():
        if by == "label and source" and len({row.source for row in rows}) == 1:
            continue  # each is a label over again
        for name, chosen in _parts([of(row) for row in rows]):
            found.append({"by": by, "name": name, **_figures(sample, wrong, chosen, min(draws, DRAWS), seed)})
    for row, p in zip(found, _holm([row["p"] for row in found]), strict=True):
        row["p"] = p
        row["worse"] = p < 0.05
    return sorted(found, key=lambda row: (row["small"], -row["error"], -row["images"], row["by"], row["name"]))


def _parts(values: list[str]) -> list[tuple[str, NDArray[np.bool_]]]:
    """Value -> which images have it, the rare values together.

    Where the most frequent are small and most images are of others, as with a thousand labels, there are no parts.
    """
    counted = Counter(values).most_common(MOST)
    frequent = [value for value, _ in counted]
    if counted[0][1] < SMALL and 2 * sum(n for _, n in counted) < len(values):
        return []
    named = np.array(values)
    parts = [(value or "unknown", named == value) for value in frequent]
    rest = ~np.isin(named, frequent)
    if rest.any():
        parts.append((OTHERS, rest))
    return parts if len(parts) > 1 else []


def _figures(
    sample: Sample, wrong: NDArray[np.bool_], chosen: NDArray[np.bool_], draws: int, seed: int
) -> dict[str, Any]:
    n, errors = int(chosen.sum()), int(wrong[chosen].sum())
    low, high = wilson(errors, n)
    return {
        "images": n,
        "positives": int((sample.truth[chosen] == 0).sum()),
        "error": errors / n,
        "error_low": low,
        "error_high": high,
        **_ap(sample, chosen, draws, seed),
        "small": n < SMALL,
        "p": fisher(errors, n, int(wrong.sum()), len(wrong)),
    }


def _ap(sample: Sample, chosen: NDArray[np.bool_], draws: int, seed: int) -> dict[str, Any]:
    """AP of a slice with its interval, or why it has none."""
    counted = np.bincount(sample.truth[chosen], minlength=len(sample.labels))
    unknown = {"ap": None, "ap_low": None, "ap_high": None}
    if np.count_nonzero(counted) == 1:
        return {**unknown, "reason": f"every image is `{sample.labels[int(counted.argmax())]}`"}
    if len(counted) <= FEW_LABELS:
        part = sample.only(chosen)
        rankings = part.rankings()
        again = [ranking.resampled() for ranking in rankings]
        value = float(macro(np.array([ranking.ap() for ranking in rankings]), counted))
        parts: list[Floats] = []
        for counts in draws_of(len(part.truth), draws, seed, part.groups):
            whole = counts.sum(axis=0)
            parts.append(macro(np.stack([each.ap(counts, whole) for each in again]), counted))
        low, high = interval(value, np.concatenate(parts))
        return {"ap": value, "ap_low": low, "ap_high": high, "reason": ""}
    return {**unknown, "reason": f"of more than {FEW_LABELS} labels a slice holds too few of each: see the error"}


def wilson(found: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, Journal of the American Statistical Association 22, 1927)."""
    z = 1.959963984540054
    middle = (found + z * z / 2) / (of + z * z)
    half = z / (of + z * z) * (found * (of - found) / of + z * z / 4) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def fisher(errors: int, n: int, all_errors: int, images: int) -> float:
    """The chance of so many errors or more among `n` of the images if errors fell on them at random."""
    from scipy.special import gammaln

    def ways(of: float, take: float | Floats) -> Floats:
        return np.asarray(gammaln(of + 1) - gammaln(take + 1) - gammaln(of - take + 1))

    k = np.arange(errors, min(n, all_errors) + 1, dtype=np.float64)
    whole = ways(images, n)
    chances = ways(all_errors, k) + ways(images - all_errors, n - k) - whole
    possible = n - k <= images - all_errors
    return float(min(1.0, np.exp(chances[possible]).sum()))


def _holm(chances: Sequence[float]) -> list[float]:
    """Chances corrected for how many there are: in rising order, each times the number of those not yet passed."""
    order = np.argsort(chances, kind="stable")
    corrected = np.empty(len(chances))
    factors = len(chances) - np.arange(len(chances))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(np.asarray(chances)[order] * factors))
    return [float(p) for p in corrected]
