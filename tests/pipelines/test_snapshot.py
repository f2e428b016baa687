from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from collector.catalog import pools
from collector.catalog.models import SnapshotRow
from collector.catalog.pools import Duplicate
from collector.errors import CollectError, GateNotMet, UsageError
from collector.intake import take_in
from collector.records import License, Sighting
from collector.workspace import Workspace
from labeling.review import agreement
from pipelines.cli.main import cli
from pipelines.manifest import HELD_OUT, Manifest, ManifestRow, find, read_manifest, schema
from pipelines.snapshot import freeze, snapshot
from pipelines.snapshots import diff, show, snapshots
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
    take_in(ws, ws.store.get(min(found)), licensed)
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


def test_answers_that_came_after_the_last_agreement_are_told(ws: Workspace) -> None:
    found = collect(ws)
    label_all(ws, found)
    agreement(ws, "horse")
    assert not any("newer answers" in said for said in snapshot(ws, "horse").warnings)
    image, (label, _) = next(iter(found.items()))
    answer(ws, {image: label}, ["cem"])
    later = snapshot(ws, "horse")
    assert any(said.startswith("1 images have newer answers") for said in later.warnings)
    agreement(ws, "horse")
    settled = snapshot(ws, "horse")
    assert settled.digest != later.digest  # three votes are not two
    assert not any("newer answers" in said for said in settled.warnings)


def test_a_folder_that_was_imported_is_frozen_without_measuring_what_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[train]\nbackbone = 'classic'\n")
    for kind, label in enumerate(("horse", "not-horse")):
        (tmp_path / "sorted" / label).mkdir(parents=True)
        for n in range(40):
            (tmp_path / "sorted" / label / f"{n}.png").write_bytes(stripes(kind, n))
    given = ["--config", str(tmp_path / "config.toml")]
    sort = ["--license", "own", "--labels", "folders", "--annotator", "ana"]
    results = {
        words[0]: CliRunner().invoke(cli, [*words, *given])
        for words in (
            ["import", "horse", str(tmp_path / "sorted"), *sort],
            ["split", "horse"],
            ["snapshot", "horse"],
        )
    }
    assert [each.exit_code for each in results.values()][:2] == [0, 0], [each.output for each in results.values()]
    refused = results["snapshot"].exception
    assert isinstance(refused, GateNotMet)
    assert "labeled by two people" in refused.message
    assert "--accept-ceiling" in refused.hint
    for words in (["snapshot", "horse", "--accept-shortcut"], ["train-baseline", "horse"]):
        done = CliRunner().invoke(cli, [*words, "--accept-ceiling", *given])
        assert done.exit_code == 0, done.output
    with Workspace.open(tmp_path / "config.toml", environ={}) as ws:
        assert sum(sum(labels.values()) for labels in find(ws, "horse").counts.values()) == 80


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
    found = collect(ws, 8, splits=(*HELD_OUT, "train"))
    label_all(ws, {image: place for image, place in found.items() if place != ("not-horse", split)})
    with pytest.raises(GateNotMet, match=f"the {split} split holds no image of `not-horse`"):
        snapshot(ws, "horse")


def test_a_workspace_that_draws_no_test_split_needs_none(ws: Workspace) -> None:
    collected = collect(ws, 8, splits=("validation", "train"))
    label_all(ws, collected)
    made = snapshot(ws, "horse")
    assert (made.test, made.train) == (0, 8)


def test_snapshots_have_names_and_equal_content_keeps_its_own(ws: Workspace) -> None:
    found = collect(ws, 8)
    label_all(ws, found)
    first = snapshot(ws, "horse")
    again = snapshot(ws, "horse", name="final")
    assert (first.name, again.name, again.changed) == ("horse-1", "horse-1", False)
    assert "frozen as `horse-1` already" in again.warnings[0]
    fewer = snapshot(ws, "horse", name="final", filters={"per_source": 4})
    assert (fewer.name, fewer.train, fewer.changed) == ("final", 4, True)
    assert find(ws, "horse", "final").digest == find(ws, "horse", fewer.digest[:9]).digest == fewer.digest
    with pytest.raises(UsageError, match="another snapshot is called `final`"):
        snapshot(ws, "horse", name="final", filters={"per_source": 3})
    with pytest.raises(UsageError, match="cannot be the name"):
        snapshot(ws, "horse", name="abcdef")
    with pytest.raises(UsageError, match="`cc1` is not a license"):
        snapshot(ws, "horse", filters={"licenses": ("cc1",)})
    listed = snapshots(ws, "horse").snapshots
    assert [(each["name"], each["train"]) for each in listed] == [("horse-1", 8), ("final", 4)]
    changed = diff(ws, "horse-1", "final", out=ws.root / "diff.csv")
    assert (changed.removed, changed.added, changed.same) == (4, 0, 12)
    lines = (ws.root / "diff.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines[1:]] == [
        [row["image"], "removed"] for row in changed.images["removed"]
    ]
    shown = show(ws, "final")
    assert (shown.images, shown.licenses, shown.sources, shown.errata) == (12, {"by": 12}, {"made": 12}, [])


def test_a_difference_names_what_was_relabeled_relicensed_and_moved(ws: Workspace) -> None:
    def manifest(*rows: tuple[str, str, str, str]) -> Manifest:
        fields = ManifestRow._fields[: -len(ManifestRow._field_defaults)]
        blank: dict[str, Any] = {name: 0 if name in ("confidence", "annotators") else "" for name in fields}
        made = [
            ManifestRow(**{**blank, "image": image, "label": label, "license": license_, "split": split})
            for image, label, license_, split in rows
        ]
        return Manifest(
            "horse", ("horse", "not-horse"), {}, pa.Table.from_pylist([r._asdict() for r in made], schema())
        )

    ws.concept("horse", create=True)
    same, gone = ("a", "horse", "by", "train"), ("b", "horse", "by", "train")
    freeze(ws, manifest(same, gone, ("c", "horse", "by", "train"), ("d", "horse", "by", "train")), "old")
    freeze(
        ws, manifest(same, ("c", "not-horse", "cc0", "train"), ("d", "horse", "by", "test"), ("e", *gone[1:])), "new"
    )
    found = diff(ws, "old", "new")
    assert (found.same, found.added, found.removed) == (1, 1, 1)
    assert found.images == {
        "added": [{"image": "e", "was": "", "now": "horse"}],
        "removed": [{"image": "b", "was": "horse", "now": ""}],
        "relabeled": [{"image": "c", "was": "horse", "now": "not-horse"}],
        "relicensed": [{"image": "c", "was": "by", "now": "cc0"}],
        "moved": [{"image": "d", "was": "train", "now": "test"}],
    }


def test_a_snapshot_of_format_1_is_still_read_and_verified(ws: Workspace) -> None:
    ws.concept("horse", create=True)
    fields = ManifestRow._fields[: -len(ManifestRow._field_defaults)]
    rows = [{name: 0.5 if name == "confidence" else 2 if name == "annotators" else f"{name} é" for name in fields}]
    header = {"concept": "horse", "labels": ["horse", "not-horse"], "config": {"min_confidence": 0.5}}
    lines = [json.dumps(each, sort_keys=True, separators=(",", ":")) for each in ({**header, "format": 1}, *rows)]
    digest = hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
    (ws.data / "snapshots").mkdir()
    table = pa.Table.from_pylist(rows).replace_schema_metadata({"collect": json.dumps(header)})
    pq.write_table(table, ws.data / "snapshots" / "old.parquet")
    row = SnapshotRow(digest, "horse", "snapshots/old.parquet", {}, {}, "2026", None)
    manifest = read_manifest(ws, row)
    assert (manifest.digest(), manifest.rows[0].label, manifest.rows[0].width) == (digest, "label é", 0)
    with pytest.raises(CollectError, match="changed by hand"):
        read_manifest(ws, row._replace(digest="0" * 64))


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


def test_an_unknown_snapshot_is_a_usage_error_and_none_at_all_names_the_command(ws: Workspace) -> None:
    ws.concept("horse", create=True)
    with pytest.raises(GateNotMet) as caught:
        find(ws, "horse")
    assert "collect split horse" in caught.value.hint
    with pytest.raises(UsageError, match="no snapshot `abc`"):
        find(ws, "horse", "abc")
