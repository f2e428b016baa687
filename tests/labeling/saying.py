"""Rows that `label push` and `label pull` would write: rounds, tasks, answers, known answers."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from collector.catalog.database import now
from collector.catalog.tables import annotation, annotator, image, round_, sentinel, task
from collector.workspace import Workspace


def answer(ws: Workspace, picture: str, name: str, label: str | None, **more: object) -> None:
    """One annotation row, as `label pull` writes it."""
    ws.concept("horse", create=True)
    with ws.catalog.write() as connection:
        if not connection.execute(sa.select(annotator).where(annotator.c.name == name)).first():
            connection.execute(sa.insert(annotator).values(name=name, email=f"{name}@example.org", added_at=now()))
        if not connection.execute(sa.select(image).where(image.c.id == picture)).first():
            pixels = {"bytes": 1, "width": 9, "height": 9, "format": "PNG", "mode": "RGB", "frames": 1}
            connection.execute(sa.insert(image).values(id=picture, orientation=1, added_at=now(), **pixels))
        count = connection.execute(sa.select(sa.func.count()).select_from(annotation)).scalar()
        values = {
            "concept": "horse", "image": picture, "annotator": name, "label": label, "note": "", "content": f"{count}",
            "state": "answered" if label else "unsure", "seen_at": now(),
        }  # fmt: skip
        connection.execute(sa.insert(annotation).values(values | more))


def open_round(ws: Workspace, name: str, purpose: str = "pool", people: Sequence[str] | None = None) -> int:
    """A round of `horse` and its id."""
    ws.concept("horse", create=True)
    frozen = {"labels": ["horse", "not-horse"], "guideline": "", "guideline_hash": "", "projects": {}}
    kind = {"concept": "horse", "name": name, "purpose": purpose, "overlap": 1, "blind": True, "proposals": False}
    values = {**frozen, **kind, "people": list(people) if people else None, "opened_at": now()}
    with ws.catalog.write() as connection:
        return int(connection.execute(sa.insert(round_).values(values).returning(round_.c.id)).scalar_one())


def give(ws: Workspace, round_id: int, picture: str, name: str) -> int:
    """A task for somebody who has answered before, and its id."""
    place = {"image": picture, "annotator": name, "project": 1, "studio_task": 1, "pushed_at": now()}
    with ws.catalog.write() as connection:
        made = sa.insert(task).values(round=round_id, **place).returning(task.c.id)
        return int(connection.execute(made).scalar_one())


def know(ws: Workspace, round_id: int, picture: str, label: str) -> None:
    """Plant a known answer in a round."""
    row = {"round": round_id, "image": picture, "label": label, "why": "seen by experts", "planted_at": now()}
    with ws.catalog.write() as connection:
        connection.execute(sa.insert(sentinel).values(row))
