"""What a machine needs beside Python packages, how to find it and how to get it.

`collect doctor --fix` and the tests install through this file, so what works for one works for the other.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from collector import wordnet
from collector.errors import CollectError
from labeling import environment
from labeling.studio import VERSION

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@dataclass(frozen=True, slots=True)
class Tool:
    """One thing that may be missing: `find` tells where it is, `packages` are Debian's names for it."""

    name: str
    why: str
    find: Callable[[], str | None]
    packages: tuple[str, ...] = ()

    @property
    def hint(self) -> str:
        """How a person gets it."""
        by_hand = f"`apt-get install {' '.join(self.packages)}`" if self.packages else "it needs uv: `pip install uv`"
        return f"`collect doctor --fix` tries to install it, or {by_hand}"


def find_label_studio() -> str | None:
    """A word for the Label Studio that uv can start without the network, None if there is none."""
    return f"label-studio {VERSION} (uv)" if environment.installed() else None


def find_browser() -> str | None:
    """The path of a Chromium on this machine, None if there is none."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def find_postgres() -> str | None:
    """The folder of PostgreSQL's server programs, which Debian keeps out of PATH; None if there is none."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((str(folder) for folder in reversed(folders) if (folder / "initdb").exists()), None)


LABEL_STUDIO = Tool("Label Studio", "people label in it", find_label_studio)
WORDNET = Tool(
    "WordNet", "negatives of concepts beyond ImageN's 200 need it", lambda: wordnet.installed(), ("wordnet-base",)
)
BROWSER = Tool("Chromium", "the tests look at the report with it", find_browser, ("chromium",))
STRACE = Tool("strace", "the crash tests kill at every system call", lambda: shutil.which("strace"), ("strace",))
POSTGRES = Tool("PostgreSQL", "the tests run the record book on it", find_postgres, ("postgresql",))
TOOLS = (LABEL_STUDIO, WORDNET, BROWSER, STRACE, POSTGRES)


def ensure(tool: Tool) -> str | None:
    """Where `tool` is, installing it if this machine lets us; None when that is impossible."""
    found = tool.find()
    if found:
        return found
    if tool is LABEL_STUDIO:
        with suppress(CollectError):
            environment.install()
    elif shutil.which("apt-get") and os.geteuid() == 0:
        for command in (["update", "-qq"], ["install", "-y", "-qq", *tool.packages]):
            subprocess.run(
                ["apt-get", *command],
                env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
                capture_output=True,
                check=False,
            )
    return tool.find()
