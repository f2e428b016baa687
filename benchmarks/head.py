"""How good and how fast the linear head is, beside scikit-learn's on the same features: issue 6, "Speed" and B6.

    uv run python benchmarks/head.py [--horses DIR --imagen DIR --weights FILE] [--rounds 3] [--large] [--out FILE]

Quality: features of real pictures (SqueezeNet 1.1 in half precision, as the cache keeps them), a third held out, each
round another third; ours chooses its penalty and trains, scikit-learn trains by its own choice of penalty
(`LogisticRegressionCV`, the same grid and number of folds, log loss; up to 10 labels, since it takes hours with more),
at its default, and at the penalty that ours chose. Speed: 40,000 drawn vectors of 512, 20 labels, everything counted:
choosing the penalty, the predictions of five folds, the fit. `--large`: 100,000 vectors of 2,048, 1,000 labels, in a
process of its own with its peak memory.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, RidgeClassifier
from threadpoolctl import threadpool_limits

from pipelines.backbones import load_backbone
from pipelines.calibrate import ece, nll
from pipelines.config import TrainConfig
from pipelines.head import Examples, Learned, learn
from pipelines.metrics import macro
from pipelines.ranking import average_precision

REPOSITORY = Path(__file__).resolve().parents[1]
HORSE = "n02374451"
CONFIG = TrainConfig()
OWN_CHOICE = 10  # labels up to which LogisticRegressionCV is waited for
TARGET_S = 2.0

Features = NDArray[np.float32]
Labels = NDArray[np.int64]


def ours(matrix: Features, truth: Labels) -> Learned:
    """All that `collect train-baseline` does to features: choose, judge every fold, fit."""
    names = [str(k) for k in range(int(truth.max()) + 1)]
    return learn(Examples(matrix, truth, [str(n) for n in range(len(truth))], names), CONFIG, 0)


def pictures(weights: Path, horses: Path, imagen: Path) -> tuple[Features, list[str]]:
    """SqueezeNet's features of every picture in both folders, and where each lies."""
    backbone = load_backbone("squeezenet1_1", weights)
    files = sorted(horses.glob("*.jpg")) + sorted(imagen.glob("*.jpg"))
    found = []
    with backbone.ready():
        for start in range(0, len(files), 8):
            opened = [Image.open(path).convert("RGB") for path in files[start : start + 8]]
            found.append(backbone.embed(np.stack([backbone.prepare(each) for each in opened])))
    return np.concatenate(found).astype(np.float16).astype(np.float32), [str(path) for path in files]


def tasks(matrix: Features, files: list[str], horses: Path) -> Iterator[tuple[str, Features, Labels]]:
    """Name, features and truth: horses against others, 40 kinds against a background of others, all kinds."""
    given = np.array([Path(name).parent == horses for name in files])
    kind = np.array([Path(name).name.split("_")[0] for name in files])
    clear = given | (kind != HORSE)
    yield "horse or not", matrix[clear], np.where(given[clear], 0, 1)
    names, truth = np.unique(kind[~given], return_inverse=True)
    yield "40 kinds and a background", matrix[~given], np.minimum(truth, 40)
    yield f"{len(names)} kinds", matrix[~given], truth


def thirds(truth: Labels, seed: int) -> NDArray[np.bool_]:
    """Which images are held out: a third of each label."""
    rng = np.random.default_rng(seed)
    out = np.zeros(len(truth), dtype=bool)
    for k in range(int(truth.max()) + 1):
        rows = rng.permutation(np.flatnonzero(truth == k))
        out[rows[: max(1, len(rows) // 3)]] = True
    return out


def quality(matrix: Features, truth: Labels, seed: int) -> Iterator[tuple[str, float, float, float, float, float]]:
    """Name, penalty, AP, NLL, ECE and seconds of each way to train, on the held-out third."""
    out = thirds(truth, seed)
    train, labels = truth[~out], truth[out]
    begun = time.perf_counter()
    learned = ours(matrix[~out], train)
    took = time.perf_counter() - begun

    def figures(
        name: str, c: float, said: NDArray[np.float64], seconds: float
    ) -> tuple[str, float, float, float, float, float]:
        each = np.array([average_precision(labels == k, said[:, k]) for k in range(said.shape[1])])
        ap = float(macro(each, np.bincount(labels, minlength=len(each))))
        return name, c, ap, nll(said, labels), ece(said, labels), seconds

    yield figures("ours", learned.c, learned.head.probabilities(matrix[out]), took)
    mean, spread = matrix[~out].mean(axis=0), matrix[~out].std(axis=0)
    scaled = (matrix - mean) / np.where(spread > 1e-6, spread, 1.0)
    grid = {"Cs": list(CONFIG.c_grid), "cv": CONFIG.folds, "scoring": "neg_log_loss"}
    rivals: dict[str, Callable[[], Any]] = {
        "scikit-learn, our C": lambda: LogisticRegression(C=learned.c, max_iter=2000),
        "scikit-learn, its default": lambda: LogisticRegression(max_iter=2000),
    }
    if truth.max() < OWN_CHOICE:
        rivals["scikit-learn, its choice"] = lambda: LogisticRegressionCV(
            max_iter=2000, l1_ratios=(0.0,), use_legacy_attributes=False, **grid
        )
    for name, make in rivals.items():
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            begun = time.perf_counter()
            model = make().fit(scaled[~out], train)
            took = time.perf_counter() - begun
        c = float(np.ravel(model.C_)[0]) if hasattr(model, "C_") else float(model.C)
        yield figures(name, c, model.predict_proba(scaled[out]), took)


def drawn(rows: int, dimension: int, labels: int) -> tuple[Features, Labels]:
    """Vectors like those of a network: correlated, cut at 0, in clusters that overlap."""
    rng = np.random.default_rng(0)
    fall = np.arange(1, dimension + 1, dtype=np.float32)
    truth = rng.integers(0, labels, rows)
    centers = (0.3 * rng.normal(size=(labels, dimension)) / np.sqrt(fall)).astype(np.float32)
    turn = np.linalg.qr(rng.normal(size=(dimension, dimension)))[0].astype(np.float32)
    matrix = rng.normal(size=(rows, dimension)).astype(np.float32)
    matrix /= fall**0.35
    matrix += centers[truth]
    return np.maximum(matrix @ turn, 0), truth


def speed(rounds: int) -> Iterator[str]:
    """Lines of the table for 40,000 x 512, 20 labels."""
    matrix, truth = drawn(40_000, 512, 20)
    times: dict[str, list[float]] = {}
    c = 0.01
    for _ in range(rounds):
        begun = time.perf_counter()
        c = ours(matrix, truth).c
        times.setdefault("ours: penalty chosen, five folds judged, fitted", []).append(time.perf_counter() - begun)
        scaled = (matrix - matrix.mean(axis=0)) / matrix.std(axis=0)
        for name, model in (
            ("scikit-learn ridge, one fit, no probabilities", RidgeClassifier(alpha=1 / c)),
            ("scikit-learn logistic, one fit at our penalty", LogisticRegression(C=c, max_iter=2000)),
        ):
            begun = time.perf_counter()
            model.fit(scaled, truth)
            times.setdefault(name, []).append(time.perf_counter() - begun)
    for name, took in times.items():
        rounds_told = ", ".join(f"{each:.2f}" for each in took)
        yield f"| {name} | {min(took):.2f} | {rounds_told} |"


def large() -> None:
    """Print seconds and peak memory for 100,000 x 2,048, 1,000 labels."""
    matrix, truth = drawn(100_000, 2048, 1000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    begun = time.perf_counter()
    found = ours(matrix, truth)
    took, peak = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{took:.0f} s, {peak:,.0f} MB at most, {before:,.0f} of them before it began, C {found.c:g}")


def page(arguments: argparse.Namespace) -> str:
    """The whole result as Markdown."""
    lines = ["# The linear head", ""]
    names = ", ".join(f"{each} {version(each)}" for each in ("numpy", "scikit-learn"))
    python = platform.python_version()
    lines += [f"Machine: {os.cpu_count()} cores, {platform.machine()}, Python {python}; {names}.", ""]
    lines += [f"Command: `{' '.join(['uv run python benchmarks/head.py', *sys.argv[1:]])}`", ""]
    if arguments.imagen:
        matrix, files = pictures(arguments.weights, arguments.horses, arguments.imagen)
        lines += [
            "| task | round | trained by | C | AP | NLL | ECE | seconds |",
            "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
        ]
        for task, some, truth in tasks(matrix, files, arguments.horses):
            for seed in range(arguments.rounds):
                for name, c, ap, loss, off, took in quality(some, truth, seed):
                    lines.append(
                        f"| {task} | {seed + 1} | {name} | {c:g} | {ap:.4f} | {loss:.4f} | {off:.4f} | {took:.2f} |"
                    )
                    print(lines[-1], file=sys.stderr)
        lines.append("")
    lines += [f"40,000 vectors of 512, 20 labels; asked for: at most {TARGET_S:g} s.", ""]
    lines += ["| trained by | best, s | all rounds, s |", "| --- | ---: | --- |", *speed(arguments.rounds), ""]
    if arguments.large:
        done = subprocess.run([sys.executable, __file__, "--only-large"], capture_output=True, text=True, check=True)
        lines += [f"100,000 vectors of 2,048, 1,000 labels: {done.stdout.strip()}.", ""]
    lines.append(f"Load of the machine at the end: {os.getloadavg()[0]:.1f}.")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--horses", type=Path)
    parser.add_argument("--imagen", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--only-large", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.only_large:
        return large()
    text = page(arguments)
    print(text)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    return None


if __name__ == "__main__":
    main()
