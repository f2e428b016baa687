"""Models that are carried away: what the file says, what it says of itself, and what is refused."""

from __future__ import annotations

import errno
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from collector.catalog import models
from collector.errors import CollectError, DiskFull, GateNotMet, UsageError
from collector.workspace import Workspace
from pipelines.backbones import TorchBackbone
from pipelines.carry import ExportModelSummary, export_model, formats
from pipelines.carry.facts import gather
from pipelines.carry.network import backbone_of, classifier
from pipelines.carry.snippet import snippet
from pipelines.cli.main import cli
from pipelines.engine import pictures, quiet_openvino
from pipelines.evaluate import evaluate
from pipelines.features import decoded
from pipelines.manifest import find, read_manifest
from pipelines.predict import Head, Model, load_model
from pipelines.train import train_baseline
from tests.conftest import REPOSITORY
from tests.pipelines.carried import copied, home, train
from tests.pipelines.finetuned import LAYOUT

__all__ = ["home"]

CLOSE = 1e-3  # vectors of the run are kept in half precision


@pytest.fixture(scope="module")
def exported(home: Workspace, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ExportModelSummary]:
    """The run of `home` in the formats that can be read here."""
    folder = tmp_path_factory.mktemp("exported")
    return {form: export_model(home, folder / form, format=form) for form in ("onnx", "openvino")}


@pytest.fixture(scope="module")
def tiny(home: Workspace) -> Model:
    """The run of `home`, ready to predict."""
    return load_model(home, "horse")


def shown(home: Workspace, model: Model, split: str = "test") -> tuple[list[str], Any]:
    """The images of a split, and the same as the network takes them."""
    images = [row.image for row in read_manifest(home, find(home, "horse")).split(split)]
    return images, np.stack([model.backbone.prepare(decoded(home.store.get(image))) for image in images])


def session(path: Path) -> Callable[[Any], Any]:
    """A network in ONNX Runtime, as anybody would open it."""
    opened = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda pixels: opened.run(None, {"pixels": pixels})[0]


def test_onnx_says_what_the_run_says_for_any_number_of_pictures(
    home: Workspace, tiny: Model, exported: dict[str, ExportModelSummary]
) -> None:
    images, pixels = shown(home, tiny)
    ask, expected = session(Path(exported["onnx"].path) / "model.onnx"), tiny.probabilities(home, images)
    for some in (slice(0, 1), slice(1, 4), slice(0, len(images))):
        np.testing.assert_allclose(ask(pixels[some]), expected[some], atol=CLOSE)


def test_the_file_describes_itself_and_nothing_of_this_machine(
    tiny: Model, exported: dict[str, ExportModelSummary]
) -> None:
    path = Path(exported["onnx"].path) / "model.onnx"
    onnx.checker.check_model(str(path), full_check=True)
    read = onnx.load(str(path))
    about = {each.key: each.value for each in read.metadata_props}
    assert json.loads(about["labels"]) == list(tiny.labels) == ["horse", "not-horse"]
    assert float(about["threshold"]) == exported["onnx"].threshold
    told = json.loads(about["transform"])
    assert (told["resize"], told["crop"], told["interpolation"]) == (36, 32, "bilinear")
    assert [each.version for each in read.opset_import if not each.domain] == [formats.OPSET]
    data = path.read_bytes()
    assert b'File "' not in data
    assert str(REPOSITORY).encode() not in data
    assert b"site-packages" not in data


def test_the_summary_has_the_figures_of_both(home: Workspace, exported: dict[str, ExportModelSummary]) -> None:
    run = models.find_finished(home.catalog, "horse")
    assert run is not None
    assert run.metrics is not None
    for form, said in exported.items():
        assert (said.run, said.format, said.changed, said.agreement) == (run.run, form, True, 1.0)
        assert said.images == len(read_manifest(home, find(home, "horse")).split("validation"))
        assert said.apart < CLOSE
        assert said.run_ap == pytest.approx(run.metrics["ap"])
        assert said.ap == pytest.approx(said.run_ap, abs=0.02)
        assert said.next == f"uvx netron {Path(said.path) / said.file}"
        assert (Path(said.path) / said.file).is_file()


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_the_lines_of_the_card_say_what_collect_says(
    form: str, home: Workspace, tiny: Model, exported: dict[str, ExportModelSummary], tmp_path: Path
) -> None:
    folder = Path(exported[form].path)
    code = re.search(r"^```python\n(.+?)^```", (folder / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert code is not None
    assert "collect" not in code[1]
    image = shown(home, tiny)[0][0]
    (tmp_path / "picture.png").write_bytes(home.store.get(image))
    run = [sys.executable, "-c", code[1], str(tmp_path / "picture.png")]
    said = subprocess.run(run, cwd=folder, capture_output=True, text=True, check=True).stdout.split()
    found = dict(zip(said[1::2], map(float, said[::2]), strict=True))
    expected = dict(zip(tiny.labels, tiny.probabilities(home, [image])[0], strict=True))
    assert found == pytest.approx(expected, abs=CLOSE)


def test_the_lines_of_the_card_prepare_a_picture_as_collect_does() -> None:
    from PIL import Image

    for size in ((50, 80), (81, 37), (36, 36), (40, 1000)):
        picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
        backbone = TorchBackbone.__new__(TorchBackbone)
        backbone.layout = LAYOUT
        code = snippet(LAYOUT, "onnx")
        lines = [line for line in code.splitlines() if line.startswith(("size", "left", "resized", "pixels"))]
        names: dict[str, Any] = {"picture": picture, "Image": Image, "np": np}
        exec("\n".join(lines), names)
        assert (names["pixels"][0] == backbone.prepare(picture)).all()


def test_temperature_and_standardization_are_in_the_network(tiny: Model) -> None:
    assert isinstance(tiny.backbone, TorchBackbone)
    rng, size = np.random.default_rng(0), tiny.backbone.dimension
    head = Head(
        ("a", "b", "c"), rng.normal(size=(3, size)), rng.normal(size=3), rng.normal(size=size), rng.uniform(1, 2, size),
        temperature=2.5,
    )  # fmt: skip
    pixels = pictures(4, 32)
    with tiny.backbone.ready(), torch.inference_mode():
        expected = head.probabilities(tiny.backbone.embed(pixels))
        found = classifier(tiny.backbone, head, half=False)(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_killed_export_in_the_way_is_replaced_and_the_same_bytes_come_again(
    home: Workspace, exported: dict[str, ExportModelSummary], tmp_path: Path
) -> None:
    (tmp_path / "out.unfinished").mkdir()
    (tmp_path / "out.unfinished" / "model.onnx").write_bytes(b"half a netw")
    export_model(home, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    first = Path(exported["onnx"].path)
    for path in first.iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes(), path.name


def test_half_precision_says_nearly_the_same(home: Workspace, tiny: Model, tmp_path: Path) -> None:
    assert isinstance(tiny.backbone, TorchBackbone)
    whole, half = (classifier(tiny.backbone, tiny.head, half=each) for each in (False, True))
    kept = {name: each.dtype for name, each in half.state_dict().items()}
    assert {kind for name, kind in kept.items() if name.startswith("vectors.network")} >= {torch.float16}
    assert kept["weights"] is torch.float32
    said = export_model(home, tmp_path / "half", precision="fp16")
    pixels = shown(home, tiny)[1]
    with torch.inference_mode():
        expected = whole(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(session(Path(said.path) / said.file)(pixels), expected, atol=0.01)


def test_a_fine_tuned_run_is_carried_away_alike(home: Workspace, tmp_path: Path) -> None:
    with copied(home, tmp_path / "tuned") as ws:
        run = train(ws, finetune=True)
        said = export_model(ws, tmp_path / "out", run=run)
        model = load_model(ws, "horse", run)
        images, pixels = shown(ws, model)
        found = session(tmp_path / "out" / "model.onnx")(pixels)
        np.testing.assert_allclose(found, model.probabilities(ws, images), atol=CLOSE)
    assert said.run == run
    assert "fine-tuned" in (tmp_path / "out" / "README.md").read_text("utf-8")


def test_the_same_again_changes_nothing_but_the_card_follows_the_record(
    home: Workspace, exported: dict[str, ExportModelSummary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with copied(home, tmp_path / "again") as ws:
        shutil.copytree(exported["onnx"].path, tmp_path / "out")
        before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
        worse = formats.FORMS["onnx"]._replace(write=lambda *_: pytest.fail("written again"))
        monkeypatch.setitem(formats.FORMS, "onnx", worse)
        again = export_model(ws, tmp_path / "out")
        assert replace(again, path="", next="") == replace(exported["onnx"], path="", next="", changed=False)
        assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
        evaluate(ws, "horse")
        assert export_model(ws, tmp_path / "out").changed
        after = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert {name for name, data in after.items() if before[name] != data} == {"README.md", "SHA256SUMS"}
    assert b"opened once" in after["README.md"]


def test_the_sums_are_those_of_the_files(exported: dict[str, ExportModelSummary]) -> None:
    for said in exported.values():
        folder = Path(said.path)
        lines = (folder / "SHA256SUMS").read_text("utf-8").splitlines()
        assert {line[66:] for line in lines} == {path.name for path in folder.iterdir()} - {"SHA256SUMS"}
        for line in lines:
            assert hashlib.sha256((folder / line[66:]).read_bytes()).hexdigest() == line[:64]


def spoiled(harm: Callable[[Any], None]) -> formats.Form:
    """The format `onnx`, whose writer harms the network first."""
    plain = formats.FORMS["onnx"]

    def write(module: Any, *rest: Any) -> None:
        with torch.no_grad():
            harm(module)
        plain.write(module, *rest)

    return plain._replace(write=write)


def swap(module: Any) -> None:
    module.bias[0] += 3


def blind(module: Any) -> None:
    module.weights.fill_(float("nan"))


@pytest.mark.parametrize(("harm", "said"), [(swap, "is not run"), (blind, "no numbers")])
def test_a_network_that_says_something_else_is_not_given_away(
    harm: Callable[[Any], None], said: str, home: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(formats.FORMS, "onnx", spoiled(harm))
    with pytest.raises(GateNotMet, match=said) as caught:
        export_model(home, tmp_path / "out")
    assert caught.value.exit_code == 4
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_else_is_left_alone(
    home: Workspace, exported: dict[str, ExportModelSummary], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="holds another model"):
        export_model(home, exported["onnx"].path, precision="fp16")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").touch()
    with pytest.raises(UsageError, match="is no exported model"):
        export_model(home, tmp_path / "out")
    (tmp_path / "new.unfinished").mkdir()
    (tmp_path / "new.unfinished" / "thesis.txt").touch()
    with pytest.raises(UsageError, match="no unfinished export"):
        export_model(home, tmp_path / "new")
    assert (tmp_path / "new.unfinished" / "thesis.txt").exists()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is no exported model"):
        export_model(home, tmp_path / "file")


def test_damage_is_seen_edits_are_not_written_over_and_an_edited_record_is_not_believed(
    home: Workspace, exported: dict[str, ExportModelSummary], tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(exported["onnx"].path, folder)
    card, record = (folder / "README.md").read_text("utf-8"), (folder / "model.json").read_text("utf-8")
    (folder / "README.md").write_text(card.replace('"unknown"', '"mit"'), encoding="utf-8")
    with pytest.raises(CollectError, match=r"README\.md in .* was edited"):
        export_model(home, folder)
    (folder / "README.md").unlink()
    assert export_model(home, folder).changed
    assert (folder / "README.md").read_text("utf-8") == card
    (folder / "model.json").write_text(record.replace('"apart": ', '"apart": 1'), encoding="utf-8")
    with pytest.raises(CollectError, match=r"model\.json in .* changed since"):
        export_model(home, folder)
    (folder / "model.json").write_text(record, encoding="utf-8")
    (folder / "model.onnx").write_bytes(b"half a netw")
    with pytest.raises(CollectError, match=r"model\.onnx in .* changed since"):
        export_model(home, folder)


def test_a_full_disk_leaves_nothing(home: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setitem(formats.FORMS, "onnx", formats.FORMS["onnx"]._replace(write=full))
    with pytest.raises(DiskFull):
        export_model(home, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_openvino_has_the_labels_in_its_own_file(exported: dict[str, ExportModelSummary]) -> None:
    folder = Path(exported["openvino"].path)
    assert not (folder / "model.onnx").exists()
    network = quiet_openvino().Core().read_model(str(folder / "model.xml"))
    assert json.loads(network.get_rt_info(["framework", "labels"]).astype(str)) == ["horse", "not-horse"]


def test_a_run_of_an_older_collect_is_told_in_one_sentence(home: Workspace, tmp_path: Path) -> None:
    model = load_model(home, "horse")
    old = replace(model, experiment=model.experiment._replace(metrics={"ap": 0.9}))
    with pytest.raises(UsageError, match="measured by an older collect"):
        gather(home, old, backbone_of(old))


def test_features_without_a_network_cannot_be_carried_away(labeled: Workspace, tmp_path: Path) -> None:
    train_baseline(labeled, "horse", backbone="classic")
    with pytest.raises(UsageError, match="has no network to export: its features are `classic`"):
        export_model(labeled, tmp_path / "out")


@pytest.mark.parametrize(
    ("form", "package"), [("onnx", "onnxscript"), ("openvino", "openvino"), ("tensorrt", "tensorrt")]
)
def test_a_missing_package_is_named(
    form: str, package: str, home: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name == package else object())
    with pytest.raises(CollectError, match=f"a model in {form} needs {package}") as caught:
        export_model(home, tmp_path / "out", format=form)
    assert "install" in caught.value.hint


def test_a_network_that_onnx_cannot_hold_is_told_in_one_sentence(tmp_path: Path) -> None:
    class Odd(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = torch.linalg.svdvals(pixels.float().mean(dim=1))
            return found

    with pytest.raises(CollectError, match=r"PyTorch cannot write this network as ONNX: .+") as caught:
        formats.write_onnx(Odd(), 8, tmp_path, {})
    assert "\n" not in caught.value.message
    assert not list(tmp_path.iterdir())


def test_openvino_is_never_loaded_with_what_reports_its_use() -> None:
    lines = (
        "import sys; from pipelines.engine import quiet_openvino; found = quiet_openvino();"
        "assert found.Core().available_devices;"
        "assert not [name for name, each in sys.modules.items() if each and name.startswith('openvino_telemetry')]"
    )
    subprocess.run([sys.executable, "-c", lines], check=True, cwd=REPOSITORY)


def test_the_command_prints_one_object(
    home: Workspace, exported: dict[str, ExportModelSummary], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export-model", "horse", "--out", exported["onnx"].path, "--json", "--config"]
    cli.main([*command, str(home.root / "config.toml")], standalone_mode=False)
    said = json.loads(capsys.readouterr().out)
    assert (said["changed"], said["path"]) == (False, exported["onnx"].path)
