from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from collector.catalog import images as image_rows
from collector.decoding import upright_rgb
from collector.errors import CollectError, UsageError
from collector.intake import take_in
from collector.records import Kept, License, Sighting
from collector.workspace import Workspace
from pipelines import features as module
from pipelines.backbones import Classic
from pipelines.features import decoded, features, folder_of, known, picture, stream
from tests.conftest import jpeg
from tests.conftest import picture as picture_of


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
    monkeypatch.setattr(module, "SHARD", 2)  # two batches of eight, of which one may be in work
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


def test_the_cache_comes_first_and_each_image_once(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARD", 2)
    images = fill(ws, 20)
    features(ws, images[:7], Counting())
    backbone = Counting()
    came = [name for names, _ in stream(ws, [*images, images[3]], backbone) for name in names]
    assert sorted(came) == sorted(images)
    assert set(came[:7]) == set(images[:7])
    assert backbone.embedded == 13


@pytest.mark.parametrize("harm", ["cut", "flip", "text", "nan", "dimension"])
def test_damaged_shards_are_computed_again_with_a_warning(
    harm: str, ws: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    images = fill(ws, 10)
    expected = features(ws, images, Classic())
    (shard,) = folder_of(ws, Classic()).glob("*.parquet")
    content = shard.read_bytes()
    table = pq.read_table(shard)
    if harm == "cut":
        shard.write_bytes(content[: len(content) // 2])
    elif harm == "flip":
        shard.write_bytes(content[:6000] + bytes([content[6000] ^ 16]) + content[6001:])
    elif harm == "text":
        shard.write_text("no Parquet")
    else:
        wide = 3 if harm == "dimension" else Classic.dimension
        values = pa.array(np.full(10 * wide, np.nan, dtype=np.float16))
        pq.write_table(table.set_column(1, "vector", pa.FixedSizeListArray.from_arrays(values, wide)), shard)
    backbone = Counting()
    assert (features(ws, images, backbone) == expected).all()
    assert backbone.embedded == 10
    assert "are damaged and computed again" in caplog.text
    assert len(list(shard.parent.glob("*.damaged"))) == 1
    caplog.clear()
    assert (features(ws, images, backbone) == expected).all()
    assert not caplog.text
    assert backbone.embedded == 10


def test_values_that_are_no_numbers_are_never_kept(ws: Workspace) -> None:
    class Broken(Classic):
        def embed(self, batch: NDArray[Any], *, fill: bool = True) -> NDArray[np.float32]:
            return super().embed(batch) * np.float32("nan")

    with pytest.raises(CollectError, match="values that are no numbers") as caught:
        features(ws, fill(ws, 3), Broken())
    assert "--weights" in caught.value.hint
    assert not known(folder_of(ws, Broken()))


def test_a_device_that_is_not_there_is_one_sentence(ws: Workspace, make_workspace: Callable[..., Workspace]) -> None:
    images = fill(ws, 1)
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="no cuda device on this machine") as caught:
            features(ws, images, Classic(), device="cuda")
        assert "--device auto" in caught.value.hint
    with pytest.raises(UsageError, match="is not a device"):
        features(ws, images, Classic(), device="gpu")


@given(st.data())
def test_plain_jpegs_have_the_pixels_that_pillow_gives(data: st.DataObject) -> None:
    size = data.draw(st.tuples(st.integers(16, 300), st.integers(16, 300)))
    options = {
        "quality": data.draw(st.integers(5, 100)),
        "progressive": data.draw(st.booleans()),
        "subsampling": data.draw(st.integers(0, 2)),
    }
    mode = data.draw(st.sampled_from(["RGB", "L", "CMYK"]))
    exif = Image.Exif()
    exif[0x0112] = data.draw(st.integers(0, 9))
    buffer = io.BytesIO()
    picture_of(data.draw(st.integers(0, 99)), size).convert(mode).save(buffer, "JPEG", exif=exif, **options)
    with Image.open(buffer) as file:
        expected = upright_rgb(file)
    assert (np.asarray(decoded(buffer.getvalue())) == np.asarray(expected)).all()


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
