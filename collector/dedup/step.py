"""Group near-duplicates, keep one image of each group, say why.

Two images are copies when a person says so, when their small gray pixels are equal, or when their hashes differ in so
few bits that hardly any two unrelated pictures of a pool of this size do (thresholds.py). Between `surely` and `surely
not`, geometry decides (checking.py). Only new images are searched (neighbors.py), all pairs that matter are compared
(relation.py), and groups do not chain (grouping.py): the result depends on which images there are, not on when they
came.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from collector.catalog import comparisons, pools
from collector.catalog.pools import Duplicate
from collector.config import Section
from collector.dedup import checking, closeness, hints, neighbors, thresholds
from collector.dedup.families import Families, families, speakers
from collector.dedup.gallery import Gallery, Rows
from collector.dedup.grouping import Group, Strictness, connected, groups, units
from collector.dedup.keeping import CRITERIA, Criterion, Policy
from collector.dedup.relation import Pair, Relation, both_ways
from collector.dedup.thresholds import Limits, Wanted
from collector.fingerprints import DCT, PHASH
from collector.intake import fill_fingerprints
from collector.records import Summary
from collector.workspace import Workspace


class DedupConfig(Section):
    """How alike two pictures must be to count as copies, and which of them is kept."""

    section = "dedup"
    threshold: int = Field(
        10,
        ge=0,
        le=20,
        description="largest distance of two copies, in bits of 64; a large pool is given a smaller one",
    )
    threshold_dct: int = Field(40, ge=0, le=96, description="the same in bits of 256, mirrored and turned copies too")
    max_false_pairs: float = Field(
        0.5, gt=0, description="unrelated pairs that may pass for copies, in the whole pool; the thresholds follow"
    )
    min_quality: float = Field(0.1, ge=0, le=1, description="pictures flatter than this are matched by pixels only")
    geometry: Literal["off", "grey", "all"] = Field(
        "all",
        description="what is compared point by point: nothing; pairs just above the thresholds, or of one page, title "
        "or file name; or also all pairs that share points, which finds crops, turns and collages and reads every "
        "picture once",
    )
    candidates: float = Field(
        0.1, ge=0, le=1, description="unrelated pairs for each image that geometry may be asked about"
    )
    groups: Strictness = Field(
        "star",
        description="star: copies of the kept image; clique: each a copy of each; component: copies of copies too",
    )
    keep: tuple[Criterion, ...] = Field(CRITERIA, description="which copy is kept: the first of these that differs")
    sources: tuple[str, ...] = Field((), description="sources whose copy is preferred, best first")


@dataclass(frozen=True, slots=True, kw_only=True)
class DedupSummary(Summary):
    """What deduplication found; `images = kept + duplicates`, and `changed` is False when nothing is new.

    `threshold` is in bits of 64, `threshold_dct` in bits of 256; `basis` says where they come from: the pool, the
    reference for pools too small to measure, or given. `expected_false_pairs` of the pool lie within them by chance.
    `methods` counts duplicates by what showed them; `checked` pairs geometry has looked at; `diameter` is the largest
    distance within a group, in bits of 256.
    """

    images: int
    groups: int
    duplicates: int
    kept: int
    exact: int
    methods: dict[str, int]
    threshold: int
    threshold_dct: int
    expected_false_pairs: float
    basis: str
    checked: int
    diameter: int
    changed: bool


@dataclass(frozen=True, slots=True)
class Found:
    """Everything that a run finds out: groups and their rows, and pairs of different groups that come closest."""

    relation: Relation
    groups: list[Group]
    duplicates: list[Duplicate]
    near: list[tuple[int, int]]
    warnings: tuple[str, ...]


def dedup(
    ws: Workspace, *, threshold: int | None = None, max_false_pairs: float | None = None, dry_run: bool = False
) -> DedupSummary:
    """Compare all images of the workspace and write down which are copies of which.

    Args:
        ws: the workspace.
        threshold: bits of 64 in which copies differ at most, four times as many of 256; default: by `max_false_pairs`.
        max_false_pairs: unrelated pairs in the whole pool that may pass for copies; default: the setting.
        dry_run: find the same, and leave the current result as it is.
    """
    config = ws.section(DedupConfig)
    if max_false_pairs is not None:
        config = config.model_copy(update={"max_false_pairs": max_false_pairs})
    with ws.lock("dedup"):
        fill_fingerprints(ws)
        ws.progress("reading fingerprints", 0, None)
        gallery = Gallery.read(ws.catalog, config.min_quality)
        found = find(ws, gallery, config, choose_limits(gallery, config, threshold))
        images = int(gallery.alive.sum())
        settings = _settings(config, found)
        digest = hashlib.sha256(json.dumps(found.duplicates).encode()).hexdigest()
        changed = not dry_run and pools.write_pass(ws.catalog, settings, images, digest, found.duplicates)
    return _summary(found, images, changed)


def choose_limits(gallery: Gallery, config: DedupConfig, threshold: int | None = None) -> Limits:
    """The limits for the images that are there now."""
    rows = gallery.comparable
    distinct = len(np.unique(gallery.dct[rows], axis=0)) if len(rows) else 0
    chances = thresholds.chances(gallery.phash[rows], gallery.dct[rows])
    pairs = distinct * (distinct - 1) / 2
    wanted = Wanted(config.threshold, config.threshold_dct, config.max_false_pairs, config.candidates)
    chosen = (
        thresholds.limits(chances, distinct, pairs, wanted)
        if threshold is None
        else thresholds.given(threshold, chances, distinct, pairs, config.candidates)
    )
    if config.geometry == "off":
        return chosen._replace(grey_phash=chosen.phash, grey_dct=chosen.dct)
    return chosen


def current(ws: Workspace) -> tuple[Gallery, Limits]:
    """All images, and the limits of the current pass, or those that a first pass would have."""
    config = ws.section(DedupConfig)
    gallery = Gallery.read(ws.catalog, config.min_quality)
    settings = pools.pass_settings(ws.catalog) or {}
    return gallery, Limits(**settings["limits"]) if "limits" in settings else choose_limits(gallery, config)


def verdicts(ws: Workspace, gallery: Gallery) -> dict[Pair, bool]:
    """What people say of pairs, as rows of the gallery, oldest first."""
    rows = gallery.rows
    return {
        (rows[first], rows[second]): bool(each.same)
        for (first, second), each in comparisons.verdicts(ws.catalog).items()
        if first in rows and second in rows
    }


def find(ws: Workspace, gallery: Gallery, config: DedupConfig, limits: Limits) -> Found:
    """Search, compare, check and group."""
    said = verdicts(ws, gallery)
    off = config.geometry == "off"
    hinted = {} if off else hints.of_places(gallery, comparisons.places(ws.catalog))
    checked = {} if off else checking.known(ws, gallery)
    candidates = pools.candidates(ws.catalog)
    ws.progress(f"searching {len(gallery)} images", 0, None)
    edges = [
        neighbors.near(ws.catalog, gallery, PHASH, limits.grey_phash),
        neighbors.near(ws.catalog, gallery, DCT, limits.grey_dct),
    ]
    same_pixels = np.argsort(gallery.pixels, kind="stable")
    equal = np.flatnonzero(np.diff(gallery.pixels[same_pixels]) == 0)
    exact = (same_pixels[equal], same_pixels[equal + 1])
    family, missing = Families.none(gallery), ""
    if config.geometry == "all":
        sure = [(each.first[near], each.second[near]) for each, near in _within(edges, limits)]
        family, missing = families(ws, gallery, speakers(gallery, [exact, *sure], candidates), checked)
    relation = Relation(gallery, limits, both_ways(said), hinted, checked, *family)
    told = [*hints.pairs(hinted), *hints.pairs(family.alike), *(pair for pair, same in said.items() if same)]
    ends = [(each.first, each.second) for each in edges]
    pairs = np.array(told, np.int64).reshape(-1, 2)
    ends += [exact, (pairs[:, 0], pairs[:, 1])]
    unit = units(gallery, said)

    def alike(image: str, others: Sequence[str]) -> Sequence[str]:
        rows = np.array([gallery.rows[other] for other in others], np.int64)
        return [gallery.names[row] for row in rows[relation.sure(gallery.rows[image], rows)].tolist()]

    policy = Policy(ws, candidates, config.keep, config.sources, alike)
    parts = connected(gallery, ends)
    relation.prepare(np.concatenate([np.empty(0, np.int64), *parts]))
    made, warning = _group(ws, parts, relation, (unit.of, policy, config.groups))
    duplicates = sorted(row for group in made for row in _rows(group, relation, policy))
    policy.flush()
    warnings = [warning or missing] if warning or missing else []
    warnings += [
        f"what a person said of {gallery.names[a][:12]} and {gallery.names[b][:12]} contradicts other verdicts"
        for a, b in unit.ignored
    ]
    near = [(i, j) for each in edges for i, j in zip(each.first.tolist(), each.second.tolist(), strict=True) if i != j]
    return Found(relation, made, duplicates, near, tuple(warnings))


def _within(edges: Sequence[neighbors.Edges], limits: Limits) -> Iterable[tuple[neighbors.Edges, NDArray[np.bool_]]]:
    return [(each, each.distance <= most) for each, most in zip(edges, (limits.phash, limits.dct), strict=True)]


def _group(
    ws: Workspace, parts: list[Rows], relation: Relation, how: tuple[Rows, Policy, Strictness]
) -> tuple[list[Group], str]:
    """The groups of all components; those that hang on an open pair are done again when geometry has settled it."""
    unit, policy, strictness = how
    names = relation.gallery.names

    def choose(rows: Iterable[int]) -> int:
        return relation.gallery.rows[policy.best([names[row] for row in rows])]

    made: list[Group] = []
    warning = ""
    while parts:
        again: list[Rows] = []
        wanted: set[Pair] = set()
        for part in parts:
            some = list(groups(part, relation, unit, choose, strictness))
            if relation.open:
                again.append(part)
                wanted |= relation.open
                relation.open.clear()
            else:
                made += some
        relation.open.update(wanted)
        if wanted:
            warning = checking.check(ws, relation) or warning
        parts = again
    return sorted(made), warning


def _rows(group: Group, relation: Relation, policy: Policy) -> Iterable[Duplicate]:
    names = relation.gallery.names
    diameter = closeness.diameter(relation, [group.keeper, *group.copies])
    for copy, shown in zip(group.copies, relation.evidence(group.keeper, np.array(group.copies)), strict=True):
        method = shown.method
        if method == "none":  # it goes along with another: one that a person called the same, or a copy's copy
            method = "person" if relation.said.get(copy) else "chain"
        why = policy.why(names[group.keeper], names[copy])
        figures = {**shown.figures, "diameter": diameter}
        yield Duplicate(names[copy], names[group.keeper], shown.distance, method, why, figures)


def _settings(config: DedupConfig, found: Found) -> dict[str, Any]:
    """What the pass remembers of how it was made, and the figures of the report."""
    return {
        **config.model_dump(include={"min_quality", "geometry", "groups", "max_false_pairs"}),
        "threshold": found.relation.limits.phash,
        "threshold_dct": found.relation.limits.dct,
        "limits": found.relation.limits._asdict(),
        "nearest": closeness.nearest(found.relation.gallery),
        "apart": closeness.apart(found.relation, found.groups, found.near),
    }


def _summary(found: Found, images: int, changed: bool) -> DedupSummary:
    methods: defaultdict[str, int] = defaultdict(int)
    for row in found.duplicates:
        methods[row.method] += 1
    limits = found.relation.limits
    warnings = found.warnings
    if limits.basis != "given" and limits.phash == 0 and limits.expected > 1:
        warnings += (f"even equal hashes pass by chance here: {limits.expected:.0f} false pairs are expected",)
    return DedupSummary(
        images=images,
        groups=len(found.groups),
        duplicates=len(found.duplicates),
        kept=images - len(found.duplicates),
        exact=methods.get("pixels", 0),
        methods=dict(sorted(methods.items())),
        threshold=limits.phash,
        threshold_dct=limits.dct,
        expected_false_pairs=limits.expected,
        basis=limits.basis,
        checked=len(found.relation.checked),
        diameter=max((int(row.evidence["diameter"]) for row in found.duplicates), default=0),
        changed=changed,
        next="collect negatives",
        warnings=warnings,
    )
