"""Who may sign in to Label Studio: one file, readable by its owner only; secrets are written nowhere else."""

from __future__ import annotations

import json
import os
import re
import secrets
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from collector.durable import explained, explanation
from collector.errors import CollectError

ADMIN = "me"
FILE = "accounts.json"


@dataclass(frozen=True, slots=True)
class Account:
    """One person's sign-in. `token` is empty until Label Studio has given one; `chosen`: a person made the password."""

    name: str
    email: str
    password: str = field(repr=False)
    token: str = field(default="", repr=False)
    chosen: bool = False

    @classmethod
    def new(cls, name: str) -> Account:
        """An account for a name or an e-mail address, with a random password."""
        local = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "annotator"
        email = name.lower() if "@" in name else f"{local}@collect.local"
        return cls(name, email, secrets.token_urlsafe(18))

    def with_token(self, token: str) -> Account:
        """The same account with its token."""
        return replace(self, token=token)

    def with_password(self, password: str) -> Account:
        """The same account with a password of a person's choice, not signed in yet."""
        return replace(self, password=password, token="", chosen=True)


def load(folder: Path) -> dict[str, Account]:
    """Every account of the server in `folder`, by annotator name."""
    path = folder / FILE
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {row["name"]: Account(**row) for row in rows}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise explanation(path, error.errno, error.strerror or str(error)) from error
    except (ValueError, TypeError, KeyError) as error:
        raise CollectError(
            f"{path} is not a list of accounts: {error}",
            hint="restore it from a backup; without it nobody can sign in to Label Studio",
        ) from None


def save(folder: Path, account: Account) -> None:
    """Add or replace one account; a reader never sees half a file, and nobody else sees any of it."""
    known = load(folder) | {account.name: account}
    draft = folder / f"{FILE}.new"
    with explained(folder):
        draft.unlink(missing_ok=True)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump([asdict(known[name]) for name in sorted(known)], file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(folder / FILE)
