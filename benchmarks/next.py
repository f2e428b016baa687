"""How many labels choosing saves: issue 6, C12. Every method of `collect next` against labels drawn at random.

    uv run python benchmarks/next.py [--tasks NAME ...] [--seeds 5] [--features FILE.npz] [--out FILE]

A person is played: from a few random labels on, the head of the product learns, a method of the product chooses the
next batch, its true labels come in, and average precision is measured on pictures that are never chosen from. All
methods of a seed begin with the same labels and are measured on the same pictures. The pictures are real: horses and
200 other classes of ../shared, seen by SqueezeNet 1.1, whose features are computed once and kept in the temporary
folder, and the digits of scikit-learn. `--features` takes another set: arrays `matrix` (images, dimension) and `labels`
(images,).
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from importlib import resources
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from pipelines import acquire, candidates
from pipelines.committee import committee, votes
from pipelines.config import TrainConfig
from pipelines.head import Examples, learn

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"
METHODS = ("random", "entropy", "margin", "bald", "k-center", "hybrid")
MEMBERS = 8
T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 8: 2.365, 10: 2.262}  # Student, 97.5 %, by number of seeds
GROUPS = (
    "insect", "carnivore", "ungulate", "musical_instrument", "vehicle", "furniture", "ball", "edible_fruit",
    "clothing", "kitchen_appliance", "tool", "vegetable",
)  # fmt: skip

Curve = list[tuple[int, float]]  # labels, AP


@dataclass(frozen=True)
class Task:
    """Features, true labels (the last one is the background), the pool, the pictures to measure on, their weights.

    `noise` is the share of wrong answers of the played person, `known` the pictures of the concept that are labeled
    before the random ones. Weights give test positives the prevalence of the pool.
    """

    matrix: np.ndarray
    truth: np.ndarray
    pool: np.ndarray
    test: np.ndarray
    weight: np.ndarray
    noise: float = 0.0
    known: int = 0

    @property
    def labels(self) -> int:
        """How many there are."""
        return int(self.truth.max()) + 1


def shared_features() -> tuple[np.ndarray, np.ndarray]:
    """Features and WordNet ids of the pictures in ../shared; every picture of `horses` is n02374451."""
    kept = Path(tempfile.gettempdir()) / "collect-benchmark-next.npz"
    paths = [*sorted((SHARED / "data/horses").glob("*.jpg")), *sorted((SHARED / "data/imagen").glob("*.jpg"))]
    if not kept.exists():
        from PIL import Image

        from pipelines.backbones import load_backbone

        backbone = load_backbone("squeezenet1_1", SHARED / "models/squeezenet1_1-imagenet.pth")
        found = []
        with backbone.ready():
            for start in range(0, len(paths), 8):
                batch = [backbone.prepare(Image.open(path).convert("RGB")) for path in paths[start : start + 8]]
                found.append(backbone.embed(np.stack(batch)))
        np.savez(kept, matrix=np.concatenate(found).astype(np.float16))
    wnids = [path.stem.split("_")[0] if path.parent.name == "imagen" else "n02374451" for path in paths]
    return np.load(kept)["matrix"].astype(np.float32), np.array(wnids)


def under(wnids: np.ndarray, word: str) -> np.ndarray:
    """Which pictures WordNet puts under a word."""
    lines = resources.files("collector").joinpath("imagen_synsets.tsv").read_text("utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    above = {row[0]: row[2].split(",") for row in rows}
    top = next(row[0] for row in rows if row[1].split(",")[0] == word)

    def below(wnid: str) -> bool:
        return wnid == top or any(below(each) for each in above.get(wnid, []) if each)

    known = {wnid: below(wnid) for wnid in set(wnids.tolist())}
    return np.array([known[wnid] for wnid in wnids])


def halves(matrix: np.ndarray, truth: np.ndarray, rng: np.random.Generator, noise: float = 0.0) -> Task:
    """Half of every label to choose from, half to measure on."""
    test = np.concatenate([
        (mine := rng.permutation(np.flatnonzero(truth == k)))[: max(1, len(mine) // 2)] for k in np.unique(truth)
    ])  # fmt: skip
    return Task(matrix, truth, np.setdiff1d(np.arange(len(truth)), test), test, np.ones(len(test)), noise)


def rare_horses(share: float, noise: float = 0.0) -> Callable[[np.random.Generator], Task]:
    """Horses as a share of the pool; all others are measured on, weighed to the same share."""

    def make(rng: np.random.Generator) -> Task:
        matrix, wnids = shared_features()
        truth = np.where(wnids == "n02374451", 0, 1)
        horses, others = (rng.permutation(np.flatnonzero(truth == k)) for k in (0, 1))
        half = len(others) // 2
        few = round(half * share / (1 - share))
        test = np.concatenate([horses[few:], others[half:]])
        weight = np.where(truth[test] == 0, few / (len(horses) - few), 1.0)
        return Task(matrix, truth, np.concatenate([horses[:few], others[:half]]), test, weight, noise)

    return make


def one_of(matrix: np.ndarray, truth: np.ndarray) -> Callable[[np.random.Generator], Task]:
    """A label that is drawn, against all others; three of its pictures are known, as whoever seeks it has some."""

    def make(rng: np.random.Generator) -> Task:
        return replace(halves(matrix, np.where(truth == rng.integers(truth.max() + 1), 0, 1), rng), known=3)

    return make


def imagen(wnids: np.ndarray) -> np.ndarray:
    """Which pictures are of imagen."""
    return np.arange(len(wnids)) >= len(list((SHARED / "data/horses").glob("*.jpg")))


def concept(word: str) -> Callable[[np.random.Generator], Task]:
    """What WordNet puts under a word, against the rest of imagen."""

    def make(rng: np.random.Generator) -> Task:
        matrix, wnids = shared_features()
        inside = imagen(wnids)
        return halves(matrix[inside], np.where(under(wnids[inside], word), 0, 1), rng)

    return make


def groups(rng: np.random.Generator) -> Task:
    """Twelve kinds of things and a background of all else."""
    matrix, wnids = shared_features()
    inside = imagen(wnids)
    truth = np.full(int(inside.sum()), len(GROUPS))
    for k, word in enumerate(GROUPS):
        truth[under(wnids[inside], word)] = k
    return halves(matrix[inside], truth, rng)


def many_classes(rng: np.random.Generator) -> Task:
    """Fifty of the 200 classes of imagen, five pictures each: three to choose from, two to measure on."""
    matrix, wnids = shared_features()
    known = np.unique(wnids[imagen(wnids)])
    inside = imagen(wnids) & np.isin(wnids, rng.permutation(known)[:50])
    return halves(matrix[inside], np.unique(wnids[inside], return_inverse=True)[1], rng)


def digits(rng: np.random.Generator) -> Task:
    """Scanned digits of scikit-learn, 180 each, their 64 gray values as features."""
    from sklearn.datasets import load_digits

    matrix, truth = load_digits(return_X_y=True)
    return halves(matrix.astype(np.float32), truth, rng)


TASKS: dict[str, tuple[Callable[[np.random.Generator], Task], int, int, int]] = {
    # name: how to make it, labels at the beginning, labels in a batch, labels at the end
    "horse, 25 % of the pool": (rare_horses(0.25), 10, 10, 100),
    "horse, 5 %": (rare_horses(0.05), 20, 20, 200),
    "horse, 2 %": (rare_horses(0.02), 20, 20, 200),
    "horse, 5 %, 10 % of answers wrong": (rare_horses(0.05, noise=0.1), 20, 20, 200),
    "insect, 2.5 %": (concept("insect"), 20, 20, 200),
    "12 kinds and a background": (groups, 20, 20, 240),
    "50 classes, 3 pictures each": (many_classes, 30, 25, 105),
    "10 digits": (digits, 10, 10, 100),
}


def average_precision(task: Task, said: np.ndarray) -> float:
    """AP of the concept; of several labels the mean over those that occur."""
    truth = task.truth[task.test]
    found = []
    for k in range(1 if task.labels == 2 else task.labels):
        order = np.argsort(-said[:, k], kind="stable")
        hit, weight = (truth == k)[order], task.weight[order]
        if hit.any():
            right = np.cumsum(weight * hit)
            found.append(float(((right / np.cumsum(weight))[hit] * weight[hit]).sum() / right[-1]))
    return float(np.mean(found))


def play(task: Task, method: str, seed: int, start: int, batch: int, end: int) -> Curve:
    """(labels, AP) after every batch."""
    rng = np.random.default_rng([seed, 1])
    said = task.truth.copy()
    wrong = task.pool[rng.random(len(task.pool)) < task.noise]
    said[wrong] = (said[wrong] + rng.integers(1, task.labels, len(wrong))) % task.labels
    names = [str(k) for k in range(task.labels)]
    units = acquire.directions(task.matrix)
    mine = rng.permutation(task.pool)
    mine = np.concatenate([mine[task.truth[mine] == 0][: task.known], mine])
    mine = mine[np.sort(np.unique(mine, return_index=True)[1])][:start]
    curve = []
    while True:
        rest = np.setdiff1d(task.pool, mine)
        known, scores = len(np.unique(said[mine])) > 1, np.ones(len(rest))
        if known:
            given = Examples(task.matrix[mine], said[mine], [str(k) for k in mine], names)
            learned = learn(given, TrainConfig(), seed)
            curve.append((len(mine), average_precision(task, learned.head.probabilities(task.matrix[task.test]))))
        else:
            curve.append((len(mine), float(np.average(task.truth[task.test] == 0, weights=task.weight))))
        if len(mine) >= end or not len(rest):
            return curve
        if known and method not in ("random", "k-center"):
            members = None
            if method == "bald":
                members = votes(committee(given, learned.c, MEMBERS, seed), task.matrix[rest])
            scores = candidates.scores(method, learned.head.probabilities(task.matrix[rest]), members)
        images = candidates.Candidates([], names, units[rest], units[mine], scores, rest, scores)
        how = method if known or method == "k-center" else "typical"
        here = np.arange(len(rest))
        best = rng.permutation(here)[:batch] if method == "random" else images.best(here, how, batch, seed)[0]
        mine = np.append(mine, rest[best])


def reached(curve: Curve, target: float) -> float:
    """Labels at which a curve first reaches a target, straight between two batches; nan if it does not."""
    for (before, low), (after, high) in zip([curve[0], *curve], curve, strict=False):
        if high >= target:
            return before + (after - before) * (target - low) / (high - low) if high > low else after
    return float("nan")


def saved(curves: list[Curve], base: list[Curve]) -> float:
    """Labels saved to the last AP of random, of those with which random was there first, over all seeds.

    Each seed has its own last AP; a curve that never reaches it counts with all its labels.
    """
    targets = [curve[-1][1] for curve in base]
    needed = [[reached(*each) for each in zip(rows, targets, strict=True)] for rows in (curves, base)]
    spent, usual = np.nan_to_num(needed, nan=base[0][-1][0]).sum(axis=1)
    return float(1 - spent / usual)


def interval(values: np.ndarray) -> str:
    """Mean and 95 % interval over seeds (Student's t)."""
    half = T[len(values)] * values.std(ddof=1) / np.sqrt(len(values)) if len(values) in T else float("nan")
    return f"{values.mean():+.3f} ({values.mean() - half:+.3f} to {values.mean() + half:+.3f})"


def whole(task: Task, seed: int) -> float:
    """AP with every label of the pool, right ones."""
    names = [str(k) for k in range(task.labels)]
    given = Examples(task.matrix[task.pool], task.truth[task.pool], [str(k) for k in task.pool], names)
    return average_precision(task, learn(given, TrainConfig(), seed).head.probabilities(task.matrix[task.test]))


def job(name: str, method: str, seed: int) -> Curve | float:
    """The curve of a method in a task, or its AP with every label."""
    make, start, batch, end = TASKS[name]
    task = make(np.random.default_rng([seed, 0]))
    return whole(task, seed) if method == "whole" else play(task, method, seed, start, batch, end)


def measure(name: str, seeds: int, pool: ProcessPoolExecutor) -> dict[str, object]:
    """All curves of a task: method -> seed -> curve. With two labels the entropy orders pictures as the margin does."""
    begun = time.perf_counter()
    binary = TASKS[name][0](np.random.default_rng([0, 0])).labels == 2
    methods = [method for method in METHODS if not (binary and method == "entropy")]
    jobs = {m: [pool.submit(job, name, m, seed) for seed in range(seeds)] for m in [*methods, "whole"]}
    found = {m: [each.result() for each in running] for m, running in jobs.items()}
    full = found.pop("whole")
    print(f"{name}: {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
    return {"curves": {m: found["margin" if m not in found else m] for m in METHODS}, "whole": full}


def section(name: str, found: dict[str, object]) -> list[str]:
    """The table of a task."""
    curves, full = found["curves"], np.mean(found["whole"])
    first, second, last = (curves["random"][0][at][0] for at in (0, 1, -1))
    area = {method: np.array([np.mean([ap for _, ap in curve]) for curve in curves[method]]) for method in curves}
    targets = [0.8 * full, 0.9 * full]
    lines = [
        "",
        f"## {name}",
        "",
        f"{first} random labels, then batches of {second - first} up to {last}. With every label of the pool:"
        f" AP {full:.3f}.",
        "",
        "| method | mean AP over the curve | against random (95 %) | "
        + " | ".join(f"labels to AP {target:.2f} (saved)" for target in targets)
        + " | AP at the end | saved to the last AP of random | area of each seed |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for method, rows in curves.items():
        cells = []
        for target in targets:
            mine = np.array([reached(curve, target) for curve in rows])
            base = np.array([reached(curve, target) for curve in curves["random"]])
            both = ~np.isnan(mine) & ~np.isnan(base)
            text = f"{np.nanmean(mine):.0f}" if not np.isnan(mine).all() else "not reached"
            if np.isnan(mine).any() and not np.isnan(mine).all():
                text += f" in {(~np.isnan(mine)).sum()} of {len(mine)}"
            if both.any() and method != "random":
                text += f" ({1 - mine[both].sum() / base[both].sum():+.0%})"
            cells.append(text)
        against = interval(area[method] - area["random"]) if method != "random" else ""
        lines.append(
            f"| {method} | {area[method].mean():.3f} | {against} | {' | '.join(cells)} |"
            f" {np.mean([curve[-1][1] for curve in rows]):.3f} |"
            f" {saved(rows, curves['random']):.0%} |"
            f" {' '.join(f'{value:.3f}' for value in area[method])} |"
        )
    return lines


def page(results: dict[str, dict[str, object]], seeds: int) -> str:
    """The whole page."""
    lines = [
        "# Labels saved by choosing",
        "",
        f"Machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()},"
        f" numpy {np.__version__}. {seeds} seeds; every method of a seed has the same first labels and the same",
        "pictures to measure on. An area is the mean AP after each batch. Saved: of the labels that random needs for",
        "the same AP, over the seeds where both reach it. Saved to the last AP of random: of the labels with which a",
        "random draw first had the AP of its last batch, each seed its own; a curve that never gets there counts with",
        "all its labels.",
        "Until both labels are known, methods that ask a model take typical pictures, as the product does.",
        "",
        f"Command: `uv run python benchmarks/next.py --seeds {seeds}`",
        "",
        "| task | " + " | ".join(METHODS) + " |",
        "| --- |" + " ---: |" * len(METHODS),
    ]
    gains = {method: [] for method in METHODS}
    spared = {method: [] for method in METHODS}
    for name, found in results.items():
        area = {m: np.mean([[ap for _, ap in curve] for curve in found["curves"][m]]) for m in METHODS}
        for method in METHODS:
            gains[method].append(area[method] - area["random"])
            spared[method].append(saved(found["curves"][method], found["curves"]["random"]))
        lines.append(f"| {name} | " + " | ".join(f"{area[method]:.3f}" for method in METHODS) + " |")
    lines.append("| **mean gain over random** | " + " | ".join(f"**{np.mean(gains[m]):+.3f}**" for m in METHODS) + " |")
    means = " | ".join(f"**{np.mean(spared[m]):.0%}**" for m in METHODS)
    lines.append(f"| **labels saved to the last AP of random** | {means} |")
    losers = [m for m in METHODS[1:] if np.mean(gains[m]) <= 0]
    some = [f"{m} in {sum(g < 0 for g in gains[m])}" for m in METHODS[1:] if any(g < 0 for g in gains[m])]
    lines += [
        "",
        f"Worse than random over all tasks: {', '.join(losers) or 'none'};"
        f" in single tasks: {', '.join(some) or 'none'}.",
    ]
    for name, found in results.items():
        lines += section(name, found)
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run all and print the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="*", default=None, help="beginnings of the names of tasks")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--features", type=Path, help="another set: arrays `matrix` and `labels`")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.features:
        data = np.load(options.features)
        truth = np.unique(data["labels"], return_inverse=True)[1]
        matrix = data["matrix"].astype(np.float32)
        TASKS.clear()
        stem, end = options.features.stem, min(400, len(truth) // 2)
        TASKS[stem] = (lambda rng: halves(matrix, truth, rng), 20, 20, end)
        TASKS[f"{stem}: one of the labels, another in each seed"] = (one_of(matrix, truth), 20, 20, min(200, end))
    else:
        shared_features()
    asked = [name for name in TASKS if any(name.startswith(each) for each in options.tasks or [""])]
    with ProcessPoolExecutor(os.cpu_count(), get_context("fork")) as pool:  # whose processes know the tasks
        text = page({name: measure(name, options.seeds, pool) for name in asked}, options.seeds)
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
