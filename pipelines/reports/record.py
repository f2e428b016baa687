"""The pages about people and what became of their answers: annotators, events after submission, errata."""

from __future__ import annotations

from collections import Counter
from typing import Any

from collector.catalog import models
from collector.catalog.errata import APPLIED
from labeling.errata import STATES, state_of
from labeling.events import events as events_of
from labeling.measured import Measured, Person
from pipelines.errata import touched_by
from pipelines.reports.contact_sheet import PER_PAGE
from pipelines.reports.material import Material

MOST_PEOPLE = 100
FEW = 20  # compared answers below which nobody is judged
MOST_EVENTS = 300
PICTURED = 60  # events with a picture
WIDE, HIGH = 180, 34  # of a small chart, in its own units


def annotators(of: Material) -> dict[str, Any] | None:
    """Each annotator: agreement with the rest, known answers, pace, drift, what proposals do to him; worst first."""
    if not of.answered.touched:
        return None
    return people_of(of.review.measured)


def people_of(found: Measured) -> dict[str, Any]:
    """The content about the annotators of any table of answers."""
    people = sorted(found.people, key=_badness)[:MOST_PEOPLE]
    return {
        "people": people,
        "unlisted": len(found.people) - len(people),
        "everybody": found.anchoring,
        "alpha": found.alpha,
        "drifting": [(person, _line(person)) for person in people if len(person.windows) > 1],
        "anchored": [person for person in people if person.anchoring.accepted.tasks],
        "gold": any(person.right.tasks for person in people),
        "planted": any(person.sentinels.tasks for person in people),
    }


def events(of: Material) -> dict[str, Any] | None:
    """What happened to answers after submission, newest first."""
    if not of.answered.touched:
        return None
    found = events_of(of.ws, of.name)[::-1]
    return {
        "events": [
            (of.album.picture(event.image) if place < PICTURED else None, event)
            for place, event in enumerate(found[:MOST_EVENTS])
        ],
        "kinds": Counter(event.kind for event in found).most_common(),
        "hidden": max(0, len(found) - MOST_EVENTS),
    }


def errata(of: Material) -> dict[str, Any] | None:
    """The register: open and confirmed ones first; for what was applied, the runs that must be repeated."""
    if not of.answered.touched:
        return None
    rows = sorted(state_of(of.ws, of.name), key=lambda each: (_ORDER[each[1]], each[0].id))
    applied = {row.image: row.should_be for row, _ in rows if row.state == APPLIED}
    touched = touched_by(of.ws, of.name, applied) if applied else {}
    return {
        "counts": {state: sum(now == state for _, now in rows) for state in STATES},
        "errata": [(of.album.picture(row.image), row, now) for row, now in rows[:PER_PAGE]],
        "hidden": max(0, len(rows) - PER_PAGE),
        "runs": [
            (run, touched[run.snapshot]) for run in models.experiments(of.catalog, of.name) if run.snapshot in touched
        ],
    }


_ORDER = {"confirmed": 0, "open": 1, "applied": 2, "dismissed": 3}


def _badness(person: Person) -> tuple[bool, bool, float, str]:
    """Those who agree least with the others come first, those compared on few images or none last."""
    value = person.agreement.value
    return (value != value, person.compared < FEW, value, person.name)


def _line(person: Person) -> dict[str, Any]:
    """Agreement over the windows as points of a polyline, 100 % at the top and 50 %, or the lowest, at the bottom."""
    values = [window.agreement.value for window in person.windows]
    low = min([0.5, *(value for value in values if value == value)])
    step = WIDE / max(1, len(values) - 1)
    points = [(i * step, HIGH * (1 - value) / (1 - low)) for i, value in enumerate(values) if value == value]
    return {"points": " ".join(f"{x:.1f},{y:.1f}" for x, y in points), "dots": points, "wide": WIDE, "high": HIGH}
