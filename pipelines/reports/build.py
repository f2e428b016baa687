"""`collect report`: write one self-contained HTML site about a concept, a page for each step.

The site opens from disk and sends nothing anywhere: no outside file, every picture inlined, and no script but the j
and k keys of one page. All of it is made before the first file is replaced, so a killed report leaves the old one.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from collector.catalog import funnel, progress
from collector.credits import to_csv
from collector.errors import CollectError
from collector.records import Summary
from collector.workspace import Workspace
from pipelines.pages import site
from pipelines.pages.files import folder_name, publish
from pipelines.reports import (
    composition,
    credits,
    duplicates,
    gathering,
    judgment,
    learning,
    mistakes,
    model_page,
    negatives,
    quality_page,
    record,
    runs_page,
)
from pipelines.reports.material import Material
from pipelines.reports.stages import stages
from pipelines.status import STEPS


class Page(NamedTuple):
    """One page: the question it answers, the command that fills it, and what makes its content."""

    name: str
    title: str
    question: str
    command: str
    content: Callable[[Material], dict[str, Any] | None]


PAGES = (
    Page("crawl", "Crawl", "Where do the images come from?", "crawl", gathering.crawl),
    Page("composition", "Composition", "Does one source, creator or host dominate?", "crawl", composition.composition),
    Page("duplicates", "Duplicates", "Which images are copies of which?", "dedup", duplicates.page),
    Page("quality", "Quality", "Which images are poor, or private?", "quality", quality_page.quality),
    Page("negatives", "Negatives", "Are the negatives negative?", "negatives", negatives.negatives),
    Page("agreement", "Agreement", "Can the labels be trusted?", "label pull", judgment.agreement),
    Page("disagreements", "Disagreements", "Which images are hard?", "label pull", judgment.disagreements),
    Page("annotators", "Annotators", "Whose answers should be looked at?", "label pull", record.annotators),
    Page("events", "Events", "Who changed whose answers after submission?", "label pull", record.events),
    Page("errata", "Errata", "Which labels are known to be wrong?", "errata list", record.errata),
    Page("snapshot", "Snapshot", "What is frozen for training?", "snapshot", learning.snapshot),
    Page("model", "Model", "Is the model any good?", "train-baseline", model_page.model),
    Page("mistakes", "Mistakes", "What does the model get wrong, and why?", "train-baseline", mistakes.mistakes),
    Page("curve", "Learning curve", "Would more labels help?", "train-baseline", learning.curve),
    Page("runs", "Runs", "Which run is better?", "train-baseline", runs_page.runs),
    Page("prelabels", "Proposals", "What does the model say of the rest?", "prelabel", learning.prelabels),
    Page("next", "Next", "Which images should people label next?", "next", learning.chosen_next),
    Page("credits", "Credits", "Whom do we owe?", "crawl", credits.page),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSummary(Summary):
    """The report at `path`: `pages` HTML files, `filled` of them with content of their step; `images` are pictures."""

    concept: str
    path: str
    pages: int
    filled: int
    images: int


def report(ws: Workspace, concept: str | None = None, *, out: Path | None = None) -> ReportSummary:
    """Write the report of a concept to the folder `out`, by default under the data folder.

    Raises:
        CollectError: the folder cannot be written, or its disk is full.
    """
    of = Material(ws, ws.concept(concept))
    folder = (out or ws.data / "reports" / folder_name(of.name)).resolve()
    with ws.lock("report"):
        contents, problems = _contents(of)
        files = _render(of, contents, problems)
        publish(folder, files)
    return ReportSummary(
        concept=of.name,
        path=str(folder / "index.html"),
        pages=len(PAGES) + 1,
        filled=sum(content is not None for content in contents.values()),
        images=len(of.album),
        next=_next(of),
        warnings=_warnings(of, problems),
    )


def _contents(of: Material) -> tuple[dict[str, dict[str, Any] | None], dict[str, CollectError]]:
    """Page -> content; a page whose data is damaged gets a problem instead, and the others are made all the same."""
    contents: dict[str, dict[str, Any] | None] = {}
    problems = {}
    for done, page in enumerate(PAGES):
        of.ws.progress(f"report: {page.name}", done, len(PAGES))
        try:
            contents[page.name] = page.content(of)
        except CollectError as error:
            contents[page.name], problems[page.name] = None, error
    return contents, problems


def _render(
    of: Material, contents: Mapping[str, dict[str, Any] | None], problems: Mapping[str, CollectError]
) -> dict[str, bytes]:
    """File name -> bytes, the index last: it is replaced last."""
    shared = {
        "concept": of.concept,
        "pages": PAGES,
        "filled": {name for name, content in contents.items() if content is not None},
        "imprint": _imprint(of),
    }
    render = site.renderer()
    files = {"credits.csv": to_csv(of.credits)}
    for page in PAGES:
        content = contents[page.name]
        template = page.name if content is not None else "not-yet"
        extra = {"problem": problems.get(page.name)} if content is None else content
        files[f"{page.name}.html"] = render(template, {**shared, "page": page, **extra})
    figures = {"agreement": contents["agreement"], "model": contents["model"], "crawl": contents["crawl"]}
    index = {"page": None, "stages": stages(of), "figures": figures, "next": _next(of)}
    files["index.html"] = render("index", {**shared, **index})
    return files


def _imprint(of: Material) -> dict[str, str]:
    """What the pages were made from; no wall time, so that the same workspace gives the same bytes."""
    return {
        "concept": of.name,
        "snapshot": of.snapshot.digest[:16] if of.snapshot else "none yet",
        "run": of.run.run if of.run else "none yet",
        "newest row": funnel.newest_row(of.catalog, of.name) or "none yet",
        "collect": version("collect-dataset"),
    }


def _next(of: Material) -> str:
    counts = progress.counts(of.catalog, of.name)
    waiting = (command for step, command in STEPS if not counts[step])
    return next(waiting, "collect label push {concept}").format(concept=shlex.quote(of.name))


def _warnings(of: Material, problems: Mapping[str, CollectError]) -> tuple[str, ...]:
    said = [f"{name}: {error.message}" for name, error in problems.items()]
    if of.album.unreadable:
        said.append(f"{len(of.album.unreadable)} pictures cannot be read any more; restore the store from a backup")
    return tuple(said)
