"""How many wrong labels the errata queue finds: issue 6, C13. Labels are made wrong on purpose, and asked for again.

    uv run python benchmarks/label_errors.py [--wrong 0.05] [--seeds 5] [--features FILE.npz] [--out FILE]

A share of the labels is replaced by other ones at random. The head of the product learns from all of them in
cross-validation, and `collect errata suspects` ranks what it said out of sample. Told are the share of the queue that
is really wrong (precision), the share of the wrong labels that is in it (recall), the same of its first part, as long
as there are wrong labels, and average precision of the queue's order. cleanlab 2.9.0 ranks the same probabilities in an
environment of its own. The pictures are real: horses and 200 other classes of ../shared, seen by SqueezeNet 1.1.
`--features` takes another set: arrays `matrix` (images, dimension) and `labels` (images,).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from next import GROUPS, shared_features, under
from peers import python_with

from pipelines.calibrate import soften, temperature
from pipelines.config import TrainConfig
from pipelines.errata import ranked
from pipelines.head import Examples, learn

CLEANLAB = "2.9.0"
PEER = """
import json, sys
import numpy as np
from cleanlab.filter import find_label_issues
data = np.load(sys.argv[1])
order = lambda k: find_label_issues(data[f"given{k}"], data[f"said{k}"], return_indices_ranked_by="normalized_margin")
print(json.dumps([order(k).tolist() for k in range(len(data.files) // 2)]))
"""


def tasks(features: Path | None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name -> features and true labels."""
    if features is not None:
        data = np.load(features)
        return {features.stem: (data["matrix"].astype(np.float32), np.unique(data["labels"], return_inverse=True)[1])}
    matrix, wnids = shared_features()
    kinds = np.full(len(wnids), len(GROUPS))
    for k, word in enumerate(GROUPS):
        kinds[under(wnids, word) & (kinds == len(GROUPS))] = k
    kinds = np.unique(kinds, return_inverse=True)[1]
    horse = np.where(wnids == "n02374451", 0, 1)
    near = under(wnids, "mammal") | (horse == 0)
    return {
        "horse or not": (matrix, horse),
        "horse or another mammal": (matrix[near], horse[near]),
        f"{len(GROUPS)} kinds and none": (matrix, kinds),
    }


def planted(truth: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Labels of which a share is another one, at random."""
    given, size = truth.copy(), int(truth.max()) + 1
    wrong = rng.choice(len(truth), max(1, round(share * len(truth))), replace=False)
    given[wrong] = (truth[wrong] + rng.integers(1, size, len(wrong))) % size
    return given


def queue(matrix: np.ndarray, given: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The images that are doubted, clearest first, and the probabilities that they are doubted by."""
    labels = [str(k) for k in range(int(given.max()) + 1)]
    learned = learn(Examples(matrix, given, [str(k) for k in range(len(given))], labels), TrainConfig(), seed)
    assert learned.held is not None
    said = np.asarray(learned.held, dtype=np.float64)
    said = soften(said, temperature(said, given))
    return ranked(said, given)[0], said


def cleanlab(rounds: list[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
    """What cleanlab doubts in each round of (given labels, probabilities), in its order."""
    python = python_with("cleanlab", f"cleanlab=={CLEANLAB}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rounds.npz"
        arrays = {f"given{k}": given for k, (given, _) in enumerate(rounds)}
        np.savez(path, **arrays, **{f"said{k}": said for k, (_, said) in enumerate(rounds)})
        found = json.loads(subprocess.check_output([python, "-c", PEER, path], text=True))
    return [np.array(order, dtype=np.int64) for order in found]


def scores(order: np.ndarray, wrong: np.ndarray) -> list[float]:
    """Length, precision, recall, precision of the first part, average precision of the order."""
    found = wrong[order]
    many = int(wrong.sum())
    hits = np.cumsum(found)
    at = hits / np.arange(1, len(order) + 1)
    return [len(order), found.mean(), found.sum() / many, found[:many].sum() / many, float((at * found).sum() / many)]


def main() -> None:
    """Run every task and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wrong", type=float, default=0.05)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--features", type=Path)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    lines = [
        "# Label errors: how many planted ones the queue finds",
        "",
        f"`uv run python benchmarks/label_errors.py --wrong {asked.wrong} --seeds {asked.seeds}` on "
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}. Mean over seeds, with the "
        "lowest and the highest.",
        "",
        "| task | images | wrong | by | queue | precision | recall | of the first, as many as are wrong | order (AP) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, (matrix, truth) in tasks(asked.features).items():
        rounds = [planted(truth, asked.wrong, np.random.default_rng(seed)) for seed in range(asked.seeds)]
        queues = [queue(matrix, given, seed) for seed, given in enumerate(rounds)]
        peers = cleanlab([(given, said) for given, (_, said) in zip(rounds, queues, strict=True)])
        rows = {
            "ours": [scores(order, given != truth) for given, (order, _) in zip(rounds, queues, strict=True)],
            f"cleanlab {CLEANLAB}": [scores(order, g != truth) for g, order in zip(rounds, peers, strict=True)],
        }
        for by, found in rows.items():
            table = np.array(found)
            cells = [f"{each.mean():.2f} ({each.min():.2f} to {each.max():.2f})" for each in table.T[1:]]
            wrong = round(asked.wrong * len(truth))
            lines.append(f"| {name} | {len(truth)} | {wrong} | {by} | {table[:, 0].mean():.0f} | {' | '.join(cells)} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
