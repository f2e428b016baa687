"""How far annotators agree: pure numbers, arrays in and numbers out, each with a bootstrap interval over tasks.

"Can't tell" and skips are missing values: alpha takes ragged data as it is, so nothing is imputed or thrown away but
tasks with fewer than two labels, which hold no pair to compare. `labeling.measure` puts all figures together.
"""

from labeling.agreement.answers import MISSING, Answers, Floats, Ints
from labeling.agreement.bootstrap import Estimate
from labeling.agreement.coefficients import (
    Level,
    Scale,
    alpha,
    alpha_by_label,
    confusion,
    entropy,
    fleiss_kappa,
    majority,
    pairwise_agreement,
    randolph_kappa,
)
from labeling.agreement.cohen import Pair, pairs

__all__ = [
    "MISSING",
    "Answers",
    "Estimate",
    "Floats",
    "Ints",
    "Level",
    "Pair",
    "Scale",
    "alpha",
    "alpha_by_label",
    "confusion",
    "entropy",
    "fleiss_kappa",
    "majority",
    "pairs",
    "pairwise_agreement",
    "randolph_kappa",
]
