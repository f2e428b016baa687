"""Catalogs filled with rows alone, drawn at random: every way in which an image may count or be left out."""

from __future__ import annotations

import random
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from collector.catalog import Catalog, tables
from collector.splits import place

RULE = "sha256(0:horse:image), validation 0.3, test 0.2, calibration 0.2"
PEOPLE = ("ann", "bob", "Zoë", 'it\'s "me" 100%')
NASTY = ("", "plain", "Ünïcode 馬", "tab\tand\nline", 'it\'s 100 % "quoted" \\ %s :x', "🦄", "a" * 300, "Z", "z", "é")
LICENSES = ("cc0", "by", "by-sa", "by-nc", "unlicensed", "by-nd")
AT = "2026-01-01T00:00:00.000+00:00"
Row = dict[str, Any]


def fill(catalog: Catalog, seed: int, images: int = 60) -> None:
    """Write a world; the same seed gives the same rows on every engine."""
    rng = random.Random(seed)
    names = [sha256(f"{seed} {n}".encode()).hexdigest() for n in range(images)]
    concept = {"queries": {}, "synsets": {}, "exclude": [], "added_at": AT}
    parts: dict[sa.Table, list[Row]] = {
        tables.concept: [{"name": name, "labels": [name, f"not-{name}"], **concept} for name in ("horse", "cow")],
        tables.annotator: [{"name": name, "email": "", "added_at": AT} for name in PEOPLE],
        tables.image: [_image(rng, name) for name in names],
        tables.tombstone: [
            {"sha256": name, "phash": "", "reason": "asked", "buried_at": AT} for name in rng.sample(names, 2)
        ],
        tables.sighting: list(_sightings(rng, names)),
        tables.pool: [_pooled(rng, name) for name in names if rng.random() < 0.95],
        tables.split: [
            {"concept": "horse", "image": name, "name": place(RULE, name), "rule": RULE, "frozen_at": AT}
            for name in names
            if rng.random() < 0.97
        ],
        tables.round_: [_round()],
        tables.task: [
            {"round": 1, "image": name, "annotator": who, "project": 1, "studio_task": 7, "pushed_at": AT}
            for name in names[:9]
            for who in PEOPLE[:2]
        ],
        tables.sentinel: [{"round": 1, "image": names[0], "label": "horse", "why": "known", "planted_at": AT}],
        tables.consensus: [_settled(rng, name) for name in names if rng.random() < 0.95],
        tables.erratum: [_erratum(rng, name) for name in rng.sample(names, 8)],
        tables.dedup_pass: [{"settings": {}, "images": images, "digest": str(n), "at": AT} for n in range(2)],
        tables.quality: list(_measured(rng, names)),
    }
    with catalog.write() as connection:
        for table, rows in parts.items():
            connection.execute(sa.insert(table), rows)
        copies = rng.sample(names, 8)
        for n, (copy, keeper) in enumerate(zip(copies[::2], copies[1::2], strict=True)):
            about = {"distance": 1, "method": "phash", "evidence": {}, "reason": ""}
            connection.execute(
                sa.insert(tables.duplicate), {"dedup_pass": 1 + n % 2, "image": copy, "keeper": keeper, **about}
            )
        for number, row in enumerate(_annotations(rng, names), 1):
            connection.execute(sa.insert(tables.annotation), {**row, "content": f"{number}"})
        for erratum in range(1, 9):
            for state in rng.choices(("applied", "dismissed", "open"), weights=(6, 1, 1), k=rng.randrange(3)):
                at = f"2026-01-0{rng.randrange(1, 4)}"
                row = {"erratum": erratum, "state": state, "by": "ann", "note": "", "at": at}
                connection.execute(sa.insert(tables.resolution), row)


def _image(rng: random.Random, name: str) -> Row:
    size = {"bytes": rng.randrange(1, 10**9), "width": rng.randrange(1, 9000), "height": rng.randrange(1, 9000)}
    about = {"mode": "RGB", "frames": 1, "orientation": 1, "added_at": AT}
    return {"id": name, "format": rng.choice(("JPEG", "PNG", "AVIF")), **size, **about}


def _sightings(rng: random.Random, names: list[str]) -> Iterator[Row]:
    for n, name in enumerate(names):
        for k in range(rng.choice((0, 1, 1, 1, 2, 3))):
            concept, number = rng.choice(("horse",) * 9 + ("cow",)), f"{n}-{k}"
            source, license = rng.choice(("flickr", "Wikimedia", "wikimedia")), rng.choice(LICENSES)
            for revision in range(rng.choice((1, 1, 1, 2, 3))):
                yield {
                    "image": name, "concept": concept,
                    "label": "horse", "source": source, "source_id": number,
                    "url": rng.choice((f"https://x.example/{rng.choice(NASTY)}", f"file:///home/{n}")),
                    **{word: rng.choice(NASTY) for word in ("page", "title", "creator", "creator_url", "query")},
                    "license": license if revision == 0 else rng.choice(LICENSES), "license_version": "4.0",
                    "license_url": rng.choice(NASTY), "license_jurisdiction": "", "license_evidence": rng.choice(NASTY),
                    "seen_at": AT, "final_url": "", "facts": {"b": rng.choice(NASTY), "a": 1}, "revision": revision,
                    "state": rng.choice(("live", "live", "live", "live", "dead", "withdrawn")), "checked_at": "",
                }  # fmt: skip


def _pooled(rng: random.Random, name: str) -> Row:
    label, role, tier = rng.choice((("horse", "positive", "positive"), ("not-horse", "negative", "far")))
    about = {"label": label, "role": role, "tier": tier, "reason": "", "checks": {}, "added_at": AT}
    return {"concept": "horse", "image": name, **about}


def _round() -> Row:
    flags = {"overlap": 1, "blind": True, "proposals": False, "projects": {}, "opened_at": AT}
    asked = {"labels": ["horse"], "guideline": "", "guideline_hash": ""}
    return {"concept": "horse", "name": "r", "purpose": "pool", **asked, **flags}


def _settled(rng: random.Random, name: str) -> Row:
    label = rng.choice(("horse",) * 5 + ("not-horse",) * 5 + (None, "mule"))
    votes = rng.choice(({}, {"not-horse": 1, "horse": 2}, {"horse": 1}, {"馬": 3}))
    about = {"method": rng.choice(("majority", "dawid-skene")), "settled_at": AT}
    return {"concept": "horse", "image": name, "label": label, "confidence": rng.random(), "votes": votes, **about}


def _erratum(rng: random.Random, name: str) -> Row:
    about = {"severity": "train", "why": "w", "opened_by": "ann", "opened_at": AT, "evidence": {}}
    return {"concept": "horse", "image": name, "was": "", "should_be": rng.choice(("horse", "not-horse")), **about}


def _measured(rng: random.Random, names: list[str]) -> Iterator[Row]:
    for name in names:
        for check in ("dark/1", "blurry/1", "outside/b", "outside/a"):
            if not check.startswith("outside") or rng.random() < 0.05:
                yield {"image": name, "check": check, "score": rng.random(), "details": {}}


def _annotations(rng: random.Random, names: list[str]) -> Iterator[Row]:
    given: list[Row] = []
    for number in range(1, 5 * len(names)):
        row = {
            "id": number, "task": rng.choice((None, None, rng.randrange(1, 19))), "image": rng.choice(names),
            "concept": rng.choice(("horse",) * 9 + ("cow",)), "annotator": rng.choice(PEOPLE), "note": "",
            "state": rng.choice(("answered",) * 6 + ("deleted", "unsure")), "seconds": None, "supersedes": None,
            "label": rng.choice(("horse", "not-horse", None)), "proposal": rng.choice((None,) * 5 + ("horse",)),
            "studio_annotation": rng.choice((None, number)), "seen_at": AT,
        }  # fmt: skip
        what = rng.random() if given else 1
        if what < 0.2:  # edited, or (the last one) read in by two machines at once
            before = given[-1] if what < 0.05 else rng.choice(given)
            row |= {name: before[name] for name in ("concept", "image", "annotator", "task", "studio_annotation")}
            row["supersedes"] = before["supersedes"] if what < 0.05 else before["id"]
        given.append(row)
        yield row
