"""Rounds of labeling: what each fixes, who gets which picture, and the guideline that everybody reads.

The plan is written to the catalog in one transaction; `Projects` then makes Label Studio equal to it.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from collector.catalog import labels as rows
from collector.catalog.labels import ANYBODY, Planned, Round, Task
from collector.errors import UsageError
from collector.records import Concept
from collector.splits import position
from collector.workspace import Workspace
from labeling import template
from labeling.annotators import check_addresses, enroll, labelers
from labeling.config import LabelConfig, Order
from labeling.interface import JOINT, instruction
from labeling.lifecycle import running
from labeling.projects import DISPUTED, HOLDOUT, Projects, shared
from labeling.reader import read_in
from labeling.studio import Studio


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a round fixes when it is opened, beside concept and labels. None: as it was opened, or as usual."""

    people: tuple[str, ...] | None = None
    order: Order | None = None
    several: bool | None = None
    proposals: bool | None = None
    blind: bool | None = None


def guideline(concept: Concept, config: LabelConfig, *, several: bool = False) -> str:
    """What annotators are told, in plain text."""
    if config.guideline:
        return config.guideline
    names = ", ".join(f"`{label}`" for label in concept.labels[:-1])
    asked = f"Choose {'all of' if several and len(concept.labels) > 2 else ''} {names}".replace("  ", " ")
    return (
        f"{asked} when the picture shows it, and `{concept.negative}` when it does not. "
        "If you cannot tell, say so (key 0): it is an answer, too. Leave a note when a picture is hard."
    )


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything that filling a round needs: the workspace, the concept, a signed-in `Studio` and who annotates.

    `shares` is annotator -> weight of his share of new tasks; `warnings` collects what was odd in Label Studio.
    """

    ws: Workspace
    concept: Concept
    studio: Studio
    shares: dict[str, float]
    warnings: list[str] = field(default_factory=list)

    @property
    def people(self) -> tuple[str, ...]:
        """Who gets tasks when a round names nobody."""
        return tuple(name for name, share in self.shares.items() if share > 0)

    def open(self, name: str, purpose: str, overlap: int, rules: Rules = Rules()) -> Round:
        """The round of that name, opened by `rules` if there is none; what it fixes is frozen then.

        Raises:
            UsageError: it was opened by other rules, or the rules cannot be followed.
        """
        found = rows.rounds(self.ws.catalog, self.concept.name).get(name)
        if found is not None:
            self._check_rules(found, purpose, rules)
        values = self._values(purpose, overlap, rules)
        found = rows.open_round(self.ws.catalog, self.concept.name, name, values)
        if tuple(found.labels) != self.concept.labels:
            raise UsageError(
                f"`{self.concept.name}` had the labels {', '.join(found.labels)} when its labeling began",
                hint="labels are frozen then: restore them in config.toml, or describe a new concept",
            )
        return found

    def brief(self) -> None:
        """Show the guideline as it is configured now in every round, after reading in what was given under the last."""
        config = self.ws.section(LabelConfig)
        stale = []
        for round_ in rows.rounds(self.ws.catalog, self.concept.name).values():
            told = guideline(self.concept, config, several=bool(round_.several))
            if _digest(told) != round_.guideline_hash:
                stale.append((round_, told))
        if stale:
            self.warnings.extend(read_in(self.ws, self.concept, self.studio).warnings)
        there = set(self.studio.projects().values()) if stale else set()
        for round_, told in stale:
            version = rows.put_guideline(self.ws.catalog, round_.id, told, _digest(told))
            for project in there & set(round_.projects.values()):
                self.studio.change_project(project, expert_instruction=instruction(told, version))

    def fill(
        self,
        round_: Round,
        wanted: Mapping[str, int],
        shown: Mapping[str, int] | None = None,
        planted: Sequence[Planned] = (),
    ) -> int:
        """Give every wanted image (image -> annotators that it needs) to people; returns how many tasks are new.

        Tasks are made in the order of `wanted`. `shown` is image -> id of the prediction to show with it; `planted` are
        tasks that are strewn among the others.
        """
        tasks = rows.tasks(self.ws.catalog, self.concept.name)
        planned = self._assign(round_, wanted, tasks)
        if shown:
            planned = [row._replace(prediction=shown.get(row.image)) for row in planned]
        if planted:
            keys = {row: self._position(round_, f"{row.image}:{row.annotator}:sentinel") for row in planted}
            places = [(number / max(1, len(planned)), row) for number, row in enumerate(planned)]
            planned = [
                row for _, row in sorted([*places, *((at, row) for row, at in keys.items())], key=lambda e: e[0])
            ]
        new = rows.plan(self.ws.catalog, round_.id, planned)
        Projects(self.ws, self.concept, self.studio, self.warnings).realize(round_)
        return new

    def crowd(self, round_: Round) -> tuple[str, ...]:
        """Who gets the tasks of a round."""
        if shared(round_):
            return (ANYBODY,)
        return self.people if round_.people is None else tuple(name for name in round_.people if name in self.shares)

    def _values(self, purpose: str, overlap: int, rules: Rules) -> dict[str, Any]:
        config = self.ws.section(LabelConfig)
        several = bool(rules.several)
        joint = [label for label in self.concept.labels if JOINT in label]
        if several and joint:
            raise UsageError(
                f"the label `{joint[0]}` holds a `{JOINT}`, which stands between the labels of one answer",
                hint="rename it in config.toml, or leave out --several",
            )
        for name in rules.people or ():
            if name not in self.shares:
                raise UsageError(f"`{name}` does not label here", hint=f"known: {', '.join(self.shares)}")
        page = None
        if config.template:
            page = template.read(self.ws.root / config.template, self.concept.labels, several=several)
        blind = config.blind if rules.blind is None else rules.blind
        told = guideline(self.concept, config, several=several)
        return {
            "purpose": purpose,
            "labels": list(self.concept.labels),
            "guideline": told,
            "guideline_hash": _digest(told),
            "overlap": overlap,
            "blind": blind or purpose in (HOLDOUT, DISPUTED),
            "proposals": bool(rules.proposals),
            "several": several,
            "order": rules.order or "random",
            "people": list(rules.people) if rules.people else None,
            "template": page,
        }

    def _check_rules(self, found: Round, purpose: str, rules: Rules) -> None:
        was = {
            "people": tuple(found.people) if found.people else None,
            "order": found.order or "random",
            "several": bool(found.several),
            "proposals": found.proposals,
            "blind": not shared(found),
        }
        asked = {name: getattr(rules, name) for name in was if getattr(rules, name) is not None}
        other = [name for name, value in asked.items() if value != was[name]]
        if found.purpose != purpose or other:
            what = other[0] if other else "purpose"
            now, before = (asked[what], was[what]) if other else (purpose, found.purpose)
            raise UsageError(
                f"the round `{found.name}` was opened with {what} {_words(before)}, not {_words(now)}",
                hint="what a round fixes stays: open another with --round NAME",
            )

    def _assign(self, round_: Round, wanted: Mapping[str, int], tasks: Sequence[Task]) -> list[Planned]:
        """Who gets which image: by shares, ties by a keyed hash, nobody twice the same image."""
        crowd = self.crowd(round_)
        shares = {name: self.shares.get(name, 1.0) or 1.0 for name in crowd}
        answered = {row.task for row in rows.current(self.ws.catalog, self.concept.name, sentinels=True)}
        saw: defaultdict[str, set[str]] = defaultdict(set)
        has: Counter[str] = Counter()
        for task in tasks:
            saw[task.image].add(task.annotator)
            # An open task of somebody who was removed will never be answered.
            if task.round == round_.id and (task.annotator in (*self.shares, ANYBODY) or task.id in answered):
                has[task.image] += 1
        load: Counter[str] = Counter()
        planned = []
        for image, people in wanted.items():
            missing = min(people, 1) - has[image] if crowd == (ANYBODY,) else people - has[image]
            if missing <= 0:
                continue
            free = [name for name in crowd if name not in saw[image]]
            if len(free) > 1:
                chance = self._chances(round_, image, shares)
                free.sort(key=lambda name: (load[name] / shares[name], chance[name]))
            for name in free[:missing]:
                planned.append(Planned(image, name))
                load[name] += 1
        return planned

    def _chances(self, round_: Round, image: str, shares: Mapping[str, float]) -> dict[str, float]:
        """A keyed draw for each annotator, smaller for larger shares (Efraimidis and Spirakis, IPL 97 (2006) 181)."""
        key = f"{self.ws.seed}:{self.concept.name}:{round_.name}:{image}"
        digest = hashlib.shake_128(key.encode()).digest(8 * len(shares))
        numbers = struct.unpack(f">{len(shares)}Q", digest)
        return {
            name: -math.log((number + 1) / 2**64) / share
            for number, (name, share) in zip(numbers, shares.items(), strict=True)
        }

    def _position(self, round_: Round, key: str) -> float:
        return position(f"{self.ws.seed}:{self.concept.name}:{round_.name}:{key}")


@contextmanager
def seat(ws: Workspace, concept: Concept) -> Iterator[Desk]:
    """A `Desk` at the running server, everybody enrolled and briefed; alone in the workspace while it is open."""
    server = running(ws)
    with ws.lock("label"), server.connect() as studio:
        people = {person.name: person for person in labelers(ws)}
        emails = {name: person.email for name, person in people.items()}
        check_addresses(emails.items())
        enroll(server, studio, emails)
        rows.add_annotators(ws.catalog, emails | {ANYBODY: ""})
        desk = Desk(ws, concept, studio, {n: 1.0 if p.share is None else p.share for n, p in people.items()})
        if not desk.people:
            raise UsageError("nobody would get a task: every share is 0", hint="`collect label assign NAME=1`")
        desk.brief()
        yield desk


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _words(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return ", ".join(value) if isinstance(value, tuple) else str(value or "everybody")
