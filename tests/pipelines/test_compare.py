from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from collector.catalog import models
from collector.errors import CollectError, GateNotMet, UsageError
from collector.workspace import Workspace
from pipelines import parquet
from pipelines.compare import compare, history_of, list_runs
from pipelines.manifest import find, read_manifest
from pipelines.ranking import average_precision
from pipelines.reports import runs_page
from pipelines.reports.material import Material
from pipelines.snapshot import snapshot
from pipelines.train import train_baseline
from tests.pipelines.labeled import settle


def worsen(ws: Workspace, run: str, rng: np.random.Generator) -> None:
    """Replace what a run said of validation by noise, as if it had learned nothing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = models.experiment_of(ws.catalog, run)
    assert row is not None
    path = ws.data / row.path / parquet.VALIDATION
    table = pq.read_table(path)
    chance = rng.uniform(0, 1, len(table))
    drawn = pa.array(np.stack([chance, 1 - chance], axis=1).tolist())
    parquet.save(path, table.set_column(table.column_names.index("probabilities"), "probabilities", drawn))


def test_the_better_run_is_named_with_the_interval_of_the_difference(labeled: Workspace, tmp_path: Path) -> None:
    ws = labeled
    good = train_baseline(ws, "horse", backbone="classic")
    poor = train_baseline(ws, "horse", backbone="classic", soft=True)
    worsen(ws, poor.run, np.random.default_rng(3))
    found = compare(ws, "horse", html=tmp_path / "runs.html")
    assert compare(ws, None, ("horse",)).runs == compare(ws, None, ("horse", poor.run, good.run)).runs == found.runs
    assert [row["run"] for row in found.runs] == [good.run, poor.run]
    for row in found.runs:
        assert row["ece_low"] <= row["ece"] <= row["ece_high"]
        assert set(row["recall_at_precision"]) == set(row["recall_at_precision_low"]) == {"0.9", "0.95", "0.99"}
    (row,) = found.differences
    said = parquet.predictions(Path(poor.path) / parquet.VALIDATION)
    relevant = np.array([label == "horse" for label in said.labels])
    ap = average_precision(relevant, said.probabilities[:, 0])
    assert row["by"] == pytest.approx(1 - ap)
    assert row["low"] <= row["by"] <= row["high"]
    assert row["sure"] == (row["low"] > 0)
    assert found.says[0].startswith(f"{good.run} is better than {poor.run} by 0.")
    page = (tmp_path / "runs.html").read_text()
    assert good.run in page
    assert page.count("data:image/svg+xml") == 1  # the penalties; a head has no epochs
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_a_run_and_its_like_cannot_be_told_apart(labeled: Workspace) -> None:
    ws = labeled
    first = train_baseline(ws, "horse", backbone="classic")
    again = train_baseline(ws, "horse", backbone="classic", replicate=1)
    found = compare(ws, "horse", [first.run[:8], again.run[:8]])
    assert not found.differences[0]["sure"]
    assert found.says[0].endswith("these images cannot tell them apart")
    assert found.path == ""


def test_runs_of_different_protocols_are_refused(labeled: Workspace, tmp_path: Path) -> None:
    ws = labeled
    one = train_baseline(ws, "horse", backbone="classic")
    (tmp_path / "other.toml").write_text('metric = "nll"\n')
    other = train_baseline(ws, "horse", backbone="classic", protocol=str(tmp_path / "other.toml"))
    with pytest.raises(UsageError, match="follow different protocols, `horse-1` and `other`") as caught:
        compare(ws, "horse", [one.run, other.run])
    assert "--protocol" in caught.value.hint


def test_runs_measured_on_different_validation_sets_are_refused(labeled: Workspace, tmp_path: Path) -> None:
    ws = labeled
    (tmp_path / "any.toml").write_text("seeds = [0]\n")
    one = train_baseline(ws, "horse", backbone="classic", protocol=str(tmp_path / "any.toml"))
    image = next(row.image for row in read_manifest(ws, find(ws, "horse")).split("validation") if row.label == "horse")
    settle(ws, (image, "not-horse", {"not-horse": 2}))
    snapshot(ws, "horse")
    other = train_baseline(ws, "horse", backbone="classic", protocol=str(tmp_path / "any.toml"))
    with pytest.raises(UsageError, match="were measured on different validation sets"):
        compare(ws, "horse", [one.run, other.run])
    with pytest.raises(GateNotMet, match="has 1 finished run of this protocol"):
        compare(ws, "horse")


def test_runs_that_answer_with_different_labels_are_refused(labeled: Workspace) -> None:
    two = train_baseline(labeled, "horse", backbone="classic")
    told = "[concepts.horse]\nlabels = ['horse', 'donkey', 'not-horse']\n"
    (labeled.root / "config.toml").write_text(told, encoding="utf-8")
    with Workspace.open(labeled.root / "config.toml", environ={}) as ws:
        snapshot(ws, "horse")
        three = train_baseline(ws, "horse", backbone="classic")
        with pytest.raises(UsageError, match=f"{two.run} and {three.run} answer with different labels") as caught:
            compare(ws, "horse", [two.run, three.run])
        assert "(horse, not-horse; horse, donkey, not-horse)" in caught.value.message
        again = train_baseline(ws, "horse", backbone="classic", replicate=1)
        assert len(compare(ws, "horse", [three.run, again.run]).runs) == 2
        content = runs_page.runs(Material(ws, ws.concept("horse")))
        assert content is not None
        assert "answer with different labels" in content["groups"][0]["trouble"]


def test_runs_are_compared_by_the_metric_of_their_protocol(labeled: Workspace, tmp_path: Path) -> None:
    ws = labeled
    for metric in ("nll", "error"):
        path = tmp_path / f"{metric}.toml"
        path.write_text(f'metric = "{metric}"\n')
        good = train_baseline(ws, "horse", backbone="classic", protocol=str(path))
        poor = train_baseline(ws, "horse", backbone="classic", protocol=str(path), soft=True)
        worsen(ws, poor.run, np.random.default_rng(3))
        found = compare(ws, "horse")
        assert found.metric == metric
        assert [row["run"] for row in found.runs] == [good.run, poor.run]
        assert found.differences[0]["by"] > 0


def test_what_cannot_be_compared_is_told_in_a_sentence(labeled: Workspace) -> None:
    ws = labeled
    with pytest.raises(GateNotMet, match="has 0 finished run"):
        compare(ws, "horse")
    run = train_baseline(ws, "horse", backbone="classic")
    with pytest.raises(UsageError, match="`zz` is not a run of `horse`"):
        compare(ws, "horse", ["zz", run.run])
    other = train_baseline(ws, "horse", backbone="classic", replicate=1)
    (Path(other.path) / parquet.VALIDATION).unlink()
    with pytest.raises(CollectError, match=f"predictions of run {other.run} are gone"):
        compare(ws, "horse")
    with ws.catalog.write() as connection:
        connection.exec_driver_sql(
            f"update experiment set config = json_set(config, '$.protocol', 'linear-head/1') where run = '{other.run}'"
        )
    with pytest.raises(UsageError, match=f"run {other.run} is older than protocols"):
        compare(ws, "horse", [run.run, other.run])


def test_every_run_is_listed_with_its_state(labeled: Workspace) -> None:
    ws = labeled
    assert list_runs(ws).for_people()["runs"] == "none yet"
    first = train_baseline(ws, "horse", backbone="classic")
    second = train_baseline(ws, "horse", backbone="classic", replicate=1)
    with ws.catalog.write() as connection:
        connection.exec_driver_sql(
            f"update experiment set state = 'running', metrics = null where run = '{second.run}'"
        )
    rows = {row["run"]: row for row in list_runs(ws).runs}
    assert list(rows) == [second.run, first.run]
    assert (rows[first.run]["state"], rows[first.run]["ap"], rows[first.run]["protocol"]) == (
        "finished",
        1.0,
        "horse-1",
    )
    assert (rows[second.run]["state"], rows[second.run]["ap"]) == ("interrupted", None)
    with ws.lock(f"train-{second.run}"):
        assert list_runs(ws).runs[0]["state"] == "running"


def test_the_curve_of_a_run_is_kept(labeled: Workspace) -> None:
    ws = labeled
    done = train_baseline(ws, "horse", backbone="classic")
    row = models.experiment_of(ws.catalog, done.run)
    assert row is not None
    curve = history_of(ws, row)
    assert min(curve, key=lambda each: each["nll"])["c"] == done.c
    (Path(done.path) / "history.json").write_text(json.dumps(curve)[:-3])
    with pytest.raises(CollectError, match=f"the curve of run {done.run} cannot be read"):
        history_of(ws, row)
