"""Which images are copies of each other, and which one of them is kept: docs/duplicates.md.

`step.py` is the step; `hamming`, `dihedral`, `neighbors` and `forest` search; `thresholds`, `checking`, `geometry` and
`visual_words` judge; `grouping` and `keeping` decide; `explain`, `against` and `leaks` answer questions.
"""

from collector.dedup.step import DedupConfig, DedupSummary, dedup

__all__ = ["DedupConfig", "DedupSummary", "dedup"]
