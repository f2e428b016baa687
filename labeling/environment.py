"""Label Studio's own environment: found or installed through uv, called without the network, obeying only us.

Its pins would fight ours, so it never enters our environment; uv keeps it (about 1 GB) in its cache.

What it may ask for over the network is settled twice. Its own protection (`validate_ip` in its core/utils/io.py, used
for imports from a URL, webhooks, storages, downloads of an export, and for live backends under ML_BLOCK_LOCAL_IP) stays
on, with our list in place of its own: every address but 127.0.0.1 is banned. It cannot be narrowed to a port, so the
process is `confined` as well: it connects to the port of our live backend, and to nothing else on this machine or any
other. People's browsers load everything from Label Studio itself.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from collector.errors import CollectError
from collector.workspace import Progress, silent
from labeling.studio import VERSION

INSTALL_S = 1800
CONFINED = Path(__file__).with_name("confined.py")
OPEN = "127.0.0.1"  # where our live backend listens
BANNED = ["::/0", *map(str, ipaddress.IPv4Network("0.0.0.0/0").address_exclude(ipaddress.IPv4Network(OPEN)))]
# What uv needs to find packages and itself. All else stays outside: Label Studio would obey a stray PORT or DEBUG.
KEPT = ("PATH", "HOME", "LANG", "TMPDIR")
PROXIES = ("NO_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")  # to install; a proxy would undo the confinement
KEPT_PREFIXES = ("UV_", "PIP_", "SSL_", "XDG_")
PRIVATE = {
    "LABEL_STUDIO_COLLECT_ANALYTICS": "false",
    "LABEL_STUDIO_LATEST_VERSION_CHECK": "false",
    "LABEL_STUDIO_SENTRY_DSN": "",
    "LABEL_STUDIO_FRONTEND_SENTRY_DSN": "",
    "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
    "LABEL_STUDIO_CORS_ALLOW_ALL_ORIGINS": "false",
    "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
    "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
    "LABEL_STUDIO_SSRF_PROTECTION_ENABLED": "true",
    "LABEL_STUDIO_ML_BLOCK_LOCAL_IP": "true",
    "LABEL_STUDIO_USE_DEFAULT_BANNED_SUBNETS": "false",
    "LABEL_STUDIO_USER_ADDITIONAL_BANNED_SUBNETS": ",".join(BANNED),
    "fflag_feat_utc_210_prediction_validation_15082025": "true",  # refuse a proposal that the page cannot show
}


def installed() -> bool:
    """Whether Label Studio is on this machine, so that it starts without the network."""
    return _try_uv(["--offline"]) is None


def install(progress: Progress = silent) -> None:
    """Put Label Studio into uv's cache; does nothing when it is there. Raises `CollectError` when it cannot be had."""
    if installed():
        return
    progress(f"installing Label Studio {VERSION} (about 1 GB, once)", 0, None)
    trouble = _try_uv([])
    if trouble is not None:
        raise CollectError(
            f"Label Studio {VERSION} cannot be installed: {trouble}",
            hint="check the network and the package index that uv uses, then run the same command again",
        )


def command(folder: Path, places: Iterable[str] = ()) -> list[str]:
    """How to call Label Studio without the network, connecting to `places` (HOST:PORT) only.

    The random user id that it writes into the user's settings stays in `folder`, too.
    """
    allowed = ",".join(places) or "-"
    return [*_uvx(["--offline"]), "env", f"XDG_CONFIG_HOME={folder}", "python", "-I", str(CONFINED), allowed]


def variables(folder: Path) -> dict[str, str]:
    """The whole environment of a Label Studio that keeps its data in `folder` and talks to nobody."""
    return _kept(KEPT) | PRIVATE | {"LABEL_STUDIO_BASE_DATA_DIR": str(folder)}


def run(program: list[str], environment: dict[str, str], timeout: float, said: str = "") -> str | None:
    """Run a program to its end with `said` as its input; None when all went well, else its first and last words."""
    try:
        done = subprocess.run(
            program, env=environment, input=said, capture_output=True, text=True, timeout=timeout, check=False,
            start_new_session=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"it did not end within {timeout:.0f} s"
    if done.returncode == 0:
        return None
    words = [line.strip() for line in done.stderr.splitlines()]
    lines = [line for line in words if line and not line.startswith("=>")] or [f"exit code {done.returncode}"]
    return lines[0][:300] if len(lines) == 1 else f"{lines[0][:300]}; {lines[-1][:300]}"


def _kept(names: tuple[str, ...]) -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key.upper() in names or key.startswith(KEPT_PREFIXES)}


def _uvx(options: list[str]) -> list[str]:
    if found := os.environ.get("UV") or shutil.which("uv"):
        uv = [found]
    elif importlib.util.find_spec("uv"):
        uv = [sys.executable, "-m", "uv"]
    else:
        raise CollectError("Label Studio needs uv, which is not on this machine", hint="`pip install uv`")
    return [*uv, "tool", "run", "--quiet", "--python", sys.executable, *options, "--from", f"label-studio=={VERSION}"]


def _try_uv(options: list[str]) -> str | None:
    return run([*_uvx(options), "python", "-c", "import label_studio"], _kept(KEPT + PROXIES), INSTALL_S)
