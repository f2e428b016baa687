"""Held-out sets are drawn first, at random, and compared with the pool; nothing is trained without them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from collector.catalog import pools
from collector.errors import CollectError, GateNotMet
from collector.splits import position
from collector.workspace import Workspace
from pipelines.backbones import load_backbone
from pipelines.features import features
from pipelines.manifest import HELD_OUT, Manifest, ManifestRow, schema
from pipelines.split import FEATURES, require_held_out, split, unlike
from tests.conftest import jpeg
from tests.pipelines.pooled import take


def test_splits_are_drawn_once_and_told_with_their_rule(ws: Workspace) -> None:
    take(ws, [jpeg(seed, (160, 120)) for seed in range(40)], "horse")
    first, again = split(ws, "horse"), split(ws, "horse")
    assert (first.pool, first.drawn, again.drawn) == (40, 40, 0)
    assert first.train + first.calibration + first.validation + first.test == 40
    assert first.rules == {"sha256(0:horse:image), validation 0.2, test 0.1, calibration 0.1": 40}
    assert first.psi == again.psi
    assert set(first.psi) == set(HELD_OUT)
    assert all(set(found) == set(FEATURES) for found in first.psi.values())
    assert not [said for said in first.warnings if "PSI" in said]  # drawn at random: no alarm
    assert "about 200 in the pool give each split 20" in first.warnings[0]
    take(ws, [jpeg(seed, (160, 120)) for seed in range(40, 50)], "horse", source="later")
    assert (split(ws, "horse").pool, split(ws, "horse").drawn) == (50, 0)
    assert pools.splits(ws.catalog, "horse").keys() >= {row.image for row in pools.members(ws.catalog, "horse")}


def test_a_picked_test_split_is_refused_with_its_images_and_an_empty_pool_names_the_command(ws: Workspace) -> None:
    ws.concept("horse", create=True)
    with pytest.raises(GateNotMet, match="pool of `horse` is empty") as caught:
        split(ws, "horse")
    assert "collect crawl horse" in caught.value.hint
    take(ws, [jpeg(seed, (160, 120)) for seed in range(6)], "horse")
    split(ws, "horse")
    picked = next(image for image, name in pools.splits(ws.catalog, "horse").items() if name != "test")
    with ws.catalog.write() as connection:
        connection.exec_driver_sql(f"update split set name = 'test', rule = 'chosen' where image = '{picked}'")
    with pytest.raises(CollectError, match=picked[:12]):
        split(ws, "horse")


def test_the_embedding_is_that_of_a_network_where_its_vectors_are_there(ws: Workspace) -> None:
    take(ws, [jpeg(seed, (160, 120)) for seed in range(60)], "horse")
    by_looks = split(ws, "horse")
    home = pools.splits(ws.catalog, "horse")
    images = sorted(home)
    backbone = load_backbone("classic")
    features(ws, [image for image in images if home[image] != "test"], backbone)
    assert (by_looks.embedding, split(ws, "horse").embedding) == ("hash", "hash")  # the test split has none
    vectors = features(ws, images, backbone)
    by_vectors = split(ws, "horse")
    assert by_vectors.embedding == "vectors"
    assert not [said for said in by_vectors.warnings if "PSI" in said]
    turn = sorted(range(60), key=lambda n: position(f"{ws.seed}:kinds:{images[n]}"))[:16]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    bins = (unit @ unit[turn].T).argmax(axis=1)
    held = np.array([home[image] == "validation" for image in images])
    assert by_vectors.psi["validation"]["embedding"] == unlike(bins, held, ws.seed)[0]


def test_chance_rarely_alarms_however_small_the_split_and_a_biased_one_does() -> None:
    rng = np.random.default_rng(0)
    alarms = 0
    for n in (5, 20, 80):
        for _ in range(10):
            bins = rng.integers(0, 12, 400)
            inside = np.zeros(400, bool)
            inside[rng.choice(400, n, replace=False)] = True
            value, chance = unlike(bins, inside, 0)
            assert value is not None
            assert chance is not None
            alarms += value > max(0.2, chance)
    assert alarms == 0  # 0.03 are expected
    bins = np.repeat([0, 1], 200)
    value, chance = unlike(bins, np.arange(400) < 60, 0)  # of one source only
    assert value is not None
    assert chance is not None
    assert value > 0.25 > chance
    assert unlike(bins, bins > 1, 0) == (None, None)


def manifest(*splits: str) -> Manifest:
    fields = ManifestRow._fields[: -len(ManifestRow._field_defaults)]
    rows = [dict.fromkeys(fields, "") | {"confidence": 1.0, "annotators": 2} for _ in splits]
    made = [
        row | ManifestRow._field_defaults | {"image": f"{n}", "split": name, "label": "horse"}
        for n, (row, name) in enumerate(zip(rows, splits, strict=True))
    ]
    return Manifest("horse", ("horse", "not-horse"), {}, pa.Table.from_pylist(made, schema()))


def test_nothing_is_trained_without_held_out_images_and_the_command_is_named(ws: Workspace) -> None:
    ws.concept("horse", create=True)
    assert require_held_out(ws, manifest("train", *HELD_OUT)) == ()
    for lacking in HELD_OUT:
        there = [name for name in HELD_OUT if name != lacking]
        with pytest.raises(GateNotMet, match=f"no {lacking} image") as caught:
            require_held_out(ws, manifest("train", *there))
        assert "`collect split horse`" in caught.value.hint


def test_a_concept_older_than_the_calibration_split_goes_on_with_a_warning(ws: Workspace) -> None:
    (image,) = take(ws, [jpeg(1)], "horse")
    pools.freeze_splits(ws.catalog, "horse", {image: "train"}, "sha256(0:horse:image), validation 0.2, test 0.1")
    (told,) = require_held_out(ws, manifest("train", "validation", "test"))
    assert "only new images are drawn for it" in told
    ws.settings.raw["splits"] = {"calibration": 0, "test": 0}
    (told,) = require_held_out(ws, manifest("train", "validation"))
    assert "`splits.calibration` is 0" in told
