"""A workspace in which every step has run on strangers' worst text, and its report."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from collector import splits
from collector.catalog import consensus, images, labels, models, sightings
from collector.catalog.models import ModelRun, Prediction
from collector.dedup import dedup
from collector.intake import take_in
from collector.negatives import negatives
from collector.quality import quality
from collector.records import Kept, License, Rejected, Sighting
from collector.workspace import Workspace
from labeling.errata import open_erratum
from labeling.review import agreement
from pipelines.next import next_images
from pipelines.predict import load_model
from pipelines.reports.build import report
from pipelines.snapshot import snapshot
from pipelines.train import train_baseline
from tests.pipelines.labeled import collect, label_all, stripes

PAYLOADS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><script>alert(1)</script>",
    "<svg/onload=alert(1)>",
    "{{ 7 * 7 }}{% raise %}",
    "&lt;b&gt;not bold&lt;/b&gt;",
    '=HYPERLINK("http://evil.example")',
    "-2+3+cmd|' /C calc'!A0",
    "\u202egnp.exe مرحبا",
    "\x1b[31mred\x1b[0m",
    "long " * 100,
)
LINKS = (
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    'https://evil.example/"onclick="alert(1)',
    "http://[",
    "https://good.example/page",
)
BY = License("by-sa", "4.0", "https://creativecommons.org/licenses/by-sa/4.0/", evidence="license=by-sa")


def find(ws: Workspace, data: bytes, n: int | str, payload: str = "", page: str = "") -> str:
    """Take one picture in, with a stranger's text in every field that a stranger fills."""
    seen = Sighting(
        "openverse", f"id-{n}", f"https://img.example/{n}", BY, "horse", "horse", "horse",
        page=page, title=payload, creator=payload, creator_url=page,
    )  # fmt: skip
    outcome = take_in(ws, data, seen)
    assert isinstance(outcome, Kept)
    return outcome.image


def fill(ws: Workspace) -> None:
    """Every step before the report, through the steps themselves; only people are played."""
    ws.concept("horse", create=True)
    for n in range(36):
        find(ws, stripes(0, n), n, PAYLOADS[n % len(PAYLOADS)], LINKS[n % len(LINKS)])
    large = Image.open(io.BytesIO(stripes(0, 3)))
    buffer = io.BytesIO()
    large.resize((large.width * 2, large.height * 2)).save(buffer, "PNG")
    find(ws, buffer.getvalue(), "copy", PAYLOADS[0], LINKS[0])
    bad = Sighting("wikimedia", "bad", "https://x/bad", BY, "horse", "horse")
    images.reject(ws.catalog, bad, Rejected("license-not-allowed", PAYLOADS[0]))
    dedup(ws)
    quality(ws)
    folder = ws.root / "others"
    folder.mkdir()
    for n in range(36):
        (folder / f"other-{n}.png").write_bytes(stripes(1, n))
    negatives(ws, "horse", folder=folder)
    _answer(ws)
    agreement(ws, "horse")
    snapshot(ws, "horse")
    train_baseline(ws, "horse")
    _predict(ws)
    next_images(ws, "horse", count=6)
    _follow_up(ws)


def _answer(ws: Workspace) -> None:
    about = ws.concept("horse")
    home = splits.draw(ws, about)
    horses = found_as_horses(ws)
    for n, image in enumerate(sorted(home)):
        if home[image] == "train" and n % 5 == 0:
            continue  # left for the model
        truth, wrong = (about.positive, about.negative) if image in horses else (about.negative, about.positive)
        say(ws, image, "ann", truth)
        say(ws, image, PAYLOADS[0], truth)
        say(ws, image, "cyd", wrong if n % 7 == 0 else truth)


def say(ws: Workspace, image: str, who: str, label: str) -> None:
    """One person's answer, with a hostile note."""
    given = {"concept": "horse", "image": image, "annotator": who, "state": "answered", "label": label}
    about = {"note": PAYLOADS[1], "seconds": 2.5, "content": f"{image} {who}"}
    labels.add_annotators(ws.catalog, {who: "a@example.org"})
    labels.add_annotations(ws.catalog, [{**given, **about}])


def _follow_up(ws: Workspace) -> None:
    """A task in Label Studio for a disputed picture, an answer that somebody else changed, and errata."""
    standing = labels.current(ws.catalog, "horse")
    disputed = next(row for row in standing if row.annotator == "cyd")
    about = {"labels": ["horse", "not-horse"], "guideline": "", "guideline_hash": "", "overlap": 1, "blind": True}
    rules = {"purpose": "pool", "proposals": False, "projects": {}}
    opened = labels.open_round(ws.catalog, "horse", PAYLOADS[0], {**about, **rules})
    labels.plan(ws.catalog, opened.id, [labels.Planned(disputed.image, name) for name in ("ann", "cyd", PAYLOADS[0])])
    here = [task.id for task in labels.tasks(ws.catalog, "horse")]
    labels.place(ws.catalog, 7, {number: 70 + place for place, number in enumerate(here)})
    changed = {"concept": "horse", "image": disputed.image, "annotator": "cyd", "state": "answered", "label": "horse"}
    by = {"note": PAYLOADS[0], "seconds": 2.5, "supersedes": disputed.id, "studio_updated_by": PAYLOADS[0]}
    labels.add_annotations(ws.catalog, [{**changed, **by, "content": "changed"}])
    for row in consensus.settled(ws.catalog, "horse")[:2]:
        other = "horse" if row.label == "not-horse" else "not-horse"
        open_erratum(ws, row.image, should_be=other, why=PAYLOADS[0], by=PAYLOADS[1], concept="horse")


def found_as_horses(ws: Workspace) -> set[str]:
    """The images that were found as horses."""
    return {seen.image for seen in sightings.latest(ws.catalog, "horse", ["openverse"])}


def _predict(ws: Workspace) -> None:
    model = load_model(ws, "horse")
    judged = sorted(splits.draw(ws, ws.concept("horse")))
    models.put_model_run(ws.catalog, ModelRun(model.version, model.experiment.run, model.backbone.name, "w", "t"))
    rows = [
        Prediction(image, "horse", float(p[0]), dict(zip(model.head.labels, map(float, p), strict=True)))
        for image, p in zip(judged, model.probabilities(ws, judged), strict=True)
    ]
    models.add_predictions(ws.catalog, model.version, "horse", rows)


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A workspace in which every step has run, full of hostile text."""
    folder = tmp_path_factory.mktemp("full")
    (folder / "config.toml").write_text('[train]\nbackbone = "classic"\n', encoding="utf-8")
    with Workspace.open(folder / "config.toml", environ={}) as ws:
        fill(ws)
        yield ws


@pytest.fixture(scope="session")
def site(full: Workspace) -> Path:
    """The folder of the report of `full`."""
    return Path(report(full).path).parent


@pytest.fixture(scope="session")
def labeled_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with labeled pictures and a snapshot; tests work on copies of it."""
    root = tmp_path_factory.mktemp("labeled")
    (root / "config.toml").touch()
    with Workspace.open(root / "config.toml") as ws:
        label_all(ws, collect(ws))
        snapshot(ws, "horse")
    return root


@pytest.fixture
def labeled(labeled_folder: Path, tmp_path: Path) -> Iterator[Workspace]:
    """A copy of the workspace with labeled pictures."""
    shutil.copytree(labeled_folder, tmp_path / "labeled")
    with Workspace.open(tmp_path / "labeled" / "config.toml") as ws:
        yield ws
