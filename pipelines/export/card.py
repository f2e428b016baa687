"""README.md: the card of a data set, with the front matter that Hugging Face reads.

What is in it, by whom and under which licenses, how it was labeled and split, what is known to be wrong, how to load
it, and how to have a picture removed. Front matter: https://huggingface.co/docs/hub/datasets-cards.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from collector.licenses import title
from collector.records import License
from labeling.agreement import Estimate
from pipelines.export.records import About, Format
from pipelines.export.tally import Tally
from pipelines.markdown import linked, table, text

_HUB = frozenset(
    f"cc-{each}"
    for each in (
        "by-2.0", "by-2.5", "by-3.0", "by-4.0", "by-sa-3.0", "by-sa-4.0", "by-nc-2.0", "by-nc-3.0", "by-nc-4.0",
        "by-nd-4.0", "by-nc-nd-3.0", "by-nc-nd-4.0", "by-nc-sa-2.0", "by-nc-sa-3.0", "by-nc-sa-4.0",
    )
)  # fmt: skip
_SIZES = ((1000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


@dataclass(frozen=True, slots=True)
class Facts:
    """What the card says beside the counts: agreement, the rules that drew the splits, and whom to write to."""

    agreement: Estimate
    rules: Sequence[str]
    left_out: dict[str, int]
    contact: str


def card(about: About, form: Format, tally: Tally, facts: Facts) -> bytes:
    """The text of README.md."""
    parts = [
        _front_matter(about, form, tally),
        f"# {text(about.name)}",
        _first_words(about, tally),
        "## Pictures",
        _counts(about, tally),
        *_made(about, tally, facts),
        "## Licenses and sources",
        _licenses(tally),
        "## Labels",
        _labeling(about, tally, facts),
        "## Splits",
        _splits(about, facts),
        "## Limits",
        _limits(tally),
        "## Load it",
        f"With {form.library}, in this folder:\n\n```python\n{form.load(about)}\n```",
        "`images.csv` has a row for each picture (read it with `keep_default_na=False`); `croissant.json` describes all"
        " of it for `mlcroissant`. `sha256sum -c SHA256SUMS`, or `collect verify .`, checks every byte.",
        "## Have a picture removed",
        _removal(facts.contact),
    ]
    return ("\n\n".join(parts) + "\n").encode("utf-8", "replace")


def hub_license(license: License) -> str:
    """The name that the Hub has for a license: one of its list, `cc` for other Creative Commons ones, or `other`."""
    name = f"cc-{license.code}-{license.version}"
    if license.code == "cc0":
        return "cc0-1.0"
    if name in _HUB:
        return name
    return "cc" if license.attribution_required else "other"


def _front_matter(about: About, form: Format, tally: Tally) -> str:
    names = sorted({hub_license(each) for each in tally.licenses})
    told: list[tuple[str, Any]] = [("pretty_name", about.name), ("license", names)]
    if "other" in names:
        others = sorted({title(each) for each in tally.licenses if hub_license(each) == "other"})
        told += [("license_name", ", ".join(others)), ("license_link", "ATTRIBUTION.md")]
    size = next((name for most, name in _SIZES if tally.images < most), "n>1M")
    told += [("task_categories", ["image-classification"]), ("size_categories", [size])]
    told += [("tags", ["croissant", *_duties(tally)])]
    if form.configs:
        files = [{"split": split, "path": form.configs.format(split=split)} for split in about.options.splits]
        told += [("configs", [{"config_name": "default", "data_files": files}])]
    if about.options.format == "parquet":
        told += [("dataset_info", {"features": _features(about)})]
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in told]  # JSON is YAML
    return "\n".join(["---", *lines, "---"])


def _features(about: About) -> list[dict[str, Any]]:
    from pipelines.export.parquet import columns, features

    names = {str(number): label for number, label in enumerate(about.labels)}
    kinds: dict[str, Any] = {"image": "image", "label": {"class_label": {"names": names}}}
    for name, told in features(about.labels, columns()).items():
        kinds.setdefault(name, told.get("dtype"))
    return [{"name": name, "dtype": kind} for name, kind in kinds.items()]


def _duties(tally: Tally) -> list[str]:
    stated = {"non-commercial": "nc", "share-alike": "sa", "no-derivatives": "nd"}
    return [tag for tag, part in stated.items() if any(getattr(each, part) for each in tally.licenses)]


def _first_words(about: About, tally: Tally) -> str:
    said = f"{tally.images} pictures, each labeled as one of: {', '.join(text(label) for label in about.labels)}."
    if unlicensed := sum(n for each, n in tally.licenses.items() if each.code == "unlicensed"):
        said = f"**Not for publication: {unlicensed} of the pictures have no license.**\n\n{said}"
    return f"{said} Collected, labeled and frozen by `collect` on {about.made_at[:10]}; snapshot `{about.snapshot}`."


def _counts(about: About, tally: Tally) -> str:
    rows = []
    for split in about.options.splits:
        counts = [tally.cells[split, label] for label in about.labels]
        rows.append([split, *counts, sum(counts)])
    return table(["split", *about.labels, "all"], rows)


def _made(about: About, tally: Tally, facts: Facts) -> Iterable[str]:
    said = []
    if tally.changes["stripped"]:
        said.append(f"Metadata (places, owners) was removed from {tally.changes['stripped']} files, no pixel changed.")
    if about.options.resize:
        said.append(
            f"{tally.changes['resized']} pictures were resized to {about.options.resize} pixels on the shorter side"
            " (Lanczos, sRGB, JPEG 95); smaller ones were left as they were."
        )
    if about.options.blur_faces:
        said.append(f"Faces were blurred in {tally.changes['blurred']} pictures; those that were not found are there.")
    if tally.converted:
        told = ", ".join(f"{n} {how}" for how, n in sorted(tally.converted.items()))
        said.append(f"For the readers of this format: {told}.")
    if tally.spared:
        said.append(f"{tally.spared} pictures kept their size: their licenses forbid sharing changed copies.")
    if tally.turned:
        said.append(
            f"{tally.turned} pictures are upright by their EXIF orientation alone: turn them when you load them."
        )
    if facts.left_out:
        told = ", ".join(f"{n} ({reason})" for reason, n in facts.left_out.items())
        said.append(f"Pictures of the snapshot that are not in this export: {told}.")
    return [" ".join(said) or "All files are the original bytes."]


def _licenses(tally: Tally) -> str:
    rows = [
        [linked(title(each), each.url), n, ", ".join(_asks(each)) or "nothing"]
        for each, n in sorted(tally.licenses.items(), key=lambda pair: (-pair[1], title(pair[0])))
    ]
    sources = table(["source", "pictures"], [[name, n] for name, n in tally.sources.most_common()])
    said = "Each picture keeps the license of its creator; `ATTRIBUTION.md` and `attribution.csv` name whom to name."
    if any(each.sa for each in tally.licenses):
        said += " **Share-alike**: changed copies of those pictures must be shared under the same license."
    if any(each.nc for each in tally.licenses):
        said += " **Non-commercial**: some of the pictures must not be used commercially."
    if any(each.nd for each in tally.licenses):
        said += " **No derivatives**: changed copies of some of the pictures must not be shared."
    return f"{said}\n\n{table(['license', 'pictures', 'asks for'], rows)}\n\n{sources}"


def _asks(license: License) -> list[str]:
    stated = {
        "credit": license.attribution_required,
        "no commercial use": license.nc,
        "the same license for changed copies": license.sa,
        "no changed copies": license.nd,
        "permission first": license.code == "unlicensed",
    }
    return [duty for duty, asked in stated.items() if asked]


def _labeling(about: About, tally: Tally, facts: Facts) -> str:
    people = table(["people who labeled it", "pictures"], [[n, times] for n, times in sorted(tally.people.items())])
    methods = ", ".join(f"{text(name)} ({n})" for name, n in tally.methods.most_common())
    minimum = about.settings.get("min_annotators")
    said = [
        f"People labeled each picture on their own; what counts is settled by: {methods}."
        + (f" Pictures of the held-out splits were labeled blind by at least {minimum} people." if minimum else ""),
        people,
        _agreed(facts.agreement),
        "Negatives by tier: "
        + ", ".join(f"{text(tier)} {n}" for (role, tier), n in sorted(tally.tiers.items()) if role == "negative")
        + "."
        if any(role == "negative" for role, _ in tally.tiers)
        else "No picture was collected as a negative.",
        _errata(tally),
    ]
    return "\n\n".join(said)


def _agreed(found: Estimate) -> str:
    if found.value != found.value:
        return f"Agreement between people is not known: {found.reason}."
    return (
        f"Krippendorff's alpha is {found.value:.3f} (95 % interval {found.low:.3f} to {found.high:.3f}), over the"
        f" {found.tasks} pictures here that two people or more labeled. Pictures on which people could not settle are"
        " not in the data set, so agreement over all that was labeled is lower."
    )


def _errata(tally: Tally) -> str:
    said = []
    if tally.corrected:
        said.append(f"{tally.corrected} labels are corrections: people found the first ones wrong.")
    if tally.open_errata:
        said.append(f"{tally.open_errata} labels are known to be doubtful (open errata), and stand as they were.")
    return " ".join(said) or "No label is known to be wrong."


def _splits(about: About, facts: Facts) -> str:
    rules = "\n".join(f"- `{rule}`" for rule in facts.rules)
    said = (
        "Splits were drawn at random before anything was trained, by a keyed hash of the picture that stands for a"
        " group of near-duplicates, so no picture has a copy in another split and nobody chose what is measured on."
    )
    settings = ", ".join(f"{name} {json.dumps(value)}" for name, value in sorted(about.settings.items()))
    named = f"Settings of the snapshot: {text(settings)}." if settings else ""
    return "\n\n".join(filter(None, [said, rules, f"Digest of the snapshot: `{about.snapshot}`.", named]))


def _limits(tally: Tally) -> str:
    biggest, many = tally.sources.most_common(1)[0] if tally.sources else ("", 0)
    share = (
        f"{many / tally.images:.0%} of the pictures come from one source ({text(biggest)}). "
        if many > tally.images / 2
        else ""
    )
    return (
        f"{share}Pictures were found by words and by what sources say of them, so they show what those sources show,"
        " not what is common in the world. Shares of labels are those of the collection: correct precision for the"
        " share that you expect. Licenses are as the sources stated them when they were last read; nobody has checked"
        " that whoever stated them had the right to."
    )


def _removal(contact: str) -> str:
    to = f"write to {text(contact)}" if contact else "write to whoever gave you this data set"
    return (
        f"If a picture is yours, or shows you, {to} with its `sha256` (in `images.csv`), its address, or the creator's"
        " name. It is then removed from the collection, never taken in again, and left out of every later export."
    )
