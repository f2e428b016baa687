"""How long the checks of quality take here, and what they flag, beside cleanvision: the target of issue 4.

    uv run python benchmarks/quality.py [--pictures DIR --number 300 --rounds 3] [--faces] [--out FILE]

The same JPEGs for both: photographs of a folder (default: ../shared/data/imagen, else scikit-image's pictures), and
copies of them with planted faults. Both get pictures that are decoded already, in one thread; cleanvision's own
functions are called as its Imagelab calls them for one image, in an environment of its own made by `uv`.
"""

from __future__ import annotations

import argparse
import io
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
from peers import python_with
from PIL import Image, ImageFilter

from collector.catalog.quality import Subject
from collector.checks import CHECKS, Look
from collector.config import IntakeConfig
from collector.decoding import Decoded, decode
from collector.quality import Thresholds

REPOSITORY = Path(__file__).resolve().parents[1]
PEER = "0.3.7"
TARGET_MS = 1.0
SAME = {"dark": "dark", "light": "light", "blurry": "blurry", "low_information": "low_information",
        "odd_aspect": "odd_aspect_ratio", "tiny": "odd_size", "grayscale": "grayscale"}  # fmt: skip
FAULTS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "dark": lambda of: of.point(lambda level: int(level * 0.15)),
    "light": lambda of: of.point(lambda level: 244 + level // 24),
    "blurry": lambda of: of.filter(ImageFilter.GaussianBlur(0.008 * min(of.size))),
    "grayscale": lambda of: of.convert("L").convert("RGB"),
    "odd_aspect": lambda of: of.crop((0, 0, of.width, of.height // 5)),
    "low_information": lambda of: of.resize((1, 1)).resize(of.size),
    "upscaled": lambda of: of.resize((3 * of.width, 3 * of.height), Image.Resampling.BICUBIC),
}
CLEANVISION = """
import json, sys, time
from pathlib import Path
from PIL import Image
from cleanvision.imagelab import Imagelab
folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
lab = Imagelab(data_path=str(folder))
names = ["dark", "light", "odd_aspect_ratio", "low_information", "blurry", "grayscale", "odd_size"]
from cleanvision.issue_managers.image_property_issue_manager import compute_scores
import inspect
from cleanvision.issue_managers import image_property_issue_manager as module
manager = module.ImagePropertyIssueManager()
manager.update_params({name: {} for name in names})
properties = manager._get_image_properties() if hasattr(manager, "_get_image_properties") else manager.image_properties
pictures = [Image.open(path).copy() for path in sorted(folder.iterdir())]
best = 1e9
for _ in range(rounds):
    begun = time.thread_time()
    for picture in pictures:
        done = {}
        for name in names:
            if name == "light" and "dark" in names:
                continue  # its Imagelab takes the percentiles of `dark`
            done.update(properties[name].calculate(picture))
    best = min(best, (time.thread_time() - begun) / len(pictures))
lab.find_issues({name: {} for name in names}, n_jobs=1, verbose=False)
flags = {name: [Path(i).name for i in lab.issues.index[lab.issues["is_" + name + "_issue"]]] for name in names}
print(json.dumps({"ms": best * 1000, "flags": flags}))
"""


def originals(folder: Path | None, number: int) -> list[Path]:
    """Photographs, every n-th by name."""
    given = folder or REPOSITORY.parent / "shared" / "data" / "imagen"
    found = sorted(given.glob("*.jpg")) if given.is_dir() else []
    if not found:
        import skimage.data

        found = [path for path in sorted(Path(skimage.data.__file__).parent.glob("*.*g")) if path.suffix != ".svg"]
    return found[:: max(1, len(found) // number)][:number]


def plant(folder: Path, photographs: list[Path]) -> int:
    """Write each photograph as it is, and every tenth again with each fault; returns how many have faults."""
    planted = 0
    for n, path in enumerate(photographs):
        (folder / f"{n:04}-fine.jpg").write_bytes(path.read_bytes())
        if n % 10 == 0:
            with Image.open(path) as file:
                picture = file.convert("RGB")
            for fault, spoil in FAULTS.items():
                spoil(picture).save(folder / f"{n:04}-{fault}.jpg", quality=90)
                planted += 1
    return planted


def ours(paths: list[Path], rounds: int, faces: bool) -> tuple[dict[str, float], dict[str, set[str]]]:
    """Milliseconds of each check for one image beyond the decode, and flag -> names of files."""
    config, limits = IntakeConfig(min_side=1), Thresholds().model_dump()
    files = [(path.name, path.read_bytes()) for path in paths]
    spent = {name: float("inf") for name in CHECKS if faces or not CHECKS[name].asked}
    flags: dict[str, set[str]] = {name: set() for name in CHECKS}
    decoded = []
    for name, data in files:
        made = decode(data, config)
        assert isinstance(made, Decoded)
        decoded.append((name, data, made))
    for _ in range(rounds):
        this = dict.fromkeys(spent, 0.0)
        for name, data, made in decoded:
            look = Look(Subject(name, made.width, made.height, None), made.small, lambda data=data: data)
            assert look.crop.size  # where the original is large, this decodes it
            for check in spent:
                begun = time.thread_time()
                score = CHECKS[check].measure(look).score
                this[check] += time.thread_time() - begun
                if score < limits[check]:
                    flags[check].add(name)
        spent = {check: min(spent[check], each / len(decoded) * 1000) for check, each in this.items()}
    return spent, flags


def table(paths: list[Path], spent: dict[str, float], mine: dict[str, set[str]], other: dict[str, list[str]]) -> str:
    """One row a check: time, what is found of the planted faults, what is flagged of the photographs as they are."""
    names = [path.name for path in paths]
    fine = {name for name in names if name.endswith("-fine.jpg")}
    rows = [
        "| check | ms | planted: ours | cleanvision | as they are: ours | cleanvision | both |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for check, ms in spent.items():
        planted = {name for name in names if name.endswith(f"-{check}.jpg")}
        theirs = set(other.get(SAME.get(check, ""), ()))
        known = check in SAME
        rows.append(
            f"| {check} | {ms:.3f} "
            f"| {f'{len(mine[check] & planted)} of {len(planted)}' if planted else '-'} "
            f"| {f'{len(theirs & planted)} of {len(planted)}' if planted and known else '-'} "
            f"| {len(mine[check] & fine)} of {len(fine)} | {len(theirs & fine) if known else '-'} "
            f"| {len(theirs & mine[check] & fine) if known else '-'} |"
        )
    return "\n".join(rows)


def main() -> None:
    """Run both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--number", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--faces", action="store_true", help="also measure the check for faces")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    python = python_with("cleanvision", f"cleanvision=={PEER}")
    with tempfile.TemporaryDirectory(prefix="collect-quality-") as scratch:
        folder = Path(scratch)
        planted = plant(folder, originals(chosen.pictures, chosen.number))
        paths = sorted(folder.iterdir())
        spent, mine = ours(paths, chosen.rounds, chosen.faces)
        command = [str(python), "-c", CLEANVISION, str(folder), str(chosen.rounds)]
        said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        sizes = np.median([Image.open(io.BytesIO(path.read_bytes())).size for path in paths], axis=0)
    total = sum(ms for name, ms in spent.items() if name != "faces")
    text = (
        "# Quality checks beside cleanvision\n\n"
        f"Machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"opencv {version('opencv-python-headless')}, numpy {version('numpy')}, pillow {version('pillow')}; "
        f"cleanvision {PEER}.\n\nCommand: `uv run python benchmarks/quality.py {' '.join(sys.argv[1:])}`\n\n"
        f"{len(paths) - planted} photographs as they are and {planted} copies with one planted fault each, median "
        f"{sizes[0]:.0f} x {sizes[1]:.0f} pixels. Processor time of one thread for an image, decoded, best of "
        f"{chosen.rounds} rounds: **ours {total:.2f} ms for {len(spent) - chosen.faces} checks** (target "
        f"{TARGET_MS:.0f} ms{'' if total <= TARGET_MS else ': missed'}), cleanvision {said['ms']:.2f} ms for 7.\n\n"
        f"{table(paths, spent, mine, said['flags'])}\n"
    )
    print(text)
    if chosen.out:
        chosen.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
