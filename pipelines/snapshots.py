"""The snapshots of a concept: list them, show one, and tell how two differ."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collector import durable
from collector.catalog import models
from collector.catalog.models import SnapshotRow
from collector.errors import UsageError
from collector.records import Summary
from collector.workspace import Workspace
from pipelines.manifest import SPLITS, find, read_manifest

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 10  # images of each kind that the terminal shows; JSON and the file hold all
LICENSE = ("license", "license_version", "license_jurisdiction", "license_url")


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotsSummary(Summary):
    """The `snapshots` of a concept, oldest first: name, digest, made_at and images by split."""

    concept: str
    snapshots: list[dict[str, Any]]

    def for_people(self) -> dict[str, Any]:
        """One line for each snapshot."""
        return {
            each["name"] or each["digest"][:16]: f"{each['digest'][:16]}  {each['made_at'][:16]}  "
            + "  ".join(f"{split} {each[split]}" for split in SPLITS)
            for each in self.snapshots
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotShowSummary(Summary):
    """What a snapshot holds: `labels` split -> label -> images; licenses, sources, tiers and methods -> images.

    `errata` are the numbers of those whose labels it holds; `runs` were trained on it.
    """

    name: str
    digest: str
    concept: str
    path: str
    made_at: str
    config: dict[str, Any]
    images: int
    labels: dict[str, dict[str, int]]
    licenses: dict[str, int]
    sources: dict[str, int]
    tiers: dict[str, int]
    methods: dict[str, int]
    errata: list[int]
    runs: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotDiffSummary(Summary):
    """How `second` differs from `first`, in images; `images` names them, by kind of change.

    An image can be relabeled, relicensed and moved (to another split) at once. `path` is the file of `--out`.
    """

    concept: str
    first: str
    second: str
    same: int
    added: int
    removed: int
    relabeled: int
    relicensed: int
    moved: int
    images: dict[str, list[dict[str, str]]]
    path: str

    def for_people(self) -> dict[str, Any]:
        """The counts, and the first images of each kind."""
        shown = {name: value for name, value in self.as_json().items() if name not in ("images", "path")}
        for kind, found in self.images.items():
            lines = [f"{each['image'][:12]}  {each['was'] or '-'} -> {each['now'] or '-'}" for each in found[:SHOWN]]
            more = [f"and {len(found) - SHOWN} more: --out FILE writes all"] if len(found) > SHOWN else []
            if found:
                shown[f"{kind} images"] = "\n".join(lines + more)
        return shown | ({"path": self.path} if self.path else {})


def snapshots(ws: Workspace, concept: str | None = None) -> SnapshotsSummary:
    """Every snapshot of a concept."""
    about = ws.concept(concept)
    rows = models.snapshots(ws.catalog, about.name)
    return SnapshotsSummary(
        concept=about.name,
        snapshots=[
            {
                "name": row.name or "",
                "digest": row.digest,
                "made_at": row.made_at,
                **{split: sum(row.counts.get(split, {}).values()) for split in SPLITS},
            }
            for row in rows
        ],
        next=f"collect snapshot show {rows[-1].name or rows[-1].digest[:16]}" if rows else "collect snapshot",
    )


def show(ws: Workspace, wanted: str | None = None, *, concept: str | None = None) -> SnapshotShowSummary:
    """What the snapshot of that name or digest holds; None: the newest. Its file is checked against its digest.

    Raises:
        UsageError: no snapshot is called so.
        CollectError: its file is gone or was changed.
    """
    row = _named(ws, wanted, concept)
    manifest = read_manifest(ws, row)
    columns = (Counter(manifest.column(name)) for name in ("license", "source", "tier", "method"))
    licenses, sources, tiers, methods = (dict(sorted(column.items())) for column in columns)
    return SnapshotShowSummary(
        name=row.name or "",
        digest=row.digest,
        concept=row.concept,
        path=str(ws.data / row.path),
        made_at=row.made_at,
        config=manifest.config,
        images=manifest.table.num_rows,
        labels=manifest.counts(),
        licenses=licenses,
        sources=sources,
        tiers=tiers,
        methods=methods,
        errata=list(manifest.errata),
        runs=[each.run for each in models.experiments(ws.catalog, row.concept) if each.snapshot == row.digest],
        next="collect train-baseline",
    )


def diff(
    ws: Workspace, first: str, second: str, *, concept: str | None = None, out: Path | None = None
) -> SnapshotDiffSummary:
    """How the second snapshot differs from the first: added, removed, relabeled, relicensed and moved images.

    With `out`, all of them are written to a CSV file: image, change, was, now.

    Raises:
        UsageError: no snapshot is called so, or they are of different concepts.
        CollectError: a file is gone or was changed.
    """
    rows = _named(ws, first, concept), _named(ws, second, concept)
    if rows[0].concept != rows[1].concept:
        raise UsageError(
            f"`{first}` is of `{rows[0].concept}` and `{second}` of `{rows[1].concept}`",
            hint="compare snapshots of one concept: `collect snapshot list CONCEPT` lists them",
        )
    old, new = (_frame(ws, row) for row in rows)
    both = old.merge(new, left_index=True, right_index=True, suffixes=("_was", "_now")).sort_index()
    changes = {
        "added": _changes(new.loc[sorted(new.index.difference(old.index))], None, "label"),
        "removed": _changes(old.loc[sorted(old.index.difference(new.index))], "label", None),
        **{
            kind: _changes(both[both[f"{name}_was"] != both[f"{name}_now"]], f"{name}_was", f"{name}_now")
            for kind, name in (("relabeled", "label"), ("relicensed", "license"), ("moved", "split"))
        },
    }
    if out is not None:
        durable.save(out, _csv(changes).encode())
    touched = {each["image"] for kind in ("relabeled", "relicensed", "moved") for each in changes[kind]}
    return SnapshotDiffSummary(
        concept=rows[0].concept,
        first=rows[0].name or rows[0].digest,
        second=rows[1].name or rows[1].digest,
        same=len(both) - len(touched),
        added=len(changes["added"]),
        removed=len(changes["removed"]),
        relabeled=len(changes["relabeled"]),
        relicensed=len(changes["relicensed"]),
        moved=len(changes["moved"]),
        images=changes,
        path=str(out) if out is not None else "",
        next="" if out else f"collect snapshot diff {first} {second} --out diff.csv",
    )


def _named(ws: Workspace, wanted: str | None, concept: str | None) -> SnapshotRow:
    """A snapshot of a concept; without one, of any concept that has a snapshot of that name or digest."""
    if concept is None and wanted is not None and (row := models.snapshot_named(ws.catalog, wanted)):
        return row
    return find(ws, ws.concept(concept).name, wanted)


def _frame(ws: Workspace, row: SnapshotRow) -> pd.DataFrame:
    """Image -> label, split and license of a snapshot."""
    frame: pd.DataFrame = read_manifest(ws, row).table.select(["image", "label", "split", *LICENSE]).to_pandas()
    spelled = frame[LICENSE[0]]
    for name in LICENSE[1:]:
        spelled = spelled + " " + frame[name]
    frame["license"] = spelled.str.split().str.join(" ")
    return frame.set_index("image")[["label", "split", "license"]]


def _changes(rows: pd.DataFrame, was: str | None, now: str | None) -> list[dict[str, str]]:
    def words(name: str | None) -> list[str]:
        return [str(each) for each in rows[name].tolist()] if name else [""] * len(rows)

    images = [str(image) for image in rows.index]
    changes = zip(images, words(was), words(now), strict=True)
    return [{"image": image, "was": old, "now": new} for image, old, new in changes]


def _csv(changes: dict[str, list[dict[str, str]]]) -> str:
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("image", "change", "was", "now"))
    for kind, found in changes.items():
        writer.writerows((each["image"], kind, each["was"], each["now"]) for each in found)
    return text.getvalue()
