"""How good and how fast the linear head is, beside scikit-learn's on the same features: issue 6, "Speed" and B6.

    uv run python benchmarks/head.py [--horses DIR --imagen DIR --weights FILE] [--rounds 3] [--large] [--out FILE]

Quality: features of real pictures (SqueezeNet 1.1 in half precision, as the cache keeps them), a third held out, each
round another third; ours chooses its penalty and trains, scikit-learn trains by its own choice of penalty
(`LogisticRegressionCV`, the same grid and number of folds, log loss; up to 10 labels, since it takes hours with more),
at its default, and at the penalty that ours chose. Speed: 40,000 drawn vectors of 512, 20 labels, everything counted:
choosing the penalty, the predictions of five folds, the fit. Many labels: up to 1,000, each size in a process of its
own with its peak memory, a third as many vectors held out; scikit-learn fits once, at the penalty that ours chose, its
tolerance a hundredth of its default, at which it stops far from the optimum when labels are many. `--large`: 50,000
vectors of 512 and 100,000 of 2,048, 1,000 labels, ours alone.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, RidgeClassifier
from threadpoolctl import threadpool_limits

from pipelines.backbones import load_backbone
from pipelines.calibrate import ece, nll, soften, temperature
from pipelines.config import TrainConfig
from pipelines.head import Examples, Learned, learn
from pipelines.metrics import macro
from pipelines.ranking import average_precision

REPOSITORY = Path(__file__).resolve().parents[1]
HORSE = "n02374451"
CONFIG = TrainConfig()
OWN_CHOICE = 10  # labels up to which LogisticRegressionCV is waited for
TARGET_S = 2.0
MANY = {  # (vectors, their dimension, labels): at most so many seconds, where a target was set
    (880, 512, 200): 2.5,
    (9_000, 512, 101): 5.0,
    (9_000, 2_048, 101): None,
    (20_000, 512, 1000): 60.0,
}
LARGE = ((50_000, 512, 1000), (100_000, 2_048, 1000))
RIVAL_WORK = 6e9  # vectors x dimension x labels up to which scikit-learn's one fit is waited for
APART = 0.45  # how far labels are from each other: they overlap

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


def drawn(rows: int, dimension: int, labels: int, apart: float = 0.3) -> tuple[Features, Labels]:
    """Vectors like those of a network: correlated, cut at 0, in clusters that overlap."""
    rng = np.random.default_rng(0)
    fall = np.arange(1, dimension + 1, dtype=np.float32)
    truth = np.arange(rows) % labels
    centers = (apart * rng.normal(size=(labels, dimension)) / np.sqrt(fall)).astype(np.float32)
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


def held() -> float:
    """The most memory of this process so far, MB; `ru_maxrss` would hold that of the one that started it as well."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def many(rows: int, dimension: int, labels: int) -> None:
    """Print lines of the table of many labels: ours, and scikit-learn's one fit where it is waited for."""
    matrix, truth = drawn(rows + rows // 3, dimension, labels, APART)
    before = held()
    begun = time.perf_counter()
    learned = ours(matrix[:rows], truth[:rows])
    took, peak = time.perf_counter() - begun, held()

    def line(name: str, said: NDArray[np.float64], seconds: float, memory: str) -> str:
        asked = truth[rows:]
        each = np.array([average_precision(asked == k, said[:, k]) for k in range(labels)])
        half = len(asked) // 2
        calm = soften(said[half:], temperature(said[:half], asked[:half]))
        ap, loss = float(macro(each, np.bincount(asked, minlength=labels))), nll(said, asked)
        cells = (f"{rows:,} x {dimension:,}", f"{labels:,}", name, f"{learned.c:g}", f"{ap:.4f}", f"{loss:.4f}")
        return f"| {' | '.join(cells)} | {ece(calm, asked[half:]):.4f} | {seconds:.1f} | {memory} |"

    memory = f"{peak:,.0f} ({before:,.0f} before)"
    print(line("ours, penalty chosen", learned.head.probabilities(matrix[rows:]), took, memory))
    if rows * dimension * labels <= RIVAL_WORK:
        scaled = matrix - matrix[:rows].mean(axis=0)
        scaled /= matrix[:rows].std(axis=0)
        begun = time.perf_counter()
        model = LogisticRegression(C=learned.c, max_iter=2000, tol=1e-6).fit(scaled[:rows], truth[:rows])
        took = time.perf_counter() - begun
        print(line("scikit-learn, one fit", model.predict_proba(scaled[rows:]).astype(np.float64), took, ""))


def sizes(given: Sequence[tuple[int, int, int]]) -> Iterator[str]:
    """The table of many labels, each size measured by a process of its own."""
    asked = ", ".join(
        f"{rows:,} x {dimension:,} of {labels:,} labels {target:g} s"
        for (rows, dimension, labels), target in MANY.items()
        if target
    )
    yield from (f"Many labels. Asked for, at most: {asked}.", "")
    yield "| vectors | labels | trained by | C | AP | NLL | ECE after temperature | seconds | MB at most |"
    yield "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for size in given:
        command = [sys.executable, __file__, "--size", *map(str, size)]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        print(*lines, sep="\n", file=sys.stderr)
        yield from lines
    yield ""


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
    lines += sizes([*MANY, *LARGE] if arguments.large else [*MANY])
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
    parser.add_argument("--size", type=int, nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.size:
        return many(*arguments.size)
    text = page(arguments)
    print(text)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    return None


if __name__ == "__main__":
    main()
