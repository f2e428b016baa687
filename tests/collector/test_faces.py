"""Faces are found where they are, and nobody can be told apart after a blur."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from collector.faces import MARGIN, blur, find_faces
from tests.collector.test_checks import detailed

data = pytest.importorskip("skimage.data", reason="a portrait comes with scikit-image")


def portrait() -> Image.Image:
    return Image.fromarray(data.astronaut())


def gray(of: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(of.convert("L"), dtype=np.uint8)


def test_a_portrait_has_one_face_where_it_is() -> None:
    (left, top, width, height) = find_faces(gray(portrait()))[0]
    assert left < 0.44 < left + width  # the nose of the astronaut is at (225, 115) of 512
    assert top < 0.22 < top + height


def test_threads_find_the_same() -> None:
    expected = find_faces(gray(portrait()))
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(find_faces, [gray(portrait())] * 2)) == [expected] * 2


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (30, 30), (400, 25)])
def test_any_size_is_looked_at(size: tuple[int, int]) -> None:
    assert find_faces(np.full(size, 99, np.uint8)) == []


def test_a_blurred_face_is_found_no_more_and_the_rest_stays() -> None:
    before = portrait()
    boxes = find_faces(gray(before))
    after = blur(before, boxes)
    assert find_faces(gray(after)) == []
    left, top, width, height = boxes[0]
    changed = np.argwhere((np.asarray(before) != np.asarray(after)).any(axis=2)) / 512
    assert changed[:, 0].min() >= top - MARGIN * height - 1 / 512
    assert changed[:, 0].max() <= top + (1 + MARGIN) * height + 1 / 512
    assert changed[:, 1].min() >= left - MARGIN * width - 1 / 512
    assert changed[:, 1].max() <= left + (1 + MARGIN) * width + 1 / 512


@given(st.lists(st.tuples(*[st.floats(-0.5, 1.5)] * 2, *[st.floats(0, 1.5)] * 2), max_size=4))
def test_any_box_can_be_blurred(boxes: list[tuple[float, float, float, float]]) -> None:
    before = detailed(1, (60, 40))
    copy = before.copy()
    assert blur(before, boxes).size == before.size
    assert before == copy
