"""Freeze what is settled into a manifest: sorted rows, one digest over all of them, one file that never changes.

A row is one distinct image with its label, how sure people were, its split, and where it came from under which license.
The digest is taken over the columns in one canonical form, so the same facts have the same name on every engine.
Validation, test and calibration take only images that several people labeled blind; everything left out is counted by
reason.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from collector import licenses, quality
from collector.catalog import compile as record
from collector.catalog import errata, models, now, pools
from collector.catalog.models import SnapshotRow
from collector.dedup import leaks
from collector.errors import CollectError, GateNotMet, UsageError
from collector.records import Concept, Summary
from collector.spiders.config import CrawlConfig
from collector.workspace import Workspace
from labeling.gate import require_agreement
from labeling.review import settle_first
from pipelines import shortcuts
from pipelines.compile import Rules, compiled
from pipelines.config import SnapshotConfig
from pipelines.manifest import HELD_OUT, SPLITS, Manifest, named, write_manifest

if TYPE_CHECKING:
    import pyarrow as pa


WIDE = 10  # labels: more are not listed for people


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotSummary(Summary):
    """What was frozen: images by split, `labels` by split and label, `excluded` by reason; `unlicensed` is a share.

    `errata` labels are those of applied errata, not of the votes.
    `shortcut_auc` is how well the files without their pixels tell the concept from the rest; None: too few to tell, or
    not measured, and a warning says so.
    """

    name: str
    digest: str
    concept: str
    path: str
    train: int
    calibration: int
    validation: int
    test: int
    labels: dict[str, dict[str, int]]
    excluded: dict[str, int]
    unlicensed: float
    shortcut_auc: float | None
    shortcut_auc_low: float | None
    shortcut_auc_high: float | None
    errata: int
    changed: bool

    def for_people(self) -> dict[str, Any]:
        """Of many labels, how many each split has."""
        shown = super(SnapshotSummary, self).for_people()
        if any(len(counts) > WIDE for counts in self.labels.values()):
            shown["labels"] = {
                split: f"{sum(n > 0 for n in counts.values())} of {len(counts)}"
                for split, counts in self.labels.items()
            }
        return shown


def snapshot(  # one for each option of the command
    ws: Workspace,
    concept: str | None = None,
    *,
    name: str | None = None,
    filters: Mapping[str, Any] | None = None,
    accept_shortcut: bool = False,
    accept_ceiling: bool = False,
) -> SnapshotSummary:
    """Freeze the settled labels of a concept; `changed` is False when nothing is new since the last time.

    What people said is settled first where `agreement` never did.

    Args:
        ws: the workspace.
        concept: its name; None: the only one.
        name: what to call the snapshot; None: CONCEPT-1, CONCEPT-2, ...
        filters: settings of `[snapshot]` for this time, such as `{"licenses": ("cc0",)}`.
        accept_shortcut: freeze though the classes can be told apart without looking at the pictures.
        accept_ceiling: freeze though people agree less than `agreement.minimum`, or nothing was labeled twice.

    Raises:
        GateNotMet: nothing is settled yet, or a held-out split would lack a label; or one of what may be accepted.
        UsageError: another snapshot has that name, or it cannot be one; or a filter is unknown.
        CollectError: copies lie in different splits, or a split was edited by hand.
    """
    described = ws.concept(concept)
    config = _config(ws, filters)
    _check_name(name)
    ws.progress("reading labels", 0, None)
    late = settle_first(ws, described)  # of imported labels, say, which nobody has to agree on
    with record.reading(ws.catalog) as read:
        ballots = [json.loads(text) for text in read(record.ballots(described.name))["votes"].to_pylist()]
        told = require_agreement(ws, described.name, accept=accept_ceiling) if ballots else ()
        if accept_ceiling and not any(sum(votes.values()) > 1 for votes in ballots):
            config = config.model_copy(update={"min_annotators": 1})  # labels from elsewhere: one each is all there is
        ws.progress("compiling", 0, None)
        table, excluded = compiled(read, rules_of(ws, described, config))
    numbers = tuple(sorted({number for number in table["erratum"].to_pylist() if number}))
    manifest = Manifest(described.name, described.labels, config.model_dump(mode="json"), table, numbers)
    told += _refuse_gaps(ws, described, manifest, _told(excluded))
    ws.progress("looking for copies across splits", 0, None)
    _refuse_leaks(ws, table)
    shortcut = _shortcut(ws, described, table, accept_shortcut)
    row, changed = freeze(ws, manifest, name)
    unlicensed = table["license"].to_pylist().count("unlicensed") / table.num_rows
    if not changed and name not in (None, row.name):
        told += (f"the same rows are frozen as `{row.name or row.digest[:16]}` already, and keep that name",)
    return SnapshotSummary(
        name=row.name or "",
        digest=row.digest,
        concept=described.name,
        path=str(ws.data / row.path),
        **{split: sum(row.counts[split].values()) for split in SPLITS},
        labels=row.counts,
        excluded=excluded,
        unlicensed=unlicensed,
        **shortcuts.figures("shortcut_auc", shortcut.files if shortcut else None),
        changed=changed,
        next="collect train-baseline",
        errata=len(numbers),
        warnings=late
        + told
        + _open_errata(ws, described.name)
        + _warnings(unlicensed, excluded)
        + shortcuts.warnings(ws, shortcut),
    )


def rules_of(ws: Workspace, concept: Concept, config: SnapshotConfig) -> Rules:
    """What the settings of a workspace take and leave out."""
    about = ws.section(quality.QualityConfig)
    accepted, keys = ws.section(CrawlConfig).license, quality.keys_of_checks()
    flags = {flag: (keys[flag], limit) for flag, limit in about.below.model_dump().items() if limit}
    wanted = {code for name in config.licenses for code in licenses.PRESETS.get(name, (name,))}
    excluded = [flag for flag in (*about.exclude, *config.exclude) if flag in flags]
    return Rules(
        concept=concept.name,
        labels=concept.labels,
        accepted=licenses.PRESETS[accepted] if isinstance(accepted, str) else accepted,
        flags=flags,
        excluded=list(dict.fromkeys(excluded)),
        everywhere=about.placeholder_addresses,
        licenses=wanted,
        key=f"{ws.seed}:{concept.name}:caps",
        **config.model_dump(exclude={"licenses", "exclude"}),
    )


def freeze(ws: Workspace, manifest: Manifest, name: str | None = None) -> tuple[SnapshotRow, bool]:
    """Put a manifest on the disk and into the catalog; the row, and whether it is new."""
    digest = manifest.digest()
    path = f"snapshots/{digest[:16]}.parquet"
    if not (ws.data / path).exists():
        write_manifest(ws, manifest, path)
    row = SnapshotRow(digest, manifest.concept, path, dict(manifest.config), manifest.counts(), now(), name)
    return models.put_snapshot(ws.catalog, row)


def _config(ws: Workspace, filters: Mapping[str, Any] | None) -> SnapshotConfig:
    given = {key: value for key, value in (filters or {}).items() if value not in (None, ())}
    try:
        return SnapshotConfig(**{**ws.section(SnapshotConfig).model_dump(), **given})
    except ValueError as error:
        said = str(error.errors()[0]["msg"]).removeprefix("Value error, ") if hasattr(error, "errors") else str(error)
        raise UsageError(said, hint="`collect snapshot --help` lists what may be filtered") from None


def _check_name(name: str | None) -> None:
    if name is None:
        return
    if not re.fullmatch(r"\w[\w.-]{0,99}", name) or re.fullmatch(r"[0-9a-f]{4,64}", name):
        raise UsageError(
            f"`{name}` cannot be the name of a snapshot",
            hint="use letters, digits, `-`, `_` and `.`, and nothing that looks like the beginning of a digest",
        )


def _refuse_leaks(ws: Workspace, table: pa.Table) -> None:
    """Raise when two images of different splits are near-duplicates, whatever groups they belong to."""
    home = dict(zip(table["image"].to_pylist(), table["split"].to_pylist(), strict=True))
    if found := leaks.between(ws, home):
        first = found[0]
        raise CollectError(
            f"images {first.first[:12]} ({home[first.first]}) and {first.second[:12]} ({home[first.second]}) are "
            f"near-duplicates across splits ({len(found)} such pairs)",
            hint="run `collect dedup`, then `collect snapshot` again; `collect leaks` lists all of them",
        )


def _shortcut(ws: Workspace, concept: Concept, table: pa.Table, accept: bool) -> shortcuts.Shortcut | None:
    sides: dict[bool, list[str]] = {False: [], True: []}
    for image, label in zip(table["image"].to_pylist(), table["label"].to_pylist(), strict=True):
        sides[label == concept.negative].append(image)
    return shortcuts.gate(ws, concept.name, sides[False], sides[True], accept=accept)


def _warnings(unlicensed: float, excluded: dict[str, int]) -> tuple[str, ...]:
    said = [f"{unlicensed:.0%} of the images have no license: never publish them"] if unlicensed else []
    if changed := excluded.get("license-changed"):
        said.append(f"{changed} images are left out: their source now states a license that `crawl.license` refuses")
    if withdrawn := excluded.get("withdrawn"):
        said.append(f"{withdrawn} images are left out: their source has withdrawn them")
    return tuple(said)


def _refuse_gaps(ws: Workspace, concept: Concept, manifest: Manifest, left_out: str) -> tuple[str, ...]:
    """Raise where a held-out split cannot measure; sentences where it measures most of many labels, but not all."""
    if not manifest.table.num_rows:
        name = shlex.quote(concept.name)
        raise GateNotMet(
            f"`{concept.name}` has no settled label that counts" + (f" ({left_out})" if left_out else " yet"),
            hint=f"`collect label pull {name}` where people label, `collect split {name}` where labels were imported; "
            f"then `collect agreement {name}`",
        )
    drawn = set(pools.splits(ws.catalog, concept.name).values()) | {"validation"}
    counts = manifest.counts()
    told = []
    for split in (name for name in HELD_OUT if name in drawn):
        lacking = [label for label, n in counts[split].items() if n == 0]
        if len(concept.labels) - len(lacking) < 2:
            raise GateNotMet(
                f"the {split} split holds no image of {named(lacking)} (left out: {left_out or 'nothing'})",
                hint=f"label more of it (`collect label pull {concept.name}`, `collect agreement {concept.name}`), "
                f"or collect more (`collect crawl {concept.name}`)",
            )
        if lacking:
            told.append(f"the {split} split holds no image of {named(lacking)}: nothing is measured of them there")
    return tuple(told)


def _open_errata(ws: Workspace, concept: str) -> tuple[str, ...]:
    waiting = sum(row.state == errata.OPEN for row in errata.register(ws.catalog, concept))
    many = f"{waiting} errata are open, and those labels count as they are: `collect errata list`"
    return (many,) if waiting else ()


def _told(excluded: dict[str, int]) -> str:
    return ", ".join(f"{n} {reason}" for reason, n in excluded.items())
