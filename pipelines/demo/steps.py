"""`collect demo`: the whole loop on this machine, through the functions that the commands call.

Nothing of it is staged but what is stated: the site (site.py), the pictures (drawn, or yours), and three annotators who
know what the pictures show and err at stated rates. Scrapy, the catalog, Label Studio, training and report are real.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from collector.catalog import labels as label_rows
from collector.dedup import DedupSummary, dedup
from collector.errors import UsageError
from collector.negatives import NegativesSummary, negatives
from collector.records import Summary
from collector.spiders.runner import CrawlSummary, crawl
from collector.workspace import Progress, Workspace, silent
from labeling import lifecycle
from labeling.lifecycle import StartSummary, folder_of
from labeling.projects import HOLDOUT, POOL
from labeling.pull import PullSummary, pull
from labeling.push import PushSummary, push
from labeling.review import AgreementSummary, agreement
from labeling.server import running
from pipelines.backbones import need_extra
from pipelines.demo.annotators import ANNOTATORS, answer_all
from pipelines.demo.folder import REAL_LIMIT, configured, environment, site_port
from pipelines.demo.pictures import Material, drawn, given
from pipelines.demo.site import Site
from pipelines.evaluate import EvaluateSummary, evaluate
from pipelines.manifest import SPLITS
from pipelines.prelabel import PrelabelSummary, prelabel
from pipelines.reports.build import ReportSummary, report
from pipelines.snapshot import SnapshotSummary, snapshot
from pipelines.train import RunSummary, train_baseline

CONCEPT = "horse"
NETWORK = "squeezenet1_1"
POOL_TASKS = 130  # training images that people label; the rest of the pool is left for proposals


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSummary(Summary):
    """What each step said, under its name; `answers` were given in this run, `seconds` is the wall time of all.

    `tasks` are in Label Studio at the end, those with proposals too; `files_requested` counts the picture requests that
    the site got in this run; `studio` is Label Studio's address if it was left open.
    """

    crawl: CrawlSummary
    dedup: DedupSummary
    negatives: NegativesSummary
    push: PushSummary
    pull: PullSummary
    agreement: AgreementSummary
    snapshot: SnapshotSummary
    train_baseline: RunSummary
    evaluate: EvaluateSummary
    prelabel: PrelabelSummary
    report: ReportSummary
    tasks: int
    answers: int
    files_requested: int
    seconds: float
    studio: str

    def as_json(self) -> dict[str, Any]:
        """One object a step under the step's name, as it is typed."""
        figures = asdict(self)
        figures["train-baseline"] = figures.pop("train_baseline")
        return figures

    def for_people(self) -> dict[str, Any]:
        """The figures of the table at the end."""
        trained = self.train_baseline
        return {
            "seen": self.crawl.seen,
            "kept": self.crawl.kept,
            "refused": self.crawl.rejected,
            "duplicate groups": self.dedup.groups,
            "negatives": self.negatives.negatives,
            "left out": self.negatives.excluded,
            "tasks": self.tasks,
            "answers": self.pull.annotations,
            "alpha": self.agreement.alpha,
            "alpha_low": self.agreement.alpha_low,
            "alpha_high": self.agreement.alpha_high,
            "train / calibration / validation / test": " / ".join(
                str(getattr(self.snapshot, split)) for split in SPLITS
            ),
            "backbone": trained.backbone,
            "ap": trained.ap,
            "ap_low": trained.ap_low,
            "ap_high": trained.ap_high,
            "proposals": self.prelabel.proposed,
            "report": self.report.path,
            **({"Label Studio": self.studio} if self.studio else {}),
            "seconds": round(self.seconds),
        }


def demo(
    root: Path,
    *,
    pictures: Path | None = None,
    negatives: Path | None = None,
    weights: Path | None = None,
    keep_open: bool = False,
    progress: Progress = silent,
) -> DemoSummary:
    """Run every step in the folder `root`; a second run continues, and repeats nothing that is done.

    Args:
        root: becomes a workspace; it is made if it does not exist.
        pictures: folder of real pictures of horses instead of drawings; goes with `negatives`.
        negatives: folder of other real pictures, named as in ImageN.
        weights: state dict of squeezenet1_1; without it published weights from torch's cache, else `classic`.
        keep_open: leave Label Studio running at the end.
        progress: called as `progress(text, done, total)`.

    Raises:
        UsageError: `root` holds something else, or only one of `pictures` and `negatives` is given.
        CollectError: the extra `train` is missing; told before anything begins.
    """
    begun = time.monotonic()
    need_extra()
    if (pictures is None) != (negatives is None):
        raise UsageError("real horses need real negatives, and the other way round", hint="give both folders")
    root = root.resolve()
    real = f"{pictures.resolve()} and {negatives.resolve()}" if pictures and negatives else ""
    config = configured(root, real, REAL_LIMIT) if real else configured(root, "drawings")
    with _studio_starting(config, keep_open) as studio:
        material = given(pictures, negatives) if pictures and negatives else drawn(root / "site", progress)
        with (
            Site(material.pictures, port=site_port(config), log=root / "requests.log") as site,
            Workspace.open(config, progress=progress, environ=environment(site.url)) as ws,
        ):
            summaries = _gather(ws, material)
            studio.result()
            summaries |= _label(ws, material.truth(site.listing))
            summaries |= _learn(ws, weights, accept_shortcut=pictures is not None)
            return DemoSummary(
                **summaries,
                tasks=len(label_rows.tasks(ws.catalog, CONCEPT)),
                files_requested=site.requests.total(),
                seconds=round(time.monotonic() - begun, 1),
                studio=studio.result().url if keep_open else "",
                next=f"cd {root} && collect status",
                warnings=_warnings(summaries, drawings=pictures is None),
            )


def _gather(ws: Workspace, material: Material) -> dict[str, Any]:
    return {
        "crawl": crawl(ws, CONCEPT),
        "dedup": dedup(ws),
        "negatives": negatives(ws, CONCEPT, folder=material.negatives, license=material.license),
    }


def _label(ws: Workspace, truth: dict[str, str]) -> dict[str, Any]:
    pushed = push(ws, CONCEPT, limit=POOL_TASKS)
    # The scripted annotators answer these rounds only: the proposals are left for whoever opens Label Studio.
    rounds = label_rows.rounds(ws.catalog, CONCEPT)
    projects = {
        who.name: [rounds[name].projects[who.name] for name in (HOLDOUT, POOL) if who.name in rounds[name].projects]
        for who in ANNOTATORS
    }
    given_now = answer_all(
        running(folder_of(ws)),
        projects,
        truth,
        ws.concept(CONCEPT).labels,
        lambda done: ws.progress("annotators answer in Label Studio", done, None),
    )
    return {"push": pushed, "answers": given_now, "pull": pull(ws, CONCEPT), "agreement": agreement(ws, CONCEPT)}


def _learn(ws: Workspace, weights: Path | None, *, accept_shortcut: bool) -> dict[str, Any]:
    frozen = snapshot(ws, CONCEPT, accept_shortcut=accept_shortcut)  # given folders are as they are, and it is told
    weights = weights or _published()
    return {
        "snapshot": frozen,
        "train_baseline": train_baseline(
            ws,
            frozen,
            backbone="squeezenet1_1" if weights else "classic",
            weights=weights.resolve() if weights else None,
        ),
        "evaluate": evaluate(ws, CONCEPT, again=True),  # a demo shows every step, also of a run after the first
        "prelabel": prelabel(ws, CONCEPT),
        "report": report(ws, CONCEPT),
    }


def _warnings(summaries: dict[str, Any], *, drawings: bool) -> tuple[str, ...]:
    rates = ", ".join(f"{who.name} {who.wrong:.0%}" for who in ANNOTATORS)
    told = [f"the annotators are scripts that know what is shown and err on purpose: {rates} of their answers"]
    if drawings:
        told.append(
            "the pictures are drawings: the figures show that the loop works, not what it can do on photographs"
        )
    told += [said for said in summaries["snapshot"].warnings if "without the pixels" in said]
    if summaries["train_baseline"].backbone == "classic":
        told.append("no pretrained weights on this machine, so the weak backbone `classic` was used: --weights FILE")
    return tuple(told)


@contextmanager
def _studio_starting(config: Path, keep_open: bool) -> Iterator[Future[StartSummary]]:
    """Label Studio, started in the background meanwhile; ended with the demo unless `keep_open`."""
    with Workspace.open(config) as ws, ws.lock("demo"), ThreadPoolExecutor(max_workers=1) as background:
        starting = background.submit(lifecycle.start, ws)
        try:
            yield starting
        finally:
            starting.exception()
            if not keep_open:
                lifecycle.stop(ws)


def _published() -> Path | None:
    """The published weights of the network if torch's cache has them: the demo itself never asks the network."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("TORCH_HOME") or cache / "torch") / "hub" / "checkpoints"
    return next(iter(sorted(folder.glob(f"{NETWORK}-*.pth"))), None)
