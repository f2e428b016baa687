"""What every format comes down to: one line for each answer, and how files are read and refused."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from collector import durable
from collector.errors import UsageError
from collector.records import JOINT, UNSURE
from collector.store import Store


class Line(NamedTuple):
    """One answer as a file states it.

    `image` is whatever names the picture there, in what we write its sha256. `label` is empty for a skip, `UNSURE` for
    "can't tell", and several labels are joined by `JOINT`. An empty `annotator` is not stated.
    """

    image: str
    annotator: str
    label: str
    note: str = ""
    seconds: float | None = None
    at: str | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """What formats say of a picture: the name of its file, and its size in pixels."""

    name: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class About:
    """What a format needs beside the answers: labels in order, image -> picture, annotator -> e-mail, the store."""

    concept: str
    labels: tuple[str, ...]
    pictures: Mapping[str, Picture]
    emails: Mapping[str, str]
    store: Store


def content(path: Path) -> bytes:
    """The bytes of a file that is not empty; raises `UsageError`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint="name a file with labels") from None
    if not data.strip():
        raise UsageError(f"{path} is empty", hint="export it again where the labels were given")
    return data


def text(path: Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark; raises `UsageError`."""
    try:
        return content(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text in UTF-8: {error.reason}", hint="save it as UTF-8") from None


def parsed(path: Path) -> Any:
    """The JSON in a file; raises `UsageError`."""
    try:
        return json.loads(text(path))
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path} is not JSON: {error}", hint="export it again; half a file cannot be imported"
        ) from None


def number(value: object, path: Path) -> float | None:
    """Seconds as a file states them: None when it does not, never negative; raises `UsageError` for what is none."""
    if value is None or value == "":
        return None
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise UsageError(f"{path} has `{str(value)[:40]}` where seconds should be", hint="give a number, or nothing")
    return max(seconds, 0.0)


def moment(value: object, path: Path) -> str | None:
    """A time as a file states it, in UTC; None when it does not. A time without a zone is taken for UTC."""
    if value is None or value == "":
        return None
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        raise UsageError(
            f"{path} has `{str(value)[:40]}` where a time should be", hint="write times as 2026-05-31T12:00:00Z"
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC).isoformat()


def joined(lines: Iterable[Line]) -> list[Line]:
    """Lines of one annotator about one picture made one, for formats that give each label a place of its own."""
    found: dict[tuple[str, str], Line] = {}
    for line in lines:
        before = found.setdefault((line.image, line.annotator), line)
        if line.label not in before.label.split(JOINT):
            found[line.image, line.annotator] = before._replace(label=f"{before.label}{JOINT}{line.label}")
    return list(found.values())


def parts(label: str, labels: Iterable[str]) -> list[str]:
    """The labels in a label, for formats that give each a place of its own."""
    return [label] if label in (*labels, UNSURE) else label.split(JOINT)


def save(path: Path, data: str) -> None:
    """Write a file; it is there whole or not at all."""
    durable.save(path.absolute(), data.encode())
