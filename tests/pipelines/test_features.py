from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from collector.catalog import images as image_rows
from collector.errors import CollectError
from collector.intake import take_in
from collector.records import Kept, License, Sighting
from collector.workspace import Workspace
from pipelines import features as module
from pipelines.backbones import Classic
from pipelines.features import features, folder_of, known, picture
from tests.conftest import jpeg


def fill(ws: Workspace, count: int, size: tuple[int, int] = (128, 96)) -> list[str]:
    ws.concept("horse", create=True)
    found = []
    for n in range(count):
        seen = Sighting("made", str(n), f"made:{n}", License("own"), "horse", "horse")
        outcome = take_in(ws, jpeg(n, size), seen)
        assert isinstance(outcome, Kept)
        found.append(outcome.image)
    return found


class Counting(Classic):
    """`classic`, counting what it embeds; dies like a killed process after `dies_after` images."""

    def __init__(self, dies_after: int = 1_000_000) -> None:
        super().__init__()
        self.embedded = 0
        self.dies_after = dies_after

    def embed(self, batch: NDArray[Any], *, fill: bool = True) -> NDArray[np.float32]:
        if self.embedded + len(batch) > self.dies_after:
            raise KeyboardInterrupt
        self.embedded += len(batch)
        return super().embed(batch)


def test_features_come_in_the_order_that_was_asked_for(ws: Workspace) -> None:
    images = fill(ws, 20)
    backbone = Classic()
    found = features(ws, images, backbone)
    assert found.shape == (20, Classic.dimension)
    assert (features(ws, images[::-1], backbone) == found[::-1]).all()
    assert (features(ws, [images[3], images[3]], backbone) == found[[3, 3]]).all()
    direct = backbone.prepare(picture(ws, images[7], None))
    np.testing.assert_allclose(found[7], direct, atol=1e-3)


def test_an_image_is_embedded_once_for_ever(ws: Workspace) -> None:
    images = fill(ws, 20)
    backbone = Counting()
    features(ws, images[:12], backbone)
    features(ws, images, backbone)
    features(ws, images, backbone)
    assert backbone.embedded == 20


def test_a_killed_run_goes_on_after_its_last_whole_shard(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARD", 8)
    images = fill(ws, 30)
    with pytest.raises(KeyboardInterrupt):
        features(ws, images, Counting(dies_after=20))
    kept = len(known(folder_of(ws, Classic())))
    assert kept == 16
    second = Counting()
    found = features(ws, images, second)
    assert second.embedded == 14
    assert not np.isnan(found).any()
    assert not list(folder_of(ws, second).glob("*.tmp"))


def test_other_weights_have_a_cache_of_their_own(ws: Workspace) -> None:
    images = fill(ws, 3)
    features(ws, images, Classic())
    other = Counting()
    other.weights_digest = "0" * 64
    features(ws, images, other)
    assert other.embedded == 3


def test_large_pictures_are_read_from_their_preview(ws: Workspace) -> None:
    image = fill(ws, 1, size=(900, 700))[0]
    place = image_rows.previews(ws.catalog, [image])[image]
    assert place is not None
    assert 288 <= min(picture(ws, image, place).size) <= 384
    assert picture(ws, image, None).size == (900, 700)
    assert isinstance(picture(ws, image, place), Image.Image)


def test_an_image_whose_bytes_are_gone_or_damaged_is_named(ws: Workspace) -> None:
    gone, damaged = fill(ws, 2)
    ws.store.fs.rm_file(ws.store.path(gone))
    with pytest.raises(CollectError, match=gone[:12]):
        features(ws, [gone], Classic())
    ws.store.fs.pipe_file(ws.store.path(damaged), b"\xff\xd8half a picture")
    with pytest.raises(CollectError, match=f"{damaged[:12]} cannot be decoded"):
        features(ws, [damaged], Classic())


def test_progress_tells_images_per_second_up_to_the_end(ws: Workspace) -> None:
    told: list[tuple[str, int, int | None]] = []
    images = fill(ws, 10)
    ws.progress = lambda text, done, total: told.append((text, done, total))
    features(ws, images, Classic())
    assert [done for _, done, _ in told] == [8, 10]
    assert all("images/s" in text and total == 10 for text, _, total in told)
