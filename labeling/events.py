"""What happened to answers after people gave them: changes, withdrawals, and other people's hands in them.

Label Studio keeps the last version of an answer only, and any member may change or delete anybody's. What `pull` saw
in between stands in the catalog as rows of its own; this reads it back.
"""

from __future__ import annotations

from dataclasses import dataclass

from collector.catalog.history import Change, changes
from collector.catalog.labels import ANYBODY
from collector.workspace import Workspace
from labeling.interface import UNSURE


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to an answer of `annotator` to `image`.

    `kind` is one of

    * changed: `by` gave it another label, state or note after submission;
    * withdrawn: it is gone from Label Studio, which does not say by whose hand (`by` is None);
    * restored: it was withdrawn before;
    * in another's name: `by` gave it, and it says that `annotator` did;
    * in another's project: `annotator` answered what was given to `assigned`;
    * imported again: a file says something else than the file before.

    `was` and `became` are a label, "can't tell", skipped, deleted, or empty: nothing. `at` is when Label Studio says
    that it was last touched, by its clock; `seen_at` when `pull` saw it, by ours. `round` is the name of the round.
    """

    kind: str
    image: str
    annotator: str
    by: str | None
    was: str
    became: str
    note: str
    at: str | None
    seen_at: str
    assigned: str | None
    round: str | None


def events(ws: Workspace, concept: str | None = None) -> list[Event]:
    """Everything that happened to answers of a concept after submission or against the assignment, oldest first.

    Read from rows alone, so that it is the same on every machine and without Label Studio.
    """
    found = [_event(row) for row in changes(ws.catalog, ws.concept(concept).name)]
    return [event for event in found if event is not None]


def _event(row: Change) -> Event | None:
    kind = _kind(row)
    if kind is None:
        return None
    return Event(
        kind=kind,
        image=row.image,
        annotator=row.annotator,
        by=None if kind == "withdrawn" else row.updated_by or row.annotator,
        was="" if row.was_state is None else _said(row.was_state, row.was_label),
        became=_said(row.state, row.label),
        note=row.note,
        at=None if kind == "withdrawn" else row.updated_at,
        seen_at=row.seen_at,
        assigned=row.assigned,
        round=row.round,
    )


def _kind(row: Change) -> str | None:
    if row.was_state is not None:
        same = (row.state, row.label, row.note, row.annotator) == (
            *(row.was_state, row.was_label, row.was_note, row.was_annotator),
        )
        if row.state == "deleted":
            return "withdrawn"
        if row.was_state == "deleted":
            return "restored"
        if same and row.updated_by in (None, row.annotator):
            return None  # the same answer, submitted again
        return "imported again" if row.origin else "changed"
    if row.updated_by not in (None, row.annotator) and not row.origin:
        return "in another's name"
    return "in another's project" if row.assigned not in (None, ANYBODY, row.annotator) else None


def _said(state: str, label: str | None) -> str:
    return label or (UNSURE if state == "unsure" else state)
