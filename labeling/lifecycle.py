"""`collect label start`, `stop` and `status`: the Label Studio of a workspace, our own or one that runs already.

With `label.url` the server is somebody else's: it is used with the token in COLLECT_LABEL_TOKEN (legacy or personal),
and never started, stopped or upgraded. It must see the store itself: its pages show pictures from its own disk.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from collector.errors import UsageError
from collector.records import Summary
from collector.workspace import Workspace
from labeling import accounts, server
from labeling.accounts import ADMIN, Account
from labeling.config import LabelConfig
from labeling.server import EVERYWHERE, HOST, Server
from labeling.studio import Studio, is_up

TOKEN, PASSWORD = "COLLECT_LABEL_TOKEN", "COLLECT_LABEL_PASSWORD"
SHORTEST, LONGEST = 12, 128  # characters; the longest is Label Studio's
UNENCRYPTED = "everything travels unencrypted: outside a trusted network put a server with TLS in front of it"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartSummary(Summary):
    """Where Label Studio answers, who administers it, and the private file with everybody's password.

    `team` are the addresses for browsers on other machines, none if only this one reaches it.
    """

    url: str
    email: str
    passwords: str
    team: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StopSummary(Summary):
    """Whether a server was running and is ended now."""

    stopped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelStatusSummary(Summary):
    """How the Label Studio of the workspace is.

    `health` is up, stopped or silent (it runs and does not answer); `started_by` is "collect", or "somebody else" with
    `label.url`. The figures are None unless it is up: users who may sign in, projects, tasks, tasks with an answer.
    `storage` is what its data folder takes, in bytes; None for a server that is not ours.
    """

    url: str
    health: str
    version: str | None = None
    started_by: str
    users: int | None = None
    projects: int | None = None
    tasks: int | None = None
    answered: int | None = None
    storage: int | None = None


def folder_of(ws: Workspace) -> Path:
    """Where the Label Studio of a workspace keeps its data, or for one that is not ours, where we keep its accounts."""
    url = ws.section(LabelConfig).url.lower()
    name = f"label-studio-at-{re.sub(r'[^a-z0-9]+', '-', url)}" if url else "label-studio"
    return (ws.data / name).absolute()


def images_of(ws: Workspace) -> Path:
    """The folder of the store, from which Label Studio shows pictures."""
    if not ws.store.local:
        raise UsageError(
            f"Label Studio shows pictures from a folder, and the store of this workspace is {ws.store.root}",
            hint="label in a workspace whose `workspace.store` is a folder",
        )
    return Path(ws.store.root)


def running(ws: Workspace) -> Server:
    """The running Label Studio of the workspace, ours or that of `label.url`.

    Raises:
        ServiceDown: it does not run, or nobody answers.
        UsageError: there is no token for `label.url`.
    """
    url = ws.section(LabelConfig).url.rstrip("/")
    return _elsewhere(folder_of(ws), url, os.environ) if url else server.running(folder_of(ws))


def must_choose_password(ws: Workspace, host: str | None = None) -> bool:
    """Whether `start` needs a password: other machines are to reach the server, and nobody has chosen one yet."""
    admin = accounts.load(folder_of(ws)).get(ADMIN)
    return not _is_loopback(host or ws.section(LabelConfig).host) and not (admin and admin.chosen)


def read_password(path: Path | None, environ: Mapping[str, str] = os.environ) -> str | None:
    """The administrator's password from a file that nobody else can read, or from the environment; None: neither."""
    if path is None:
        return environ.get(PASSWORD) or None
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise UsageError(f"{path} can be read by others", hint=f"`chmod 600 {path}`, and choose a new password")
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", hint="give a text file that holds the password") from None


def start(
    ws: Workspace, *, host: str | None = None, port: int | None = None, password: str | None = None
) -> StartSummary:
    """Run Label Studio, or find it running; it stays when the calling process ends.

    `password` becomes the administrator's; on a `host` that other machines reach, somebody must have chosen one.
    """
    config = ws.section(LabelConfig)
    _ours(config, "start")
    config = config.model_copy(update={"host": host or config.host, "port": port or config.port})
    if password is None and must_choose_password(ws, config.host):
        raise UsageError(
            f"on {config.host} other machines reach Label Studio, so its administrator needs a password of your choice",
            hint=f"put it ({SHORTEST} characters or more) into {PASSWORD} or, with mode 600, into --password-file FILE",
        )
    if password is not None and not SHORTEST <= len(password) <= LONGEST:
        raise UsageError(
            f"the password has {len(password)} characters", hint=f"choose {SHORTEST} to {LONGEST} characters"
        )
    found = server.status(folder_of(ws))
    kept = found is not None and password is not None and password != accounts.load(folder_of(ws))[ADMIN].password
    if found is not None and found.host != config.host:
        raise UsageError(
            f"Label Studio is running already, on {found.host} and not on {config.host}",
            hint="`collect label stop`, then start it again",
        )
    found = server.start(folder_of(ws), images_of(ws), config, ws.progress, password)
    warnings = [] if port in (None, found.port) else [f"it was running already, on port {found.port}"]
    if kept:
        warnings.append("it was running already, with another password: stop it, and start it again")
    team = () if _is_loopback(config.host) else tuple(_addresses(config, found.port))
    return StartSummary(
        url=found.url,
        email=accounts.load(found.folder)[ADMIN].email,
        passwords=str(found.folder / accounts.FILE),
        team=team,
        warnings=tuple(warnings + [UNENCRYPTED] * bool(team)),
        next="collect label push",
    )


def stop(ws: Workspace) -> StopSummary:
    """End the Label Studio of the workspace; what people answered stays in its data folder."""
    _ours(ws.section(LabelConfig), "stop")
    return StopSummary(stopped=server.stop(folder_of(ws)))


def status(ws: Workspace) -> LabelStatusSummary:
    """How the Label Studio of the workspace is; works when it does not run, and starts nothing."""
    config, folder = ws.section(LabelConfig), folder_of(ws)
    who = "somebody else" if config.url else "collect"
    size = None if config.url else sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    ours = None if config.url else server.status(folder)
    if not config.url and ours is None:
        url = f"http://{HOST if config.host == EVERYWHERE else config.host}:{config.port}"
        return LabelStatusSummary(url=url, health="stopped", started_by=who, storage=size, next="collect label start")
    url = ours.url if ours else config.url.rstrip("/")
    if not is_up(url):
        warnings = (f"nothing healthy answers at {url}: look into {folder / server.LOG}",) if ours else ()
        health = "silent" if ours else "stopped"
        return LabelStatusSummary(url=url, health=health, started_by=who, storage=size, warnings=warnings)
    with running(ws).connect() as studio:
        projects, tasks, answered = studio.totals()
        plain = urlsplit(url).scheme == "http" and not _is_loopback(ours.host if ours else urlsplit(url).hostname or "")
        return LabelStatusSummary(
            url=url,
            health="up",
            version=studio.version(),
            started_by=who,
            users=len(studio.users()),
            projects=projects,
            tasks=tasks,
            answered=answered,
            storage=size,
            warnings=(UNENCRYPTED,) if plain else (),
        )


def wait(ws: Workspace) -> None:
    """Return when the server has ended; Ctrl-C ends it."""
    try:
        while server.status(folder_of(ws)) is not None:
            time.sleep(0.5)
    finally:
        server.stop(folder_of(ws))


def _ours(config: LabelConfig, verb: str) -> None:
    if config.url:
        raise UsageError(
            f"`label.url` is {config.url}, a Label Studio that collect does not {verb}",
            hint=f"{verb} it where it runs, or take `label.url` out to have one of our own",
        )


def _elsewhere(folder: Path, url: str, environ: Mapping[str, str]) -> Server:
    token = environ.get(TOKEN, "").strip()
    if not token:
        raise UsageError(
            f"`label.url` is {url}, and there is no token for it",
            hint=f"put one into {TOKEN}: Account & Settings there, personal access token or legacy token",
        )
    with Studio(url, token) as studio:
        email = studio.check()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    accounts.save(folder, Account(ADMIN, email, password="", token=token))
    return Server(folder, url)


def _is_loopback(host: str) -> bool:
    return host.startswith("127.") or host in ("localhost", "::1")


def _addresses(config: LabelConfig, port: int) -> list[str]:
    return [f"http://{name}:{port}" for name in server.reachable(config) if not _is_loopback(name)]
