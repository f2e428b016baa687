"""Nothing is frozen or trained before people agree, unless somebody accepts the ceiling by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from collector.errors import GateNotMet
from collector.workspace import Workspace
from labeling.ceiling import ceiling
from labeling.gate import require_agreement
from tests.labeling.saying import answer

HORSE, OTHER = "horse", "not-horse"


def _pairs(ws: Workspace, *labels: tuple[str, str]) -> None:
    for n, pair in enumerate(labels):
        for name, label in zip(("ann", "ben"), pair, strict=True):
            answer(ws, f"image{n}", name, label)


def test_people_who_agree_open_the_gate(ws: Workspace) -> None:
    _pairs(ws, (HORSE, HORSE), (OTHER, OTHER), (OTHER, OTHER))
    assert require_agreement(ws, "horse", accept=False) == ()


def test_people_who_disagree_close_it_until_the_ceiling_is_accepted(ws: Workspace) -> None:
    _pairs(ws, (HORSE, HORSE), (OTHER, HORSE), (OTHER, OTHER), (HORSE, OTHER))
    with pytest.raises(GateNotMet, match=r"alpha is 0\.125 .* and 0\.667 is asked for") as caught:
        require_agreement(ws, "horse", accept=False)
    assert caught.value.exit_code == 4
    assert "--accept-ceiling" in caught.value.hint
    (told,) = require_agreement(ws, "horse", accept=True)
    assert "human ceiling" in told


def test_the_minimum_is_a_setting(make_workspace: Callable[..., Workspace]) -> None:
    ws = make_workspace("[agreement]\nminimum = 0.1\n")
    _pairs(ws, (HORSE, HORSE), (OTHER, HORSE), (OTHER, OTHER), (HORSE, OTHER))
    assert require_agreement(ws, "horse", accept=False) == ()


def test_labels_that_nobody_gave_twice_must_be_accepted(ws: Workspace) -> None:
    answer(ws, "one", "vendor", HORSE, origin="folders")
    with pytest.raises(GateNotMet, match="no image of `horse` was labeled by two people"):
        require_agreement(ws, "horse", accept=False)
    assert require_agreement(ws, "horse", accept=True)


def test_one_label_alone_says_nothing(ws: Workspace) -> None:
    _pairs(ws, (HORSE, HORSE), (HORSE, HORSE))
    with pytest.raises(GateNotMet, match="undefined"):
        require_agreement(ws, "horse", accept=False)


def test_the_ceiling_is_one_person_against_the_others() -> None:
    # Two images alike (one of each label) and one disputed: each is right on two of three, and one of two horses found.
    found = ceiling(np.array([[2, 0], [0, 2], [1, 1]]))
    assert found is not None
    assert found.images == 3
    assert found.accuracy == pytest.approx(2 / 3)
    # Weights: said horse 1.5, of which 1 is right; horses by the others 1.5 of 3.
    assert found.ap == pytest.approx((1 / 1.5) * (1 / 1.5) + (1 - 1 / 1.5) * 0.5)


def test_level_others_count_half_and_each_image_counts_once() -> None:
    # 2:1: the two see one vote each way (half right each), the third sees two against him.
    once, twice = ceiling(np.array([[2, 1]])), ceiling(np.array([[2, 1], [20, 0]]))
    assert once is not None
    assert twice is not None
    assert once.accuracy == pytest.approx(1 / 3)
    assert twice.accuracy == pytest.approx((1 / 3 + 1) / 2)


def test_without_two_labels_there_is_no_ceiling_and_without_the_label_no_ap() -> None:
    assert ceiling(np.array([[1, 0], [0, 1]])) is None
    assert ceiling(np.zeros((0, 2), dtype=np.int64)) is None
    alone = ceiling(np.array([[0, 2]]))
    assert alone is not None
    assert (alone.accuracy, alone.ap) == (1.0, None)
