"""Is a probability of 0.8 right eight times in ten? Pure numbers: probabilities (images x labels) and true labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def reliability(probabilities: Floats, truth: Ints, bins: int = 15) -> list[tuple[float, float, int]]:
    """(mean probability of the most probable label, share that was right, images) over bins of equally many images.

    Bins of equal mass as in Nixon et al., CVPRW 2019. Few images make fewer bins, so that each holds ten.
    """
    top = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    order = np.argsort(top, kind="stable")
    parts = np.array_split(order, max(1, min(bins, len(order) // 10)))
    return [(float(top[part].mean()), float(right[part].mean()), len(part)) for part in parts]


def ece(probabilities: Floats, truth: Ints, bins: int = 15) -> float:
    """Expected calibration error: sum_b n_b / n * |share right in b - mean probability of the top label in b|.

    Naeini, Cooper and Hauskrecht, AAAI 2015, over the bins of `reliability`.
    """
    rows = reliability(probabilities, truth, bins)
    return sum(n * abs(right - probability) for probability, right, n in rows) / len(truth)


def brier(probabilities: Floats, truth: Ints) -> float:
    """Brier score (1950): mean over images of sum_k (p_k - y_k)^2; halved for two labels, as is usual, so 0 to 1."""
    wrong = ((probabilities - np.eye(probabilities.shape[1])[truth]) ** 2).sum(axis=1)
    return float(wrong.mean() / (2 if probabilities.shape[1] == 2 else 1))


def nll(probabilities: Floats, truth: Ints) -> float:
    """Negative log-likelihood of the true labels, in nats for one image."""
    given = probabilities[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(given, np.finfo(np.float64).eps)).mean())


def temperature(probabilities: Floats, truth: Ints) -> float:
    """The T for which p^(1/T), normalized, has the lowest log loss (Guo et al., ICML 2017); 1 is calibrated already.

    Probabilities are images x labels; T is sought from 0.05 to 20.
    """
    from scipy.optimize import minimize_scalar

    logs = np.log(np.maximum(probabilities, 1e-12))
    rows = np.arange(len(truth))

    def loss(power: float) -> float:
        scaled = logs / np.exp(power)
        top = scaled.max(axis=1)
        return float((np.log(np.exp(scaled - top[:, None]).sum(axis=1)) + top - scaled[rows, truth]).mean())

    limits = (np.log(0.05), np.log(20.0))
    return float(np.exp(minimize_scalar(loss, bounds=limits, method="bounded").x))
