"""Does the loop survive `kill -9`? Ten random moments of `collect demo`, one run to the end, and an unkilled run.

    uv run python benchmarks/kills.py [--kills 10] [--seed 0] [--out FILE]

Compares what the two catalogs hold, from images to predictions, and looks into the demo site's request log for a
stored file that was asked for again. The run that was going on is killed without warning, its Label Studio stays as it
is, and the next run has to cope.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

DEMO = [sys.executable, "-m", "pipelines.cli", "demo", "--json", "--folder"]
HELD = {
    "images": "select id from image",
    "sightings": "select image, source, source_id, license from sighting",
    "refusals": "select source, source_id, reason from rejection",
    "copies": "select image, keeper, distance from duplicate where dedup_pass = (select max(id) from dedup_pass)",
    "pool": "select image, label, role, tier from pool",
    "splits": "select image, name from split",
    "tasks": "select t.image, t.annotator, r.name from task t join round r on r.id = t.round",
    "answers": "select image, annotator, state, label from annotation",
    "consensus": "select image, label, confidence from consensus",
    "snapshot": "select digest from snapshot",
    "runs": "select run, state, json_extract(metrics, '$.ap') from experiment",
    "predictions": "select image, label, round(score, 9) from prediction",
}


def held(folder: Path) -> dict[str, tuple[int, str]]:
    """What -> (rows, digest of the sorted rows) of a demo's catalog."""
    found = {}
    with sqlite3.connect(folder / ".collect" / "catalog.sqlite") as connection:
        for name, query in HELD.items():
            rows = sorted(map(repr, connection.execute(query)))
            found[name] = (len(rows), hashlib.sha256("\n".join(rows).encode()).hexdigest()[:12])
    return found


def stored_paths(folder: Path) -> set[str]:
    """The paths on the demo's site of the files that are stored now; empty before there is a catalog."""
    try:
        with sqlite3.connect(folder / ".collect" / "catalog.sqlite") as connection:
            urls = connection.execute("select url from sighting where source in ('openverse', 'wikimedia')")
            return {urlsplit(url).path for (url,) in urls}
    except sqlite3.OperationalError:
        return set()


def requested(folder: Path) -> Counter[str]:
    """How often each file was asked for so far."""
    log = folder / "requests.log"
    return Counter(line.split()[-1] for line in log.read_text().splitlines()) if log.exists() else Counter()


def survives(folder: Path, moment: float | None) -> bool:
    """Run the demo in `folder`, killed after `moment` seconds; whether it came to its end before that."""
    running = subprocess.Popen([*DEMO, folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        if running.wait(moment) != 0:
            raise SystemExit(f"the demo in {folder} failed after a kill: run it by hand to see why")
        return True
    except subprocess.TimeoutExpired:
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
        return False


def main() -> None:
    """Run, kill, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    rng = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch, "unkilled")
        begun = time.monotonic()
        subprocess.run([*DEMO, plain], check=True, capture_output=True)
        whole = time.monotonic() - begun
        theirs = held(plain)
        moments: list[str] = []
        repeated, folders, same = 0, 0, Counter[str]()
        while len(moments) < chosen.kills:  # a folder is killed again and again until a run gets to its end
            folder, finished = Path(scratch, f"killed{folders}"), False
            folders += 1
            while not finished:
                before, asked = stored_paths(folder), requested(folder)
                moment = rng.uniform(1.0, whole / 2) if len(moments) < chosen.kills else None
                finished = survives(folder, moment)
                repeated += sum((requested(folder) - asked)[path] for path in before)
                if not finished:
                    moments.append(f"{moment:.0f}")
            ours = held(folder)
            same.update(name for name in HELD if ours[name] == theirs[name])
    lines = [
        f"Seed {chosen.seed}; an unkilled run took {whole:.0f} s. {len(moments)} kills, after "
        f"{', '.join(moments)} s of a run; "
        f"{folders} folders brought to their end; {repeated} requests for files that were stored.",
        "",
        "Command: `uv run python benchmarks/kills.py`",
        "",
        "| what | rows | folders that end like the unkilled one |",
        "| --- | --- | --- |",
        *(f"| {name} | {theirs[name][0]} | {same[name]} of {folders} |" for name in HELD),
    ]
    table = "\n".join(lines) + "\n"
    print(table)
    if chosen.out:
        chosen.out.write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
