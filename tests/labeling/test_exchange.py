"""Labels in and out without Label Studio, in every format, with files as strangers write them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.catalog import labels as rows
from collector.catalog.database import Catalog
from collector.catalog.labels import Current
from collector.errors import CollectError, UsageError
from collector.importing import Sorted, import_folder
from collector.intake import take_in
from collector.records import UNSURE, License, Sighting
from collector.workspace import Workspace
from labeling.exchange import FORMATS, export_labels, import_labels
from labeling.exchange.folders import folder_name
from labeling.exchange.step import guess
from tests.conftest import jpeg

CONCEPTS = '[concepts.equids]\nlabels = ["horse", "donkey", "<script>alert(1)</script>", "a/b", "none"]\n'
LABELS = ("horse", "donkey", "<script>alert(1)</script>", "a/b", "none", UNSURE, "")


def fill(ws: Workspace, number: int = 8) -> list[str]:
    """Pictures 0.jpg, 1.jpg, ... of the concept; their ids."""
    ws.concept("equids", create=True)
    for seed in range(number):
        place = Sighting("web", str(seed), f"https://example.org/set/{seed}.jpg", License("cc0"), concept="equids")
        take_in(ws, jpeg(seed, (120, 96)), place)
    frame = ws.catalog.frame("sightings").sort_values("id")
    return list(frame["image"])


@pytest.fixture
def stable(make_workspace: Callable[..., Workspace]) -> Workspace:
    ws = make_workspace(CONCEPTS)
    fill(ws)
    return ws


def table(path: Path, lines: list[tuple[Any, ...]], header: str = "image,annotator,label") -> Path:
    out = io.StringIO()
    csv.writer(out).writerows([header.split(","), *lines])
    path.write_text(out.getvalue(), encoding="utf-8")
    return path


def said(ws: Workspace) -> set[tuple[Any, ...]]:
    """Everything that the standing answers say."""
    return {
        (row.image, row.annotator, row.state, row.label, row.note, row.seconds)
        for row in rows.current(ws.catalog, "equids")
    }


def everything(ws: Workspace, path: Path) -> set[tuple[Any, ...]]:
    """Answers of two people with all that answers have, taken in from a table."""
    images = fill(ws)
    note = 'hard <b>"é"</b>, a;b\nsecond line =1+1'
    lines: list[tuple[Any, ...]] = [(image, "ann", LABELS[i % 7], i + 0.25, note) for i, image in enumerate(images)]
    lines += [(image, "<b>Ben & Co", LABELS[(i + 2) % 5], "", "") for i, image in enumerate(images)]
    summary = import_labels(ws, table(path, lines, "image,annotator,label,seconds,note"), "equids")
    assert (summary.answers, summary.new, summary.unknown) == (16, 16, 0)
    return said(ws)


@pytest.mark.parametrize("name", sorted(FORMATS.keys() - {"folders"}))
def test_what_is_exported_is_imported_the_same_elsewhere(
    make_workspace: Callable[..., Workspace], tmp_path: Path, name: str
) -> None:
    here, there = make_workspace(CONCEPTS), make_workspace(CONCEPTS, "there")
    known = everything(here, tmp_path / "given.csv")
    out = export_labels(here, tmp_path / "out" / "labels", "equids", format=name)
    fill(there)
    summary = import_labels(there, tmp_path / "out" / "labels", "equids")
    assert summary.format == name
    skips = {row for row in known if row[2] == "skipped"}
    assert out.left_out == (0 if FORMATS[name].skips else len(skips))
    assert said(there) == (known if FORMATS[name].skips else known - skips)
    again = import_labels(there, tmp_path / "out" / "labels", "equids")
    assert (again.new, again.changed, again.same) == (0, 0, summary.new)


def test_folders_hold_the_labels_of_one_person(make_workspace: Callable[..., Workspace], tmp_path: Path) -> None:
    here, there = make_workspace(CONCEPTS), make_workspace(CONCEPTS, "there")
    known = everything(here, tmp_path / "given.csv")
    with pytest.raises(UsageError, match="one person"):
        export_labels(here, tmp_path / "out", "equids", format="folders")
    with pytest.raises(UsageError, match="did you mean `ann`"):
        export_labels(here, tmp_path / "out", "equids", format="folders", annotator="anne")
    export_labels(here, tmp_path / "out", "equids", format="folders", annotator="ann")
    assert (tmp_path / "out" / "a%2Fb").is_dir()
    with pytest.raises(UsageError, match="there already"):
        export_labels(here, tmp_path / "out", "equids", format="folders", annotator="ann")
    wanted = {(row[0], "ann", row[2], row[3]) for row in known if row[1] == "ann" and row[2] != "skipped"}
    fill(there)
    with pytest.raises(UsageError, match="does not say who"):
        import_labels(there, tmp_path / "out", "equids")
    import_labels(there, tmp_path / "out", "equids", annotator="ann")
    assert {row[:4] for row in said(there)} == wanted


def test_sorted_folders_come_in_with_pictures_and_labels(
    make_workspace: Callable[..., Workspace], tmp_path: Path
) -> None:
    ws = make_workspace(CONCEPTS)
    places = {"horse/a.jpg": 1, "horse/deep/b.jpg": 2, "donkey/a.jpg": 3, f"{UNSURE}/c.jpg": 4, "loose.jpg": 5}
    for name, seed in places.items():
        path = tmp_path / "vendor" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(seed, (120, 96)))
    summary = import_folder(ws, "equids", tmp_path / "vendor", license="own", label=Sorted("vendor"))
    assert (summary.kept, summary.labeled, summary.warnings) == (5, 4, ())
    assert sorted(row.label or row.state for row in rows.current(ws.catalog, "equids")) == [
        *("donkey", "horse", "horse", "unsure")
    ]
    assert all(str(row.origin).startswith("folders vendor ") for row in rows.current(ws.catalog, "equids"))
    frame = ws.catalog.frame("sightings")
    assert sorted(frame["label"]) == ["donkey", "horse", "horse", "horse", "horse"]
    import_folder(ws, "equids", tmp_path / "vendor", license="own", label=Sorted("vendor"))
    assert len(ws.catalog.frame("annotations")) == 4
    (tmp_path / "vendor" / "donkey" / "copy.jpg").write_bytes(jpeg(1, (120, 96)))
    torn = import_folder(ws, "equids", tmp_path / "vendor", license="own", label=Sorted("vendor"))
    assert "different labels" in torn.warnings[0]
    (tmp_path / "vendor" / "hores").mkdir()
    (tmp_path / "vendor" / "hores" / "d.jpg").write_bytes(jpeg(9, (120, 96)))
    with pytest.raises(UsageError, match="did you mean `horse`"):
        import_folder(ws, "equids", tmp_path / "vendor", license="own", label=Sorted("vendor"))
    assert len(ws.catalog.frame("images")) == 5


def test_a_changed_label_supersedes_and_the_same_file_adds_nothing(stable: Workspace, tmp_path: Path) -> None:
    image, other = fill(stable)[:2]
    file = tmp_path / "labels.csv"
    first = import_labels(stable, table(file, [(image, "ann", "horse"), (other, "ann", "horse")]))
    again = import_labels(stable, file)
    changed = import_labels(stable, table(file, [(image, "ann", "donkey"), (other, "ann", "horse")]))
    back = import_labels(stable, table(file, [(image, "ann", "horse"), (other, "ann", "horse")]))
    assert [(s.new, s.changed, s.same) for s in (first, again, changed, back)] == [
        *((2, 0, 0), (0, 0, 2), (0, 1, 1), (0, 1, 1))
    ]
    frame = stable.catalog.frame("annotations")
    assert list(frame["supersedes"].dropna()) == [1, 3]
    assert frame["origin"].str.match(r"csv labels\.csv [0-9a-f]{12}").all()
    assert {row.label for row in rows.current(stable.catalog, "equids")} == {"horse"}


def test_pictures_are_known_by_digest_address_path_or_name(stable: Workspace, tmp_path: Path) -> None:
    images = fill(stable)
    names = [
        images[0].upper(), f"objects/{images[1]}.jpg", "https://example.org/set/2.jpg", "set/3.jpg", "4.jpg",
        "C:\\labels\\5.jpg", "/data/upload/1/0a1b2c3d-6.jpg", "7.png",
    ]  # fmt: skip
    lines = [(name, "ann", "horse") for name in names]
    summary = import_labels(stable, table(tmp_path / "labels.csv", lines))
    assert {row.image for row in rows.current(stable.catalog, "equids")} == set(images[:7])
    assert summary.unknown == 1
    assert "7.png" in summary.warnings[0]


def test_a_name_that_fits_two_pictures_is_left_out(stable: Workspace, tmp_path: Path) -> None:
    place = Sighting("web", "x", "https://example.com/other/1.jpg", License("cc0"), concept="equids")
    take_in(stable, jpeg(50, (120, 96)), place)
    lines = [("1.jpg", "ann", "horse"), ("set/1.jpg", "ben", "horse"), ("other/1.jpg", "cyd", "none")]
    summary = import_labels(stable, table(tmp_path / "labels.csv", lines))
    assert summary.annotators == {"ben": 1, "cyd": 1}
    assert "may be several pictures" in summary.warnings[0]


def test_the_last_of_two_answers_of_one_person_counts(stable: Workspace, tmp_path: Path) -> None:
    image = fill(stable)[0]
    summary = import_labels(stable, table(tmp_path / "l.csv", [(image, "ann", "horse"), ("0.jpg", "ann", "none")]))
    assert (summary.new, summary.repeated) == (1, 1)
    assert summary.labels == {"none": 1}
    assert "two different answers" in summary.warnings[0]


def test_the_short_export_of_label_studio_is_read(stable: Workspace, tmp_path: Path) -> None:
    images = fill(stable)
    tasks = [
        {"id": 1, "image": "/data/upload/1/0a1b2c3d-0.jpg", "choice": "horse", "annotator": 1, "annotation_id": 1,
         "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "lead_time": 2.5},
        {"id": 2, "image": "x", "sha256": images[1], "choice": {"choices": ["none"]}, "annotator": 2},
        {"id": 3, "image": "2.jpg", "annotator": 2, "lead_time": 1.0},
    ]  # fmt: skip
    (tmp_path / "min.json").write_text(json.dumps(tasks))
    summary = import_labels(stable, tmp_path / "min.json", annotator="vendor")
    assert summary.annotators == {"vendor 1": 1, "vendor 2": 2}
    assert summary.labels == {"horse": 1, "none": 1, "skipped": 1}


def test_a_real_export_of_cvat_and_boxes_of_coco_are_read(stable: Workspace, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(
        '<?xml version="1.0"?><annotations><version>1.1</version><meta><task><labels><label><name>horse</name>'
        '<attributes><attribute><name>annotator</name></attribute></attributes></label></labels></task></meta>'
        '<image id="0" name="set/0.jpg" width="120" height="96"><tag label="horse" source="manual">'
        '<attribute name="annotator">ann</attribute></tag></image>'
        '<image id="1" name="set/1.jpg" width="120" height="96"><tag label="none" source="manual"></tag></image>'
        '<image id="2" name="set/2.jpg" width="120" height="96"/></annotations>'
    )  # fmt: skip
    assert import_labels(stable, tmp_path / "a.xml", annotator="vendor").annotators == {"ann": 1, "vendor": 1}
    box = {"bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0}
    coco = {
        "images": [{"id": 7, "file_name": "3.jpg"}],
        "categories": [{"id": 1, "name": "donkey"}],
        "annotations": [{"id": n, "image_id": 7, "category_id": 1, **box} for n in (1, 2)],
    }
    (tmp_path / "c.json").write_text(json.dumps(coco))
    assert import_labels(stable, tmp_path / "c.json", annotator="vendor").labels == {"donkey": 1}


BROKEN = {
    "empty": (b" \n", "is empty"),
    "no column": (b"picture,label\n1,2\n", "no column `image`"),
    "mistyped column": (b"image,labels\n1,2\n", "did you mean `labels`"),
    "no rows": (b"image,annotator,label\n", "holds no labels"),
    "ragged": (b"image,annotator,label\n0.jpg,ann\n", "row 2"),
    "mistyped label": (b"image,annotator,label\n0.jpg,ann,hores\n", "did you mean `horse`"),
    "several labels": (b"image,annotator,label\n0.jpg,ann,horse|none\n", "several labels"),
    "nobody": (b"image,label\n0.jpg,horse\n", "does not say who"),
    "bad seconds": (b"image,annotator,label,seconds\n0.jpg,ann,horse,nan\n", "where seconds should be"),
    "bad time": (b"image,annotator,label,at\n0.jpg,ann,horse,yesterday\n", "where a time should be"),
    "not text": (b"image,label\n\xff\xfe,\n", "not text in UTF-8"),
    "control characters": ("image,annotator,label\n0.jpg,a\u202enn,horse\n".encode(), "annotator called"),
    "half JSON": (b'[{"data": ', "is not JSON"),
    "deep JSON": (b"[" * 100_000, "is not JSON"),
    "other JSON": (b'[{"data": {"image": "0.jpg"}, "annotations": [{"result": [{"type": "choices"}]}]}]', "no export"),
    "other objects": (b'{"images": []}', "no COCO file"),
    "dangling": (b'{"images": [], "categories": [], "annotations": [{"image_id": 1}]}', "does not describe"),
    "half XML": (b"<annotations><image", "is not XML"),
    "other XML": (b"<html/>", "names no pictures"),
    "boxes only": (b'<annotations><image name="0.jpg"><box label="horse"/></image></annotations>', "no tags"),
    "bomb": (b'<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;">]><annotations>&c;</annotations>', "document type"),
    "thief": (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotations/>', "document type"),
}


def test_a_broken_file_is_one_sentence_and_nothing_is_written(stable: Workspace, tmp_path: Path) -> None:
    for case, (data, words) in BROKEN.items():
        (tmp_path / "file").write_bytes(data)
        with pytest.raises(UsageError, match=words) as caught:
            import_labels(stable, tmp_path / "file")
        assert caught.value.hint, case
        assert "\n" not in caught.value.message, case
    assert not len(stable.catalog.frame("annotations"))
    assert not len(stable.catalog.frame("annotators"))


def test_strangers_pictures_and_no_answers_are_said_clearly(stable: Workspace, tmp_path: Path) -> None:
    with pytest.raises(CollectError, match=r"no picture of labels\.csv is in this workspace"):
        import_labels(stable, table(tmp_path / "labels.csv", [("dog.jpg", "ann", "horse")]))
    with pytest.raises(CollectError, match="nobody has answered"):
        export_labels(stable, tmp_path / "out", format="csv")


def test_several_labels_are_one_answer_where_a_round_allows_it(stable: Workspace, tmp_path: Path) -> None:
    values = {"purpose": "pool", "labels": ["horse"], "guideline": "", "guideline_hash": "", "overlap": 1}
    values |= {"blind": True, "proposals": False, "several": True}
    rows.open_round(stable.catalog, "equids", "many", values)
    file = table(tmp_path / "l.csv", [("0.jpg", "ann", "donkey|horse"), ("1.jpg", "ann", f"horse|{UNSURE}")])
    assert import_labels(stable, file).labels == {"horse|donkey": 1, "unsure": 1}
    for name in ("cvat", "coco", "label-studio"):
        export_labels(stable, tmp_path / name, format=name)
        assert import_labels(stable, tmp_path / name).same == 2


@given(st.text(min_size=1).filter(lambda name: name.strip() == name and "\0" not in name))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_a_label_as_a_folder_leads_nowhere_else(label: str) -> None:
    name = folder_name(label)
    assert "/" not in name
    assert not name.startswith(".")


def test_the_format_is_guessed_from_content(tmp_path: Path) -> None:
    for text, name in (("\ufeff<a/>", "cvat"), (" [", "label-studio"), ("\n{", "coco"), ("image,label", "csv")):
        (tmp_path / "f").write_text(text)
        assert guess(tmp_path / "f") == name
    assert guess(tmp_path) == "folders"


def test_a_hundred_thousand_rows_take_no_query_each(
    stable: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = fill(stable)
    lines = [(image, f"worker {n}", "horse") for n in range(500) for image in images]
    asked = []
    real = Catalog.read

    def counted(self: Catalog) -> Any:
        asked.append(1)
        return real(self)

    monkeypatch.setattr(Catalog, "read", counted)
    assert import_labels(stable, table(tmp_path / "labels.csv", lines)).new == 4000
    assert len(asked) < 20
    assert isinstance(rows.current(stable.catalog, "equids")[0], Current)
