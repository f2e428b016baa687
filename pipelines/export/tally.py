"""What a data set consists of, counted while its pictures go by: for the card, the description and the summary."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from collector.licenses import from_url
from collector.records import License
from labeling.agreement import Estimate, alpha
from pipelines.export.records import Entry
from pipelines.manifest import ManifestRow


@dataclass(slots=True)
class Tally:
    """Counts over exported pictures; `patterns` are the votes of a picture, as the manifest writes them."""

    cells: Counter[tuple[str, str]] = field(default_factory=Counter)
    licenses: Counter[License] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    tiers: Counter[tuple[str, str]] = field(default_factory=Counter)
    methods: Counter[str] = field(default_factory=Counter)
    people: Counter[int] = field(default_factory=Counter)
    patterns: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    converted: Counter[str] = field(default_factory=Counter)
    turned: int = 0
    spared: int = 0
    corrected: int = 0
    open_errata: int = 0
    files: int = 0
    bytes: int = 0

    def add(self, row: ManifestRow, entry: Entry) -> None:
        """Count one picture."""
        self.cells[row.split, row.label] += 1
        self.licenses[license_of(row)] += 1
        self.sources[row.source] += 1
        self.tiers[row.role, row.tier] += 1
        self.methods[row.method.partition(" ")[0]] += 1
        self.people[row.annotators] += 1
        self.patterns[row.votes] += 1
        self.changes.update(entry.changes.keys())
        if "converted" in entry.changes:
            self.converted[entry.changes["converted"]] += 1
        self.corrected += bool(row.erratum) or row.method.startswith("erratum")
        self.turned += entry.turned
        self.spared += entry.spared

    @property
    def images(self) -> int:
        """All pictures."""
        return self.cells.total()

    def agreement(self, seed: int) -> Estimate:
        """Krippendorff's alpha over the pictures that two people or more labeled."""
        votes = [(json.loads(pattern), times) for pattern, times in sorted(self.patterns.items())]
        labels = sorted({label for given, _ in votes for label in given})
        table = np.array([[given.get(label, 0) for label in labels] for given, _ in votes], dtype=np.int64)
        counts = np.repeat(table.reshape(len(votes), len(labels)), [times for _, times in votes], axis=0)
        return alpha(counts, seed=seed)


def license_of(row: ManifestRow) -> License:
    """The license of a row; the country of a ported one stands in its address."""
    linked = from_url(row.license_url)  # old snapshots have no column of countries
    place = row.license_jurisdiction or (linked.jurisdiction if linked is not None else "")
    return License(row.license, row.license_version, row.license_url, place)
