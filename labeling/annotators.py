"""`collect label annotators` and `assign`: who labels, with accounts of their own, and whose share is how large.

People who were added by command label everything that is pushed from then on; while nobody was added, those of
`label.annotators` do. Nobody's answers ever go: a person who is removed gets no new tasks and cannot sign in any more.
"""

from __future__ import annotations

import math
import re
import secrets
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from collector.catalog import rounds as book
from collector.catalog.labels import ANYBODY
from collector.catalog.rounds import ACTIVE, REMOVED, Person
from collector.errors import CollectError, UsageError
from collector.records import Summary
from collector.registry import did_you_mean
from collector.workspace import Workspace
from labeling import accounts
from labeling.accounts import ADMIN, Account
from labeling.config import LabelConfig
from labeling.lifecycle import folder_of, running
from labeling.server import Server, set_password
from labeling.studio import Studio

NAME = re.compile(r"[^\W_][\w .@+'-]*")
EMAIL = re.compile(r"[A-Za-z0-9._%+'-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
LONGEST = 64  # characters of a name; an address may have 254


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotatorsSummary(Summary):
    """Everybody who labels or labeled, by name.

    `email`, `state` (active, removed, or configured: from `label.annotators`), `share` (weight of new tasks), `tasks`,
    `answered` and median `seconds` an answer, None without any. `passwords` is the private file with the sign-ins.
    """

    annotators: dict[str, dict[str, Any]]
    passwords: str

    def for_people(self) -> dict[str, Any]:
        """One line for each annotator."""
        return {**self.annotators, "passwords": self.passwords}


def add(ws: Workspace, names: Sequence[str], *, email: str | None = None) -> AnnotatorsSummary:
    """Make an account with a password for each of `names`; they label from now on, with everybody added before.

    A name may be an e-mail address; `email` is for a single one. Somebody who was removed comes back, with a new
    password.

    Raises:
        ServiceDown: Label Studio is not running.
        UsageError: a name cannot be one, or two people would share an address.
    """
    known = book.people(ws.catalog)
    wanted = _addresses(names, email, known)
    with ws.lock("label"):
        server = running(ws)
        with server.connect() as studio:
            enroll(server, studio, wanted)
        rows = [
            known[name]._replace(state=ACTIVE) if name in known else Person(name, address, ACTIVE, None)
            for name, address in wanted.items()
        ]
        book.put_people(ws.catalog, rows)
    added = {name for name, person in book.people(ws.catalog).items() if person.state == ACTIVE}
    silent = sorted(set(ws.section(LabelConfig).annotators) - added - {ADMIN})
    told = (f"`label.annotators` no longer counts: {', '.join(silent)} must be added to label on",) if silent else ()
    return replace(team(ws), warnings=told, next="collect label push")


def remove(ws: Workspace, name: str) -> AnnotatorsSummary:
    """Give a person no new tasks and let him no longer sign in; his answers stay.

    In our own Label Studio he gets a password that nobody told him and his token ends, which also ends his sessions.
    In one that is not ours, passwords are out of reach: he is taken out of the organization, for good, and sees the
    titles of projects only.
    """
    known = book.people(ws.catalog)
    if name == ADMIN:
        raise UsageError(
            f"`{ADMIN}` administers Label Studio and stays", hint="`collect label assign me=0` gives no new tasks"
        )
    account = accounts.load(folder_of(ws)).get(name)
    person = known.get(name) or (Person(name, account.email, None, None) if account else None)
    if person is None or name == ANYBODY:
        raise UsageError(f"nobody is called `{name}`{did_you_mean(name, known)}", hint=_names(ws))
    with ws.lock("label"):
        server = running(ws)
        book.put_people(ws.catalog, [person._replace(state=REMOVED)])  # first: whatever fails now, no new tasks
        if account is not None:
            _shut_out(ws, server, account)
    told = () if account or not server.group else (f"`{name}` has no account that we know of, so none was closed",)
    left = [row for row in labelers(ws, none_left=True) if row.name != name]
    nobody = () if left else ("nobody is left who labels: `collect label annotators add NAME`",)
    return replace(team(ws), warnings=told + nobody)


def team(ws: Workspace) -> AnnotatorsSummary:
    """Everybody who labels or labeled; needs no Label Studio."""
    paces = book.paces(ws.catalog)
    people = {name: row for name, row in book.people(ws.catalog).items() if name != ANYBODY}
    people |= {row.name: row for row in labelers(ws, none_left=True) if row.name not in people}
    rows = {}
    for name, person in sorted(people.items()):
        pace = paces.get(name, book.Pace(0, []))
        times = [min(each, ws.section(LabelConfig).max_seconds) for each in pace.seconds if each is not None]
        rows[name] = {
            "email": person.email,
            "state": person.state or "configured",
            "share": 1.0 if person.share is None else person.share,
            "tasks": pace.tasks,
            "answered": len(pace.seconds),
            "seconds": round(statistics.median(times), 2) if times else None,
        }
    file = folder_of(ws) / accounts.FILE
    return AnnotatorsSummary(annotators=rows, passwords=str(file) if file.exists() else "", next="collect label push")


def assign(ws: Workspace, weights: Mapping[str, float]) -> AnnotatorsSummary:
    """Give people shares of the tasks that are made from now on, in proportion to their weights; 0: no new tasks."""
    people = {row.name: row for row in labelers(ws)}
    for name, weight in weights.items():
        if name not in people:
            raise UsageError(f"`{name}` does not label here{did_you_mean(name, people)}", hint=_names(ws))
        if not (math.isfinite(weight) and weight >= 0):
            raise UsageError(f"the share of `{name}` cannot be {weight}", hint="give numbers, as in `anna=2 ben=1`")
    changed = {name: row._replace(share=weights.get(name, row.share)) for name, row in people.items()}
    if not any(row.share is None or row.share > 0 for row in changed.values()):
        raise UsageError("nobody would get a task", hint="give somebody a share above 0")
    book.put_people(ws.catalog, [changed[name] for name in weights])
    return team(ws)


def read_shares(words: Iterable[str]) -> dict[str, float]:
    """Name -> weight, from words such as `anna=2`."""
    shares = {}
    for word in words:
        name, equals, weight = word.rpartition("=")
        try:
            shares[name] = float(weight)
        except ValueError:
            equals = ""
        if not (equals and name):
            raise UsageError(f"`{word}` gives nobody a share", hint="write NAME=WEIGHT, as in `anna=2 ben=1`")
    return shares


def labelers(ws: Workspace, *, none_left: bool = False) -> list[Person]:
    """Who gets tasks: those added by command; while nobody was, those of `label.annotators`.

    Raises:
        UsageError: everybody was removed, and not `none_left`.
    """
    known = book.people(ws.catalog)
    found = [person for person in known.values() if person.state == ACTIVE]
    if not found:
        listed = ws.section(LabelConfig).annotators
        configured = [known.get(name) or Person(name, Account.new(name).email, None, None) for name in listed]
        found = [person for person in configured if person.state != REMOVED]
    if not found and not none_left:
        raise UsageError("nobody labels here any more", hint="`collect label annotators add NAME`")
    return found


def enroll(server: Server, studio: Studio, emails: Mapping[str, str]) -> None:
    """Make the accounts (name -> e-mail address) that are missing."""
    users = set(studio.users().values())
    for name, email in emails.items():
        account = accounts.load(server.folder).get(name) or replace(Account.new(name), email=email)
        if name == ADMIN and server.group:
            studio.submit_with_enter()
        if account.email in users and account.token:
            continue
        accounts.save(server.folder, account)  # before it exists: a password is never lost
        account = account.with_token(studio.add_annotator(account))
        if name != ADMIN:
            with Studio(server.url, account.token) as person:
                person.submit_with_enter()
        accounts.save(server.folder, account)


def check_addresses(emails: Iterable[tuple[str, str]]) -> None:
    """Refuse two people with one address: Label Studio would take them for one."""
    owner: dict[str, str] = {}
    for name, email in emails:
        if owner.setdefault(email.lower(), name) != name:
            raise UsageError(
                f"two annotators would sign in as {email}: `{owner[email.lower()]}` and `{name}`",
                hint="give e-mail addresses instead of names, or --email",
            )


def _addresses(names: Sequence[str], email: str | None, known: Mapping[str, Person]) -> dict[str, str]:
    if email is not None and len(set(names)) != 1:
        raise UsageError("--email is the address of one person", hint="add the others by commands of their own")
    wanted = {}
    for name in names:
        if not NAME.fullmatch(name) or len(name) > LONGEST or name != name.strip() or name == ANYBODY:
            shown = name if len(name) <= LONGEST else f"{name[:LONGEST]}..."
            raise UsageError(
                f"`{shown}` cannot be the name of an annotator",
                hint=f"a letter or digit, then letters, digits, spaces and . @ + ' - up to {LONGEST} characters",
            )
        address = email or (known[name].email if name in known else Account.new(name).email)
        if not EMAIL.fullmatch(address) or len(address) > 254:
            raise UsageError(f"`{address[:80]}` is not an e-mail address", hint="as in anna@example.org")
        if name in known and known[name].email and known[name].email != address:
            raise UsageError(
                f"`{name}` signs in as {known[name].email}, and answers are known by it", hint="choose another name"
            )
        wanted[name] = address.lower() if name not in known else address
    check_addresses([*((row.name, row.email) for row in known.values() if row.email), *wanted.items()])
    return wanted


def _shut_out(ws: Workspace, server: Server, account: Account) -> None:
    if account.token:
        try:
            with Studio(server.url, account.token) as studio:
                studio.renew_token()
        except CollectError:
            pass  # a token that is not accepted opens nothing
    if not server.group:
        with server.connect() as studio:
            studio.end_membership(account.email)
        return
    account = replace(account, password=secrets.token_urlsafe(18), token="")
    accounts.save(server.folder, account)
    try:
        set_password(server.folder, ws.section(LabelConfig), account)
    except CollectError as error:
        raise CollectError(
            f"`{account.name}` gets no new tasks, but can still sign in: {error.message}", hint=error.hint
        ) from None


def _names(ws: Workspace) -> str:
    return "known: " + (", ".join(row.name for row in labelers(ws, none_left=True)) or "nobody yet")
