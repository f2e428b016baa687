from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from collector.errors import UsageError
from collector.workspace import Workspace
from pipelines.manifest import find, read_manifest
from pipelines.protocols import find_protocol, validation_digest
from pipelines.snapshot import snapshot
from pipelines.train import RunSummary, train_baseline
from tests.pipelines.labeled import settle


def test_the_first_training_writes_the_protocol_down_and_the_next_ones_use_it(
    labeled: Workspace,
) -> None:
    ws = labeled
    manifest = read_manifest(ws, find(ws, "horse"))
    first = find_protocol(ws, manifest)
    written = tomllib.loads((ws.root / "protocols" / "horse-1.toml").read_text())
    assert first.name == "horse-1"
    assert written == first.rules.model_dump(mode="json")
    assert written["validation"] == validation_digest(manifest)
    assert find_protocol(ws, manifest) == first
    assert find_protocol(ws, manifest, "horse-1") == first
    assert find_protocol(ws, manifest, str(ws.root / "protocols" / "horse-1.toml")) == first


def test_other_validation_images_or_labels_are_another_yardstick(
    labeled: Workspace,
) -> None:
    ws = labeled
    old = find(ws, "horse")
    find_protocol(ws, read_manifest(ws, old))
    image = next(row.image for row in read_manifest(ws, find(ws, "horse")).split("validation") if row.label == "horse")
    settle(ws, (image, "not-horse", {"not-horse": 2}))
    snapshot(ws, "horse")
    manifest = read_manifest(ws, find(ws, "horse"))
    assert find_protocol(ws, manifest).name == "horse-2"
    assert find_protocol(ws, read_manifest(ws, old)).name == "horse-1"
    with pytest.raises(UsageError, match="protocol `horse-1` measures on validation set"):
        find_protocol(ws, manifest, "horse-1")


def test_a_new_snapshot_with_the_same_validation_set_keeps_the_protocol(
    labeled: Workspace,
) -> None:
    ws = labeled
    find_protocol(ws, read_manifest(ws, find(ws, "horse")))
    image = next(row.image for row in read_manifest(ws, find(ws, "horse")).split("train") if row.label == "horse")
    settle(ws, (image, "not-horse", {"not-horse": 2}))
    snapshot(ws, "horse")
    assert find_protocol(ws, read_manifest(ws, find(ws, "horse"))).name == "horse-1"


def test_a_protocol_that_a_run_used_is_never_changed(labeled: Workspace) -> None:
    ws = labeled
    run = train_baseline(ws, "horse", backbone="classic")
    assert run.protocol == "horse-1"
    path = ws.root / "protocols" / "horse-1.toml"
    text = path.read_text()
    path.write_text("# a remark, and another order of lines\n" + text)
    assert train_baseline(ws, "horse", backbone="classic").reused
    path.write_text(text.replace('metric = "ap"', 'metric = "nll"'))
    with pytest.raises(UsageError, match="protocol `horse-1` was changed after runs had used it"):
        train_baseline(ws, "horse", backbone="classic")
    path.rename(path.with_name("by-loss.toml"))
    other = train_baseline(ws, "horse", backbone="classic", protocol="by-loss")
    assert (other.protocol, other.reused) == ("by-loss", False)


def test_several_seeds_are_several_runs_with_mean_and_spread(labeled: Workspace, tmp_path: Path) -> None:
    ws = labeled
    path = tmp_path / "three.toml"
    path.write_text("seeds = [0, 1, 2]\n")
    run = train_baseline(ws, "horse", backbone="classic", protocol=str(path))
    assert len(run.seeds) == 3
    assert run.run == next(iter(run.seeds))
    losses = [row["nll"] for row in ws.catalog.frame("experiments")["metrics"]]
    assert run.mean["nll"] == pytest.approx(sum(losses) / 3)
    assert run.spread["nll"] >= 0
    assert run.mean["ap"] == pytest.approx(sum(ap for ap in run.seeds.values() if ap is not None) / 3)
    again = train_baseline(ws, "horse", backbone="classic", protocol=str(path))
    assert again.reused
    assert again.seeds == run.seeds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed = [1]", "`seed` is not a key of a protocol; did you mean `seeds`"),
        ("epochs = 0", "`epochs` input should be greater than or equal to 1"),
        ("epochs = ", "is not TOML"),
        ('metric = "accuracy"', "`metric` input should be 'ap', 'nll' or 'error'"),
        ("seeds = []", "`seeds`"),
        ("seeds = [1, 1]", "`seeds`"),
    ],
)
def test_a_wrong_protocol_is_told_in_a_sentence(labeled: Workspace, text: str, said: str) -> None:
    ws = labeled
    (ws.root / "protocols").mkdir(exist_ok=True)
    (ws.root / "protocols" / "mine.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        train_baseline(ws, "horse", backbone="classic", protocol="mine")
    assert said in caught.value.message
    with pytest.raises(UsageError, match="there is no protocol `mime`; did you mean `mine`"):
        train_baseline(ws, "horse", backbone="classic", protocol="mime")


def test_features_are_not_trained_on_at_another_resolution(labeled: Workspace, tmp_path: Path) -> None:
    ws = labeled
    (tmp_path / "small.toml").write_text("resolution = 160\n")
    with pytest.raises(UsageError, match="asks for 160 pixels"):
        train_baseline(ws, "horse", backbone="classic", protocol=str(tmp_path / "small.toml"))


def test_the_summary_names_the_protocol(labeled: Workspace) -> None:
    ws = labeled
    run: RunSummary = train_baseline(ws, "horse", backbone="classic")
    assert (run.protocol, run.finetuned, run.mean, run.spread) == ("horse-1", False, {}, {})
