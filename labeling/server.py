"""Runs the real Label Studio on this machine, for this machine only, without a person at its cradle.

    <data>/label-studio/      mode 0700
      server.lock             held (flock) by the running server itself: free means that it does not run
      server.json             process group and port, written by that group itself before Label Studio begins
      accounts.json           e-mail, password and token of everybody, mode 0600
      label-studio.log, label_studio.sqlite3, .env (its SECRET_KEY), media/

Nothing here trusts a pid: only while `server.lock` is held, the process group in `server.json` is ours to end.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from collector.errors import CollectError, ServiceDown
from collector.locks import named_lock
from collector.workspace import Progress, silent
from labeling import accounts, environment
from labeling.accounts import ADMIN, Account
from labeling.config import LabelConfig
from labeling.studio import Studio, is_up, sign_in

HOST = "127.0.0.1"
LOG = "label-studio.log"
STOP_S = 10


@dataclass(frozen=True, slots=True)
class Server:
    """A running Label Studio that we started: where it answers, and the process group that it is."""

    folder: Path
    port: int
    group: int

    @property
    def url(self) -> str:
        """Its address, for people and for `Studio`."""
        return f"http://{HOST}:{self.port}"

    def connect(self, annotator: str = ADMIN) -> Studio:
        """A `Studio` signed in as `annotator`, by default as the administrator."""
        known = accounts.load(self.folder)
        if annotator not in known:
            raise CollectError(f"`{annotator}` has no account", hint="`collect label push` makes one")
        return Studio(self.url, known[annotator].token)


def start(folder: Path, images: Path, config: LabelConfig, progress: Progress = silent) -> Server:
    """The running server of `folder`, started if needed; its pages may show files below `images/objects`.

    Raises:
        CollectError: neither uv nor Label Studio can be had, the port is taken, or it does not come up.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with named_lock(folder, "label-start", wait_s=config.start_timeout):
        if status(folder) is None:
            _check_port(config.port)
            environment.install(progress)
            environment.make_database(folder, progress)
            _launch(folder, images, config.port)
        server = _wait(folder, config.start_timeout, progress)
        admin = accounts.load(folder)[ADMIN]
        admin = admin.with_token(sign_in(server.url, admin))  # proves that this server is ours
        accounts.save(folder, admin)
        with Studio(server.url, admin.token) as studio:
            studio.check()
        return server


def status(folder: Path) -> Server | None:
    """The server of `folder` if its process runs, healthy or not; else None."""
    for _ in range(50):
        if not _held(folder):
            return None
        try:
            said = json.loads((folder / "server.json").read_text(encoding="utf-8"))
            return Server(folder, int(said["port"]), int(said["group"]))
        except (FileNotFoundError, ValueError):
            time.sleep(0.1)  # it has taken the lock and is about to write the file
    raise CollectError(
        f"{folder}/server.lock is held, but server.json does not say by whom", hint="end that process by hand"
    )


def running(folder: Path) -> Server:
    """The server of `folder`; raises `ServiceDown` when it does not run."""
    server = status(folder)
    if server is None:
        raise ServiceDown("Label Studio is not running", hint="`collect label start` starts it")
    return server


def stop(folder: Path) -> bool:
    """End the server that we started in `folder`; False when none was running."""
    if not folder.is_dir():
        return False
    with named_lock(folder, "label-start", wait_s=STOP_S):
        server = status(folder)
        if server is None:
            return False
        for number in (signal.SIGTERM, signal.SIGKILL):
            os.killpg(server.group, number)
            deadline = time.monotonic() + STOP_S
            while time.monotonic() < deadline:
                if status(folder) is None:
                    return True
                time.sleep(0.1)
    raise CollectError(f"Label Studio (process group {server.group}) does not end", hint="end it by hand")


def _check_port(port: int) -> None:
    # Label Studio itself would silently take the next free port.
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            said = (error.strerror or str(error)).lower()
            raise CollectError(
                f"Label Studio cannot use port {port} on {HOST}: {said}",
                hint="choose another: `label.port` in config.toml, or COLLECT__LABEL__PORT in the environment",
            ) from None


def _launch(folder: Path, images: Path, port: int) -> None:
    """Start the server in a session of its own; it holds `server.lock` from before this returns until it ends."""
    admin = accounts.load(folder).get(ADMIN)
    if admin is None:
        admin = Account.new(ADMIN)
        accounts.save(folder, admin)
    (images / "objects").mkdir(parents=True, exist_ok=True)
    (folder / "server.json").unlink(missing_ok=True)
    variables = environment.variables(folder) | {
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(images.absolute()),
        "LABEL_STUDIO_USERNAME": admin.email,
        "LABEL_STUDIO_PASSWORD": admin.password,
    }
    options = ["start", "--internal-host", HOST, "--port", str(port), "--no-browser", "--log-level", "WARNING"]
    # The new process group itself writes down who it is: at no moment it runs and cannot be found. The shell ends at
    # once, so that the server is nobody's child and leaves no zombie.
    note = f'printf \'{{"group": %s, "port": {port}}}\' $$ > server.json && "$@" &'
    lock = os.open(folder / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
    log = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(
            ["sh", "-c", note, "label-studio", *environment.command(folder), *options],
            cwd=folder, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True, pass_fds=[lock], umask=0o077, check=True,
        )  # fmt: skip
    finally:
        os.close(lock)
        os.close(log)


def _wait(folder: Path, timeout: float, progress: Progress) -> Server:
    """The server of `folder` once it is healthy."""
    begun = time.monotonic()
    while (elapsed := time.monotonic() - begun) < timeout:
        progress("waiting for Label Studio", int(elapsed), None)
        server = status(folder)
        if server is None:
            lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").split("\n")
            said = next((line for line in reversed(lines) if line.strip()), "nothing")[:300]
            raise CollectError(
                f"Label Studio ended while it was starting; it said: {said}", hint=f"the whole log is {folder / LOG}"
            )
        if is_up(server.url):
            return server
        time.sleep(0.2)
    raise CollectError(
        f"Label Studio did not answer within {timeout:.0f} s",
        hint=f"it is still trying: run the same command again, or look into {folder / LOG}",
    )


def _held(folder: Path) -> bool:
    """Whether a process holds `server.lock`."""
    try:
        handle = os.open(folder / "server.lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(handle)
