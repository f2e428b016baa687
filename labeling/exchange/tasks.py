"""Label Studio's JSON: its export of tasks with their annotations, and the short one that it calls JSON_MIN.

The short one loses skips that nobody labeled, and whose hand changed an answer: prefer the long one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from collector.errors import UsageError
from collector.records import JOINT, UNSURE
from labeling.exchange.lines import About, Line, moment, number, parsed, parts, save
from labeling.interface import Item, task_data

OURS = "@collect.local"  # addresses that collect made up; the name says more
# What JSON_MIN writes beside the data of a task and the answer.
PLAIN = frozenset(
    ["id", "image", "sha256", "original", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "note"]
)


def read(path: Path) -> list[Line]:
    """The answers of all annotators, skips included; raises `UsageError`.

    An annotator is his e-mail address where the file tells it, else "user NUMBER".
    """
    tasks = parsed(path)
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise UsageError(f"{path} is no export of Label Studio: it is not a list of tasks", hint="export it as JSON")
    try:
        return [line for task in tasks for line in _lines(task, path)]
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path} is no export of Label Studio: {type(error).__name__} at {error}", hint="export it as JSON"
        ) from None


def _lines(task: Mapping[str, Any], path: Path) -> Iterator[Line]:
    if "annotations" not in task:
        yield _short(task, path)
        return
    image = _image(task["data"])
    for row in task["annotations"]:
        said, note = _said(row.get("result") or ())
        label = "" if row.get("was_cancelled") else UNSURE if UNSURE in said else JOINT.join(said)
        who, at = _who(row.get("completed_by")), moment(row.get("updated_at"), path)
        yield Line(image, who, label, note, number(row.get("lead_time"), path), at)


def _short(task: Mapping[str, Any], path: Path) -> Line:
    said: list[str] = []
    for name in sorted(task.keys() - PLAIN, key=lambda name: (name not in ("label", "choice"), name)):
        value = task[name]
        words = value.get("choices") if isinstance(value, dict) else value if isinstance(value, list) else [value]
        if words and all(isinstance(word, str) for word in words):
            said = list(words)
            break
    label = UNSURE if UNSURE in said else JOINT.join(said)
    at = moment(task.get("updated_at"), path)
    note = task.get("note") or ""
    note = note if isinstance(note, str) else " ".join(map(str, note))
    return Line(_image(task), _who(task.get("annotator")), label, note, number(task.get("lead_time"), path), at)


def _image(data: Mapping[str, Any]) -> str:
    """What names the picture: our own key, the usual one, or the first that looks like a file."""
    named = [data.get("sha256"), data.get("image"), *(value for value in data.values() if "/" in str(value))]
    return next((str(value) for value in named if value), "")


def _said(result: Sequence[Mapping[str, Any]]) -> tuple[list[str], str]:
    labels = [each["value"]["choices"] for each in result if each.get("type") == "choices"]
    notes = [each["value"]["text"] for each in result if each.get("type") == "textarea"]
    note = " ".join(text if isinstance(text, str) else " ".join(map(str, text)) for text in notes)
    return [str(label) for label in (labels[0] if labels else ())], note


def _who(user: Any) -> str:
    if isinstance(user, dict):
        email, name = str(user.get("email") or ""), str(user.get("first_name") or "")
        return name if name and email.endswith(OURS) else email
    return f"user {user}" if isinstance(user, int) else str(user or "")


def write(answers: Sequence[Line], path: Path, about: About) -> None:
    """Write tasks with annotations that Label Studio imports, where the annotators have accounts."""
    tasks: dict[str, dict[str, Any]] = {}
    for line in answers:
        task = tasks.setdefault(line.image, {"data": task_data(Item(line.image)), "annotations": []})
        task["annotations"].append(
            {
                "completed_by": {
                    "email": about.emails.get(line.annotator, line.annotator),
                    "first_name": line.annotator,
                },
                "was_cancelled": not line.label,
                "lead_time": line.seconds,
                "updated_at": line.at,
                "result": _result(line, about.labels),
            }
        )
    save(path, json.dumps(list(tasks.values()), indent=1))


def _result(line: Line, labels: Sequence[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    about = {"to_name": "image"}
    if line.label:
        value = {"choices": parts(line.label, labels)}
        found.append({"from_name": "label", **about, "type": "choices", "value": value})
    if line.note:
        found.append({"from_name": "note", **about, "type": "textarea", "value": {"text": [line.note]}})
    return found
