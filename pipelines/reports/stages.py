"""The funnel: seen, kept, distinct, labeled, agreed, trained; every image that is lost on the way has one reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from collector.catalog import consensus, errata, funnel, images, pools
from collector.errors import CollectError
from pipelines.reports.material import Material


@dataclass(frozen=True, slots=True)
class Stage:
    """One bar. `count` None: not reached yet, `command` reaches it.

    `lost` says by reason what the bar above had more: both add up to the count of the nearest reached stage above.
    """

    name: str
    meaning: str
    page: str
    count: int | None
    command: str
    lost: dict[str, int] = field(default_factory=dict)
    note: str = ""


def stages(of: Material) -> list[Stage]:
    """The six stages of a concept, in the order of work."""
    seen, kept, refused = images.counts(of.catalog, of.name)
    reposts = seen - sum(refused.values()) - kept
    kept_lost = {**refused, **({"the same file again": reposts} if reposts > 0 else {})}
    return [
        Stage("seen", "candidates that a source offered", "crawl", seen, "crawl"),
        Stage("kept", "different files in the store", "crawl", kept if seen else None, "crawl", kept_lost),
        *_judged(of),
    ]


def _judged(of: Material) -> list[Stage]:
    distinct = of.found - of.copies.keys()
    compared = funnel.current_pass(of.catalog) is not None
    aside = Counter(_COPY[row.method] for row in of.copies.values())
    labeled = distinct & of.answered.labeled
    settled = {row.image: row.label for row in consensus.settled(of.catalog, of.name)}
    settled |= {image: row.should_be for image, row in errata.applied(of.catalog, of.name).items() if image in settled}
    agreed = {image for image in labeled if settled.get(image) is not None}
    unsettled = Counter("a tie" if image in settled else "not settled yet" for image in labeled - agreed)
    sorting, judging = len(distinct) if compared else None, len(labeled) if of.answered.touched else None
    settling = len(agreed) if settled else None
    pull = "label pull" if of.answered.sent else "label push"
    waiting = _unlabeled(of, distinct - labeled)
    return [
        Stage("distinct", "not a copy of another", "duplicates", sorting, "dedup", dict(aside)),
        Stage("labeled", "a person said what it shows", "agreement", judging, pull, waiting),
        Stage("agreed", "the votes settle a label", "disagreements", settling, "agreement", dict(unsettled)),
        _trained(of, agreed),
    ]


_COPY = {
    "pixels": "the same pixels as another",
    "phash": "a near-duplicate of another",
    "dct": "a near-duplicate of another",
    "geometry": "a part of another, or the other way round",
    "person": "a person said that it is a copy",
    "chain": "a copy of a copy",
}


def _unlabeled(of: Material, unlabeled: set[str]) -> dict[str, int]:
    pool = {row.image for row in pools.members(of.catalog, of.name)}

    def why(image: str) -> str:
        if image in of.answered.touched:
            return "nobody could tell"
        if image in of.answered.sent:
            return "waiting for an answer"
        return "in the pool, not sent yet" if image in pool else "not in the pool"

    return dict(Counter(why(image) for image in sorted(unlabeled)))


def _trained(of: Material, agreed: set[str]) -> Stage:
    name, meaning = "trained", "the newest run learned from it"
    if of.run is None:
        return Stage(name, meaning, "model", None, "train-baseline" if of.snapshot else "snapshot")
    try:
        frozen = of.manifest(of.run.snapshot)
        home = dict(zip(frozen.column("image"), frozen.column("split"), strict=True))
    except CollectError as error:
        return Stage(name, meaning, "model", None, "snapshot", note=error.message)
    trained = {image for image in agreed if home.get(image) == "train"}
    lost = Counter(_HELD_OUT.get(home.get(image, ""), "not in the snapshot of that run") for image in agreed - trained)
    stale = sum(split == "train" for split in home.values()) - len(trained)
    note = f"{stale} more that it learned from are no longer agreed on" if stale else ""
    return Stage(name, meaning, "model", len(trained), "train-baseline", dict(lost), note)


_HELD_OUT = {
    "calibration": "held out for calibration",
    "validation": "held out for validation",
    "test": "held out for the test",
}
