"""Fingerprints are those of `imagehash` where it has them, and the forms of a hash are the hashes of the forms."""

from __future__ import annotations

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from collector import fingerprints as fp
from tests.conftest import SHARED, picture

SIZES = [(32, 32), (320, 240), (97, 500), (640, 427)]
TURNS = {
    "mirrored": Image.Transpose.FLIP_LEFT_RIGHT,
    "upside down": Image.Transpose.FLIP_TOP_BOTTOM,
    "rotated 180": Image.Transpose.ROTATE_180,
    "transposed": Image.Transpose.TRANSPOSE,
    "rotated 90": Image.Transpose.ROTATE_270,  # Pillow turns counterclockwise
    "rotated 270": Image.Transpose.ROTATE_90,
    "transverse": Image.Transpose.TRANSVERSE,
}


def squares(pictures: list[Image.Image], size: fp.Size = fp.SQUARE) -> NDArray[np.uint8]:
    return fp.stack([fp.thumbnail(each.convert("L"), size) for each in pictures], size)


def texts(bits: NDArray[np.bool_]) -> list[str]:
    return [row.tobytes().hex() for row in np.packbits(bits, axis=1)]


def values(small: list[Image.Image], algorithm: str) -> list[str]:
    prints = fp.fingerprints([fp.thumb(each.convert("L")) for each in small])
    return [next(each.value for each in found if each.algorithm == algorithm) for found in prints]


def test_the_perceptual_hashes_are_bit_for_bit_those_of_imagehash() -> None:
    pictures = [picture(seed, SIZES[seed % len(SIZES)]) for seed in range(200)]
    assert texts(fp.phash(squares(pictures))) == [str(imagehash.phash(each)) for each in pictures]
    assert texts(fp.dhash(squares(pictures, (9, 8)))) == [str(imagehash.dhash(each)) for each in pictures]


@pytest.mark.realdata
def test_the_perceptual_hashes_of_real_photographs_are_those_of_imagehash() -> None:
    paths = sorted((SHARED / "data" / "horses").glob("*.jpg"))[:150]
    if not paths:
        pytest.skip("../shared/data/horses is not on this machine")
    pictures = [Image.open(path).convert("RGB") for path in paths]
    assert texts(fp.phash(squares(pictures))) == [str(imagehash.phash(each)) for each in pictures]
    assert texts(fp.dhash(squares(pictures, (9, 8)))) == [str(imagehash.dhash(each)) for each in pictures]


def test_many_at_once_are_what_each_is_alone() -> None:
    small = [picture(seed, SIZES[seed % len(SIZES)]) for seed in range(20)]
    thumbs = [fp.thumb(each.convert("L")) for each in small]
    assert fp.fingerprints(thumbs) == [fp.fingerprints([each])[0] for each in thumbs]
    assert fp.fingerprints([]) == []
    assert [each.algorithm for each in fp.fingerprints(thumbs)[0]] == list(fp.algorithms())


@pytest.mark.parametrize(("form", "turn"), TURNS.items())
def test_every_form_of_a_hash_is_the_hash_of_the_picture_in_that_form(form: str, turn: Image.Transpose) -> None:
    pictures = [picture(seed, (256, 256)) for seed in range(20)]
    forms = fp.dihedral(fp.pack(texts(fp.dct(squares(pictures)))))
    turned = fp.pack(texts(fp.dct(squares([each.transpose(turn) for each in pictures]))))
    differing = np.bitwise_count(forms[fp.DIHEDRAL.index(form)] ^ turned).sum(axis=1)
    assert differing.max() <= 12  # a coefficient that is nearly zero has the sign of a rounding


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=8))
@settings(max_examples=50, deadline=None)
def test_the_forms_of_a_form_are_the_same_eight(hashes: list[bytes]) -> None:
    packed = fp.pack([each.hex() for each in hashes])
    forms = fp.dihedral(packed)
    assert np.array_equal(forms[0], packed)
    for form in forms:
        again = fp.dihedral(form)
        for i in range(len(packed)):
            assert {bytes(each) for each in again[:, i]} == {bytes(each) for each in forms[:, i]}


def test_hashes_survive_packing() -> None:
    text = [f"{seed:016x}" * 4 for seed in range(5)]
    assert fp.pack(text).shape == (5, 4)
    assert ["".join(f"{int(word):016x}" for word in row) for row in fp.pack(text)] == text
    assert fp.pack(["00000000000000ff"]).tolist() == [255]
    assert fp.pack([]).shape == (0,)


def test_a_flat_picture_is_marked_as_unfit_for_matching() -> None:
    flat = fp.fingerprints([fp.thumb(Image.new("L", (200, 200), 30))])[0]
    assert [each.quality for each in flat] == [1.0, 0.0, 0.0, 0.0]


def test_a_copy_at_another_size_has_nearly_the_same_hashes() -> None:
    large = [picture(seed, (800, 600)) for seed in range(30)]
    small = [each.resize((200, 150), Image.Resampling.BICUBIC) for each in large]
    for algorithm, most in ((fp.PHASH, 8), (fp.DHASH, 8), (fp.DCT, 48)):
        pairs = zip(values(large, algorithm), values(small, algorithm), strict=True)
        assert max((int(one, 16) ^ int(other, 16)).bit_count() for one, other in pairs) <= most


def test_a_hash_of_ones_own_is_one_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fp, "_hashes", dict(fp._hashes))

    @fp.hashing("mean64/lanczos8", (8, 8))
    def mean(thumbs: NDArray[np.uint8]) -> NDArray[np.bool_]:
        return np.asarray(thumbs > thumbs.mean(axis=(1, 2), keepdims=True)).reshape(-1, 64)

    assert fp.algorithms()[-1] == "mean64/lanczos8"
    [value] = values([picture(1)], "mean64/lanczos8")
    reduced = picture(1).convert("L").reduce(240 // fp.REDUCED)
    assert value == str(imagehash.average_hash(reduced))
