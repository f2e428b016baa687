"""Negatives: the class that is not the concept. `negatives` fills the pool, `plan` says what to crawl for it.

ImageN (ajschumacher/imagen) is 1,000 photographs, five for each of 200 WordNet synsets, named `<wnid>_<id>_<name>.jpg`.
Five of them are horses: what WordNet says is the concept, a kind, a parent or a part of it is left out, and so is what
looks like a copy of a positive or of a held-out picture. ImageN has no license: it is taken in as `unlicensed`.
"""

from collector.negatives.config import TIERS, NegativesConfig, QuotasConfig
from collector.negatives.plan import PlanSummary, plan
from collector.negatives.step import NegativesSummary, negatives

__all__ = ["TIERS", "NegativesConfig", "NegativesSummary", "PlanSummary", "QuotasConfig", "negatives", "plan"]
