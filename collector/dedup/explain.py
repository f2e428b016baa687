"""Why an image is kept or set aside, and what people say of pairs."""

from __future__ import annotations

import getpass
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from collector.catalog import comparisons, pools
from collector.catalog.comparisons import Comparison, Verdict
from collector.dedup import checking
from collector.dedup.gallery import Rows
from collector.dedup.relation import Relation, both_ways
from collector.dedup.step import current, verdicts
from collector.errors import UsageError
from collector.fingerprints import DIHEDRAL
from collector.intake import fill_fingerprints
from collector.records import Summary
from collector.workspace import Workspace

SHOWN = 8  # nearest images of other groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation(Summary):
    """One image: its `state` (kept, set aside, alone), the `keeper` of its group and the `reason` why that one is kept.

    `copies` are the images set aside for the keeper, each with what shows it; `nearest` the closest images that are not
    in the group; `compared` are those that geometry compared it with point by point, the best match first; `verdicts`
    what people said of the image; `outside` names the outside set that it is set aside for, if any.
    """

    image: str
    state: str
    keeper: str
    reason: str
    copies: list[dict[str, Any]]
    nearest: list[dict[str, Any]]
    compared: list[dict[str, Any]]
    verdicts: list[dict[str, Any]]
    outside: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictSummary(Summary):
    """What is now remembered of a pair: `same`, None when an earlier word was taken back."""

    first: str
    second: str
    same: bool | None


def say(ws: Workspace, first: str, second: str, same: bool | None, note: str = "") -> VerdictSummary:
    """Remember for ever that two images are copies (or are not, or take that back); `dedup` heeds it from then on.

    Raises:
        UsageError: an id is unknown or not unique, or both name one image.
    """
    one, other = sorted((resolve(ws, first), resolve(ws, second)))
    if one == other:
        raise UsageError(f"`{first}` and `{second}` are one image", hint="name two different images")
    comparisons.say(ws.catalog, Verdict(one, other, same, _user(), note))
    return VerdictSummary(first=one, second=other, same=same, next="collect dedup")


def resolve(ws: Workspace, text: str) -> str:
    """The image whose id begins so.

    Raises:
        UsageError: none or several do.
    """
    beginning = text.strip().lower()
    found = comparisons.named(ws.catalog, beginning) if beginning else []
    if len(found) != 1:
        said = f"several images begin with `{text}`" if found else f"no image is called `{text}`"
        raise UsageError(said, hint="give the first 12 characters of its sha256, as the report shows them")
    return found[0]


def explain(ws: Workspace, image: str) -> Explanation:
    """Tell what deduplication knows of an image, as of the last `collect dedup`.

    Raises:
        UsageError: the id is unknown or not unique.
    """
    name = resolve(ws, image)
    fill_fingerprints(ws)
    aside = pools.duplicates(ws.catalog)
    keeper = aside[name].keeper if name in aside else name
    copies = [row for row in aside.values() if row.keeper == keeper]
    gallery, limits = current(ws)
    checked = checking.known(ws, gallery)
    relation = Relation(gallery, limits, both_ways(verdicts(ws, gallery)), {}, checked)
    rows, names = gallery.rows, gallery.names
    nearest: list[dict[str, Any]] = []
    inside = {keeper, *(row.image for row in copies)}
    if name in rows:
        others = np.array([row for row in gallery.comparable.tolist() if names[row] not in inside], np.int64)
        nearest = _nearest(relation, rows[name], others)
    reasons = [row.reason for row in copies if name in (row.image, keeper)]
    return Explanation(
        image=name,
        state="set aside" if name in aside else "kept" if copies else "alone",
        keeper=keeper,
        reason=aside[name].reason if name in aside else "; ".join(dict.fromkeys(reasons)),
        copies=[{"image": row.image, "method": row.method, "distance": row.distance, **row.evidence} for row in copies],
        nearest=nearest,
        compared=_compared(checked.values(), name),
        verdicts=[
            {"other": (set(pair) - {name}).pop(), "same": each.same, "by": each.by, "at": each.said_at}
            for pair, each in comparisons.verdicts(ws.catalog).items()
            if name in pair
        ],
        outside=pools.out(ws.catalog).get(name, ""),
        next="collect dedup --different " + f"{keeper[:12]} {name[:12]}" if name in aside else "collect dedup",
        warnings=() if name in rows else ("its bytes are gone or cannot be read, so nothing is compared with it",),
    )


def _compared(rows: Iterable[Comparison], name: str) -> list[dict[str, Any]]:
    """All pairs of an image that geometry has looked at."""
    ours = sorted((row for row in rows if name in (row.first, row.second)), key=lambda row: (-row.same, -row.distance))
    return [
        {
            "image": row.second if row.first == name else row.first,
            "same": row.same,
            "inliers": int(row.distance),
            **row.evidence,
        }
        for row in ours
    ]


def _nearest(relation: Relation, row: int, others: Rows) -> list[dict[str, Any]]:
    away, form = relation.forms(row, others)
    closest = np.argsort(away, kind="stable")[:SHOWN]
    shown = relation.evidence(row, others[closest])
    return [
        {
            "image": relation.gallery.names[int(others[k])],
            "dct": int(away[k]),
            "form": DIHEDRAL[int(form[k])],
            **each.figures,
        }
        for k, each in zip(closest.tolist(), shown, strict=True)
    ]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user that has no name
        return ""
