"""What the card of a model tells, gathered from the record: the data, the people, the figures, what is known wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from collector.catalog import errata, forgotten, labels, openings
from collector.catalog.models import SnapshotRow
from collector.credits import credit, in_order, to_markdown
from collector.errors import UsageError
from collector.records import License, Sighting
from collector.workspace import Workspace
from labeling.agreement import Estimate
from pipelines.backbones import TorchBackbone
from pipelines.config import EvaluateConfig
from pipelines.evaluate import TEST, protocol_of
from pipelines.export.tally import Tally
from pipelines.manifest import Manifest, find, read_manifest
from pipelines.metrics import Prevalent, at_prevalence, table_of
from pipelines.predict import Model

SHOWN = ["source", "source_id", "url", "page", "title", "creator", "creator_url"]
LICENSE = ["license", "license_version", "license_url", "license_jurisdiction"]
NEEDED = {"reliability", "uncalibrated", "confused", "by_label", "temperature_fit"}  # of the figures of a run


@dataclass(frozen=True, slots=True)
class Facts:
    """Beside the run: its snapshot, as it is remembered, and what stands in the record today.

    `manifest` is without the pictures that were forgotten since, of which there are `forgotten`. `guidelines` is round
    -> hash of the text that annotators were shown. `test` are the figures of the run on the test split, None where it
    was not opened; `openings` counts how often it was, for any run of the protocol. `errata` is split -> open ones.
    """

    model: Model
    backbone: TorchBackbone
    snapshot: SnapshotRow
    manifest: Manifest
    forgotten: int
    tally: Tally
    agreement: Estimate
    guidelines: dict[str, str]
    test: dict[str, Any] | None
    openings: int
    errata: dict[str, int]
    prevalence: float
    at_prevalence: Prevalent | None

    @property
    def found(self) -> dict[str, Any]:
        """The figures of the run on validation."""
        return self.model.experiment.metrics or {}


def gather(ws: Workspace, model: Model, backbone: TorchBackbone) -> Facts:
    """Everything that the card of a run tells.

    Raises:
        UsageError: the run was measured before figures were what they are now.
    """
    done = model.experiment
    if not (done.metrics or {}).keys() >= NEEDED:
        raise UsageError(
            f"run {done.run} was measured by an older collect, which knew less of it than a card must tell",
            hint="train again with `collect train-baseline`, which takes seconds on cached features",
        )
    row = find(ws, done.concept, done.snapshot)
    whole = read_manifest(ws, row)
    manifest, gone = remembered(ws, whole)
    told = tally(manifest)
    looks = openings.opened(ws.catalog, done.concept, protocol_of(done), TEST)
    test = next((look.metrics for look in looks if look.run == done.run), None)
    register = errata.register(ws.catalog, done.concept)
    share = ws.section(EvaluateConfig).prevalence
    measured = test or done.metrics or {}
    return Facts(
        model=model,
        backbone=backbone,
        snapshot=row,
        manifest=manifest,
        forgotten=gone,
        tally=told,
        agreement=told.agreement(ws.seed),
        guidelines={name: each.guideline_hash for name, each in labels.rounds(ws.catalog, done.concept).items()},
        test=test,
        openings=len(looks),
        errata=dict(Counter(each.severity for each in register if each.state == errata.OPEN)),
        prevalence=share,
        at_prevalence=at_prevalence(table_of(measured), share) if share else None,
    )


def remembered(ws: Workspace, manifest: Manifest) -> tuple[Manifest, int]:
    """A manifest without the images that were forgotten since, and how many those are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    gone = forgotten.among(ws.catalog, manifest.column("image"))
    if not gone:
        return manifest, 0
    kept = pc.invert(pc.is_in(manifest.table["image"], pa.array(sorted(gone), pa.string())))
    return replace(manifest, table=manifest.table.filter(kept)), len(gone)


def tally(manifest: Manifest) -> Tally:
    """The counts of a snapshot, by columns: a million rows take a second."""
    found = Tally()
    found.cells.update(_counts(manifest, "split", "label"))
    found.sources.update({name: n for (name,), n in _counts(manifest, "source").items()})
    found.tiers.update(_counts(manifest, "role", "tier"))
    found.people.update({n: times for (n,), times in _counts(manifest, "annotators").items()})
    found.patterns.update({votes: n for (votes,), n in _counts(manifest, "votes").items()})
    for (method, erratum), n in _counts(manifest, "method", "erratum").items():
        found.methods[method.partition(" ")[0]] += n
        found.corrected += n if erratum or method.startswith("erratum") else 0
    for told, n in _counts(manifest, *LICENSE).items():
        found.licenses[_license(*told)] += n
    return found


def attribution(facts: Facts) -> bytes:
    """ATTRIBUTION.md: whom to name for the pictures that the model learned from and was measured on."""
    parts = facts.manifest.table.select(["image", *SHOWN, *LICENSE]).to_batches(max_chunksize=10_000)
    rows = (row for part in parts for row in part.to_pylist())
    credits = in_order(
        credit(
            row["image"],
            Sighting(**{name: row[name] for name in SHOWN}, license=_license(*(row[name] for name in LICENSE))),
        )
        for row in rows
    )
    name = facts.snapshot.name or facts.snapshot.digest[:12]
    return to_markdown(f"{facts.manifest.concept}, snapshot {name}", credits)


def _counts(manifest: Manifest, *columns: str) -> dict[tuple[Any, ...], int]:
    """Values of some columns -> rows with them, in their order."""
    names = list(columns)
    grouped = manifest.table.select(names).group_by(names).aggregate([([], "count_all")]).to_pylist()
    return dict(sorted((tuple(row[name] for name in names), row["count_all"]) for row in grouped))


def _license(code: str, version: str, url: str, place: str) -> License:
    from collector.licenses import from_url

    linked = from_url(url)  # old snapshots have no column of countries
    return License(code, version, url, place or (linked.jurisdiction if linked is not None else ""))
