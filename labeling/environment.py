"""Label Studio's own environment: found or installed through uv, called without the network, obeying only us.

Its pins would fight ours, so it never enters our environment; uv keeps it (about 1 GB) in its cache.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from collector.errors import CollectError
from collector.workspace import Progress, silent
from labeling.studio import VERSION

DATABASE = "label_studio.sqlite3"
INSTALL_S = 1800
MIGRATE_S = 300
# What uv needs to find packages and itself. All else stays outside: Label Studio would obey a stray PORT or DEBUG.
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "NO_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
KEPT_PREFIXES = ("UV_", "PIP_", "SSL_", "XDG_")
PRIVATE = {
    "LABEL_STUDIO_COLLECT_ANALYTICS": "false",
    "LABEL_STUDIO_LATEST_VERSION_CHECK": "false",
    "LABEL_STUDIO_SENTRY_DSN": "",
    "LABEL_STUDIO_FRONTEND_SENTRY_DSN": "",
    "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
    "LABEL_STUDIO_CORS_ALLOW_ALL_ORIGINS": "false",
    "LABEL_STUDIO_ALLOWED_HOSTS": "127.0.0.1,localhost",
    "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
    "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
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


def command(folder: Path) -> list[str]:
    """How to call Label Studio without the network; the random user id that it writes stays in `folder`, too."""
    return [*_uvx(["--offline"]), "env", f"XDG_CONFIG_HOME={folder}", "label-studio"]


def variables(folder: Path) -> dict[str, str]:
    """The whole environment of a Label Studio that keeps its data in `folder` and talks to nobody."""
    kept = {key: value for key, value in os.environ.items() if key.upper() in KEPT or key.startswith(KEPT_PREFIXES)}
    return kept | PRIVATE | {"LABEL_STUDIO_BASE_DATA_DIR": str(folder)}


def make_database(folder: Path, progress: Progress = silent) -> None:
    """Give `folder` an empty database at the newest schema, whole or not at all.

    The 400 migrations take 25 s and must not be killed half-way, so they run in a scratch folder; the empty result (no
    user, no secret) is kept in the user's cache for the next workspace.
    """
    if (folder / DATABASE).exists():
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "collect"
    template = cache / f"label-studio-{VERSION}.sqlite3"
    if not template.exists():
        progress("preparing Label Studio's database (once on this machine)", 0, None)
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            trouble = _run([*command(Path(scratch)), "version"], variables(Path(scratch)), MIGRATE_S)
            if trouble is not None:
                raise CollectError(
                    f"Label Studio could not make its database: {trouble}",
                    hint="free some disk space and memory, then run the same command again",
                )
            _place(Path(scratch) / DATABASE, template)
    _place(template, folder / DATABASE)


def _uvx(options: list[str]) -> list[str]:
    if found := os.environ.get("UV") or shutil.which("uv"):
        uv = [found]
    elif importlib.util.find_spec("uv"):
        uv = [sys.executable, "-m", "uv"]
    else:
        raise CollectError("Label Studio needs uv, which is not on this machine", hint="`pip install uv`")
    return [*uv, "tool", "run", "--quiet", "--python", sys.executable, *options, "--from", f"label-studio=={VERSION}"]


def _try_uv(options: list[str]) -> str | None:
    return _run([*_uvx(options), "python", "-c", "import label_studio"], variables(Path()), INSTALL_S)


def _run(program: list[str], environment: dict[str, str], timeout: float) -> str | None:
    """Run a program to its end; None when all went well, otherwise its first and last words."""
    try:
        done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return f"it did not end within {timeout:.0f} s"
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
    return lines[0][:300] if len(lines) == 1 else f"{lines[0][:300]}; {lines[-1][:300]}"


def _place(source: Path, target: Path) -> None:
    draft = target.with_name(f"{target.name}.{os.getpid()}")
    shutil.copyfile(source, draft)
    draft.chmod(0o600)
    with open(draft, "rb") as file:
        os.fsync(file.fileno())
    draft.replace(target)
