"""Runs the real Label Studio on this machine, for this machine only unless told, without a person at its cradle.

    <data>/label-studio/      mode 0700
      server.lock             held (flock) by the running server itself: free means that it does not run
      server.json             process group, address, port, written by that group itself before Label Studio begins
      accounts.json           e-mail, password and token of everybody, mode 0600
      label-studio.log, label_studio.sqlite3, .env (its SECRET_KEY), media/

Nothing here trusts a pid: only while `server.lock` is held, the process group in `server.json` is ours to end.

For a team (`label.host`) it listens on other addresses, too. It speaks plain HTTP, so passwords and pictures can be
read on the way: outside a trusted network put a server with TLS in front, and its name into `label.names`. Any member
can do all in Label Studio, so sign-up stays closed, invite links are withdrawn, and the administrator's password is
chosen by a person, who signs in from other machines.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from collector.durable import explained
from collector.errors import CollectError, ServiceDown
from collector.locks import named_lock
from collector.workspace import Progress, silent
from labeling import accounts, database, environment
from labeling.accounts import ADMIN, Account
from labeling.config import LabelConfig
from labeling.connection import LOG as LOG
from labeling.studio import Studio, is_up, sign_in

HOST, EVERYWHERE = "127.0.0.1", "0.0.0.0"
STOP_S = 10


@dataclass(frozen=True, slots=True)
class Server:
    """A Label Studio and the folder with our accounts of it; `group` is its process group if we started it, else 0.

    `url` is where this machine reaches it, `host` the address that it listens on (empty: not ours).
    """

    folder: Path
    url: str
    group: int = 0
    host: str = ""

    @property
    def port(self) -> int:
        """Its port."""
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    def connect(self, annotator: str = ADMIN) -> Studio:
        """A `Studio` signed in as `annotator`, by default as the administrator."""
        known = accounts.load(self.folder)
        if annotator not in known:
            raise CollectError(f"`{annotator}` has no account", hint="`collect label push` makes one")
        return Studio(self.url, known[annotator].token)


def start(
    folder: Path, images: Path, config: LabelConfig, progress: Progress = silent, password: str | None = None
) -> Server:
    """The running server of `folder`, started if needed; its pages may show files below `images/objects`.

    `password` becomes the administrator's, unless the server runs already.

    Raises:
        CollectError: neither uv nor Label Studio can be had, the port is taken, or it does not come up.
    """
    folder = folder.absolute()
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with named_lock(folder, "label-start", wait_s=config.start_timeout):
        if status(folder) is None:
            check_port(config.host, config.port)
            environment.install(progress)
            with explained(folder):
                database.prepare(folder, config.database, progress)
                _enroll(folder, config, password)
                _launch(folder, images, config)
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
            host = str(said.get("host", HOST))
            near = HOST if host == EVERYWHERE else host
            return Server(folder, f"http://{near}:{int(said['port'])}", int(said["group"]), host)
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


def reachable(config: LabelConfig) -> list[str]:
    """The host names and addresses by which browsers may ask for our server; others get a 400 (DNS rebinding)."""
    names = [HOST, "localhost", *config.names]
    if config.host != HOST:
        names += [socket.gethostname(), config.host if config.host != EVERYWHERE else _address()]
    return list(dict.fromkeys(names))


def _address() -> str:
    """The address of this machine toward others; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1
            return str(probe.getsockname()[0])
        except OSError:
            return HOST


def check_port(host: str, port: int) -> None:
    """Raise `CollectError` when `port` is taken; Label Studio would silently take the next free one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            said = (error.strerror or str(error)).lower()
            key = "port" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "host"
            raise CollectError(
                f"Label Studio cannot use port {port} on {host}: {said}",
                hint=f"choose another: `label.{key}` in config.toml, or COLLECT__LABEL__{key.upper()} as a variable",
            ) from None


def _enroll(folder: Path, config: LabelConfig, password: str | None) -> None:
    """Have an administrator with `password`, in our file and, if he is there already, in Label Studio."""
    admin = accounts.load(folder).get(ADMIN)
    if admin is None:
        new = Account.new(ADMIN)
        accounts.save(folder, new if password is None else new.with_password(password))
    elif password is not None and (password != admin.password or not admin.token):
        admin = admin.with_password(password)  # without a token: signing in has not proved it yet
        accounts.save(folder, admin)
        set_password(folder, config, admin)


def set_password(folder: Path, config: LabelConfig, account: Account) -> None:
    """Make the password of `account` the one that Label Studio knows, whether it runs or not; takes some seconds.

    The password goes through a pipe: among the arguments everybody on the machine could read it.
    """
    known = database.variables(config.database)
    order = [*environment.command(folder, database.database_place(known)), "reset_password", "--username"]
    variables = environment.variables(folder) | known
    trouble = environment.run([*order, account.email], variables, config.start_timeout, f"{account.password}\n")
    if trouble is not None:
        raise CollectError(f"the password of {account.email} could not be set: {trouble}", hint="run the command again")


def _launch(folder: Path, images: Path, config: LabelConfig) -> None:
    """Start the server in a session of its own; it holds `server.lock` from before this returns until it ends."""
    admin, host, port = accounts.load(folder)[ADMIN], config.host, config.port
    (images / "objects").mkdir(parents=True, exist_ok=True)
    (folder / "server.json").unlink(missing_ok=True)
    names = reachable(config)
    known = database.variables(config.database)
    variables = environment.variables(folder) | known | {
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(images.absolute()),
        "LABEL_STUDIO_ALLOWED_HOSTS": ",".join(names),
        "LABEL_STUDIO_CSRF_TRUSTED_ORIGINS": ",".join(f"https://{name}" for name in names),  # TLS ends before us
        "LABEL_STUDIO_USERNAME": admin.email,
        "LABEL_STUDIO_PASSWORD": admin.password,
    }  # fmt: skip
    places = [f"{environment.OPEN}:{config.backend_port}", *database.database_place(known)]
    options = ["start", "--internal-host", host, "--port", str(port), "--no-browser", "--log-level", "WARNING"]
    # The new process group itself writes down who it is: at no moment it runs and cannot be found. The shell ends at
    # once, so that the server is nobody's child and leaves no zombie.
    note = f'printf \'{{"group": %s, "host": "{host}", "port": {port}}}\' $$ > server.json && "$@" &'
    lock = os.open(folder / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
    log = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(
            ["sh", "-c", note, "label-studio", *environment.command(folder, places), *options],
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
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(handle)
