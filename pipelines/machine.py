"""What a machine needs beside Python packages, how to find it and how to get it.

`collect doctor --fix` and the tests install through this file, so what works for one works for the other.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from labeling import environment
from labeling.studio import VERSION

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@dataclass(frozen=True, slots=True)
class Tool:
    """One thing that may be missing. `find` returns where it is or None; `packages` are Debian's names for it."""

    name: str
    why: str
    find: Callable[[], str | None]
    packages: tuple[str, ...]
    hint: str


def find_browser() -> str | None:
    """The path of a Chromium on this machine, None if there is none."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def find_label_studio() -> str | None:
    """A word for the Label Studio that uv can start without the network, None if there is none."""
    return f"label-studio {VERSION} (uv)" if environment.installed() else None


LABEL_STUDIO = Tool(
    "Label Studio", "labeling", find_label_studio, (), "`collect doctor --fix` installs it (about 1 GB)"
)
BROWSER = Tool("Chromium", "the tests look at the report with it", find_browser, ("chromium",), "install chromium")
STRACE = Tool(
    "strace", "the crash tests kill at every system call", lambda: shutil.which("strace"), ("strace",), "install strace"
)
TOOLS = (LABEL_STUDIO, BROWSER, STRACE)


def ensure(tool: Tool) -> str | None:
    """Where `tool` is, installing it if this machine lets us; None when that is impossible."""
    found = tool.find()
    if found:
        return found
    if tool is LABEL_STUDIO:
        environment.install()
    elif shutil.which("apt-get") and os.geteuid() == 0:
        quiet = {"env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, "capture_output": True, "check": False}
        subprocess.run(["apt-get", "update", "-qq"], **quiet)  # type: ignore[call-overload]
        subprocess.run(["apt-get", "install", "-y", "-qq", *tool.packages], **quiet)  # type: ignore[call-overload]
    return tool.find()
