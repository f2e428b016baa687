"""The register of known annotation errors: opened by people or for them, resolved by people, never applied silently.

An erratum says that a settled label should be another one. Nothing follows from an open one. Once applied, the next
snapshot takes its label and says so; snapshots that were made before stay as they are.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from collector.catalog import consensus, labels, pools
from collector.catalog import errata as book
from collector.catalog import rounds as round_rows
from collector.catalog.consensus import Settled
from collector.catalog.errata import DISMISSED, OPEN, Erratum, Found
from collector.errors import UsageError
from collector.records import Summary
from collector.registry import did_you_mean
from collector.workspace import Workspace

CONFIRMED = "confirmed"
STATES = (OPEN, CONFIRMED, book.APPLIED, DISMISSED)
SHOWN = 100  # errata in a list for people
SHORTEST = 6  # hexadecimal digits that name an image
SENTINELS = "sentinels"
POOL = "pool"  # what a wrong label touches, where the image is in no split


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrataSummary(Summary):
    """The register of a concept: `errata` as it was asked for, by id, and how many are in each state.

    An erratum is confirmed, and waits to be applied, when a person opened it, or when somebody gave the image the label
    that it should have after it was opened, and nobody another one.
    """

    concept: str
    states: dict[str, int]
    errata: dict[str, dict[str, Any]]

    def for_people(self) -> dict[str, Any]:
        """A line for each erratum, of many for the first."""
        lines = {
            f"{number} {row['state']}": f"{row['image'][:12]} {row['was'] or 'unsettled'} -> {row['should_be']}"
            f" ({row['severity']}; {row['opened_by']}): {row['why']}"
            for number, row in islice(self.errata.items(), SHOWN)
        }
        hidden = len(self.errata) - len(lines)
        rest = {"": f"... and {hidden:,} more (--json has all; the report shows the pictures)"} if hidden else {}
        return {"concept": self.concept, **self.states, **lines, **rest}


def open_erratum(
    ws: Workspace, image: str, *, should_be: str, why: str, concept: str | None = None, by: str = "me"
) -> ErrataSummary:
    """Write down that the label of an image (its id, or its beginning) is wrong.

    Raises:
        UsageError: no such image or label, no reason, it has that label, or the register says so already.
    """
    described = ws.concept(concept)
    if should_be not in described.labels:
        raise UsageError(
            f"`{should_be}` is no label of `{described.name}`{did_you_mean(should_be, described.labels)}",
            hint=f"labels: {', '.join(described.labels)}",
        )
    if not why.strip():
        raise UsageError("an erratum needs a reason", hint='--why "the mane is a scarf"')
    settled = {row.image: row for row in consensus.settled(ws.catalog, described.name)}
    found = _image(ws, described.name, image, settled)
    was = _stands(ws, described.name, found, settled.get(found))
    if was == should_be:
        raise UsageError(f"the label of {found[:12]} is `{should_be}` already", hint="`collect errata list` shows all")
    votes = dict(settled[found].votes) if found in settled else {}
    evidence = {"kind": "person", "votes": votes}
    severity = pools.splits(ws.catalog, described.name).get(found, POOL)
    row = Found(found, was, should_be, severity, why.strip(), by, evidence)
    if not (new := book.open_(ws.catalog, described.name, [row])):
        new = _reopen(ws, described.name, row)
    return listed(ws, described.name, ids=new)


def listed(
    ws: Workspace, concept: str | None = None, *, state: str | None = None, ids: Sequence[int] | None = None
) -> ErrataSummary:
    """The register, all of it or what is in one `state`, or some `ids`; oldest first."""
    name = ws.concept(concept).name
    states = state_of(ws, name)
    shown = [
        (row, now)
        for row, now in states
        if (state is None or state == now) and (ids is None or row.id in ids)
    ]  # fmt: skip
    counts = {each: sum(now == each for _, now in states) for each in STATES}
    waiting = shlex.quote(name) if counts[CONFIRMED] else ""
    return ErrataSummary(
        concept=name,
        states=counts,
        errata={str(row.id): {**row._asdict(), "evidence": dict(row.evidence), "state": now} for row, now in shown},
        next=f"collect errata apply --all-confirmed --concept {waiting}" if waiting else "",
    )


def dismiss(
    ws: Workspace, ids: Sequence[int], *, why: str, concept: str | None = None, by: str = "me"
) -> ErrataSummary:
    """Say that errata are none. One that was applied is taken back by that: the next snapshot has the consensus again.

    Raises:
        UsageError: an id is unknown or dismissed already, or there is no reason.
    """
    name = ws.concept(concept).name
    if not why.strip():
        raise UsageError("a dismissal needs a reason", hint='--why "it is a horse, seen from behind"')
    for row in chosen(ws, name, ids):
        if row.state == DISMISSED:
            raise UsageError(f"erratum {row.id} was dismissed before: {row.note}", hint="leave it out")
    book.resolve(ws.catalog, ids, DISMISSED, by, why.strip())
    return listed(ws, name, ids=ids)


def chosen(ws: Workspace, concept: str, ids: Sequence[int]) -> list[Erratum]:
    """The errata with these ids.

    Raises:
        UsageError: there is none with that id.
    """
    known = {row.id: row for row in book.register(ws.catalog, concept)}
    for each in ids:
        if each not in known:
            raise UsageError(f"`{concept}` has no erratum {each}", hint="`collect errata list` shows them")
    return [known[each] for each in ids]


def doubted(ws: Workspace, concept: str) -> dict[str, set[str]]:
    """Image -> who has answered it, for open errata that nobody has answered since: one more person should look."""
    since = _since(ws, concept)
    waiting = {
        row.image
        for row in book.register(ws.catalog, concept)
        if row.state == OPEN and not any(at > row.opened_at for at, _ in since.get(row.image, []))
    }
    people: dict[str, set[str]] = {image: set() for image in sorted(waiting)}
    for answer in labels.current(ws.catalog, concept) if waiting else ():
        if answer.image in waiting:
            people[answer.image].add(answer.annotator)
    return people


def state_of(ws: Workspace, concept: str) -> list[tuple[Erratum, str]]:
    """Every erratum with its state, those of `STATES`."""
    rows = book.register(ws.catalog, concept)
    if not any(row.state == OPEN for row in rows):
        return [(row, row.state) for row in rows]
    since = _since(ws, concept)
    return [(row, _state(row, since.get(row.image, []))) for row in rows]


def open_contradictions(ws: Workspace, concept: str, settled: Sequence[Settled]) -> int:
    """Open an erratum for each settled label that contradicts a known answer; the number of new ones."""
    known = {image: row for (_, image), row in round_rows.planted(ws.catalog, concept).items()}
    home = pools.splits(ws.catalog, concept) if known else {}
    found = [
        Found(
            image=row.image,
            was=row.label,
            should_be=known[row.image].label,
            severity=home.get(row.image, POOL),
            why=f"the answer is known: {known[row.image].why}",
            opened_by=SENTINELS,
            evidence={"kind": "sentinel", "votes": dict(row.votes)},
        )
        for row in settled
        if row.label is not None and row.image in known and row.label != known[row.image].label
    ]
    return len(book.open_(ws.catalog, concept, found)) if found else 0


def _since(ws: Workspace, concept: str) -> dict[str, list[tuple[str, str]]]:
    """Image in the register -> when each standing label of it was read in, and the label."""
    found: dict[str, list[tuple[str, str]]] = {}
    seen = book.answered_at(ws.catalog, concept)
    for answer in labels.current(ws.catalog, concept) if seen else ():
        if answer.label is not None and answer.id in seen:
            found.setdefault(answer.image, []).append((seen[answer.id], answer.label))
    return found


def _state(row: Erratum, since: Sequence[tuple[str, str]]) -> str:
    if row.state != OPEN:
        return row.state
    later = {label for at, label in since if at > row.opened_at}
    by_person = row.evidence.get("kind") == "person" or bool(row.by)  # or somebody opened it again
    return CONFIRMED if later == {row.should_be} or (by_person and later <= {row.should_be}) else OPEN


def _image(ws: Workspace, concept: str, image: str, settled: dict[str, Settled]) -> str:
    """The image whose id begins with `image`."""
    known = settled.keys() | {row.image for row in pools.members(ws.catalog, concept)}
    found = [image] if image in known else [each for each in known if each.startswith(image)]
    if len(found) == 1 and (len(image) >= SHORTEST or found == [image]):
        return found[0]
    what = "names several images" if len(found) > 1 else "is no image"
    raise UsageError(
        f"`{image[:80]}` {what} of `{concept}`" if len(image) >= SHORTEST or not found else f"`{image}` is too short",
        hint="the report shows the sha256 of each image; its first 12 digits are enough",
    )


def _stands(ws: Workspace, concept: str, image: str, settled: Settled | None) -> str:
    """The label that the next snapshot would take."""
    if (row := book.applied(ws.catalog, concept).get(image)) is not None:
        return row.should_be
    return (settled.label or "") if settled else ""


def _reopen(ws: Workspace, concept: str, row: Found) -> list[int]:
    """A person may open again what was dismissed; what is open or applied stays."""
    known = next(
        each
        for each in book.register(ws.catalog, concept)
        if (each.image, each.should_be) == (row.image, row.should_be)
    )
    if known.state != DISMISSED:
        raise UsageError(f"erratum {known.id} says so already, and is {known.state}", hint="`collect errata list`")
    book.resolve(ws.catalog, [known.id], OPEN, row.opened_by, row.why)
    return [known.id]
