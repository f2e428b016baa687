"""Rounds of labeling in Label Studio: one project for each (round, annotator), filled from a plan in the catalog.

One project for each annotator makes work blind by construction: Label Studio shows everybody in a project all answers
in it. The plan (who gets which image) is written in one transaction before anything is imported. Filling makes Label
Studio equal to the plan, so that a push that was killed anywhere is completed, not repeated, by the next one.
"""

from __future__ import annotations

import hashlib
import html
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from collector.catalog import labels as rows
from collector.catalog.labels import GONE, Planned, Round, Task
from collector.errors import UsageError
from collector.records import Concept
from collector.splits import position
from collector.workspace import Workspace
from labeling import accounts, server
from labeling.accounts import Account
from labeling.config import LabelConfig
from labeling.interface import Item, Proposal, interface
from labeling.lifecycle import folder_of, images_of
from labeling.server import Server
from labeling.studio import TITLE_LENGTH, Studio


def title(concept: str, name: str, annotator: str) -> str:
    """The title of the project of one annotator in one round; unique, and short enough for Label Studio."""
    whole = f"{concept} / {name} / {annotator}"
    if len(whole) <= TITLE_LENGTH:
        return whole
    return f"{whole[: TITLE_LENGTH - 9]} {hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def guideline(concept: Concept, config: LabelConfig) -> str:
    """What annotators are told, in plain text."""
    if config.guideline:
        return config.guideline
    names = ", ".join(f"`{label}`" for label in concept.labels[:-1])
    return (
        f"Choose {names} when the picture shows it, and `{concept.negative}` when it does not. "
        "If you cannot tell, say so (key 0): it is an answer, too. Leave a note when a picture is hard."
    )


def enroll(server: Server, studio: Studio, names: Iterable[str]) -> dict[str, str]:
    """Annotator name -> e-mail address, after making the accounts that are missing."""
    emails: dict[str, str] = {}
    users = set(studio.users().values())
    for name in names:
        account = accounts.load(server.folder).get(name) or Account.new(name)
        if account.email in emails.values():
            raise UsageError(
                f"two annotators in `label.annotators` would sign in as {account.email}",
                hint="give e-mail addresses instead of names",
            )
        if account.email not in users or not account.token:
            accounts.save(server.folder, account)  # before it exists: a password is never lost
            accounts.save(server.folder, account.with_token(studio.add_annotator(account)))
        emails[name] = account.email
    return emails


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything that filling a round needs: the workspace, the concept, a signed-in `Studio` and who annotates."""

    ws: Workspace
    concept: Concept
    studio: Studio
    people: tuple[str, ...]

    def open(self, name: str, purpose: str, overlap: int) -> Round:
        """The round of that name; its labels and guideline are frozen when it is opened."""
        told = guideline(self.concept, self.ws.section(LabelConfig))
        found = rows.open_round(
            self.ws.catalog,
            self.concept.name,
            name,
            {
                "purpose": purpose,
                "labels": list(self.concept.labels),
                "guideline": told,
                "guideline_hash": hashlib.sha256(told.encode()).hexdigest(),
                "overlap": overlap,
                "blind": purpose != "proposals",
                "proposals": purpose == "proposals",
            },
        )
        if tuple(found.labels) != self.concept.labels:
            raise UsageError(
                f"`{self.concept.name}` had the labels {', '.join(found.labels)} when its labeling began",
                hint="labels are frozen then: restore them in config.toml, or describe a new concept",
            )
        return found

    def fill(self, round_: Round, wanted: Sequence[str], shown: Mapping[str, int] | None = None) -> int:
        """Give every wanted image to `round_.overlap` annotators; returns how many tasks are new.

        `shown` is image -> id of the prediction to show with it.
        """
        mine = [task for task in rows.tasks(self.ws.catalog, self.concept.name) if task.round == round_.id]
        planned = self._assign(round_, wanted, mine)
        if shown:
            planned = [row._replace(prediction=shown.get(row.image)) for row in planned]
        new = rows.plan(self.ws.catalog, round_.id, planned)
        self._realize(round_)
        return new

    def images(self, name: str) -> set[str]:
        """The images that have tasks in the round of that name."""
        found = rows.rounds(self.ws.catalog, self.concept.name).get(name)
        return {
            task.image for task in rows.tasks(self.ws.catalog, self.concept.name) if found and task.round == found.id
        }

    def _assign(self, round_: Round, wanted: Sequence[str], mine: Sequence[Task]) -> list[Planned]:
        """Who gets which image: the least busy first, ties by a keyed hash, nobody twice the same image."""
        has: defaultdict[str, set[str]] = defaultdict(set)
        load = Counter(dict.fromkeys(self.people, 0))
        for task in mine:
            has[task.image].add(task.annotator)
            load[task.annotator] += 1
        planned = []
        for image in wanted:
            free = [name for name in self.people if name not in has[image]]
            key = f"{self.ws.seed}:{self.concept.name}:{round_.name}:{image}"
            free.sort(key=lambda name: (load[name], position(f"{key}:{name}")))
            for name in free[: max(0, round_.overlap - len(has[image]))]:
                planned.append(Planned(image, name))
                load[name] += 1
        return planned

    def _realize(self, round_: Round) -> None:
        mine: defaultdict[str, list[Task]] = defaultdict(list)
        for task in rows.tasks(self.ws.catalog, self.concept.name):
            if task.round == round_.id and task.project != GONE:
                mine[task.annotator].append(task)
        known = self.studio.projects()
        projects = {name: self._project(round_, name, known) for name in mine}
        if projects != round_.projects:
            rows.set_projects(self.ws.catalog, round_.id, projects)
        answered = {row.task for row in rows.current(self.ws.catalog, self.concept.name)}
        for done, (name, project) in enumerate(projects.items()):
            self.ws.progress(f"filling round {round_.name} for {name}", done, len(projects))
            gone = [task.id for task in mine[name] if task.project not in (0, project) and task.id in answered]
            rows.place(self.ws.catalog, GONE, dict.fromkeys(gone, GONE))
            self._import(project, [task for task in mine[name] if task.id not in gone])

    def _project(self, round_: Round, name: str, known: Mapping[str, int]) -> int:
        called = title(self.concept.name, round_.name, name)
        project = known.get(called)
        if project is None:
            told = html.escape(round_.guideline)
            project = self.studio.create_project(called, interface(round_.labels), told, proposals=round_.proposals)
        self.studio.serve_images(project, str(images_of(self.ws) / "objects"))
        return project

    def _import(self, project: int, tasks: Sequence[Task]) -> None:
        """Import what is missing, then write down Label Studio's ids; it never notices a second import itself."""
        there = self.studio.items(project)
        missing = [Item(task.image, proposal_of(task)) for task in tasks if task.image not in there]
        if missing:
            self.studio.import_items(project, missing)
            there = self.studio.items(project)
        places = {task.id: there[task.image].id or 0 for task in tasks}
        moved = {t.id: places[t.id] for t in tasks if (t.project, t.studio_task) != (project, places[t.id])}
        rows.place(self.ws.catalog, project, moved)


@contextmanager
def seat(ws: Workspace, concept: Concept) -> Iterator[Desk]:
    """A `Desk` at the running server, everybody enrolled; alone in the workspace while it is open."""
    running = server.running(folder_of(ws))
    with ws.lock("label"), running.connect() as studio:
        emails = enroll(running, studio, ws.section(LabelConfig).annotators)
        rows.add_annotators(ws.catalog, emails)
        yield Desk(ws, concept, studio, tuple(emails))


def proposal_of(task: Task) -> Proposal | None:
    """What Label Studio shows with a task."""
    if task.proposal is None or task.score is None or task.model_run is None:
        return None
    return Proposal(task.proposal, task.score, task.model_run)
