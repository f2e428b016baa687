"""How fast agreement is measured here, and whether the figures are those of the reference libraries: issue 5, "Speed".

    uv run python benchmarks/agreement.py [--tasks 200000 --annotators 100 --rounds 3] [--out FILE]

A crowd is drawn: five answers to each task, five classes, annotators of different skill. krippendorff, statsmodels and
crowd-kit run in an environment of their own, made by `uv`, on the same answers, before ours; the best of some
rounds counts. Each figure has to be equal to 1e-9. Everything with intervals of 1,000 draws runs once, in a process of
its own, with its peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from peers import python_with

REPOSITORY = Path(__file__).resolve().parents[1]
PEERS = {"krippendorff": "0.9.0", "statsmodels": "0.15.0", "crowd-kit": "1.4.2", "scikit-learn": "1.9.1"}
CLASSES, ANSWERS = 5, 5
TARGET_S, TARGET_MB = 6.0, 1000
FIGURES = {
    "alpha, from votes": "krippendorff",
    "alpha, from the matrix": "krippendorff",
    "Fleiss' kappa": "statsmodels",
    "Randolph's kappa": "statsmodels",
    "Cohen's kappa, one pair": "scikit-learn",
    "Dawid-Skene, 100 iterations": "crowd-kit",
}
PEER = """
import json, sys, time, warnings
import numpy as np, pandas as pd
warnings.simplefilter("ignore")
import krippendorff
from statsmodels.stats.inter_rater import fleiss_kappa
from sklearn.metrics import cohen_kappa_score
from crowdkit.aggregation import DawidSkene
data = np.load(sys.argv[1])
task, annotator, label = data["task"], data["annotator"], data["label"]
tasks, annotators, size = task.max() + 1, annotator.max() + 1, label.max() + 1
counts = np.bincount(task * size + label, minlength=tasks * size).reshape(tasks, size)
matrix = np.full((annotators, tasks), np.nan)
matrix[annotator, task] = label
frame = pd.DataFrame({"task": task, "worker": annotator, "label": label})
both = ~np.isnan(matrix[0]) & ~np.isnan(matrix[1])
one, other = matrix[0][both], matrix[1][both]
def best(figure):
    times = []
    for _ in range(int(sys.argv[2])):
        start = time.perf_counter()
        value = figure()
        times.append(time.perf_counter() - start)
    return value, min(times)
found = {
    "alpha, from votes": best(lambda: krippendorff.alpha(value_counts=counts, level_of_measurement="nominal")),
    "alpha, from the matrix": best(lambda: krippendorff.alpha(reliability_data=matrix, level_of_measurement="nominal")),
    "Fleiss' kappa": best(lambda: fleiss_kappa(counts, "fleiss")),
    "Randolph's kappa": best(lambda: fleiss_kappa(counts, "randolph")),
    "Cohen's kappa, one pair": best(lambda: cohen_kappa_score(one, other)),
}
fitted, seconds = best(lambda: DawidSkene(100).fit(frame))
likely = fitted.probas_.sort_index()[0].to_numpy()
found["Dawid-Skene, 100 iterations"] = likely.dot(np.arange(tasks)) / tasks, seconds
print(json.dumps({name: (float(value), seconds) for name, (value, seconds) in found.items()}))
"""
EVERYTHING = """
import json, resource, sys, time
import numpy as np, pandas as pd
data = np.load(sys.argv[1])
frame = pd.DataFrame({
    name: pd.Series(np.array([f"{name}{i:06}" for i in range(data[name].max() + 1)])[data[name]])
    for name in ("task", "annotator", "label")
})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
from labeling.measure import measure, words
start = time.perf_counter()
found = measure(frame)
said = words(found)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({
    "seconds": seconds, "cpu": time.process_time(), "megabytes": peak / 1024, "before": before / 1024,
    "alpha": [found.alpha.value, found.alpha.low, found.alpha.high], "pairs": len(found.pairs),
}))
"""


def crowd(tasks: int, annotators: int) -> dict[str, np.ndarray]:
    """Five different annotators for each task, right with a probability between 0.5 and 0.95, else any class."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, CLASSES, (tasks, 1))
    who = np.argsort(rng.random((tasks, annotators), dtype=np.float32), axis=1)[:, :ANSWERS]
    who.sort(axis=1)
    right = rng.random((tasks, ANSWERS)) < rng.uniform(0.5, 0.95, annotators)[who]
    label = np.where(right, truth, rng.integers(0, CLASSES, (tasks, ANSWERS)))
    return {"task": np.repeat(np.arange(tasks), ANSWERS), "annotator": who.ravel(), "label": label.ravel()}


def ours(data: dict[str, np.ndarray], rounds: int) -> dict[str, tuple[float, float]]:
    """Each single figure: its value and the seconds."""
    from labeling.agreement import Answers, alpha, fleiss_kappa, pairs, randolph_kappa
    from labeling.consensus import dawid_skene

    names = [tuple(map(str, range(int(data[name].max()) + 1))) for name in ("task", "annotator", "label")]
    answers = Answers(*names, data["task"], data["annotator"], data["label"])
    counts = answers.counts()
    first = answers.only(answers.annotator < 2)

    def fit() -> float:
        return float(dawid_skene(answers).posterior[:, 0] @ np.arange(len(counts)) / len(counts))

    figures: dict[str, Callable[[], float]] = {
        "alpha, from votes": lambda: alpha(counts, draws=0).value,
        "alpha, from the matrix": lambda: alpha(answers.counts(), draws=0).value,
        "Fleiss' kappa": lambda: fleiss_kappa(counts),
        "Randolph's kappa": lambda: randolph_kappa(counts),
        "Cohen's kappa, one pair": lambda: pairs(first)[0].kappa,
        "Dawid-Skene, 100 iterations": fit,
    }
    return {name: best(figure, rounds) for name, figure in figures.items()}


def best(figure: Callable[[], float], rounds: int) -> tuple[float, float]:
    """The value, and the seconds of the fastest round."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        value = figure()
        times.append(time.perf_counter() - start)
    return value, min(times)


def child(python: Path | str, program: str, *arguments: object) -> dict[str, object]:
    """What a program of its own prints as JSON."""
    run = subprocess.run(
        [str(python), "-c", program, *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    return json.loads(run.stdout)


def report(options: argparse.Namespace) -> str:
    """The page."""
    with tempfile.TemporaryDirectory() as folder:
        data = crowd(options.tasks, options.annotators)
        file = Path(folder) / "answers.npz"
        np.savez(file, **data)
        python = python_with("agreement", *(f"{name}=={version}" for name, version in PEERS.items()))
        theirs = child(python, PEER, file, options.rounds)
        own = ours(data, options.rounds)
        runs = [child(sys.executable, EVERYTHING, file) for _ in range(options.rounds)]
        whole = min(runs, key=lambda run: float(str(run["seconds"])))
    lines = [
        "# Agreement: figures, intervals, time",
        "",
        f"Machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}; numpy"
        f" {version('numpy')}, pandas {pd.__version__}; {', '.join(map(' '.join, PEERS.items()))}.",
        f"{len(data['task']):,} answers, {options.tasks:,} tasks, {options.annotators} annotators, {CLASSES} classes;"
        f" best of {options.rounds} rounds. Load of the machine at the end: {os.getloadavg()[0]:.1f}.",
        "",
        f"Command: `uv run python {' '.join(['benchmarks/agreement.py', *sys.argv[1:]])}`",
        "",
        "| figure | reference | ours, s | theirs, s | ours is faster by | equal to 1e-9 |",
        "| --- | --- | ---: | ---: | ---: | --- |",
    ]
    for name, (value, seconds) in own.items():
        expected, other = theirs[name]
        same = "yes" if abs(value - expected) < 1e-9 else f"no, by {abs(value - expected):.1e}"
        lines.append(f"| {name} | {FIGURES[name]} | {seconds:.4f} | {other:.4f} | {other / seconds:.1f} | {same} |")
    alpha, low, high = whole["alpha"]
    each = ", ".join(f"{run['seconds']:.1f}" for run in runs)
    lines += [
        "",
        "Everything, each figure with the interval of 1,000 draws, and the sentences (the peers give no interval):"
        f" {whole['seconds']:.1f} s at best, {each} s in turn (asked for:"
        f" {TARGET_S:g}; {whole['cpu']:.1f} s of processor time),"
        f" {whole['megabytes']:.0f} MB at most (asked for: {TARGET_MB}; {whole['before']:.0f} MB are Python and the"
        f" answers). {whole['pairs']:,} pairs of annotators; alpha {alpha:.6f} ({low:.6f} to {high:.6f}).",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run all and print the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=200_000)
    parser.add_argument("--annotators", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    page = report(options)
    print(page)
    if options.out:
        options.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
