"""`collect label backend`: proposes live, while people label, and learns from their answers when told to.

It is no step: it serves until Ctrl-C, and like the demo it calls steps (pull, agreement, snapshot, train-baseline, with
their gates) when somebody presses Start Training. Every proposal is a row of the catalog before anybody sees it.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collector.catalog import images as image_rows
from collector.catalog import labels, models, pools
from collector.catalog.labels import Guess, Task
from collector.errors import CollectError, UsageError
from collector.records import Concept, Summary
from collector.store import Preview
from collector.workspace import Workspace
from labeling import live, template
from labeling.backend import USER, listening
from labeling.config import LabelConfig
from labeling.interface import Proposal, prediction
from labeling.pull import pull
from labeling.review import agreement
from pipelines import features
from pipelines.backbones import BATCH, Backbone
from pipelines.predict import Model, Predictor, judged, load_model, model_run
from pipelines.snapshot import snapshot
from pipelines.train import train_baseline
from pipelines.zero_shot import zero_shot as guessing

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSummary(Summary):
    """What proposes, where it listens, and how many projects of Label Studio ask it. `run` is None for zero-shot."""

    url: str
    concept: str
    model_version: str
    run: str | None
    projects: int


@dataclass(slots=True, eq=False)
class _Served:
    """A model, its network, ready; what it has said (image -> row of the catalog); the vectors that it knows."""

    model: Predictor
    backbone: Backbone
    said: dict[str, Guess]
    vectors: dict[str, NDArray[np.float16]]


class Live:
    """The service behind the protocol (`labeling.backend.Service`); several threads may call it while `stack` is open.

    `announce` is called with the version of a model that was trained meanwhile, once it is served.
    """

    def __init__(
        self, ws: Workspace, concept: Concept, model: Predictor, stack: ExitStack, announce: Callable[[str], object]
    ) -> None:
        self.ws, self.concept = ws, concept
        self._stack, self._announce = stack, announce
        self._pool = stack.enter_context(ThreadPoolExecutor(os.cpu_count()))
        self._tasks = live.LiveTasks(ws, concept)
        self._shown: dict[int, int] = {}  # task row -> prediction row
        self._training, self._changing = threading.Lock(), threading.Lock()
        self._ended = False
        self._served = self._prepared(model)

    @property
    def version(self) -> str:
        """The model version that it serves now."""
        return self._served.model.version

    def suits(self, page: str) -> bool:
        """Whether a page asks for the labels of the concept."""
        return set(self.concept.labels) <= set(template.choices(page))

    def predict(self, project: int, tasks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any] | list[Any]]:
        """What Label Studio may show with each task of a project."""
        served = self._served
        found = self._tasks.find(project, tasks)
        free = [task for task in found if task and not self._tasks.planted(task) and self._tasks.may_show(task)]
        said = self._say(served, [task.image for task in free])
        shown = {task.id: said[task.image] for task in free if task.image in said}
        self._note({task: guess.id for task, guess in shown.items()})
        return [self._answer(task, shown.get(task.id), served.model.version) if task else [] for task in found]

    def train(self) -> None:
        """Learn from the newest answers in the background; a second call meanwhile does nothing."""
        if self._training.acquire(blocking=False):
            threading.Thread(target=self._learn, name="label-backend-training", daemon=True).start()
        else:
            log.info("the live backend is training already")

    def end(self) -> None:
        """Serve no other model from now on; a training that is under way comes to nothing here."""
        with self._changing:
            self._ended = True

    def _answer(self, task: Task, guess: Guess | None, version: str) -> dict[str, Any] | list[Any]:
        if guess:
            return prediction(Proposal(guess.label, guess.score, version))
        if self._tasks.planted(task) and task.proposal is not None and task.score is not None:
            return prediction(Proposal(task.proposal, task.score, version))
        return []

    def _prepared(self, model: Predictor, before: _Served | None = None) -> _Served:
        """A model that is ready to answer, with what is known already; another head keeps the network of `before`."""
        models.put_model_run(self.ws.catalog, model_run(model))
        said = labels.guesses(self.ws.catalog, self.concept.name, model.version)
        folder = features.folder_of(self.ws, model.backbone)
        if before and folder == features.folder_of(self.ws, before.model.backbone):
            return _Served(model, before.backbone, said, before.vectors)
        self._stack.enter_context(model.backbone.ready())
        train = {image for image, split in pools.splits(self.ws.catalog, self.concept.name).items() if split == "train"}
        mine = sorted(features.known(folder) & train)
        matrix = features.read(folder, mine, model.backbone.dimension).astype(np.float16)
        return _Served(model, model.backbone, said, dict(zip(mine, matrix, strict=True)))

    def _say(self, served: _Served, images: Sequence[str]) -> dict[str, Guess]:
        """What the model says of images; those that cannot be decoded are left out."""
        new = [image for image in dict.fromkeys(images) if image not in served.said]
        vectors = self._vectors(served, new)
        if vectors:
            catalog, concept, version = self.ws.catalog, self.concept.name, served.model.version
            found = judged(served.model, list(vectors), np.stack(list(vectors.values())).astype(np.float32))
            models.add_predictions(catalog, version, concept, found)
            ids = models.prediction_ids(catalog, version, concept, list(vectors))
            served.said.update({each.image: Guess(ids[each.image], each.label, each.score) for each in found})
        return {image: served.said[image] for image in images if image in served.said}

    def _vectors(self, served: _Served, images: Sequence[str]) -> dict[str, NDArray[np.float16]]:
        missing = [image for image in images if image not in served.vectors]
        places = image_rows.previews(self.ws.catalog, missing) if missing else {}
        batches = list(features.batched(missing, BATCH))
        for found in self._pool.map(lambda batch: self._embedded(served.backbone, batch, places), batches):
            served.vectors.update(found)
        return {image: served.vectors[image] for image in images if image in served.vectors}

    def _embedded(
        self, backbone: Backbone, images: Sequence[str], places: Mapping[str, Preview | None]
    ) -> dict[str, NDArray[np.float16]]:
        prepared = {}
        for image in images:
            try:
                prepared[image] = backbone.prepare(features.picture(self.ws, image, places.get(image)))
            except CollectError as error:
                log.warning("no proposal: %s", error.message)
        if not prepared:
            return {}
        matrix = backbone.embed(np.stack(list(prepared.values())), fill=False).astype(np.float16)
        return dict(zip(prepared, matrix, strict=True))

    def _note(self, shown: Mapping[int, int]) -> None:
        """Write down what is shown with tasks (task row -> prediction row), where it is new."""
        new = {task: guess for task, guess in shown.items() if self._shown.get(task) != guess}
        labels.show(self.ws.catalog, new)
        self._shown.update(new)

    def _learn(self) -> None:
        try:
            before = self._served
            model = retrain(self.ws, self.concept.name, before.model)
            if model.version == before.model.version:
                log.info("there is no new label: %s stays", model.version)
                return
            served = self._prepared(model, before)
            with self._changing:
                if not self._ended:
                    self._served = served
                    self._announce(model.version)
                    log.info("the live backend proposes by %s now", model.version)
        except Exception as error:  # whatever breaks in training, people go on labeling
            said = error.message if isinstance(error, CollectError) else f"{type(error).__name__}: {error}"
            if not self._ended:
                log.warning("training failed, %s still proposes: %s", self.version, said)
        finally:
            self._training.release()


@contextmanager
def serving(
    ws: Workspace, concept: str | None = None, *, run: str | None = None, zero_shot: bool = False
) -> Iterator[BackendSummary]:
    """Propose live while the block runs, by the run that begins with `run`, or else by the newest finished one.

    Before anything is trained, and with `zero_shot`, the pretrained network guesses by its ImageNet classes. Label
    Studio asks by a password that is made anew each time.

    Raises:
        UsageError: no run is called so; or ImageNet has no class of the concept.
        CollectError: the port is taken.
        ServiceDown: Label Studio is not running.
        GateNotMet: no task there may show a proposal yet.
    """
    described = ws.concept(concept)
    model = _chosen(ws, described, run, zero_shot)
    sign_in = (USER, secrets.token_urlsafe(32))
    with ExitStack() as stack:
        service = Live(ws, described, model, stack, lambda version: live.connect(ws, described, url, version, sign_in))
        url = stack.enter_context(listening(service, ws.section(LabelConfig).backend_port, sign_in[1]))
        try:
            projects = live.connect(ws, described, url, model.version, sign_in)
            yield BackendSummary(
                url=url,
                concept=described.name,
                model_version=model.version,
                run=model.run,
                projects=projects,
                next=f"collect label pull {described.name} --watch",
            )
        finally:
            service.end()
            _leave(ws, described)


def _leave(ws: Workspace, concept: Concept) -> None:
    try:
        live.disconnect(ws, concept)
    except CollectError as error:  # it holds what no longer answers: pages come without proposals
        log.info("the next live backend takes this one's place in Label Studio: %s", error.message)


def _chosen(ws: Workspace, concept: Concept, run: str | None, zero_shot: bool) -> Predictor:
    if run and zero_shot:
        raise UsageError("a run was trained, a zero-shot guess was not", hint="give either --run or --zero-shot")
    if zero_shot or not (run or models.find_finished(ws.catalog, concept.name)):
        return guessing(ws, concept)
    return load_model(ws, concept.name, run)


def retrain(ws: Workspace, concept: str, model: Predictor) -> Model:
    """Learn from all that people have answered until now, on the backbone of `model`; every gate holds.

    Raises:
        CollectError: Label Studio does not answer, or a gate of agreement, snapshot or training is not met.
    """
    pull(ws, concept)
    agreement(ws, concept)
    used = model.backbone
    learned = train_baseline(ws, snapshot(ws, concept), backbone=used.name, weights=used.weights)
    return load_model(ws, concept, learned.run)
