"""Weights files: found, fetched once, read without ever running what is in them."""

from __future__ import annotations

import hashlib
import os
import uuid
import zipfile
from pathlib import Path
from typing import Any

import httpx

from collector.errors import CollectError, UsageError

TIMEOUT = httpx.Timeout(20.0, connect=5.0)  # of one read, in seconds: a silent network must not hang a run


def locate(backbone: str, published: str, given: str | Path | None) -> Path:
    """The weights file: `given`, or the one torchvision publishes, from its cache or from the network.

    Raises:
        UsageError: `given` is not a file.
        CollectError: the published file is neither in the cache nor to be had.
    """
    if given:
        return given_file(given)
    import torch
    import torchvision

    url = str(torchvision.models.get_weight(published).url)
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    return path if path.is_file() else fetch(url, path, backbone)


def given_file(given: str | Path) -> Path:
    """The path of a weights file that somebody named; a `UsageError` where there is none."""
    path = Path(given).expanduser()
    if not path.is_file():
        raise UsageError(f"no weights file at {path}", hint="check `--weights`, or leave it out")
    return path


def fetch(url: str, path: Path, backbone: str) -> Path:
    """Download published weights to `path`; the file's name carries the start of its sha256, which must match."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    digest = hashlib.sha256()
    try:
        with open(draft, "xb") as file, httpx.stream("GET", url, timeout=TIMEOUT, follow_redirects=True) as answer:
            answer.raise_for_status()
            for piece in answer.iter_bytes():
                digest.update(piece)
                file.write(piece)
        if not digest.hexdigest().startswith(path.stem.rsplit("-", 1)[-1]):
            raise CollectError(f"the download of {path.name} is damaged", hint="run the same command again")
        os.replace(draft, path)
    except httpx.HTTPError as error:
        raise CollectError(
            f"the published weights of {backbone} are not on this machine, and cannot be fetched: {_said(error)}",
            hint=f"`--weights FILE` with a copy of {path.name}; or run this once with a network; "
            "or `--backbone classic`, which needs none and is weak",
        ) from None
    finally:
        draft.unlink(missing_ok=True)
    return path


def read_state(path: Path) -> dict[str, Any]:
    """The tensors in a `.safetensors` or PyTorch file, by name; a pickle that holds anything else is refused."""
    import torch

    _check_bomb(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a stranger's file raises nearly anything
        raise UsageError(
            f"{path} is not a file of weights: {type(error).__name__}", hint="give a state dict or a .safetensors file"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UsageError(f"{path} holds something else than named tensors", hint="save `model.state_dict()`")
    return state


def _check_bomb(path: Path) -> None:
    """PyTorch stores tensors in a zip file as they are; one that would unpack to more than there is hides a bomb."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as file:
            unpacked = sum(each.file_size for each in file.infolist())
    except zipfile.BadZipFile:
        return  # PyTorch says what is wrong with it
    if unpacked > path.stat().st_size:
        raise UsageError(
            f"{path} would unpack to {unpacked} bytes, more than it has", hint="give a file that `torch.save` wrote"
        )


def _said(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__
