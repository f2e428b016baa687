from __future__ import annotations

import hashlib
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray
from safetensors.torch import save_file

from collector.errors import CollectError, UsageError
from collector.registry import Registry
from pipelines import backbones, engine
from pipelines.backbones import Classic, TorchBackbone, file_digest, known, load_backbone, vision
from pipelines.backbones.base import digest
from tests.conftest import picture

# Transforms of the first versions: features that were cached with them are read to this day.
EARLY = {
    "squeezenet1_1": "18f04793a70ed2c6",
    "mobilenet_v3_large": "8196829a80f48fd9",
    "resnet18": "723bc4339bae6784",
    "resnet50": "391f657d12d7e80f",
}
# One small network of each family of torchvision; the large ones are slow.
FAMILIES = [
    "squeezenet1_0",
    "squeezenet1_1",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "mnasnet0_5",
    "shufflenet_v2_x0_5",
    "resnet18",
    "regnet_x_400mf",
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    # efficientnet_v2_s is left out: with drawn weights torch itself differs from torch in another memory layout.
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("convnext_tiny", "inception_v3", "swin_t", "vit_b_32")),
]


def torchvisions_own(name: str) -> Any:
    """The network as torchvision builds it for its published weights, with random ones of a reasonable size."""
    ported = {"transform_input": True, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    network = torchvision.models.get_model(name, weights=None, **ported).eval()
    torch.manual_seed(0)
    for parameter in network.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=(2 / max(parameter[0].numel(), 1)) ** 0.5)
    return network


def random_weights(name: str, folder: Path) -> Path:
    """A state dict of freshly initialized weights."""
    torch.manual_seed(0)
    path = folder / f"{name}.pth"
    torch.save(getattr(torchvision.models, name)(weights=None).state_dict(), path)
    return path


def loaded(name: str, folder: Path) -> TorchBackbone:
    backbone = load_backbone(name, random_weights(name, folder))
    assert isinstance(backbone, TorchBackbone)
    return backbone


@pytest.mark.parametrize("name", FAMILIES)
def test_a_network_sees_and_computes_what_torchvision_does_up_to_its_last_layer(name: str, tmp_path: Path) -> None:
    network = torchvisions_own(name)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    backbone = load_backbone(name, tmp_path / "weights.safetensors")
    assert isinstance(backbone, TorchBackbone)
    pictures = [picture(1, (400, 300)), picture(2, (288, 431))]
    preset = torchvision.models.get_model_weights(name).DEFAULT.transforms(antialias=True)
    given: list[torch.Tensor] = []
    network.get_submodule(backbone.layout.head).register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    with torch.inference_mode():
        network(torch.stack([preset(each) for each in pictures]))
    expected = given[0].mean(dim=(2, 3)) if given[0].dim() == 4 else given[0]  # SqueezeNet's last layer averages
    with backbone.ready():
        found = backbone.embed(np.stack([backbone.prepare(each) for each in pictures]))
    assert found.shape == (2, backbone.dimension)
    assert engine.distance(found, expected.numpy()) < 1e-4


def test_every_network_of_torchvision_is_known_with_a_last_layer_and_a_transform() -> None:
    names = torchvision.models.list_models(module=torchvision.models)
    assert set(names) < set(known())
    for name in names:
        if name.endswith(("_b3", "_m", "128gf", "h_14", "x4d", "101_2", "161")):  # unlike, and too large to run
            layout = vision.layout_of(name)
            size = torchvision.models.get_model_weights(name).DEFAULT.transforms().crop_size
            assert [layout.crop] == size
            assert layout.dimension > 500
            assert layout.resample in ("bilinear", "bicubic")


def test_vectors_in_the_caches_of_earlier_versions_stay_valid() -> None:
    digests = {name: digest(vision.layout_of(name).described())[:16] for name in EARLY}
    assert digests == EARLY


@pytest.mark.parametrize("size", [(400, 300), (288, 431), (224, 224), (1000, 260), (63, 500)])
def test_pictures_of_every_shape_have_the_pixels_that_torchvision_gives(size: tuple[int, int], tmp_path: Path) -> None:
    backbone = loaded("squeezenet1_1", tmp_path)
    preset = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.transforms(antialias=True)
    shown = picture(5, size)
    found = backbone.prepare(shown).astype(int)
    mean, std = np.array(preset.mean), np.array(preset.std)
    expected = (preset(shown).permute(1, 2, 0).numpy() * std + mean) * 255
    assert (found == expected.round()).all()


def test_bfloat16_has_a_cache_of_its_own(tmp_path: Path) -> None:
    weights = random_weights("squeezenet1_1", tmp_path)
    full, half = load_backbone("squeezenet1_1", weights), load_backbone("squeezenet1_1@bf16", weights)
    assert full.transform_digest != half.transform_digest
    vectors = []
    for backbone in (full, half):
        with backbone.ready():
            vectors.append(backbone.embed(backbone.prepare(picture(3))[None], fill=False))
    assert 0 < engine.distance(vectors[1], vectors[0]) < 0.05


def test_features_do_not_depend_on_the_rest_of_the_batch(tmp_path: Path) -> None:
    backbone = loaded("squeezenet1_1", tmp_path)
    prepared = np.stack([backbone.prepare(picture(seed)) for seed in range(8)])
    with backbone.ready():
        together = backbone.embed(prepared)
        alone = np.concatenate([backbone.embed(each[None]) for each in prepared])
        other_way_round = backbone.embed(prepared[::-1])[::-1]
    assert (together == alone).all()
    assert (together == other_way_round).all()


def test_a_picture_alone_has_nearly_the_same_vector(tmp_path: Path) -> None:
    backbone = loaded("squeezenet1_1", tmp_path)
    prepared = backbone.prepare(picture(1))[None]
    with backbone.ready():
        found, alone = backbone.embed(prepared), backbone.embed(prepared, fill=False)
    assert alone.shape == found.shape
    np.testing.assert_allclose(alone, found, rtol=1e-3, atol=1e-4 * float(found.max()))


def test_threads_of_the_caller_are_left_as_they_were(tmp_path: Path) -> None:
    backbone, before = loaded("squeezenet1_1", tmp_path), torch.get_num_threads()
    with backbone.ready():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_safetensors_and_pytorch_files_hold_the_same_network(tmp_path: Path) -> None:
    pth = random_weights("squeezenet1_1", tmp_path)
    safe = tmp_path / "squeezenet1_1.safetensors"
    save_file(torch.load(pth, weights_only=True), safe)
    vectors = []
    for path in (pth, safe):
        backbone = load_backbone("squeezenet1_1", path)
        assert backbone.weights_digest == hashlib.sha256(path.read_bytes()).hexdigest()
        with backbone.ready():
            vectors.append(backbone.embed(backbone.prepare(picture(3))[None]))
    assert (vectors[0] == vectors[1]).all()


def test_digests_name_weights_and_transform(tmp_path: Path) -> None:
    one, two = loaded("squeezenet1_1", tmp_path), loaded("resnet18", tmp_path)
    assert one.weights_digest != two.weights_digest
    assert one.transform_digest != two.transform_digest
    assert one.weights_digest == file_digest(tmp_path / "squeezenet1_1.pth")


def test_weights_without_the_last_layer_are_weights_too(tmp_path: Path) -> None:
    whole = loaded("resnet18", tmp_path)
    state = {name: tensor.contiguous() for name, tensor in whole.network().state_dict().items()}
    save_file(state, tmp_path / "cut.safetensors")
    cut = load_backbone("resnet18", tmp_path / "cut.safetensors")
    shown = picture(4)
    vectors = []
    for backbone in (whole, cut):
        with backbone.ready():
            vectors.append(backbone.embed(backbone.prepare(shown)[None], fill=False))
    assert (vectors[0] == vectors[1]).all()


def test_when_memory_is_short_batches_are_halved_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = loaded("squeezenet1_1", tmp_path)
    shown = np.stack([backbone.prepare(picture(seed)) for seed in range(7)])
    with backbone.ready():
        expected = backbone.embed(shown, fill=False)
        real, sizes = backbone._forward, []

        def short(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
            sizes.append(len(pixels))
            if len(pixels) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            assert real is not None
            return real(pixels)

        monkeypatch.setattr(backbone, "_forward", short)
        found = backbone.embed(shown)
    assert sizes == [8, 4, 2, 2, 2, 2]
    assert engine.distance(found, expected) < engine.GATE
    assert "out of GPU memory with 4 pictures at once: 2 from now on" in caplog.text
    with backbone.ready():

        def none(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
            raise torch.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr(backbone, "_forward", none)
        with pytest.raises(CollectError, match="too small for one picture") as caught:
            backbone.embed(shown)
    assert "--device cpu" in caught.value.hint


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    backbone = load_backbone("resnet18", random_weights("squeezenet1_1", tmp_path))
    with pytest.raises(UsageError, match="holds no weights of resnet18"), backbone.ready():
        pass


def test_a_missing_file_and_an_unknown_name_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no weights file"):
        load_backbone("resnet18", tmp_path / "none.pth")
    with pytest.raises(UsageError, match="did you mean `resnet18`"):
        load_backbone("resnet81")


def test_without_the_train_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)  # what Python does for a package that cannot be imported
    with pytest.raises(CollectError, match="train extra") as caught:
        load_backbone("classic")
    assert "collect-dataset[train]" in caught.value.hint


def test_a_network_of_timm_sees_and_computes_what_timm_does(tmp_path: Path) -> None:
    import timm
    from timm.data.config import resolve_model_data_config
    from timm.data.transforms_factory import create_transform

    torch.manual_seed(0)
    whole = timm.create_model("mobilenetv3_small_050", pretrained=False).eval()
    save_file(whole.state_dict(), tmp_path / "weights.safetensors")
    backbone = load_backbone("timm:mobilenetv3_small_050", tmp_path / "weights.safetensors")
    assert isinstance(backbone, TorchBackbone)
    assert backbone.layout.license == "apache-2.0"
    shown = picture(1, (400, 300))
    whole.reset_classifier(0)  # type: ignore[operator]
    config = resolve_model_data_config(whole)  # type: ignore[no-untyped-call]
    with torch.inference_mode():
        expected = whole(create_transform(**config)(shown)[None]).numpy()
    with backbone.ready():
        found = backbone.embed(backbone.prepare(shown)[None], fill=False)
    assert found.shape == (1, backbone.dimension)
    assert engine.distance(found, expected) < 1e-4
    with pytest.raises(UsageError, match="built without its classes"):
        backbone.whole(1000)


def test_a_network_that_timm_does_not_have_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="did you mean `mobilenetv3_small_050`"):
        load_backbone("timm:mobilenetv3_smal_050")


def test_a_plug_in_brings_a_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh: Registry[Any] = Registry("backbone")
    point = EntryPoint("histogram", "pipelines.backbones:Classic", backbones.PLUGINS)
    monkeypatch.setattr(backbones, "BACKBONES", fresh)
    monkeypatch.setattr(backbones, "entry_points", lambda group: [point] if group == "collect.backbones" else [])
    known.cache_clear()
    try:
        assert load_backbone("histogram").dimension == Classic.dimension
    finally:
        known.cache_clear()


def test_classic_tells_pictures_apart_and_takes_no_weights() -> None:
    backbone = load_backbone("classic")
    with backbone.ready():
        found = backbone.embed(np.stack([backbone.prepare(picture(seed)) for seed in (1, 1, 2)]))
    assert found.shape == (3, Classic.dimension)
    assert (found[0] == found[1]).all()
    assert not np.allclose(found[0], found[2], atol=0.05)
    with pytest.raises(UsageError, match="takes no weights"):
        load_backbone("classic", "some.pth")
