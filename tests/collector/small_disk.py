"""Fills a small disk with a crawl, makes the disk larger, and crawls again: `small_disk.py FOLDER MOUNT-OPTIONS`.

Run it in a mount namespace of its own (`unshare --mount`), so that the disk is gone when it ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from collector.catalog import images
from collector.errors import CollectError
from collector.spiders.runner import crawl
from collector.workspace import Workspace
from tests.collector.crawls import adds_up, paths_of_stored
from tests.collector.fault_server import FaultServer, faulty, good
from tests.crash import verify

WANTED = 150


def main(mounted: Path, options: str) -> None:
    """Print the error of the first crawl, what each stored, and what is wrong in the end, as JSON."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(mounted)], check=True)
    with FaultServer({f"/{n}": good(n) for n in range(WANTED)}) as server:
        config = mounted / "config.toml"
        config.write_text(faulty(server))
        error = ""
        with Workspace.open(config, environ={}) as ws:
            try:
                crawl(ws, "horse", limit=WANTED)
            except CollectError as refused:
                error = type(refused).__name__
        subprocess.run(["mount", "-o", "remount,size=64m,nr_inodes=10k", str(mounted)], check=True)
        faults = verify.faults(mounted, [])
        with Workspace.open(config, environ={}) as ws:
            stored, before = paths_of_stored(ws), len(server.asked)
            summary = crawl(ws, "horse", limit=WANTED)
            faults += verify.faults(mounted, []) + verify.leftovers(mounted)
            faults += [] if adds_up(summary) else ["the summary does not add up"]
            said = {"error": error, "first": len(stored), "kept": len(images.ids(ws.catalog)), "wanted": WANTED}
            again = sorted(stored & {path for _, path in server.asked[before:]})
            json.dump({**said, "faults": faults, "asked_again": again}, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
