"""The pages about what was learned: figures that are those of the run, mistakes that lead to an erratum, caps."""

from __future__ import annotations

import html
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from collector.catalog import models
from collector.workspace import Workspace
from pipelines import metrics, parquet
from pipelines.cli.main import cli
from pipelines.evaluate import evaluate
from pipelines.features import folder_of, read
from pipelines.manifest import find, read_manifest
from pipelines.pages import charts, site
from pipelines.predict import load_model
from pipelines.reports import learning, mistakes, model_page, runs_page
from pipelines.reports.build import PAGES, report
from pipelines.reports.contact_sheet import PER_PAGE
from pipelines.reports.material import Material
from pipelines.reports.said import said_of
from pipelines.snapshot import snapshot
from pipelines.split import split
from pipelines.train import train_baseline
from tests.pipelines.conftest import PAYLOADS
from tests.pipelines.labeled import SPLITS, collect, label_all, settle

FLIPPED = 2  # validation images that people gave the wrong label


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """Two runs of one protocol and one of another, on a snapshot with a few wrong labels in validation."""
    root = tmp_path_factory.mktemp("noisy")
    (root / "config.toml").write_text('[train]\nbackbone = "classic"\nbootstrap = 100\n', encoding="utf-8")
    (root / "other.toml").write_text('metric = "nll"\n', encoding="utf-8")
    with Workspace.open(root / "config.toml", environ={}) as ws:
        found = collect(ws, each=20, splits=(*SPLITS, "calibration"))
        label_all(ws, found)
        wrong = [image for image, (label, home) in found.items() if home == "validation" and label == "horse"][:FLIPPED]
        settle(ws, *((image, "not-horse", {"not-horse": 2, "horse": 1}) for image in wrong))
        snapshot(ws, "horse", name="first")
        train_baseline(ws, "horse", protocol=str(root / "other.toml"))
        train_baseline(ws, "horse", soft=True)
        train_baseline(ws, "horse")
        evaluate(ws, "horse")
        yield ws


@pytest.fixture(scope="module")
def pages(noisy: Workspace) -> dict[str, str]:
    """Page -> its text."""
    folder = Path(report(noisy).path).parent
    return {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.html")}


@pytest.fixture
def of(noisy: Workspace) -> Material:
    return Material(noisy, noisy.concept("horse"))


def fabricate(ws: Workspace, run: str, labels: tuple[str, ...], images: int) -> None:
    """A finished run with so many labels: what it says is noise, and its figures are measured."""
    import pyarrow as pa

    row = models.find_finished(ws.catalog, "horse")
    assert row is not None
    rng = np.random.default_rng(len(labels))
    said = rng.dirichlet(np.ones(len(labels)), images)
    truth = rng.integers(0, len(labels), images)
    found = metrics.measure(metrics.Sample(labels, said, truth), thresholds=None, draws=5, seed=0)
    known = [each.image for each in read_manifest(ws, find(ws, "horse")).split("validation")]
    columns = {
        "image": [known[k % len(known)] for k in range(images)],
        "label": [labels[k] for k in truth],
        "predicted": [labels[k] for k in metrics.decide(said, found["threshold"])],
        "probabilities": said.tolist(),
    }
    path = f"runs/{run}"
    parquet.save(ws.data / path / parquet.VALIDATION, pa.table(columns))
    models.start_experiment(ws.catalog, row._replace(run=run, path=path, state="running", metrics=None))
    people = dict.fromkeys(("human_ap", "human_error", "human_agreement"))
    about = {"slices": [], "seconds": 1.0, "learning_curve": None, "train": 0}
    models.finish_experiment(ws.catalog, run, {**found, **people, **about})


def test_the_model_page_shows_the_figures_of_the_run_and_how_often_the_test_was_opened(
    of: Material, pages: dict[str, str]
) -> None:
    assert of.run is not None
    assert of.run.metrics is not None
    found = of.run.metrics
    text = pages["model"]
    assert f"<b>{found['ap']:.3f}</b>" in text
    assert f"{found['ap_low']:.3f} to {found['ap_high']:.3f}" in text
    assert f"always saying the most frequent label: {found['majority_error']:.1%}" in text
    assert "<b>1 time</b>" in text
    assert "calibration images are too few for a temperature" in text
    content = model_page.model(of)
    assert content is not None
    assert [row["name"] for row in content["slices"]] == [row["name"] for row in found["slices"]]


def test_each_number_of_the_confusion_opens_as_many_images_as_it_says(of: Material, pages: dict[str, str]) -> None:
    content = model_page.model(of)
    assert content is not None
    assert of.run is not None
    assert of.run.metrics is not None
    table = np.array(of.run.metrics["confusion"])
    assert {cell["at"]: cell["images"] for cell in content["cells"]} == {
        (int(i), int(j)): int(table[i, j]) for i, j in np.argwhere(table)
    }
    for cell in content["cells"]:
        assert len(cell["pictures"]) == min(cell["images"], model_page.IN_A_CELL)
        assert 'href="#cell-{}-{}"'.format(*cell["at"]) in pages["model"]
        assert 'id="cell-{}-{}"'.format(*cell["at"]) in pages["model"]


def test_a_wrong_label_comes_first_among_the_mistakes_and_is_doubted(of: Material, pages: dict[str, str]) -> None:
    content = mistakes.mistakes(of)
    assert content is not None
    first = content["mistakes"][0]
    assert (first.label, first.said, first.votes) == ("not-horse", "horse", {"horse": 1, "not-horse": 2})
    assert all(near.label == "horse" for _, near in first.near)
    sure = [each.probabilities[0][1] for each in content["mistakes"]]
    assert sure == sorted(sure, reverse=True)
    assert "the label may be wrong" in pages["mistakes"]
    assert "all training images that look most like it are `horse`" in pages["mistakes"]


def test_the_images_beside_a_mistake_are_the_nearest_of_train_however_they_are_cut_up(
    of: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mistakes, "CELLS", 1)  # one training image at a time
    content = mistakes.mistakes(of)
    assert content is not None
    assert of.run is not None
    backbone = load_model(of.ws, "horse").backbone
    train = [row.image for row in of.manifest(of.run.snapshot).split("train")]

    def unit(images: list[str]) -> np.ndarray:
        matrix = read(folder_of(of.ws, backbone), images, backbone.dimension)
        return np.asarray(matrix / np.linalg.norm(matrix, axis=1, keepdims=True))

    cosine = unit([each.picture.image for each in content["mistakes"]]) @ unit(train).T
    best = -np.sort(-cosine, axis=1)[:, : mistakes.NEIGHBORS]
    shown = np.array([[near.cosine for _, near in each.near] for each in content["mistakes"]])
    assert shown == pytest.approx(best, abs=1e-5)
    assert {near.image for each in content["mistakes"] for _, near in each.near} <= set(train)


def test_the_command_beside_a_mistake_opens_an_erratum_and_the_page_then_says_so(noisy: Workspace) -> None:
    content = mistakes.mistakes(Material(noisy, noisy.concept("horse")))
    assert content is not None
    command = shlex.split(content["mistakes"][0].command)
    done = CliRunner().invoke(cli, [*command[1:], "--config", str(noisy.settings.path)])
    assert done.exit_code == 0, done.output
    again = mistakes.mistakes(Material(noisy, noisy.concept("horse")))
    assert again is not None
    assert again["mistakes"][0].why[0] == "erratum 1 (confirmed) says that the label should be `horse`"


def test_mistakes_are_shown_though_the_features_are_gone(noisy: Workspace) -> None:
    folder = folder_of(noisy, load_model(noisy, "horse").backbone)
    aside = folder.with_name("aside")
    folder.rename(aside)
    try:
        content = mistakes.mistakes(Material(noisy, noisy.concept("horse")))
    finally:
        aside.rename(folder)
    assert content is not None
    assert content["mistakes"]
    assert "are not in the cache" in content["trouble"]


def test_the_learning_curve_says_what_the_run_says(of: Material, pages: dict[str, str]) -> None:
    assert of.run is not None
    assert of.run.metrics is not None
    found = of.run.metrics["learning_curve"]
    assert html.escape(found["says"]) in pages["curve"].replace("&#39;", "&#x27;")
    assert all(f'<td class="n">{point["labels"]}</td>' in pages["curve"] for point in found["points"])
    for _, error, low, high in found["band"]:
        assert low <= high
        assert error > 0


def test_the_band_of_a_law_is_drawn_up_to_ten_times_the_labels(of: Material) -> None:
    points = [
        {
            "labels": n,
            "repeats": 1,
            "wrong": 0.1,
            "error": 2 / n**0.5,
            "error_low": 1 / n**0.5,
            "error_high": 3 / n**0.5,
        }
        for n in (10, 40, 160)
    ]
    band = [[n, 2 / n**0.5, 0.0, 3 / n**0.5] for n in (10, 100, 1600)]
    uri = charts.power_law(points, band, "error")
    assert uri != charts.power_law(points, [], "error")
    assert uri.startswith("data:image/svg+xml;base64,")


def test_runs_are_grouped_by_protocol_and_differences_stay_within_one(noisy: Workspace, of: Material) -> None:
    content = runs_page.runs(of)
    assert content is not None
    assert [(each["protocol"], each["finished"]) for each in content["groups"]] == [("horse-1", 2), ("other", 1)]
    first, other = content["groups"]
    assert len(first["says"]) == 1
    assert other["says"] == []
    assert all(row["run"] in first["says"][0] for row in first["rows"])
    assert (first["openings"], other["openings"]) == (1, 0)
    assert {row["of"] for row in first["rows"]} == {"first"}


def test_the_images_that_one_of_the_two_best_runs_alone_gets_right_are_shown(labeled: Workspace) -> None:
    good = train_baseline(labeled, "horse", backbone="classic")
    fabricate(labeled, "b" * 16, ("horse", "not-horse"), 8)
    content = runs_page.runs(Material(labeled, labeled.concept("horse")))
    assert content is not None
    said = said_of(labeled, models.find_finished(labeled.catalog, "horse", "b" * 16) or pytest.fail("no run"))
    (run, count, shown), *_ = content["apart"]
    assert run == good.run
    assert count == len(shown) == int((said.said != said.truth).sum())
    assert {(picture.image, label, guess) for picture, label, guess in shown} == {
        (said.images[k], said.labels[said.truth[k]], said.labels[said.said[k]]) for k in said.errors()
    }


def test_the_newest_list_of_next_is_shown_in_its_order_with_its_reasons(full: Workspace) -> None:
    content = learning.chosen_next(Material(full, full.concept("horse")))
    assert content is not None
    text = (Path(report(full).path).parent / "next.html").read_text(encoding="utf-8")
    places = [text.index(f'alt="image {row["image"][:12]}"') for row in content["rows"]]
    assert places == sorted(places)
    assert all(html.escape(row["why"]) in text.replace("&#39;", "&#x27;") for row in content["rows"])


def test_the_snapshot_page_has_all_four_splits_and_what_split_says_of_them(
    noisy: Workspace, of: Material, pages: dict[str, str]
) -> None:
    content = learning.snapshot(of)
    assert content is not None
    told = split(noisy, "horse")
    assert (content["psi"], content["chance"]) == (told.psi, told.psi_by_chance)
    assert list(content["counts"]) == ["train", "calibration", "validation", "test"]
    assert "<bdi>first</bdi>" in pages["snapshot"]
    assert sum(content["totals"].values()) == content["total"]


def test_before_the_first_training_each_page_names_the_command(labeled: Workspace) -> None:
    folder = Path(report(labeled).path).parent
    for name in ("model", "mistakes", "curve", "runs"):
        text = (folder / f"{name}.html").read_text(encoding="utf-8")
        assert "<code>collect train-baseline horse</code>" in text, name


def test_only_fine_tuned_runs_have_no_curve_and_the_page_says_what_makes_one(labeled: Workspace) -> None:
    frozen = find(labeled, "horse")
    row = models.Experiment("a" * 16, "horse", frozen.digest, "running", {}, None, "runs/a", "2026", None)
    models.start_experiment(labeled.catalog, row)
    models.finish_experiment(labeled.catalog, row.run, {"learning_curve": None})
    content = learning.curve(Material(labeled, labeled.concept("horse")))
    shared = {"concept": labeled.concept("horse"), "pages": (), "filled": (), "imprint": {}, "page": PAGES[0]}
    text = site.renderer()("curve", {**shared, **(content or {})}).decode()
    assert "Only fine-tuned runs are there" in text
    assert "<code>collect train-baseline horse</code>" in text


def test_a_gone_file_of_predictions_spoils_the_two_pages_that_need_it_and_no_other(noisy: Workspace) -> None:
    run = models.find_finished(noisy.catalog, "horse")
    assert run is not None
    path = noisy.data / run.path / parquet.VALIDATION
    aside = path.rename(path.with_suffix(".aside"))
    try:
        summary = report(noisy)
    finally:
        aside.rename(path)
    assert [warning.split(":")[0] for warning in summary.warnings] == ["model", "mistakes"]
    assert "the validation predictions" in summary.warnings[0]
    text = (Path(summary.path).parent / "runs.html").read_text(encoding="utf-8")
    assert "are gone or incomplete" in text


def test_a_thousand_labels_of_strangers_and_many_mistakes_make_small_pages_of_plain_text(labeled: Workspace) -> None:
    train_baseline(labeled, "horse", backbone="classic")
    labels = (*PAYLOADS, *(f"label {k}" for k in range(1000 - len(PAYLOADS))))
    fabricate(labeled, "b" * 16, labels, 400)
    of = Material(labeled, labeled.concept("horse"))
    render = site.renderer()
    shared = {"concept": of.concept, "pages": PAGES, "filled": (), "imprint": {}}
    text = {
        page.name: render(page.name, {**shared, "page": page, **(page.content(of) or {})}).decode()
        for page in PAGES
        if page.name in ("model", "mistakes")
    }
    assert "A table of 1,000 labels is too large to read" in text["model"]
    assert "more kinds of confusion are not shown with pictures" in text["model"]
    assert "Average precision of each label against all others, 1,000 labels" in text["model"]
    assert "What precision is to be expected elsewhere?" not in text["model"]  # of the first of a thousand labels
    assert "more mistakes are not shown" in text["mistakes"]
    assert text["mistakes"].count('<section class="mistake">') == mistakes.MOST
    for page in text.values():
        assert page.count("data:image/jpeg") <= PER_PAGE
        assert len(page) < 4_000_000
        assert not re.search(r"<(script|img src=x|svg/onload)", page)
    assert html.escape(PAYLOADS[1]) in text["model"].replace("&#34;", "&quot;").replace("&#39;", "&#x27;")


def test_fifty_runs_fit_on_a_page_and_a_run_without_a_curve_says_why(labeled: Workspace) -> None:
    train_baseline(labeled, "horse", backbone="classic")
    for k in range(50):
        fabricate(labeled, f"{k:016}", ("horse", "not-horse"), 8)
    of = Material(labeled, labeled.concept("horse"))
    content = runs_page.runs(of)
    assert content is not None
    (group,) = content["groups"]
    assert len(group["rows"]) == 51
    assert group["measured"] == runs_page.MEASURED
    curve = learning.curve(of)
    assert curve is not None
    assert not curve["newest"]  # the one run that has a curve is older
    assert "the newest one that has a curve" in (Path(report(labeled).path).parent / "curve.html").read_text()
    assert json.loads(json.dumps(curve["found"])) == curve["found"]
