"""The pages about people's answers: how far they agree, and which images they dispute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from labeling.agreement import Ints
from pipelines.reports.contact_sheet import PER_PAGE
from pipelines.reports.material import Material


def agreement(of: Material) -> dict[str, Any] | None:
    """Alpha with its interval, each annotator, each pair of annotators, each label against the rest."""
    if not of.answered.touched:
        return None
    found = of.agreement
    pairs = {(pair.first, pair.second): pair for pair in found.pairs}
    pairs |= {(second, first): pair for (first, second), pair in pairs.items()}
    return {
        "found": found,
        "names": found.answers.annotators,
        "pairs": pairs,
        "confusion": heat_rows(found.answers.labels, found.confusion),
        "ties": sum(entry.tie for entry in found.disputed),
    }


def disagreements(of: Material) -> dict[str, Any] | None:
    """The disputed images, most disputed first, with every vote, note and time."""
    if not of.answered.touched:
        return None
    disputed = of.agreement.disputed
    return {
        "disputed": [(of.album.picture(entry.image), entry) for entry in disputed[:PER_PAGE]],
        "total": len(disputed),
        "hidden": max(0, len(disputed) - PER_PAGE),
        "tasks": of.agreement.alpha.tasks,
    }


def heat_rows(labels: Sequence[str], table: Ints) -> list[tuple[str, list[tuple[int, int, bool]]]]:
    """A matrix for a page: label -> cells of (count, shade 0 to 9, on the diagonal); style.css has the shades."""
    largest = max(int(table.max(initial=0)), 1)
    return [
        (label, [(int(n), round(9 * int(n) / largest), i == j) for j, n in enumerate(row)])
        for i, (label, row) in enumerate(zip(labels, table, strict=True))
    ]
