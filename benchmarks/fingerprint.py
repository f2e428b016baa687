"""How fast pictures become fingerprints: from the bytes of a JPEG to all hashes, on one core, beside others.

    uv run python benchmarks/fingerprint.py [--pictures DIR] [--number 200] [--rounds 5] [--out FILE]

Ours is the decode of intake (every coded byte is read, so damage is found) and four fingerprints: the sha256 of the
pixels, pHash, dHash and the 256-bit DCT hash; and the sha256 of the file. The others make one hash each, from the same
files. Every tool runs in a process of its own with one thread, rounds in turn; the best round counts, in seconds of
processor time. Pictures are brought to 500 x 375 pixels, at JPEG quality 96 and 75.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from peers import python_with
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
REAL = REPOSITORY.parent / "shared" / "data" / "imagen"
SIZE = (500, 375)
QUALITIES = {96: 900, 75: 2400}  # JPEG quality -> pictures a second that were asked for
TIMED = """
import json, sys, time
from pathlib import Path
files = sorted(Path(sys.argv[1]).glob("*.jpg"))
{setup}
for file in files[:20]:
    one(file)
for line in sys.stdin:
    began = time.process_time()
    {loop}
    print(json.dumps((time.process_time() - began) / len(files)), flush=True)
"""
EACH = "for file in files: one(file)"
OURS = """
import hashlib
from collector.config import IntakeConfig
from collector.decoding import decode
from collector.fingerprints import fingerprints
config = IntakeConfig()
def one(file):
    data = file.read_bytes()
    return hashlib.sha256(data).hexdigest(), decode(data, config).thumb
"""
GROUPED = """for start in range(0, len(files), 64):
        fingerprints([one(file)[1] for file in files[start:start + 64]])"""
IMAGEHASH = "import imagehash\nfrom PIL import Image\none = lambda file: imagehash.{}(Image.open(file))"
IMAGEDEDUP = "from imagededup.methods import {0}\none = {0}(verbose=False).encode_image"
PDQ = """
import numpy, pdqhash
from PIL import Image
one = lambda file: pdqhash.compute(numpy.asarray(Image.open(file).convert("RGB")))
"""
DECODE = "from PIL import Image\none = lambda file: Image.open(file).load()"


def tools() -> dict[str, tuple[Path, str, str]]:
    """Name -> (Python, what it does before it is timed, what is timed)."""
    imagehash = python_with("imagehash", "imagehash==4.3.2")
    imagededup = python_with("imagededup", "imagededup==0.3.3.post2")
    pdq = python_with("pdqhash", "pdqhash==0.2.7", "pillow", "numpy")
    return {
        "collect: sha256, decode, 4 fingerprints": (Path(sys.executable), OURS, GROUPED),
        "Pillow: full decode only": (Path(sys.executable), DECODE, EACH),
        "imagehash phash": (imagehash, IMAGEHASH.format("phash"), EACH),
        "imagehash dhash": (imagehash, IMAGEHASH.format("dhash"), EACH),
        "imagededup PHash": (imagededup, IMAGEDEDUP.format("PHash"), EACH),
        "imagededup DHash": (imagededup, IMAGEDEDUP.format("DHash"), EACH),
        "pdqhash": (pdq, PDQ, EACH),
    }


def draw(folder: Path, source: Path | None, number: int, quality: int) -> None:
    """Write `number` JPEGs of one size and quality, from photographs in `source`, else from scikit-image's."""
    folder.mkdir()
    if source is not None:
        pictures = [Image.open(path) for path in sorted(source.glob("*.jpg"))[:number]]
    else:
        from skimage import data

        base = [Image.fromarray(getattr(data, name)()) for name in ("astronaut", "chelsea", "coffee", "rocket")]
        pictures = [base[n % len(base)].rotate(n) for n in range(number)]
    for n, picture in enumerate(pictures):
        picture.convert("RGB").resize(SIZE).save(folder / f"{n:04}.jpg", quality=quality)


def measure(folder: Path, rounds: int) -> dict[str, float]:
    """Name -> the fewest seconds of processor time for a picture; an error of a tool ends everything."""
    environ = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")}
    running = {}
    for name, (python, setup, loop) in tools().items():
        code = TIMED.format(setup=setup, loop=loop)
        ours = {**environ, "PYTHONPATH": str(REPOSITORY)} if python == Path(sys.executable) else environ
        running[name] = subprocess.Popen(
            [python, "-W", "ignore", "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env=ours,
        )  # fmt: skip
    best = dict.fromkeys(running, float("inf"))
    try:
        for _ in range(rounds):
            for name, process in running.items():
                assert process.stdin is not None
                assert process.stdout is not None
                print("go", file=process.stdin, flush=True)
                if not (answer := process.stdout.readline()):
                    raise SystemExit(f"{name} does not run")
                best[name] = min(best[name], json.loads(answer))
    finally:
        for process in running.values():
            process.kill()
            process.communicate()
    return best


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, default=REAL if REAL.is_dir() else None)
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    lines = [
        "# From JPEG to fingerprints, on one core\n",
        f"Machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}. "
        f"{chosen.number} pictures of {SIZE[0]} x {SIZE[1]}, from "
        f"{'photographs' if chosen.pictures else 'four photographs of scikit-image, turned'}; best of {chosen.rounds} "
        "rounds in turn, processor time.\n",
        f"Command: `uv run python benchmarks/fingerprint.py {' '.join(sys.argv[1:])}`\n",
    ]
    for quality, target in QUALITIES.items():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "pictures"
            draw(folder, chosen.pictures, chosen.number, quality)
            size = sum(path.stat().st_size for path in folder.iterdir()) / chosen.number
            best = measure(folder, chosen.rounds)
        ours = next(iter(best.values()))
        met = "met" if 1 / ours >= target else f"missed: {1 / ours / target:.2f} of it"
        lines += [
            f"JPEG quality {quality}, {size / 1000:.0f} kB; asked for: {target:,} a second ({met}).\n",
            "| tool | ms a picture | pictures a second | ours is faster by |",
            "| --- | ---: | ---: | ---: |",
            *(f"| {tool} | {1000 * t:.2f} | {1 / t:,.0f} | {t / ours:.1f} |" for tool, t in best.items()),
            "",
        ]
    text = "\n".join(lines)
    print(text)
    if chosen.out:
        chosen.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
