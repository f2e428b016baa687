"""The pages around the model: the frozen snapshot, what more labels would bring, and what the model proposes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from collector.catalog import funnel, models
from labeling.order import next_lists, read_list
from pipelines.manifest import SPLITS
from pipelines.pages import charts
from pipelines.reports.contact_sheet import PER_PAGE
from pipelines.reports.material import Material
from pipelines.split import UNLIKE, against_pool

MOST_LABELS = 40  # in a table, and with pictures: the most frequent
APART = 12  # labels with a sheet of pictures each; of more, one sheet for each split


def snapshot(of: Material) -> dict[str, Any] | None:
    """Splits by label, how unlike the pool they are, the name and digest, licenses, and a sample of each split."""
    import pyarrow.compute as pc

    row = of.snapshot
    if row is None:
        return None
    manifest = of.manifest(row.digest)
    counts = manifest.counts()
    totals = {label: sum(counts[split][label] for split in SPLITS) for label in manifest.labels}
    labels = sorted(manifest.labels, key=lambda label: -totals[label])[:MOST_LABELS]
    labels = [label for label in manifest.labels if label in set(labels)]
    cells = [(split, label) for split in SPLITS for label in labels if counts[split][label]][:PER_PAGE]
    share = max(1, PER_PAGE // len(cells))
    table = manifest.table.select(["image", "split", "label"])
    samples = []
    for split, label in cells:
        here = table.filter(pc.and_(pc.equal(table["split"], split), pc.equal(table["label"], label)))
        shown = [of.album.picture(image) for image in here["image"][:share].to_pylist()]
        samples.append((split, label, counts[split][label], shown))
    psi, chance = against_pool(of.ws, of.concept)
    whole = manifest.table.num_rows
    return {
        "row": row,
        "labels": labels,
        "unlisted": len(manifest.labels) - len(labels),
        "counts": counts,
        "totals": totals,
        "total": whole,
        "unlicensed": manifest.column("license").count("unlicensed") / whole,
        "methods": Counter(manifest.column("method")).most_common(MOST_LABELS),
        "errata": len(manifest.errata),
        "psi": psi,
        "chance": chance,
        "unlike": UNLIKE,
        "samples": samples,
        "together": len(labels) > APART,
        "unsampled": sum(counts[split][label] > 0 for split in SPLITS for label in manifest.labels) - len(cells),
    }


def curve(of: Material) -> dict[str, Any] | None:
    """Error against labels, of the newest run that learned from parts of its training images."""
    done = [run for run in models.experiments(of.catalog, of.name) if run.metrics is not None]
    if not done:
        return None
    drawn = [run for run in done if (run.metrics or {}).get("learning_curve")]
    if not drawn:
        return {"run": None, "chart": None}
    run = max(drawn, key=lambda each: each.finished_at or "")
    found = (run.metrics or {})["learning_curve"]
    name = "error (1 - AP)" if found["metric"] == "ap" else "error"
    seen = any(point["error"] > 0 for point in found["points"])
    return {
        "run": run,
        "newest": of.run is not None and run.run == of.run.run,
        "found": found,
        "name": name,
        "chart": charts.power_law(found["points"], found.get("band", []), name) if seen else None,
    }


def chosen_next(of: Material) -> dict[str, Any] | None:
    """The images of the newest list of `collect next`, each with why it was chosen."""
    lists = next_lists(of.ws, of.name)
    if not lists:
        return None
    rows = read_list(lists[-1])
    answered = {row["image"] for row in rows} & of.answered.labeled
    return {
        "rows": rows,
        "kinds": Counter(row["by"] for row in rows).most_common(),
        "answered": len(answered),
        "shown": [(of.album.picture(row["image"]), row, row["image"] in answered) for row in rows[:PER_PAGE]],
    }


def prelabels(of: Material) -> dict[str, Any] | None:
    """What the newest model says of the images that nobody has labeled: surest, least likely, most uncertain."""
    newest = funnel.newest_model(of.catalog, of.name)
    if newest is None:
        return None
    positive = of.concept.positive
    predicted, chance, ahead = 0, dict[str, float](), dict[str, float]()
    for image, row in funnel.predictions(of.catalog, of.name, newest):
        predicted += 1
        if image not in of.answered.labeled and image not in of.copies:
            chance[image] = row.get(positive, models.unlisted(row, len(of.concept.labels)))
            ahead[image] = _margin(row)
    ranked = sorted(chance, key=lambda image: (-chance[image], image))
    share = min(PER_PAGE // 3, (len(ranked) + 1) // 2)
    sheets = {
        f"Most likely {positive}": ranked[:share],
        f"Least likely {positive}": ranked[::-1][:share],
        "Most uncertain": sorted(ahead, key=lambda image: (ahead[image], image))[:share],
    }
    return {
        "model": newest,
        "predicted": predicted,
        "open": len(chance),
        "proposed": len(funnel.proposed(of.catalog, of.name) & chance.keys()),
        "sheets": [(name, [(of.album.picture(image), chance[image]) for image in row]) for name, row in sheets.items()],
        "chart": charts.histogram(
            list(chance.values()), (0, 1), 20, (f"probability of {positive}", "images without a label")
        ),
    }


def _margin(probabilities: Mapping[str, float]) -> float:
    """How far the most probable label is ahead of the next."""
    first, second = sorted(probabilities.values(), reverse=True)[:2]
    return first - second
