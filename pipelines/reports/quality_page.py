"""The page about quality: each check with its scores, its threshold and the worst pictures; None before it has run."""

from __future__ import annotations

from typing import Any, NamedTuple

from collector.catalog import quality as rows
from collector.quality import QualityConfig, Thresholds, flagged, keys_of_checks
from pipelines.pages import charts
from pipelines.reports.contact_sheet import PER_PAGE, Picture
from pipelines.reports.material import Material

PRIVATE = ("faces", "gps", "owner")  # no fault of a picture, but a reason not to publish it as it is
YES_OR_NO = (*PRIVATE, "broken")
SHOWN = 8  # pictures of one check


class Checked(NamedTuple):
    """One check: how it is measured, how many images were, how many are flagged, and the worst with their scores."""

    name: str
    key: str
    means: str
    threshold: float
    measured: int
    flagged: int
    excludes: bool
    chart: str
    worst: list[tuple[Picture, float, str]]


def quality(of: Material) -> dict[str, Any] | None:
    """What was measured, how many images carry which flag, and the worst of each check."""
    keys = keys_of_checks()
    scores = rows.scores(of.catalog, list(keys.values()), of.name)
    if not scores:
        return None
    config = of.ws.section(QualityConfig)
    found = {name: those.keys() & of.found for name, those in flagged(of.catalog, config).items()}
    checked = [_checked(of, name, key, scores.get(key, {}), found[name], config) for name, key in keys.items()]
    looked = [each for each in checked if each.measured]
    poor = set().union(*(found[each.name] for each in looked if each.name not in PRIVATE))
    return {
        "measured": len(scores.get(keys["broken"], {})),
        "images": len(of.found),
        "poor": len(poor),
        "private": len(found["gps"] | found["owner"]),
        "faces": len(found["faces"]),
        "looked_for_faces": len(scores.get(keys["faces"], {})),
        "excluded": len(set().union(*(found[name] for name in config.exclude), set())),
        "exclude": config.exclude,
        "checks": sorted(looked, key=lambda each: (each.name in YES_OR_NO, -each.flagged, each.name)),
    }


def _checked(
    of: Material, name: str, key: str, scores: dict[str, float], found: set[str], config: QualityConfig
) -> Checked:
    threshold = float(getattr(config.below, name))
    share = PER_PAGE // (len(Thresholds.model_fields) - 1)
    worst = sorted(scores, key=lambda image: (image not in found, scores[image], image))[: min(SHOWN, share)]
    if name in YES_OR_NO:
        worst = [image for image in worst if image in found]
    said = {image: _said(row) for image, row in rows.details(of.catalog, key, worst).items()}
    return Checked(
        name=name,
        key=key,
        means=str(Thresholds.model_fields[name].description),
        threshold=threshold,
        measured=len(scores),
        flagged=len(found),
        excludes=name in config.exclude,
        chart=charts.scores(list(scores.values()), threshold) if scores and name not in YES_OR_NO else "",
        worst=[(of.album.picture(image), scores[image], said.get(image, "")) for image in worst],
    )


def _said(details: Any) -> str:
    """The details of a score in a few words; tags by name, never what they say."""
    if "tags" in details:
        return ", ".join(details["tags"])
    if "boxes" in details:
        return f"{len(details['boxes'])} faces" if len(details["boxes"]) > 1 else "1 face"
    return str(details.get("why", ""))
