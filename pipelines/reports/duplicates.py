"""The page about copies: each group with its keeper and why, the pairs that nearly were copies, and the threshold."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from collector.catalog import funnel, images, pools
from collector.catalog.pools import Duplicate
from pipelines.pages import charts
from pipelines.reports.contact_sheet import PER_PAGE
from pipelines.reports.material import Material

COPIES = 8  # shown of one group
APART = 8  # pairs shown that are no copies
METHODS = {
    "pixels": "the same pixels",
    "phash": "the 64-bit hash",
    "dct": "the 256-bit hash, in 8 forms",
    "geometry": "points that fit after scaling and turning",
    "person": "a person said so",
    "chain": "a copy of a copy",
}
BASES = {
    "pool": "chosen from how far unrelated pictures of this pool are apart",
    "reference": "chosen from how far unrelated photographs are apart; this pool is too small to tell",
    "given": "given on the command line",
}


def page(of: Material) -> dict[str, Any] | None:
    """Every group with its keeper and its copies, the least certain first; None before the first pass."""
    done = funnel.current_pass(of.catalog)
    if done is None:
        return None
    about = pools.pass_settings(of.catalog) or {}
    limits = about.get("limits") or {"phash": done.threshold, "dct": 0, "expected": 0.0, "basis": "given"}
    groups: defaultdict[str, list[Duplicate]] = defaultdict(list)
    for row in of.copies.values():
        groups[row.keeper].append(row)
    for rows in groups.values():
        rows.sort(key=lambda row: (-_doubt(row, limits), row.image))
    doubtful = sorted(groups.items(), key=lambda item: (-_doubt(item[1][0], limits), item[0]))
    apart = [pair for pair in about.get("apart", ()) if {pair["first"], pair["second"]} & of.found][:APART]
    shown, room = [], PER_PAGE - 2 * len(apart)
    for keeper, rows in doubtful:
        room -= 1 + min(len(rows), COPIES)
        if room < 0:
            break
        copies = [(of.album.picture(row.image), row, shown_by(row.method, row.evidence)) for row in rows[:COPIES]]
        shown.append((of.album.picture(keeper), copies, len(rows) - len(copies)))
    methods = Counter(row.method for row in of.copies.values()).most_common()
    nearest = {int(bits): count for bits, count in about.get("nearest", {}).items()}
    return {
        "compared": done.images,
        "later": len(images.ids(of.catalog)) - done.images,
        "copies": len(of.copies),
        "groups": shown,
        "hidden": len(groups) - len(shown),
        "group_count": len(groups),
        "limits": limits,
        "basis": BASES[limits["basis"]],
        "strictness": about.get("groups", "star"),
        "diameter": max((row.evidence.get("diameter", 0) for row in of.copies.values()), default=0),
        "methods": [(METHODS[method], n) for method, n in methods],
        "reasons": Counter(row.reason.split(" (")[0] for row in of.copies.values()).most_common(),
        "apart": [(of.album.picture(pair["first"]), of.album.picture(pair["second"]), _apart(pair)) for pair in apart],
        "drawn": sum(nearest.values()),
        "chart": charts.nearest(nearest, limits["dct"]) if nearest else "",
    }


def _doubt(row: Duplicate, limits: dict[str, Any]) -> float:
    """How near the threshold a copy is: 1 at it, 0 far inside; what geometry alone shows comes before all hashes."""
    if row.method == "geometry":
        return 1 + 1 / max(1, int(row.evidence.get("inliers", 1)))
    if row.method in ("pixels", "person"):
        return 0.0
    bits = row.evidence.get
    return float(min(bits("phash", 64) / (limits["phash"] + 1), bits("dct", 256) / (limits["dct"] + 1)))


def shown_by(method: str, figures: Any) -> str:
    """In words, what shows that a picture is a copy."""
    form = f", {figures['form']}" if figures.get("form") and method in ("dct", "phash") else ""
    if method == "phash":
        return f"{figures.get('phash', '?')} bits of 64 differ"
    if method == "dct":
        return f"{figures.get('dct', '?')} bits of 256 differ{form}"
    if method == "geometry":
        how = [f"scale {figures.get('scale', 1):.2f}"]
        if abs(figures.get("rotation", 0)) >= 1:
            how.append(f"turned {figures['rotation']:.0f} degrees")
        if figures.get("mirrored"):
            how.append("mirrored")
        return f"{figures.get('inliers', '?')} points fit: {', '.join(how)}"
    return METHODS.get(method, method)


def _apart(figures: dict[str, Any]) -> str:
    said = [f"{figures['phash']} bits of 64"] if "phash" in figures else []
    if "dct" in figures:
        said.append(f"{figures['dct']} of 256" + (f" ({figures['form']})" if figures.get("form") else ""))
    if "inliers" in figures:
        said.append(f"only {figures['inliers']} points fit")
    return ", ".join(said)
