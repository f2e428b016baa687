"""Fills a small disk with an import, makes the disk larger, and repeats: `disk_full.py FOLDER PICTURES MOUNT-OPTIONS`.

Run it in a mount namespace of its own (`unshare --mount`), so that the disk is gone when it ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from collector.errors import CollectError
from tests.crash import driver, verify


def main(mounted: Path, pictures: Path, options: str) -> None:
    """Print the first error, the faults after both runs, and the content in the end, as JSON."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(mounted)], check=True)
    (mounted / "config.toml").touch()
    acks: list[str] = []
    error = ""
    try:
        driver.import_pictures(mounted, pictures, acks.append)
    except CollectError as refused:
        error = type(refused).__name__
    subprocess.run(["mount", "-o", "remount,size=64m,nr_inodes=10k", str(mounted)], check=True)
    faults = verify.faults(mounted, acks)
    driver.import_pictures(mounted, pictures, acks.append)
    faults += verify.faults(mounted, acks) + verify.leftovers(mounted)
    json.dump({"error": error, "faults": faults, "content": verify.content(mounted)}, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
