"""Where a model comes from: the pictures, their licenses and what those touch, and the people who labeled them."""

from __future__ import annotations

import json
from collections.abc import Iterator

from collector.licenses import title
from collector.records import License
from pipelines.carry.facts import Facts
from pipelines.markdown import code, linked, table, text

NAMED = 20  # labels in a sentence


def label_names(facts: Facts) -> str:
    """The labels in words, of many the first ones."""
    told = [text(label) for label in facts.manifest.labels]
    if len(told) <= NAMED:
        return ", ".join(told)
    return f"{', '.join(told[:NAMED])} and {len(told) - NAMED:,} more, which `model.json` lists"


def data(facts: Facts) -> Iterator[str]:
    """The snapshot: images by split and label, sources, tiers of negatives."""
    cells, labels = facts.tally.cells, facts.manifest.labels
    name = f"{code(facts.snapshot.name)}, " if facts.snapshot.name else ""
    yield f"Snapshot {name}digest `{facts.snapshot.digest}`."
    counted = {split: [cells[split, label] for label in labels] for split in facts.manifest.counts()}
    present = {split: row for split, row in counted.items() if any(row)}
    if len(labels) <= 12:
        yield table(("split", *labels, "all"), [(split, *row, sum(row)) for split, row in present.items()])
    else:
        rows = [(split, sum(row), sum(n > 0 for n in row)) for split, row in present.items()]
        yield table(("split", "images", "labels"), rows)
    if facts.manifest.config:
        settings = ", ".join(f"{name} {json.dumps(value)}" for name, value in sorted(facts.manifest.config.items()))
        yield f"Settings of the snapshot: {text(settings)}."
    if facts.forgotten:
        yield (
            f"{facts.forgotten} more pictures were in it and have been forgotten since, on request: the model learned"
            " from them or was measured on them, and they are in no table here but those of the figures."
        )
    yield table(("source", "pictures"), [(name, n) for name, n in facts.tally.sources.most_common()])
    tiers = [(tier, n) for (role, tier), n in sorted(facts.tally.tiers.items()) if role == "negative"]
    if tiers:
        yield "Negatives, by how near they are to the concept:"
        yield table(("tier", "pictures"), tiers)
    else:
        yield "No picture was collected as a negative."
    yield (
        "Splits were drawn by a keyed hash over groups of near-duplicates before anything was trained: no picture has"
        " a copy in another split, and nobody chose what is measured on."
    )


def licenses(facts: Facts) -> Iterator[str]:
    """Every license with its pictures, and in plain words what to think of before the model is published."""
    counted = facts.tally.licenses
    rows = [
        (linked(title(each), each.url), n)
        for each, n in sorted(counted.items(), key=lambda pair: (-pair[1], title(pair[0])))
    ]
    yield table(("license of the pictures", "pictures"), rows)
    yield (
        "`ATTRIBUTION.md` names whom to name for each picture; keep it beside the model. No license is chosen for the"
        " model itself: whoever publishes it does that, and it touches these and the license of the weights it began"
        " with. In plain words, and no legal advice:"
    )
    yield "\n".join(f"- {said}" for said in _touches(counted)) or "- Nothing is asked for by these licenses."


def _touches(counted: dict[License, int]) -> Iterator[str]:
    def many(part: str) -> int:
        return sum(n for each, n in counted.items() if getattr(each, part))

    if unlicensed := sum(n for each, n in counted.items() if each.code == "unlicensed"):
        yield f"**{unlicensed} pictures have no license: do not publish this model without asking their owners.**"
    if n := many("attribution_required"):
        yield f"{n} pictures ask for credit: give `ATTRIBUTION.md` on with the model."
    if n := many("sa"):
        yield (
            f"{n} pictures are share-alike: changed copies must carry the same license. Whether a model is one is not"
            " settled; on the safe side are a model under that license, or one that learned without them (set"
            " `snapshot.licenses`)."
        )
    if n := many("nc"):
        yield (
            f"{n} pictures must not be used commercially. Whether that holds for a model that learned from them is not"
            " settled; on the safe side is a model that nobody earns money with."
        )
    if n := many("nd"):
        yield f"{n} pictures must not be given on changed. The model holds none of them, and shows none."


def labeling(facts: Facts) -> Iterator[str]:
    """Labels, people, agreement, ceiling, guideline."""
    labels = label_names(facts)
    methods = ", ".join(f"{text(name)} ({n})" for name, n in facts.tally.methods.most_common())
    yield f"Labels: {labels}. What counts is settled by: {methods}."
    people = sorted(facts.tally.people.items())
    yield table(("people who labeled it", "pictures"), people)
    found = facts.agreement
    if found.value == found.value:
        said = (
            f"Krippendorff's alpha is {found.value:.3f} (95 % interval {found.low:.3f} to {found.high:.3f}), over the"
            f" {found.tasks} pictures here that two people or more labeled. Pictures on which people could not settle"
            " are not in the snapshot, so agreement over all that was labeled is lower."
        )
    else:
        said = f"Agreement between people is not known: {found.reason}."
    ceiling = facts.found.get("human_error")
    if ceiling is not None:
        said += (
            f" On validation, one person says what the others say for {1 - ceiling:.1%}: an accuracy above that means"
            " little."
        )
    yield said
    if facts.guidelines:
        yield "Annotators were shown (round: sha256 of the guideline in force):"
        yield "\n".join(f"- {text(name)}: {code(digest)}" for name, digest in facts.guidelines.items())
    else:
        yield "No round with a guideline is on record for this concept."
