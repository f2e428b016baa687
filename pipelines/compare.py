"""`collect runs` and `collect compare`: what was trained, and which of the runs of one protocol is better, if any."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from collector import durable
from collector.catalog import models
from collector.catalog.models import Experiment
from collector.errors import Busy, CollectError, GateNotMet, UsageError
from collector.records import Summary
from collector.workspace import Workspace
from pipelines import calibrate, parquet
from pipelines.calibrate import Floats
from pipelines.evaluate import sample_of
from pipelines.manifest import Manifest, find, read_manifest
from pipelines.metrics import Sample, decide, macro
from pipelines.pages import charts, site
from pipelines.ranking import draws_of
from pipelines.runs import HISTORY

FIGURES = ("ap", "ap_low", "ap_high", "error", "nll", "ece", "ece_low", "ece_high", "seconds")
RECALLED = ("recall_at_precision", "recall_at_precision_low", "recall_at_precision_high")
DRAWS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsSummary(Summary):
    """Every run of a concept, newest first; `state` of one is finished, running or interrupted."""

    concept: str
    runs: list[dict[str, Any]]

    def for_people(self) -> dict[str, Any]:
        """A line for each run."""
        return {"concept": self.concept, "runs": [_line(row) for row in self.runs] or "none yet"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareSummary(Summary):
    """Runs of one protocol, best first by its `metric`, over `images` of one validation set.

    `differences` has for each pair by how much the first is better, with the 95 % interval of the paired bootstrap;
    `sure` where that interval does not hold 0. `path` is the page with their curves, empty where none was asked for.
    """

    concept: str
    protocol: str
    metric: str
    images: int
    runs: list[dict[str, Any]]
    differences: list[dict[str, Any]]
    says: list[str]
    path: str

    def for_people(self) -> dict[str, Any]:
        """A line for each run, and what the best one is worth."""
        shown = {"concept": self.concept, "protocol": self.protocol, "validation images": self.images}
        shown |= {"runs": [_line(row) for row in self.runs], "differences": self.says}
        return shown | ({"path": self.path} if self.path else {})


def list_runs(ws: Workspace, concept: str | None = None) -> RunsSummary:
    """Every run of a concept, newest first."""
    name = ws.concept(concept).name
    rows = [row_of(each, _state(ws, each)) for each in reversed(models.experiments(ws.catalog, name))]
    finished = any(row["state"] == "finished" for row in rows)
    word = "compare" if finished else "train-baseline"
    return RunsSummary(concept=name, runs=rows, next=f"collect {word} {shlex.quote(name)}")


def compare(
    ws: Workspace, concept: str | None = None, runs: Sequence[str] = (), *, html: Path | None = None
) -> CompareSummary:
    """Compare finished runs of one protocol on the validation images that all of them were measured on.

    Args:
        ws: the workspace.
        concept: its name.
        runs: the beginnings of their ids, after the name of their concept where `concept` is None and the first names
            one; none: all runs of the protocol that was used last.
        html: write a page with the curves of all runs to this file.

    Raises:
        UsageError: no such run, or runs of several protocols or validation sets: their figures mean different things.
        GateNotMet: there are no two finished runs of one protocol.
    """
    if concept is None and runs and models.experiments(ws.catalog, runs[0]):
        concept, runs = runs[0], runs[1:]
    name = ws.concept(concept).name
    chosen = [_named(ws, name, each) for each in dict.fromkeys(runs)] if runs else _newest(ws, name)
    _require_one_yardstick(chosen)
    if len(chosen) < 2:
        raise GateNotMet(
            f"`{name}` has {len(chosen)} finished run of this protocol, and two can be compared",
            hint=f"`collect train-baseline {shlex.quote(name)}` with another --backbone, --finetune or --soft",
        )
    metric = chosen[0].config["protocol"]["metric"]
    ranked, differences = rank(ws, chosen)
    path = _page(ws, name, ranked, differences, html) if html else ""
    return CompareSummary(
        concept=name,
        protocol=chosen[0].config["protocol"]["name"],
        metric=metric,
        images=(chosen[0].metrics or {})["images"],
        runs=[row_of(each, "finished") for each in ranked],
        differences=differences,
        says=[sentence(each, metric) for each in differences[: len(ranked) - 1]],
        path=path,
        next=f"collect evaluate {shlex.quote(name)} --run {ranked[0].run}",
        warnings=_best_of_many(len(ranked)),
    )


def rank(ws: Workspace, runs: Sequence[Experiment]) -> tuple[list[Experiment], list[dict[str, Any]]]:
    """Runs of one yardstick, best first, and by how much each is better than each after it.

    Raises:
        UsageError: they answer with different labels.
        CollectError: the snapshot, or what a run said of validation, is gone or was changed.
    """
    metric = runs[0].config["protocol"]["metric"]
    manifest = read_manifest(ws, find(ws, runs[0].concept, runs[0].snapshot))
    _require_one_label_set(ws, runs, manifest)
    samples = [_said(ws, each, manifest) for each in runs]
    ws.progress("drawing validation images again, for all runs alike", 0, None)
    values, again = zip(
        *(_scores(sample, each, metric, ws.seed) for sample, each in zip(samples, runs, strict=True)), strict=True
    )
    order = np.argsort([-value for value in values], kind="stable").tolist()
    differences = [
        _difference(runs[a].run, runs[b].run, values[a] - values[b], again[a] - again[b])
        for a, b in combinations(order, 2)
    ]
    return [runs[k] for k in order], differences


def history_of(ws: Workspace, run: Experiment) -> list[dict[str, float]]:
    """The curve of a run: a row for each epoch of fine-tuning, or for each penalty that a head was tried with."""
    try:
        found: list[dict[str, float]] = json.loads((ws.data / run.path / HISTORY).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise CollectError(
            f"the curve of run {run.run} cannot be read: {error}", hint="restore the run folder from a backup"
        ) from error
    return found


def curves(ws: Workspace, runs: Sequence[Experiment]) -> list[tuple[str, str]]:
    """Charts of what runs of one protocol went through, on the same axes, each with its caption."""
    rows = {each.run: history_of(ws, each) for each in runs}
    metric = runs[0].config["protocol"]["metric"]
    drawn = [
        ("epoch", metric, "epoch", f"{spelled(metric)} on validation"),
        ("epoch", "nll", "epoch", "log loss on validation"),
        ("c", "nll", "inverse penalty", "cross-validated log loss"),
    ]
    pictures = []
    for x, y, across, up in dict.fromkeys(drawn):
        lines = {run: [(row[x], row[y]) for row in each if x in row and y in row] for run, each in rows.items()}
        lines = {run: line for run, line in lines.items() if line}
        if lines:
            pictures.append((charts.overlaid(lines, (across, up), log=x == "c"), f"{up} by {across}"))
    return pictures


def _named(ws: Workspace, concept: str, run: str) -> Experiment:
    known = models.experiments(ws.catalog, concept)
    found = [each for each in known if each.run.startswith(run)]
    if len(found) == 1 and found[0].metrics is not None:
        return found[0]
    if len(found) > 1:
        raise UsageError(f"{len(found)} runs of `{concept}` begin with `{run}`", hint="give more of the id")
    said = "is not finished yet" if found else f"is not a run of `{concept}`"
    raise UsageError(f"`{run}` {said}", hint=f"`collect runs {shlex.quote(concept)}` lists them")


def _newest(ws: Workspace, concept: str) -> list[Experiment]:
    """All finished runs under the yardstick of the one that was finished last."""
    done = [each for each in models.experiments(ws.catalog, concept) if each.metrics is not None]
    done = sorted((each for each in done if yardstick(each)), key=lambda each: each.finished_at or "")
    return [each for each in done if yardstick(each) == yardstick(done[-1])]


def yardstick(run: Experiment) -> tuple[str, str] | None:
    """The digests of the protocol and of the validation set; runs older than protocols have none."""
    protocol = run.config["protocol"]
    return (protocol["digest"], protocol["validation"]) if isinstance(protocol, dict) else None


def _require_one_yardstick(runs: Sequence[Experiment]) -> None:
    old = [each.run for each in runs if yardstick(each) is None]
    if old:
        raise UsageError(
            f"run {old[0]} is older than protocols, so nobody knows what it may be compared with",
            hint="train it again: `collect train-baseline`",
        )
    for each in runs[1:]:
        here, there = runs[0].config["protocol"], each.config["protocol"]
        if yardstick(runs[0]) == yardstick(each):
            continue
        if here["validation"] != there["validation"]:
            why = "were measured on different validation sets"
        else:
            why = f"follow different protocols, `{here['name']}` and `{there['name']}`"
        raise UsageError(
            f"runs {runs[0].run} and {each.run} {why}, so their figures mean different things",
            hint="train one of them again under the protocol of the other (--protocol, --snapshot), then compare",
        )


def _require_one_label_set(ws: Workspace, runs: Sequence[Experiment], manifest: Manifest) -> None:
    """The same validation images may have been frozen again after the concept got another label."""
    alike = {runs[0].snapshot}
    for each in runs:
        if each.snapshot in alike:
            continue
        labels = read_manifest(ws, find(ws, each.concept, each.snapshot)).labels
        if labels != manifest.labels:
            raise UsageError(
                f"runs {runs[0].run} and {each.run} answer with different labels ({', '.join(manifest.labels)}; "
                f"{', '.join(labels)}), so their figures mean different things",
                hint="train the older one again on the newer snapshot, or name runs of one label set",
            )
        alike.add(each.snapshot)


def _said(ws: Workspace, run: Experiment, manifest: Manifest) -> Sample:
    """What a run said of validation, in the order of the manifest."""
    said = parquet.predictions(ws.data / run.path / parquet.VALIDATION)
    rows = {image: at for at, image in enumerate(said.images)}
    images = [row.image for row in manifest.split("validation")]
    if set(images) != set(rows):
        raise CollectError(
            f"the validation predictions of run {run.run} are gone or incomplete",
            hint="restore the run folder from a backup, or train again with --replicate",
        )
    return sample_of(manifest, "validation", said.probabilities[[rows[image] for image in images]])


def _scores(sample: Sample, run: Experiment, metric: str, seed: int) -> tuple[float, Floats]:
    """The metric of a run, higher is better, and the same over bootstrap draws: alike for every run of one set."""
    draws = draws_of(len(sample.truth), DRAWS, seed, sample.groups)
    if metric == "ap":
        rankings, counted = sample.rankings(), sample.counted()
        again = [ranking.resampled() for ranking in rankings]
        aps = [np.stack([each.ap(counts, counts.sum(axis=0)) for each in again]) for counts in draws]
        value = float(macro(np.array([ranking.ap() for ranking in rankings]), counted))
        return value, macro(np.concatenate(aps, axis=1), counted)
    if metric == "nll":
        terms = -calibrate.nll_terms(sample.probabilities, sample.truth)
    else:
        said = decide(sample.probabilities, (run.metrics or {})["threshold"])
        terms = -(said != sample.truth).astype(np.float64)
    means = [terms.astype(np.float32) @ counts / counts.sum(axis=0) for counts in draws]
    return float(terms.mean()), np.concatenate(means).astype(np.float64)


def _difference(better: str, than: str, by: float, draws: Floats) -> dict[str, Any]:
    known = draws[~np.isnan(draws)]
    low, high = (float(each) for each in np.percentile(known, [2.5, 97.5])) if known.size else (None, None)
    sure = low is not None and high is not None and (low > 0 or high < 0)
    return {"run": better, "than": than, "by": None if np.isnan(by) else by, "low": low, "high": high, "sure": sure}


def sentence(row: dict[str, Any], metric: str) -> str:
    """What a difference of two runs says."""
    if row["by"] is None or row["low"] is None:
        return f"{row['run']} and {row['than']}: the {spelled(metric)} is not defined on this validation set"
    said = f"{row['run']} is better than {row['than']} by {row['by']:.4f} [{row['low']:.4f}, {row['high']:.4f}]"
    return said + ("" if row["sure"] else ": these images cannot tell them apart")


def spelled(metric: str) -> str:
    """The metric of a protocol in words."""
    return {"ap": "AP", "nll": "log loss", "error": "error"}[metric]


def _best_of_many(runs: int) -> tuple[str, ...]:
    if runs < 4:
        return ()
    return (f"the best of {runs} runs looks better than it is: chance chose it too; test it once, at the end",)


def row_of(run: Experiment, state: str) -> dict[str, Any]:
    """What a run is and what came out, for a table of runs."""
    config, found = run.config, run.metrics or {}
    protocol = config["protocol"]
    method = "fine-tuned" if config.get("finetune") else "head"
    return {
        "run": run.run,
        "state": state,
        "protocol": protocol["name"] if isinstance(protocol, dict) else protocol,
        "snapshot": run.snapshot[:12],
        "backbone": config["backbone"],
        "method": method + (", soft" if config.get("soft") else ""),
        "seed": config["seed"],
        "replicate": config.get("replicate", 0),
        **{name: found.get(name) for name in FIGURES},
        **{name: found.get(name, {}) for name in RECALLED},
        "started_at": run.started_at,
    }


def _line(row: dict[str, Any]) -> str:
    known = {name: "-" if row[name] is None else f"{row[name]:.3f}" for name in FIGURES}
    again = f" replicate {row['replicate']}" if row["replicate"] else ""
    figures = f"AP {known['ap']} [{known['ap_low']}, {known['ap_high']}] error {known['error']} nll {known['nll']}"
    return f"{row['run']} {row['state']} {row['protocol']} {row['backbone']} {row['method']}{again} {figures}"


def _state(ws: Workspace, run: Experiment) -> str:
    if run.state == "finished":
        return run.state
    try:
        with ws.lock(f"train-{run.run}", shared=True):
            return "interrupted"
    except Busy:
        return "running"


def _page(
    ws: Workspace, concept: str, runs: Sequence[Experiment], differences: Sequence[dict[str, Any]], html: Path
) -> str:
    """Write the page: the table, the differences, and the curves of all runs on the same axes."""
    metric = runs[0].config["protocol"]["metric"]
    values = {
        "concept": ws.concept(concept),
        "page": None,
        "pages": (),
        "imprint": {"protocol": runs[0].config["protocol"]["name"], "runs": str(len(runs))},
        "runs": [row_of(each, "finished") for each in runs],
        "differences": differences,
        "charts": curves(ws, runs),
        "says": [sentence(each, metric) for each in differences[: len(runs) - 1]],
        "metric": spelled(metric),
    }
    with durable.explained(html):
        durable.save(html.resolve(), site.renderer()("compare", values))
    return str(html.resolve())
