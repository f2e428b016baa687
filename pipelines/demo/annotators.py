"""Three scripted annotators for the demo: users of Label Studio who answer through its HTTP API, as people would.

Each knows what the pictures show and errs at a stated rate. What one says of an image depends on the two names alone,
so a demo that was killed continues as if it had not been, and a repeated demo gets the same answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

from collector.splits import position
from labeling.interface import UNSURE
from labeling.server import Server


@dataclass(frozen=True, slots=True)
class Annotator:
    """A scripted person: shares of wrong answers, of "can't tell" and of skipped pictures; seconds for an answer."""

    name: str
    wrong: float
    unsure: float = 0.01
    skips: float = 0.01
    pace_s: float = 1.5


ANNOTATORS = (Annotator("ana", 0.02), Annotator("ben", 0.05), Annotator("eva", 0.10, unsure=0.03, pace_s=1.1))


def opinion(who: Annotator, image: str, truth: str, labels: Sequence[str]) -> str | None:
    """What `who` says of an image that shows `truth`: one of the labels, `UNSURE`, or None to skip it."""
    draw = position(f"{who.name}:{image}:answer")
    if draw < who.wrong:
        others = [label for label in labels if label != truth]
        return others[int(position(f"{who.name}:{image}:error") * len(others))]
    if draw < who.wrong + who.unsure:
        return UNSURE
    return None if draw < who.wrong + who.unsure + who.skips else truth


def answer_all(
    server: Server,
    projects: Mapping[str, Sequence[int]],
    truth: Mapping[str, str],
    labels: Sequence[str],
    answered: Callable[[int], None],
) -> int:
    """Let every annotator answer what is left of each of his projects (name -> ids); the number of answers given.

    One thread for each of them: four clients at once are what Label Studio on SQLite takes best. `truth` is image ->
    label; `answered(n)` is called after the nth answer.
    """
    people = [who for who in ANNOTATORS if projects.get(who.name)]
    given, lock = 0, Lock()

    def work(who: Annotator) -> None:
        nonlocal given
        for _ in _answers(server, who, projects[who.name], truth, labels):
            with lock:
                given += 1
                answered(given)

    with ThreadPoolExecutor(max_workers=max(1, len(people))) as pool:
        list(pool.map(work, people))  # raises what a thread raised
    return given


def _answers(
    server: Server, who: Annotator, projects: Sequence[int], truth: Mapping[str, str], labels: Sequence[str]
) -> Iterator[None]:
    with server.connect(who.name) as studio:
        for project in projects:
            done = {answer.item for answer in studio.answers(project)}
            for item in studio.items(project).values():  # one list instead of a `next` for each: half the requests
                if item.id in done:
                    continue
                said = opinion(who, item.image, truth[item.image], labels)
                seconds = round(who.pace_s * (0.6 + 1.2 * position(f"{who.name}:{item.image}:pace")), 2)
                studio.submit(project, item, said, seconds=seconds, skip=said is None)
                yield
