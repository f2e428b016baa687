"""README.md: the card of a model, with the front matter that Hugging Face reads.

How to use it, how good it is and where it is worse, what it learned from and under which licenses, who labeled that,
what is known to be wrong, and how to make it again. Front matter: https://huggingface.co/docs/hub/model-cards; what
belongs on a card: Mitchell et al., Model Cards for Model Reporting, FAccT 2019.
"""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Iterator
from typing import Any

from pipelines.carry.facts import Facts
from pipelines.carry.measured import measured, slices
from pipelines.carry.origin import NAMED, data, label_names, labeling, licenses
from pipelines.carry.parity import TIED, Parity
from pipelines.carry.snippet import snippet
from pipelines.markdown import code, table, text
from pipelines.pages import charts


def card(facts: Facts, format: str, precision: str, parity: Parity) -> bytes:
    """The text of README.md; the same record gives the same bytes."""
    parts = [
        _front_matter(facts, format),
        f"# {text(_name(facts))}",
        _first_words(facts, format, precision),
        "## Use it",
        _use(facts, format),
        "## What it is for",
        _purpose(facts),
        "## How good it is",
        *measured(facts),
        "## Where it is worse",
        slices(facts),
        "## Is this file the model that was measured?",
        _parity(parity),
        "## What it learned from",
        *data(facts),
        "## Licenses",
        *licenses(facts),
        "## Who labeled it",
        *labeling(facts),
        "## Training",
        *_training(facts),
        "## What is known to be wrong",
        *_errata(facts),
        "## Limits",
        *_limits(facts),
        "## Make it again",
        _again(facts, format, precision),
    ]
    return ("\n\n".join(parts) + "\n").encode("utf-8", "replace")


def calibration_figure(facts: Facts) -> bytes:
    """calibration.svg: how often the network is right beside how sure it says it is, on validation."""
    uri = charts.calibration([tuple(row) for row in facts.found["reliability"]])
    return base64.b64decode(uri.partition(",")[2])


def _name(facts: Facts) -> str:
    return f"{facts.manifest.concept}, {facts.backbone.name}"


def _front_matter(facts: Facts, format: str) -> str:
    """No license is claimed: whoever publishes the model chooses one, and the card says what that touches."""
    split, found = ("test", facts.test) if facts.test is not None else ("validation", facts.found)
    names = {"average_precision": "ap", "error": "error", "expected_calibration_error": "ece", "brier_score": "brier"}
    figures = [{"type": name, "value": round(found[key], 6)} for name, key in names.items() if found[key] is not None]
    tested = {
        "task": {"type": "image-classification"},
        "dataset": {
            "name": facts.snapshot.name or facts.manifest.concept,
            "type": "collect-snapshot",
            "split": split,
            "revision": facts.snapshot.digest,
        },
        "metrics": figures,
    }
    told: dict[str, Any] = {
        "license": "unknown",
        "pipeline_tag": "image-classification",
        "library_name": format,
        "tags": ["collect", format],
        "metrics": ["average_precision"],
        "model-index": [{"name": _name(facts), "results": [tested]}],
    }
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in told.items()]  # JSON is YAML
    return "\n".join(["---", *lines, "---"])


def _first_words(facts: Facts, format: str, precision: str) -> str:
    labels = label_names(facts)
    half = ", its backbone in half precision" if precision == "fp16" else ""
    day = (facts.model.experiment.finished_at or "")[:10]
    return (
        f"Says of a picture how probable each of these labels is: {labels}. Written by `collect export-model` as"
        f" {format}{half}, from run `{facts.model.experiment.run}` of {day} on snapshot `{facts.snapshot.digest}`."
    )


def _use(facts: Facts, format: str) -> str:
    code = snippet(facts.backbone.layout, format)
    first = text(facts.manifest.labels[0])
    two = len(facts.manifest.labels) == 2
    threshold = f"{facts.found['threshold']:.4f}"
    said = (
        f"Say {first} from a probability of {threshold} on: that threshold has the highest F1 on validation."
        if two
        else f"Say the most probable label. To look for {first} alone, take a probability of {threshold} or more."
    )
    shown = (
        "The input is bytes, RGB, upright, any number of pictures at once; normalization, temperature and softmax are"
        " in the network. `model.json` has the labels in the order of the output, the threshold and what becomes of a"
        " picture before. Put transparent pictures on white first."
    )
    block = f"```python\n{code}\n```" if code else "An engine of TensorRT runs on the kind of GPU that it was made on."
    return f"{block}\n\n{shown} {said}"


def _purpose(facts: Facts) -> str:
    labels = label_names(facts)
    return (
        f"To sort pictures like those of its snapshot by: {labels}. It is not meant to decide about people, nor about"
        " anything where a wrong answer does harm, unless somebody checks it on pictures from that place first. A"
        f" picture of anything else is {code(facts.manifest.labels[-1])} to it at best, and at worst one of the others."
    )


def _parity(parity: Parity) -> str:
    ties = f" ({parity.ties} with two labels closer than {TIED:g} left out)" if parity.ties else ""
    said = (
        f"Asked about {parity.images} validation images, this file names the same most probable label as the run for"
        f" {parity.agreement:.2%}{ties}, and no probability differs by more than {parity.apart:.2g}."
        f" AP on validation: {_plain(parity.ap)}, the run has {_plain(parity.run_ap)}."
    )
    if parity.originals:
        said += (
            f" The run saw {parity.originals} of them as smaller previews. Shown the originals, this file agrees for"
            f" {parity.originals_agreement:.2%}, with an AP of {_plain(parity.originals_ap)}."
        )
    return said


def _training(facts: Facts) -> Iterator[str]:
    config, found = facts.model.experiment.config, facts.found
    tuned = config.get("finetune")
    method = "the whole network, fine-tuned" if tuned else "a linear head on the features of a frozen backbone"
    protocol = config["protocol"] if isinstance(config["protocol"], dict) else {"name": config["protocol"]}
    license = facts.backbone.layout.license
    rows = [
        ("method", method + (", on the shares of the votes" if config.get("soft") else "")),
        ("backbone", facts.backbone.name),
        ("weights it began with, sha256", config["weights_digest"]),
        ("license of those weights", license or "ask whoever published them: no machine can tell"),
        ("protocol", f"{protocol['name']} {protocol.get('digest', '')}".strip()),
        ("seed", config["seed"]),
        ("run", facts.model.experiment.run),
    ]
    if tuned:
        rows.append(("its own weights, sha256", found["weights_digest"]))
        rows.append(("best epoch", f"{found['best_epoch']} of {found['epochs']}"))
    else:
        rows.append(("inverse penalty", f"{found['c']:g}"))
    yield table(("", ""), rows)
    settings = {**config.get("train", {}), **(tuned or {})}
    yield f"Settings: {text(', '.join(f'{key} {json.dumps(value)}' for key, value in sorted(settings.items())))}."
    if found.get("drift"):
        yield f"**Alarm while training:** {text(found['drift'])}."


def _errata(facts: Facts) -> Iterator[str]:
    if facts.errata:
        told = ", ".join(f"{n} in {text(split)}" for split, n in sorted(facts.errata.items()))
        yield f"Labels of this concept that are known to be doubtful, and stand as they were: {told}."
    if facts.tally.corrected:
        yield f"{facts.tally.corrected} labels of the snapshot are corrections: people found the first ones wrong."
    if not facts.errata and not facts.tally.corrected:
        yield "No label is known to be wrong. That is no proof: `collect errata suspects` looks for some."


def _limits(facts: Facts) -> Iterator[str]:
    found, counts = facts.found, facts.manifest.counts()
    biggest, many = facts.tally.sources.most_common(1)[0]
    said = []
    if many > facts.tally.images / 2:
        said.append(
            f"{many / facts.tally.images:.0%} of the pictures come from one source ({text(biggest)}): how it does on"
            " others is hardly known."
        )
    few = [text(label) for label, n in counts["validation"].items() if n < 30]
    if few:
        said.append(
            f"Under 30 validation images each: {', '.join(few[:NAMED])}{_others(len(few))}. Of none"
            " wrong among n, up to 3/n may still be."
        )
    if facts.test is None:
        said.append(
            "The test split was not opened for this run: its figures are from validation, which also chose thresholds"
            " and may have chosen among runs."
        )
    heat = found.get("temperature_fit", {})
    if heat.get("reason"):
        said.append(f"Its probabilities are as they were learned: {text(heat['reason'])}.")
    said.append(
        "Tested on pictures of its own snapshot alone. Pictures from other cameras, places and times, drawings,"
        " screenshots and anything made to deceive it were not tested unless the tables above name them. Shares of"
        " labels are those of the collection: precision falls where the concept is rarer."
    )
    curve = found.get("learning_curve") or {}
    if curve.get("says"):
        said.append(f"What more labels would bring: {text(curve['says'])}.")
    yield " ".join(said)


def _others(many: int) -> str:
    return f" and {many - NAMED:,} others" if many > NAMED else ""


def _again(facts: Facts, format: str, precision: str) -> str:
    done, concept = facts.model.experiment, shlex.quote(facts.manifest.concept)
    config = done.config
    protocol = config["protocol"]["name"] if isinstance(config["protocol"], dict) else config["protocol"]
    train = [f"collect train-baseline {concept} --snapshot {done.snapshot[:16]}"]
    train.append(f"--backbone {shlex.quote(facts.backbone.name)} --protocol {shlex.quote(protocol)}")
    train += [f"--{flag}" for flag in ("finetune", "soft") if config.get(flag)]
    if config.get("replicate"):
        train.append(f"--replicate {config['replicate']}")
    export = f"collect export-model {concept} --run {done.run} --format {format} --precision {precision}"
    lines = [
        f"collect verify {done.snapshot[:16]}",
        " ".join(train),
        f"collect evaluate {concept} --run {done.run}",
        f"{export} --out FOLDER",
    ]
    return (
        "With the workspace that made it:\n\n```sh\n" + "\n".join(lines) + "\n```\n\n"
        f"The seed {config['seed']} is `seed` of config.toml and that of the protocol, added. The backbone began with"
        f" the weights whose sha256 is `{config['weights_digest']}`: name them with `--weights FILE`, unless they are"
        " those that its library publishes. `sha256sum -c SHA256SUMS` checks the files of this folder."
    )


def _plain(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.4f}"
