"""The figures on the card of a model: on validation, and on the test split where it was opened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipelines.carry.facts import Facts
from pipelines.evaluate import protocol_of
from pipelines.markdown import code, table, text
from pipelines.metrics import LEVELS

LABELS = 100  # labels with a row of their own; of more, those with the lowest AP
SLICES = 12
CONFUSIONS = 5
FIGURES = (
    ("images", "images"),
    ("average precision (AP)", "ap"),
    ("error", "error"),
    ("error of always saying the most frequent label", "majority_error"),
    ("error of one person against what the others say", "human_error"),
    ("AP of one person", "human_ap"),
    ("calibration error (ECE)", "ece"),
    ("class-wise ECE", "classwise_ece"),
    ("Brier score", "brier"),
    ("log loss (NLL)", "nll"),
    ("threshold, chosen on validation", "threshold"),
)


def measured(facts: Facts) -> Iterator[str]:
    """The tables of figures, AP by label, confusions, calibration, and what a rarer concept makes of precision."""
    splits = {"validation": facts.found} | ({"test": facts.test} if facts.test is not None else {})
    rows: list[list[object]] = [
        [name, *(_figure(found, key) for found in splits.values())]
        for name, key in FIGURES
        if any(found.get(key) is not None for found in splits.values())
    ]
    for level in map(str, LEVELS):
        values = [found.get("recall_at_precision", {}).get(level) for found in splits.values()]
        if any(value is not None for value in values):
            rows.append([f"recall at precision {level}", *(_recall(found, level) for found in splits.values())])
    yield table(("", *splits), rows)
    many = {0: "never opened", 1: "opened once"}.get(facts.openings, f"opened {facts.openings} times")
    yield (
        "Intervals are 95 %, by bootstrap over groups of near-duplicates. The test split of protocol"
        f" {code(protocol_of(facts.model.experiment))} was {many}"
        + (": the more often, the more its figures flatter." if facts.openings > 1 else ".")
    )
    yield from _by_label(facts.test or facts.found, "test" if facts.test else "validation")
    yield _calibration(facts)
    yield "![How often it is right beside how sure it says it is](calibration.svg)"
    if facts.at_prevalence is not None:
        value, low, high = facts.at_prevalence
        first = text(facts.manifest.labels[0])
        yield (
            f"Where {facts.prevalence:.3g} of all pictures are {first}, its precision is {_plain(value)} (95 % interval"
            f" {low:.4f} to {high:.4f})."
        )


def slices(facts: Facts) -> str:
    """The slices with the highest error, those under 30 images left out."""
    split = "test" if facts.test is not None else "validation"
    rows = (facts.test or facts.found).get("slices", [])
    large = [row for row in rows if not row["small"]]
    if not large:
        return f"No part of {split} (a source, license, size, tier or label) has 30 images, so none can be told apart."
    shown = [
        (
            row["by"],
            row["name"],
            row["images"],
            _between(row, "error"),
            _between(row, "ap"),
            "yes" if row["worse"] else "no",
        )
        for row in large[:SLICES]
    ]
    head = ("part of " + split, "", "images", "error", "AP", "worse than the rest, and not by chance")
    return (
        table(head, shown)
        + f"\n\nHighest error first, {len(shown)} of {len(rows)} parts; those under 30 images are left out. Worse:"
        " Fisher's exact test against all other images, corrected for the number of parts (Holm)."
    )


def _by_label(found: dict[str, Any], split: str) -> Iterator[str]:
    each = found.get("by_label", {})
    ranked = sorted(each, key=lambda label: (each[label]["ap"] is None, each[label]["ap"] or 0.0, label))
    shown = list(each) if len(each) <= LABELS else ranked[:LABELS]
    if shown:
        rows = [
            (label, row["images"], _between(row, "ap"), _plain(row["precision"]), _plain(row["recall"]))
            for label, row in ((label, each[label]) for label in shown)
        ]
        yield table(("label", f"images of {split}", "AP", "precision at its threshold", "recall there"), rows)
    if len(each) > LABELS:
        yield f"The {LABELS} labels with the lowest AP, of {len(each)}."
    confused = [f"{n} x {text(true)} taken for {text(said)}" for true, said, n in found["confused"][:CONFUSIONS]]
    if confused:
        yield f"Most frequent confusions on {split}: {'; '.join(confused)}."


def _calibration(facts: Facts) -> str:
    found = facts.found
    before = found.get("uncalibrated", {})
    if found.get("temperature", 1) == 1:
        return "No temperature is in its probabilities; they are as they were learned."
    return (
        f"Its probabilities have a temperature of {found['temperature']:.3f} in them, fitted on"
        f" {found['temperature_fit']['images']} calibration images, which neither trained nor measured it. On"
        f" validation that changes ECE from {before['ece']:.4f} to {found['ece']:.4f}, and the log loss from"
        f" {before['nll']:.4f} to {found['nll']:.4f}."
    )


def _figure(found: dict[str, Any], key: str) -> str:
    value = found.get(key)
    if isinstance(value, int):
        return str(value)
    return _between(found, key)


def _recall(found: dict[str, Any], level: str) -> str:
    name = "recall_at_precision"
    return _between({f"{name}{end}": found.get(f"{name}{end}", {}).get(level) for end in ("", "_low", "_high")}, name)


def _between(row: dict[str, Any], key: str) -> str:
    value, low, high = (row.get(f"{key}{end}") for end in ("", "_low", "_high"))
    said = _plain(value)
    return said if value is None or low is None or high is None else f"{said} ({low:.4f} to {high:.4f})"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
