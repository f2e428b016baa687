"""Weights files: fetched once, checked, never run."""

from __future__ import annotations

import hashlib
import io
import pickle
import socket
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
import torch
import torchvision

from collector.errors import CollectError, UsageError
from pipelines import weights
from pipelines.backbones import load_backbone


class Hostile:
    """A pickle that would run code."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('code of a stranger ran')",)


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def zip_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", b"\0" * 10_000_000)
    return buffer.getvalue()


STATE = saved({"weight": torch.zeros(1000)})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not weights",
        pickle.dumps(Hostile()),
        pickle.dumps([1, 2]),
        saved({"weight": Hostile()}),
        saved({"epoch": 3}),
        STATE[: len(STATE) // 2],
        zip_bomb(),
    ],
    ids=["empty", "text", "pickle bomb", "list", "bomb in a zip", "checkpoint", "truncated", "zip bomb"],
)
def test_a_file_that_is_not_weights_is_refused_and_never_run(content: bytes, tmp_path: Path) -> None:
    for name in ("weights.pth", "weights.safetensors"):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(UsageError, match=str(path)) as caught, load_backbone("squeezenet1_1", path).ready():
            pass
        assert "\n" not in caught.value.message


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
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), cached)
    assert load_backbone("squeezenet1_1").weights == cached
