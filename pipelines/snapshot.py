"""Freeze what is settled into a manifest: sorted rows, one digest over all of them, one file that never changes.

A row is one distinct image with its label, how sure people were, its split, and where it came from under which license.
The digest is taken over the rows as canonical JSON lines, so the same facts have the same name on every engine.
Validation and test take only images that several people labeled blind; everything left out is counted by reason.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from collector import quality
from collector.catalog import consensus, errata, labels, models, now, pools, sightings
from collector.catalog.consensus import Settled
from collector.catalog.labels import Current
from collector.catalog.models import SnapshotRow
from collector.catalog.sightings import Seen
from collector.dedup import leaks
from collector.errors import CollectError, GateNotMet
from collector.records import Concept, Summary
from collector.spiders.config import CrawlConfig
from collector.workspace import Workspace
from labeling.gate import require_agreement
from pipelines import shortcuts
from pipelines.config import SnapshotConfig
from pipelines.manifest import HELD_OUT, SPLITS, Manifest, ManifestRow, write_manifest

ERRATUM = "erratum"  # the method of a label that an erratum set, with its number


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotSummary(Summary):
    """What was frozen: images by split, `labels` by split and label, `excluded` by reason; `unlicensed` is a share.

    `errata` labels are those of applied errata, not of the votes.
    `shortcut_auc` is how well the files without their pixels tell the concept from the rest; None: too few to tell, or
    not measured, and a warning says so.
    """

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


def snapshot(
    ws: Workspace, concept: str | None = None, *, accept_shortcut: bool = False, accept_ceiling: bool = False
) -> SnapshotSummary:
    """Freeze the settled labels of a concept; `changed` is False when nothing is new since the last time.

    Raises:
        GateNotMet: nothing is settled yet, or validation or test would lack a label; or, without `accept_shortcut`, the
            classes can be told apart without looking at the pictures; or, without `accept_ceiling`, people agree less
            than `agreement.minimum`, or nothing was labeled twice.
    """
    described = ws.concept(concept)
    config = ws.section(SnapshotConfig)
    ws.progress("reading labels", 0, None)
    settled = consensus.settled(ws.catalog, described.name)
    told = require_agreement(ws, described.name, accept=accept_ceiling) if settled else ()
    if accept_ceiling and not any(sum(row.votes.values()) > 1 for row in settled):
        config = config.model_copy(update={"min_annotators": 1})  # labels from elsewhere: one each is all there is
    rows, excluded = _rows(ws, described, config)
    manifest = Manifest(described.name, described.labels, config.model_dump(), tuple(rows))
    check_groups(manifest.rows)
    _refuse_leaks(ws, manifest.rows)
    _refuse_gaps(ws, described, manifest, _told(excluded))
    shortcut = _shortcut(ws, described, rows, accept_shortcut)
    digest = manifest.digest()
    path = f"snapshots/{digest[:16]}.parquet"
    if not (ws.data / path).exists():
        write_manifest(ws, manifest, path)
    told += _open_errata(ws, described.name)
    counts = manifest.counts()
    changed = models.put_snapshot(
        ws.catalog, SnapshotRow(digest, described.name, path, dict(manifest.config), counts, now())
    )
    unlicensed = sum(row.license == "unlicensed" for row in rows) / len(rows)
    return SnapshotSummary(
        digest=digest,
        concept=described.name,
        path=str(ws.data / path),
        **{split: sum(counts[split].values()) for split in SPLITS},
        labels=counts,
        excluded=excluded,
        unlicensed=unlicensed,
        **shortcuts.figures("shortcut_auc", shortcut.files if shortcut else None),
        changed=changed,
        next="collect train-baseline",
        errata=sum(row.method.startswith(ERRATUM) for row in rows),
        warnings=told + _warnings(unlicensed, excluded) + shortcuts.warnings(ws, shortcut),
    )


def check_groups(rows: Iterable[ManifestRow]) -> None:
    """Raise when copies of one picture sit in two splits: what was trained on would be measured on."""
    home: dict[str, ManifestRow] = {}
    for row in rows:
        first = home.setdefault(row.group, row)
        if first.split != row.split:
            raise CollectError(
                f"images {first.image[:12]} ({first.split}) and {row.image[:12]} ({row.split}) are near-duplicates",
                hint="run `collect dedup`, then `collect snapshot` again",
            )


def _refuse_leaks(ws: Workspace, rows: Iterable[ManifestRow]) -> None:
    """Raise when two images of different splits are near-duplicates, whatever groups they belong to."""
    home = {row.image: row.split for row in rows}
    if found := leaks.between(ws, home):
        first = found[0]
        raise CollectError(
            f"images {first.first[:12]} ({home[first.first]}) and {first.second[:12]} ({home[first.second]}) are "
            f"near-duplicates across splits ({len(found)} such pairs)",
            hint="run `collect dedup`, then `collect snapshot` again; `collect leaks` lists all of them",
        )


def _rows(ws: Workspace, concept: Concept, config: SnapshotConfig) -> tuple[list[ManifestRow], dict[str, int]]:
    aside = pools.duplicates(ws.catalog)
    poor = quality.excluded(ws.catalog, ws.section(quality.QualityConfig))
    pool = {row.image: row for row in pools.members(ws.catalog, concept.name)}
    splits = pools.splits(ws.catalog, concept.name)
    accepted = ws.section(CrawlConfig).license
    origins = sightings.origins(ws.catalog, concept.name, accepted)
    answers: dict[str, dict[str, Current]] = {}
    for answer in labels.current(ws.catalog, concept.name):
        if answer.label is not None:
            answers.setdefault(answer.image, {})[answer.annotator] = answer
    kept: list[ManifestRow] = []
    excluded: Counter[str] = Counter()
    for settled in _amended(ws, concept.name):
        image = settled.image
        given = list(answers.get(image, {}).values())
        held_out = splits.get(image) in HELD_OUT
        if image in aside:
            excluded["copy"] += 1
        elif image in poor:
            excluded[poor[image]] += 1
        elif image not in pool or image not in splits:
            excluded["not-in-pool"] += 1
        elif image not in origins:
            excluded["no-origin"] += 1
        elif refusal := origins[image].refusal(accepted):
            excluded[refusal] += 1
        elif reason := _unusable(settled, concept, config) or (_seen(given, config) if held_out else ""):
            excluded[reason] += 1
        else:
            member = pool[image]
            kept.append(_row(settled, splits[image], member.role, member.tier, given, origins[image]))
    return sorted(kept), dict(sorted(excluded.items()))


def _amended(ws: Workspace, concept: str) -> list[Settled]:
    """What is settled, with the labels of applied errata in place of the votes'."""
    known = errata.applied(ws.catalog, concept)
    return [
        row._replace(label=known[row.image].should_be, confidence=1.0, method=f"{ERRATUM} {known[row.image].id}")
        if row.image in known
        else row
        for row in consensus.settled(ws.catalog, concept)
    ]


def _unusable(settled: Settled, concept: Concept, config: SnapshotConfig) -> str:
    """Why the label of an image does not count, or an empty string."""
    if settled.label is None:
        return "tie" if settled.votes else "nobody-could-tell"
    if settled.label not in concept.labels:
        return "unknown-label"
    return "low-confidence" if settled.confidence < config.min_confidence else ""


def _seen(given: Sequence[Current], config: SnapshotConfig) -> str:
    """Why an image cannot be measured on, or an empty string."""
    if any(each.proposal is not None for each in given):
        return "not-blind"
    return "too-few-annotators" if len(given) < config.min_annotators else ""


def _row(settled: Settled, split: str, role: str, tier: str, given: Sequence[Current], seen: Seen) -> ManifestRow:
    assert settled.label is not None
    found = seen.found
    # Where a folder lies on this machine is nobody else's business, and would give equal content another digest.
    public = found.url.startswith(("http://", "https://"))
    return ManifestRow(
        image=settled.image,
        split=split,
        label=settled.label,
        confidence=round(settled.confidence, 6),
        method=settled.method,
        votes=json.dumps(dict(settled.votes), sort_keys=True),
        annotators=len(given),
        group=settled.image,
        role=role,
        tier=tier,
        source=found.source,
        source_id=found.source_id if public else "",
        url=found.url if public else "",
        page=found.page,
        title=found.title,
        creator=found.creator,
        creator_url=found.creator_url,
        license=found.license.code,
        license_version=found.license.version,
        license_url=found.license.url,
        license_evidence=found.license.evidence,
    )


def _shortcut(ws: Workspace, concept: Concept, rows: Sequence[ManifestRow], accept: bool) -> shortcuts.Shortcut | None:
    sides = ([row.image for row in rows if (row.label == concept.negative) is negative] for negative in (False, True))
    return shortcuts.gate(ws, concept.name, *sides, accept=accept)


def _warnings(unlicensed: float, excluded: dict[str, int]) -> tuple[str, ...]:
    said = [f"{unlicensed:.0%} of the images have no license: never publish them"] if unlicensed else []
    if changed := excluded.get("license-changed"):
        said.append(f"{changed} images are left out: their source now states a license that `crawl.license` refuses")
    if withdrawn := excluded.get("withdrawn"):
        said.append(f"{withdrawn} images are left out: their source has withdrawn them")
    return tuple(said)


def _refuse_gaps(ws: Workspace, concept: Concept, manifest: Manifest, left_out: str) -> None:
    if not manifest.rows:
        raise GateNotMet(
            f"`{concept.name}` has no settled label that counts" + (f" ({left_out})" if left_out else " yet"),
            hint=f"`collect label pull {concept.name}`, then `collect agreement {concept.name}`",
        )
    drawn = set(pools.splits(ws.catalog, concept.name).values()) | {"validation"}
    counts = manifest.counts()
    for split in (name for name in HELD_OUT if name in drawn):
        lacking = [label for label, n in counts[split].items() if n == 0]
        if lacking:
            raise GateNotMet(
                f"the {split} split holds no image of `{'`, `'.join(lacking)}` (left out: {left_out or 'nothing'})",
                hint=f"label more of it (`collect label pull {concept.name}`, `collect agreement {concept.name}`), "
                f"or collect more (`collect crawl {concept.name}`)",
            )


def _open_errata(ws: Workspace, concept: str) -> tuple[str, ...]:
    waiting = sum(row.state == errata.OPEN for row in errata.register(ws.catalog, concept))
    many = f"{waiting} errata are open, and those labels count as they are: `collect errata list`"
    return (many,) if waiting else ()


def _told(excluded: dict[str, int]) -> str:
    return ", ".join(f"{n} {reason}" for reason, n in excluded.items())
