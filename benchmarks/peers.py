"""Environments for the tools that we are compared with: made once by `uv`, kept for the next run."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ENVIRONMENTS = Path(tempfile.gettempdir()) / "collect-benchmark-peers"


def python_with(name: str, *packages: str) -> Path:
    """The Python of an environment called `name` that holds some packages, such as `imagehash==4.3.2`."""
    folder = ENVIRONMENTS / name
    ready = folder / "ready"
    wanted = "\n".join(packages)
    python = folder / "bin" / "python"
    if not ready.exists() or ready.read_text(encoding="utf-8") not in ("", wanted):
        print(f"installing {', '.join(packages)}", file=sys.stderr)
        subprocess.run(["uv", "venv", "--quiet", "--clear", "--python", "3.11", str(folder)], check=True)
        subprocess.run(["uv", "pip", "install", "--quiet", "--python", str(python), *packages], check=True)
        ready.write_text(wanted, encoding="utf-8")
    return python
