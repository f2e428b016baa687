"""Which sentences of a guideline speak of a pair of labels."""

from __future__ import annotations

import pytest

from labeling.passages import about, advice, sentences

TEXT = """Choose `horse` for a living horse. Ponies count, e.g. a Shetland.
- zebra: stripes all over, 1.5 m high
Statues and drawings are none of them!"""


def test_sentences_end_at_full_stops_and_at_lines() -> None:
    assert sentences(TEXT)[0] == "Choose `horse` for a living horse."
    assert sentences(TEXT)[-2:] == ["zebra: stripes all over, 1.5 m high", "Statues and drawings are none of them!"]


@pytest.mark.parametrize(
    ("labels", "first"),
    [
        (("horse", "not-horse"), "Choose `horse` for a living horse."),
        (("Zebra", "donkey"), "zebra: stripes all over, 1.5 m high"),
        (("statue", "pony"), "Statues and drawings are none of them!"),
    ],
)
def test_sentences_that_name_a_label_are_found(labels: tuple[str, str], first: str) -> None:
    assert about(TEXT, labels)[0] == first


def test_a_guideline_that_is_silent_or_empty_is_said_to_be() -> None:
    assert "silent on `donkey` and `mule`" in advice(TEXT, "donkey", "mule")
    assert "There is no guideline" in advice(" ", "horse", "mule")
    assert "“zebra: stripes all over" in advice(TEXT, "zebra", "mule")
