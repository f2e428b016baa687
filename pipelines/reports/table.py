"""The agreement page of a table of answers that no workspace holds: one file, without pictures."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from collector import durable
from collector.records import Concept
from labeling.measure import Measured
from pipelines.pages import site
from pipelines.reports.judgment import agreement_of
from pipelines.reports.record import people_of


def write(path: Path, title: str, measured: Measured, words: list[str]) -> None:
    """Write the page to `path`, replacing what is there.

    Raises:
        CollectError: the file cannot be written, or its disk is full.
    """
    page = {"name": "agreement", "title": "Agreement", "question": "Can the labels be trusted?"}
    about = {"concept": Concept(title, measured.answers.labels), "page": page, "pages": (), "filled": ()}
    imprint = {"answers": title, "collect": version("collect-dataset")}
    content = {**agreement_of(measured, words, measured.warnings), **people_of(measured)}
    with durable.explained(path):
        durable.save(path.resolve(), site.renderer()("agreement", {**about, "imprint": imprint, **content}))
