from __future__ import annotations

import hashlib
import pickle
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from collector.errors import CollectError, UsageError
from pipelines import weights
from pipelines.backbones import BACKBONES, Classic, TorchBackbone, file_digest, load_backbone
from tests.conftest import picture

NETWORKS = sorted(set(BACKBONES) - {"classic"})


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


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_sees_and_computes_what_torchvision_does_up_to_its_last_layer(name: str, tmp_path: Path) -> None:
    backbone = loaded(name, tmp_path)
    pictures = [picture(1, (400, 300)), picture(2, (288, 431))]
    network = getattr(torchvision.models, name)(weights=None)
    network.load_state_dict(torch.load(backbone.weights or "", weights_only=True))
    setattr(network, backbone.layout.head, torch.nn.Identity())
    preset = torchvision.models.get_weight(backbone.layout.published).transforms(antialias=True)
    with torch.inference_mode():
        expected = network.eval()(torch.stack([preset(each) for each in pictures]))
        if backbone.layout.pools:  # without its last layer SqueezeNet hands out the flattened 13 x 13 grid
            expected = expected.reshape(2, backbone.dimension, -1).mean(dim=2)
    with backbone.ready():
        found = backbone.embed(np.stack([backbone.prepare(each) for each in pictures]))
    assert found.shape == (2, backbone.dimension)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


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


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    backbone = load_backbone("resnet18", random_weights("squeezenet1_1", tmp_path))
    with pytest.raises(UsageError, match="holds no weights of resnet18"), backbone.ready():
        pass


class Hostile:
    """A pickle that would run code."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('code of a stranger ran')",)


@pytest.mark.parametrize("content", [b"", b"not weights", pickle.dumps(Hostile()), pickle.dumps([1, 2])])
def test_a_file_that_is_not_weights_is_refused_and_never_run(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(UsageError), load_backbone("squeezenet1_1", path).ready():
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


def test_classic_tells_pictures_apart_and_takes_no_weights() -> None:
    backbone = load_backbone("classic")
    with backbone.ready():
        found = backbone.embed(np.stack([backbone.prepare(picture(seed)) for seed in (1, 1, 2)]))
    assert found.shape == (3, Classic.dimension)
    assert (found[0] == found[1]).all()
    assert not np.allclose(found[0], found[2], atol=0.05)
    with pytest.raises(UsageError, match="takes no weights"):
        load_backbone("classic", "some.pth")


@contextmanager
def site(body: bytes) -> Iterator[str]:
    """A web server on loopback that answers every path with `body`."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_published_weights_are_fetched_and_checked_against_their_name(tmp_path: Path) -> None:
    body = b"weights" * 1000
    path = tmp_path / f"net-{hashlib.sha256(body).hexdigest()[:8]}.pth"
    with site(body) as url:
        assert weights.fetch(f"{url}/{path.name}", path, "net").read_bytes() == body
        with pytest.raises(CollectError, match="damaged"):
            weights.fetch(f"{url}/other", tmp_path / "net-00000000.pth", "net")
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_without_a_network_the_error_names_every_way_out(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/resnet18-f37072fd.pth"
        with pytest.raises(CollectError, match="published weights of resnet18") as caught:
            weights.fetch(url, tmp_path / "resnet18-f37072fd.pth", "resnet18")
    for way in ("--weights FILE", "resnet18-f37072fd.pth", "network", "--backbone classic"):
        assert way in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_silent_network_does_not_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "TIMEOUT", httpx.Timeout(0.3))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        with pytest.raises(CollectError, match="cannot be fetched"):
            weights.fetch(url, tmp_path / "net-00000000.pth", "net")


def test_weights_in_the_cache_of_torch_are_found_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    cached.parent.mkdir(parents=True)
    random_weights("squeezenet1_1", tmp_path).rename(cached)
    assert load_backbone("squeezenet1_1").weights == cached
