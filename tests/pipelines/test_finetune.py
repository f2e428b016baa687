"""Fine-tuning on tiny pictures with a tiny network: what it learns, what it keeps, and what it says when it cannot."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from collector.errors import CollectError, GateNotMet, UsageError
from collector.workspace import Workspace
from pipelines import calibrate
from pipelines.backbones import Classic, load_backbone
from pipelines.evaluate import truth_of
from pipelines.features import features
from pipelines.finetune import checkpoints, fit, tuner
from pipelines.finetune.plan import Job, Plan, Tuned
from pipelines.finetune.step import finetune
from pipelines.manifest import Manifest, ManifestRow, find, read_manifest, schema
from tests.conftest import REPOSITORY, jpeg
from tests.pipelines import finetuned
from tests.pipelines.finetuned import LONG, SMALL, Told, prepare, tensors, tune

FIGURES = ("train_loss", "error", "nll", "ece", "ap", "lr")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A workspace with a snapshot; every test has a run of its own."""
    folder = tmp_path_factory.mktemp("tuned")
    (folder / "config.toml").touch()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that wait for each other cost more than the tiny network
    with Workspace.open(folder / "config.toml", environ={}) as ws:
        prepare(ws)
        yield ws
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(home: Workspace) -> Tuned:
    """The training that no one disturbs."""
    return tune(home, "whole")


@pytest.fixture(autouse=True)
def _as_before(home: Workspace) -> Iterator[None]:
    before = home.progress
    yield
    home.progress = before


def same(one: Tuned, other: Tuned) -> bool:
    """Whether two trainings have come to the same, bit for bit."""
    mine, theirs = tensors(one), tensors(other)
    figures = [[each[name] for name in FIGURES] for each in one.history]
    return (
        mine.keys() == theirs.keys()
        and all(torch.equal(mine[name], theirs[name]) for name in mine)
        and figures == [[each[name] for name in FIGURES] for each in other.history]
    )


def folder_of(ws: Workspace, run: str) -> Path:
    """Where the checkpoints of a run lie."""
    return ws.data / "runs" / run / checkpoints.FOLDER


def after(pieces: int, do: Callable[[], None]) -> Callable[[str, int, int | None], None]:
    """A progress that does something once, when so many pieces are done."""
    seen = 0

    def progress(text: str, done: int, total: int | None) -> None:
        nonlocal seen
        if text.startswith("fine-tuning"):
            seen += 1
            if seen == pieces:
                do()

    return progress


def interrupt() -> None:
    raise KeyboardInterrupt


def test_what_is_kept_is_the_network_that_was_validated(home: Workspace, whole: Tuned) -> None:
    manifest = read_manifest(home, find(home, "horse"))
    vectors = features(home, [row.image for row in manifest.split("validation")], whole.backbone)
    best = whole.history[int(whole.figures["best_epoch"]) - 1]
    found = calibrate.nll(whole.head.probabilities(vectors), truth_of(manifest, "validation"))
    assert found == pytest.approx(best["nll"], abs=2e-3)  # cached vectors have half precision


def test_it_learns_what_a_network_of_random_weights_does_not_know(home: Workspace) -> None:
    config = LONG.model_copy(update={"epochs": 10, "mixup": 0.0, "cutmix": 0.0, "accumulate": 1, "patience": 10})
    found = tune(home, "learns", config)
    assert found.history[-1]["train_loss"] < 0.5 * found.history[0]["train_loss"]
    assert found.history[int(found.figures["best_epoch"]) - 1]["ap"] > 0.9


def test_while_frozen_only_the_head_learns(home: Workspace) -> None:
    found = tune(home, "frozen", SMALL.model_copy(update={"epochs": 1}))
    before = finetuned.load(home.root / "tiny.safetensors").network().state_dict()
    now = found.backbone.network().state_dict()
    assert all(torch.equal(before[name], now[name]) for name in before)
    assert np.abs(found.head.weights).sum() > 0


def test_the_history_says_all_of_every_epoch(home: Workspace, whole: Tuned) -> None:
    told = Told()
    again = tune(home, "told", track=told)
    assert same(again, whole)
    assert [each["epoch"] for each in whole.history] == [1, 2, 3]
    assert [each["images_seen"] for each in whole.history] == [20, 40, 60]
    assert all(each["seconds"] > 0 and each["images_per_second"] > 0 for each in whole.history)
    assert whole.figures["binds"] in ("compute", "decode", "disk")
    logged = [figures for _, figures in told.steps if "validation/nll" in figures]
    assert [each["validation/nll"] for each in logged] == [each["nll"] for each in whole.history]


def test_a_finished_training_is_not_repeated(home: Workspace, whole: Tuned) -> None:
    told = Told()
    assert same(tune(home, "whole", track=told), whole)
    assert told.steps == []


def test_another_seed_is_another_training(home: Workspace, whole: Tuned) -> None:
    assert not same(tune(home, "other", seed=4), whole)


def test_ctrl_c_is_an_interrupt_and_the_next_call_ends_with_the_same_bits(home: Workspace, whole: Tuned) -> None:
    handler = signal.getsignal(signal.SIGINT)
    home.progress = after(4, interrupt)
    with pytest.raises(KeyboardInterrupt):
        tune(home, "stopped")
    assert signal.getsignal(signal.SIGINT) is handler
    home.progress = after(99, interrupt)
    assert same(tune(home, "stopped"), whole)


@pytest.mark.slow
def test_killed_at_random_points_it_ends_with_the_same_bits(home: Workspace) -> None:
    kills = 8
    command = [sys.executable, "-m", "tests.pipelines.finetuned", str(home.root), str(kills)]
    said = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    codes, steps = zip(*(map(int, line.split()) for line in said.splitlines()), strict=True)
    assert codes == (-9,) * kills + (0,)
    assert len(set(steps)) > 2, "every kill came too early"
    assert same(tune(home, "killed", LONG), tune(home, "whole-long", LONG))


def test_of_a_damaged_checkpoint_the_one_before_is_used_and_that_is_said(home: Workspace, whole: Tuned) -> None:
    home.progress = after(5, interrupt)
    with pytest.raises(KeyboardInterrupt):
        tune(home, "damaged")
    last = sorted(folder_of(home, "damaged").glob("*.ckpt"))[-1]
    last.write_bytes(last.read_bytes()[:-100])
    home.progress = after(99, interrupt)
    found = tune(home, "damaged")
    assert same(found, whole)
    assert any(last.name in note and "damaged" in note for note in found.figures["notes"])


def test_with_every_checkpoint_damaged_it_begins_again(home: Workspace, whole: Tuned) -> None:
    home.progress = after(5, interrupt)
    with pytest.raises(KeyboardInterrupt):
        tune(home, "all-damaged")
    for path in folder_of(home, "all-damaged").glob("*.ckpt"):
        path.write_bytes(b"")
    home.progress = after(99, interrupt)
    found = tune(home, "all-damaged")
    assert same(found, whole)
    assert len(found.figures["notes"]) == 2


def test_no_room_for_a_checkpoint_is_one_sentence_and_the_last_one_stays(home: Workspace, whole: Tuned) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    home.progress = after(4, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard)))
    try:
        with pytest.raises(CollectError, match="cannot use"):
            tune(home, "full")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    path, damaged = checkpoints.newest(folder_of(home, "full"))
    assert path is not None
    assert not damaged
    home.progress = after(99, interrupt)
    assert same(tune(home, "full"), whole)


def test_a_loss_that_is_no_number_says_where_and_which_rate_to_try(home: Workspace) -> None:
    config = SMALL.model_copy(update={"learning_rate": 1e30, "freeze_epochs": 0, "clip": 0.0})
    with pytest.raises(CollectError, match=r"the (loss|weights) became (nan|inf) in step \d of epoch \d") as refused:
        tune(home, "nan", config)
    assert "finetune.learning_rate = 1e+29" in refused.value.hint
    for path in folder_of(home, "nan").glob("*.ckpt"):
        state = checkpoints.load(path)["state_dict"]
        assert all(value.isfinite().all() for value in state.values())


def hungry(ws: Workspace, room: int, run: str) -> Tuned:
    """Fine-tune on a device with memory for so many pictures at once."""
    backbone = finetuned.load(ws.root / "tiny.safetensors")
    plain = backbone.network

    def refuse(module: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        if len(given[0]) > room:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    def network() -> nn.Module:
        module: nn.Module = plain()
        module.register_forward_pre_hook(refuse)
        return module

    backbone.network = network  # type: ignore[method-assign]
    job = Job(ws.data / "runs" / run, 3, "cpu", False, False, Told())
    return finetune(ws, read_manifest(ws, find(ws, "horse")), backbone, SMALL, job)


def test_where_memory_is_too_small_a_batch_is_computed_in_parts(home: Workspace) -> None:
    said: list[str] = []
    home.progress = lambda text, done, total: said.append(text)
    found = hungry(home, 5, "hungry")
    assert any("computed in 2 parts" in text for text in said)
    assert any("computed in 2 parts" in note for note in found.figures["notes"])
    assert same(found, tune(home, "halved", SMALL.model_copy(update={"accumulate": 2})))


def test_memory_for_no_picture_at_all_is_said(home: Workspace) -> None:
    with pytest.raises(CollectError, match="not even one picture"):
        hungry(home, 0, "starved")


def test_a_picture_that_was_changed_or_spoiled_is_refused_and_the_rest_is_kept(home: Workspace, whole: Tuned) -> None:
    manifest = read_manifest(home, find(home, "horse"))
    path = Path(home.store.path(manifest.split("train")[3].image))
    good = path.read_bytes()
    for bad in (jpeg(1), good[: len(good) // 2]):
        path.write_bytes(bad)
        try:
            with pytest.raises(CollectError, match=r"bytes of image .* were changed") as refused:
                tune(home, "spoiled")
        finally:
            path.write_bytes(good)
        assert refused.value.hint
    assert same(tune(home, "spoiled"), whole)


def of(manifest: Manifest, rows: Iterable[ManifestRow]) -> Manifest:
    """The manifest with these rows instead of its own."""
    return replace(manifest, table=pa.Table.from_pylist([row._asdict() for row in rows], schema=schema()))


def changed(manifest: Manifest, keep: Callable[[ManifestRow], bool]) -> Manifest:
    """The manifest with some of its rows only."""
    return of(manifest, filter(keep, manifest.rows))


def test_no_negatives_and_nothing_to_validate_on_are_gates(home: Workspace) -> None:
    manifest = read_manifest(home, find(home, "horse"))
    with pytest.raises(GateNotMet, match="no image of `not-horse`"):
        tune(home, "x", manifest=changed(manifest, lambda row: row.split != "train" or row.label == "horse"))
    with pytest.raises(GateNotMet, match="validation split is empty"):
        tune(home, "x", manifest=changed(manifest, lambda row: row.split != "validation"))


def test_a_label_with_one_picture_is_trained_and_told(home: Workspace) -> None:
    manifest = read_manifest(home, find(home, "horse"))
    first = next(row.image for row in manifest.split("train") if row.label == "horse")
    few = changed(manifest, lambda row: row.split != "train" or row.label != "horse" or row.image == first)
    found = tune(home, "one", SMALL.model_copy(update={"epochs": 1}), manifest=few, balanced=True)
    assert any("`horse` has one picture" in note for note in found.figures["notes"])


def test_a_batch_of_fewer_pictures_than_parts_is_refused(home: Workspace) -> None:
    with pytest.raises(UsageError, match="in 16 parts"):
        tune(home, "parts", SMALL.model_copy(update={"accumulate": 16}))


def test_classic_and_a_device_that_is_not_there_are_refused(home: Workspace) -> None:
    manifest = read_manifest(home, find(home, "horse"))
    job = Job(home.data / "runs" / "none", 0, "auto", False, False, Told())
    with pytest.raises(UsageError, match="no network"):
        finetune(home, manifest, Classic(), SMALL, job)  # type: ignore[arg-type]
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="there is no `cuda` here"):
            tune(home, "none", device="cuda")


def lesson(ws: Workspace, manifest: Manifest, **how: bool) -> tuner.Lesson:
    """What a training would learn from a manifest."""
    job = Job(ws.data, 0, "cpu", how.get("soft", False), how.get("balanced", False), Told())
    return fit.lesson(Plan(ws, manifest, finetuned.load(ws.root / "tiny.safetensors"), SMALL, job, "cpu"))


def test_votes_are_the_targets_of_soft_training_unless_nobody_voted_for_the_label(home: Workspace) -> None:
    manifest = read_manifest(home, find(home, "horse"))
    votes = ('{"horse": 3, "not-horse": 1}', '{"horse": 2}', '{"not-horse": 2}', "", '{"horse": 1, "can\'t tell": 4}')
    rows = [row for row in manifest.split("train") if row.label == "horse"][: len(votes)]
    train = tuple(row._replace(votes=said) for row, said in zip(rows, votes, strict=True))
    voted = of(manifest, (*train, *manifest.split("validation")))
    assert lesson(home, voted, soft=True).targets.tolist() == [[0.75, 0.25], [1, 0], [1, 0], [1, 0], [1, 0]]
    assert lesson(home, voted).targets.tolist() == [[1, 0]] * 5


def test_balanced_gives_every_label_the_same_weight(home: Workspace) -> None:
    manifest = read_manifest(home, find(home, "horse"))
    few = changed(manifest, lambda row: row.label != "horse" or row.image < "8")
    found = lesson(home, few, balanced=True)
    each = found.targets.T @ found.weights
    assert each[0] == pytest.approx(each[1])
    assert each.sum() == pytest.approx(len(found.targets))


def test_cleared_checkpoints_leave_the_result(home: Workspace) -> None:
    found = tune(home, "cleared", SMALL.model_copy(update={"epochs": 1}))
    checkpoints.clear(home.data / "runs" / "cleared")
    assert not folder_of(home, "cleared").exists()
    assert found.backbone.network() is not None


@pytest.mark.slow
def test_two_processes_come_to_what_one_comes_to_in_two_parts(home: Workspace) -> None:
    file = home.root / "squeezenet.safetensors"
    torch.manual_seed(0)
    save_file(torchvision.models.squeezenet1_1().state_dict(), file)
    backbone, manifest = load_backbone("squeezenet1_1", file), read_manifest(home, find(home, "horse"))
    assert not isinstance(backbone, Classic)
    found = []
    for change in ({"devices": 2}, {"accumulate": 2}):
        update = {"resolution": 64, "epochs": 2, "learning_rate": 0.001, **change}
        job = Job(home.data / "runs" / "-".join(change), 3, "cpu", False, False, Told())
        config = SMALL.model_copy(update=update)
        found.append(finetune(home, manifest, backbone, config, job))  # type: ignore[arg-type]
    together, alone = (tensors(each) for each in found)
    assert all(torch.allclose(together[name], alone[name], atol=1e-5) for name in alone)
    assert [each["nll"] for each in found[0].history] == pytest.approx([each["nll"] for each in found[1].history])
