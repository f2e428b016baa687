"""The demo's drawings: the same for a seed, different from each other, and honest about what they are."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from pipelines.demo.drawings import (
    HORSE,
    LOOKALIKES,
    NEAREST,
    SYNSETS,
    Drawing,
    draw,
    gallery,
    other_kinds,
    perceptual_hash,
    write_negatives,
)
from pipelines.demo.species import BUILDS
from pipelines.demo.things import THINGS


@pytest.fixture(scope="module")
def drawings() -> list[Drawing]:
    return list(gallery(["horse"] * 24 + other_kinds(36) + ["rocking_horse"] * 2))


def _picture(drawing: Drawing) -> Image.Image:
    return Image.open(io.BytesIO(drawing.jpeg))


@pytest.mark.parametrize("kind", sorted({*BUILDS, *THINGS}))
def test_every_kind_is_a_jpeg_of_the_promised_size(kind: str) -> None:
    picture = Image.open(io.BytesIO(draw(kind, 5)))
    assert picture.format == "JPEG"
    assert 360 <= max(picture.size) <= 900


def test_a_seed_is_a_picture() -> None:
    assert draw("horse", 7) == draw("horse", 7)
    assert draw("horse", 7) != draw("horse", 8)
    assert list(gallery(["horse", "car"], seed=2)) == list(gallery(["horse", "car"], seed=2))


def test_no_two_drawings_look_alike_to_the_perceptual_hash(drawings: list[Drawing]) -> None:
    hashes = [perceptual_hash(drawing.jpeg) for drawing in drawings]
    distances = [(a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(distances) >= NEAREST > 10
    assert sum(distance < 16 for distance in distances) < 0.01 * len(distances)


def test_a_collision_is_drawn_again_with_the_next_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def twice_the_same(kind: str, seed: int) -> bytes:
        seen.append(seed)
        return draw(kind, 1 if seed <= 2 else seed)

    monkeypatch.setattr("pipelines.demo.drawings.draw", twice_the_same)
    assert [drawing.seed for drawing in gallery(["horse", "horse"])] == [1, 3]
    assert seen == [1, 2, 3]


def test_others_hold_no_horse_and_a_quarter_look_like_one() -> None:
    kinds = other_kinds(8)
    assert "horse" not in kinds
    assert sum(kind in LOOKALIKES for kind in kinds) == 2


def test_labels_titles_and_file_names_say_what_is_shown(tmp_path: Path) -> None:
    drawn = list(gallery(["horse", "flower_pot", "rocking_horse"]))
    assert [drawing.label for drawing in drawn] == ["horse", "not-horse", "not-horse"]
    assert all("drawing" in drawing.title for drawing in drawn)
    write_negatives(tmp_path, drawn[:2])
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{HORSE}_1_horse.jpg", "n03991062_2_flower_pot.jpg"]


def test_every_kind_that_can_be_a_negative_has_a_synset_of_its_own() -> None:
    assert set(SYNSETS) == {*BUILDS, *THINGS} - {"rocking_horse"}
    assert len(set(SYNSETS.values())) == len(SYNSETS)


def test_a_weak_classifier_learns_them_but_not_perfectly(drawings: list[Drawing]) -> None:
    np = pytest.importorskip("numpy")
    pytest.importorskip("sklearn")
    hog = pytest.importorskip("skimage.feature").hog
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import average_precision_score
    from sklearn.model_selection import cross_val_predict

    gray = [np.asarray(_picture(drawing).convert("L").resize((128, 128))) for drawing in drawings]
    features = np.array([hog(picture, pixels_per_cell=(16, 16), cells_per_block=(2, 2)) for picture in gray])
    truth = np.array([drawing.label == "horse" for drawing in drawings])
    model = LogisticRegression(C=1.0, max_iter=500)
    scores = cross_val_predict(model, features, truth, cv=3, method="decision_function")
    assert truth.mean() + 0.2 < average_precision_score(truth, scores) < 1.0
