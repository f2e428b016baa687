from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from collector.catalog import pools
from collector.catalog.pools import Duplicate
from collector.errors import CollectError, GateNotMet, UsageError
from collector.intake import take_in
from collector.records import License, Sighting
from collector.workspace import Workspace
from pipelines.manifest import HELD_OUT, find, read_manifest
from pipelines.snapshot import check_groups, snapshot
from tests.pipelines.labeled import answer, collect, label_all, settle, stripes

Make = Callable[..., Workspace]


def test_a_snapshot_counts_every_settled_image_under_its_split_and_label(ws: Workspace) -> None:
    label_all(ws, collect(ws))
    made = snapshot(ws, "horse")
    assert (made.train, made.validation, made.test) == (16, 8, 8)
    assert made.labels["validation"] == {"horse": 4, "not-horse": 4}
    assert made.excluded == {}
    assert made.unlicensed == 0


def test_the_same_facts_have_the_same_digest_and_one_file(make_workspace: Make) -> None:
    digests = []
    for name in ("one", "two"):
        ws = make_workspace(name=name)
        found = collect(ws)
        label_all(ws, dict(reversed(found.items())) if name == "two" else found)
        first, again = snapshot(ws, "horse"), snapshot(ws, "horse")
        assert first.changed
        assert not again.changed
        assert len(list((ws.data / "snapshots").iterdir())) == 1
        digests.append({first.digest, again.digest})
    assert digests[0] == digests[1]
    assert len(digests[0]) == 1


def test_a_changed_label_makes_a_new_snapshot_and_leaves_the_old_file_alone(ws: Workspace) -> None:
    found = collect(ws)
    label_all(ws, found)
    old = snapshot(ws, "horse")
    before = (ws.data / "snapshots" / f"{old.digest[:16]}.parquet").read_bytes()
    image = next(image for image, (_, split) in found.items() if split == "train")
    settle(ws, (image, "not-horse", {"not-horse": 2}))
    new = snapshot(ws, "horse")
    assert new.digest != old.digest
    assert (ws.data / "snapshots" / f"{old.digest[:16]}.parquet").read_bytes() == before
    assert read_manifest(ws, find(ws, "horse", old.digest[:10])).digest() == old.digest
    assert find(ws, "horse").digest == new.digest


def test_the_manifest_keeps_license_and_source_beside_each_label(ws: Workspace) -> None:
    label_all(ws, collect(ws))
    manifest = read_manifest(ws, find(ws, "horse", snapshot(ws, "horse").digest))
    assert [row.image for row in manifest.rows] == sorted(row.image for row in manifest.rows)
    assert {(row.license, row.license_evidence, row.source) for row in manifest.rows} == {("by", "license=by", "made")}


def test_the_licensed_sighting_of_an_unlicensed_copy_counts(ws: Workspace) -> None:
    found = collect(ws, license_=License("unlicensed"))
    label_all(ws, found)
    assert snapshot(ws, "horse").unlicensed == 1
    licensed = Sighting("site", "7", "site:7", License("cc0"), "horse", "horse")
    take_in(ws, stripes(0, 0), licensed)
    made = snapshot(ws, "horse")
    assert made.unlicensed == pytest.approx(31 / 32)
    assert "97% of the images have no license" in made.warnings[0]


@pytest.mark.parametrize(
    ("reason", "label", "votes", "people", "proposal"),
    [
        ("tie", None, {"horse": 1, "not-horse": 1}, ("ann", "bob"), None),
        ("nobody-could-tell", None, {}, (), None),
        ("low-confidence", "horse", {"horse": 2, "not-horse": 3}, ("ann", "bob"), None),
        ("unknown-label", "cow", {"cow": 2}, ("ann", "bob"), None),
        ("too-few-annotators", "horse", {"horse": 1}, ("ann",), None),
        ("not-blind", "horse", {"horse": 2}, ("ann", "bob"), "horse"),
    ],
)
def test_a_validation_image_is_left_out_with_its_reason(
    ws: Workspace, reason: str, label: str | None, votes: dict[str, int], people: tuple[str, ...], proposal: str | None
) -> None:
    found = collect(ws)
    odd = next(image for image, (label_, split) in found.items() if (label_, split) == ("horse", "validation"))
    label_all(ws, {image: place for image, place in found.items() if image != odd})
    answer(ws, {odd: label or "horse"}, people, proposal=proposal)
    settle(ws, (odd, label, votes))
    made = snapshot(ws, "horse")
    assert made.excluded == {reason: 1}
    assert made.labels["validation"]["horse"] == 3


def test_one_annotator_is_enough_for_a_training_image(ws: Workspace) -> None:
    found = collect(ws)
    label_all(ws, {image: place for image, place in found.items() if place[1] in HELD_OUT})
    for image, (label, split) in found.items():
        if split == "train":
            answer(ws, {image: label}, ("ann",), proposal=label)
            settle(ws, (image, label, {label: 1}))
    assert snapshot(ws, "horse").train == 16


def test_labels_of_one_vendor_are_frozen_only_where_the_unknown_ceiling_is_accepted(ws: Workspace) -> None:
    found = collect(ws)
    answer(ws, {image: label for image, (label, _) in found.items()}, ("vendor",))
    settle(ws, *((image, label, {label: 1}) for image, (label, _) in found.items()))
    with pytest.raises(GateNotMet, match="nobody knows how far its labels can be trusted"):
        snapshot(ws, "horse")
    made = snapshot(ws, "horse", accept_ceiling=True)
    assert (made.validation, made.excluded) == (8, {})
    assert read_manifest(ws, find(ws, "horse")).config["min_annotators"] == 1
    assert "human ceiling" in made.warnings[0]


def test_a_copy_is_left_out_whatever_its_label(ws: Workspace) -> None:
    found = collect(ws)
    label_all(ws, found)
    copy, keeper = [image for image, (_, split) in found.items() if split == "train"][:2]
    pools.write_pass(ws.catalog, {}, 32, "digest", [Duplicate(copy, keeper, 3, "phash", "larger")])
    made = snapshot(ws, "horse")
    assert made.excluded == {"copy": 1}
    assert made.train == 15


def test_without_labels_there_is_no_snapshot_and_the_hint_names_the_command(ws: Workspace) -> None:
    collect(ws)
    with pytest.raises(GateNotMet, match="no settled label") as caught:
        snapshot(ws, "horse")
    assert caught.value.exit_code == 4
    assert "collect label pull" in caught.value.hint


@pytest.mark.parametrize("split", HELD_OUT)
def test_a_held_out_split_that_lacks_a_label_is_refused(ws: Workspace, split: str) -> None:
    found = collect(ws)
    label_all(ws, {image: place for image, place in found.items() if place != ("not-horse", split)})
    with pytest.raises(GateNotMet, match=f"the {split} split holds no image of `not-horse`"):
        snapshot(ws, "horse")


def test_a_workspace_that_draws_no_test_split_needs_none(ws: Workspace) -> None:
    collected = collect(ws)
    label_all(ws, collected)
    rows = [image for image, (_, split) in collected.items() if split == "test"]
    with ws.catalog.write() as connection:
        connection.exec_driver_sql("update split set name = 'train' where name = 'test'")
    made = snapshot(ws, "horse")
    assert (made.test, made.train) == (0, 16 + len(rows))


def test_a_manifest_that_was_changed_by_hand_is_refused(ws: Workspace) -> None:
    label_all(ws, collect(ws))
    row = find(ws, "horse", snapshot(ws, "horse").digest)
    table = pq.read_table(ws.data / row.path)
    swapped = pa.array(["horse"] * table.num_rows)
    pq.write_table(table.set_column(table.schema.get_field_index("label"), "label", swapped), ws.data / row.path)
    with pytest.raises(CollectError, match="changed by hand"):
        read_manifest(ws, row)
    (ws.data / row.path).write_bytes(b"PAR1")
    with pytest.raises(CollectError, match="cannot be read"):
        read_manifest(ws, row)


def test_copies_in_two_splits_are_refused(ws: Workspace) -> None:
    label_all(ws, collect(ws))
    rows = read_manifest(ws, find(ws, "horse", snapshot(ws, "horse").digest)).rows
    train = next(row for row in rows if row.split == "train")
    validation = next(row for row in rows if row.split == "validation")
    check_groups(rows)
    with pytest.raises(CollectError, match="near-duplicates"):
        check_groups([train, validation._replace(group=train.group)])


def test_an_unknown_snapshot_is_a_usage_error_and_none_at_all_names_the_command(ws: Workspace) -> None:
    ws.concept("horse", create=True)
    with pytest.raises(GateNotMet) as caught:
        find(ws, "horse")
    assert "collect snapshot" in caught.value.hint
    with pytest.raises(UsageError, match="no snapshot `abc`"):
        find(ws, "horse", "abc")
