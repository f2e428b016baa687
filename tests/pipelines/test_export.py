from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageOps

from collector import privacy
from collector.catalog import forgotten
from collector.catalog.tables import tombstone
from collector.errors import CollectError, UsageError
from collector.records import License
from collector.store import Store
from collector.workspace import Workspace
from pipelines.export import FORMATS, export
from pipelines.export.pictures import EVERY, make
from pipelines.export.records import Made, Options
from pipelines.export.run import JOURNAL
from pipelines.manifest import ManifestRow, find, read_manifest
from tests.conftest import jpeg
from tests.pipelines.exported import copied, encoded, world

__all__ = ["world"]
data = pytest.importorskip("skimage.data", reason="a portrait comes with scikit-image")
ALL = Options("csv", (), shard_size=10)


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def row_of(ws: Workspace, data_: bytes, license: str = "by") -> ManifestRow:
    """A row like those of a snapshot, for bytes that are put into the store."""
    like = read_manifest(ws, find(ws, "horse")).rows[0]
    return like._replace(image=ws.store.put(data_), license=license)


def made(ws: Workspace, data_: bytes, options: Options = ALL, license: str = "by") -> Made:
    found = make(ws.store, row_of(ws, data_, license), options, EVERY)
    assert isinstance(found, Made)
    return found


def opened(data_: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data_)) as file:
        return ImageOps.exif_transpose(file).convert("RGB")


@pytest.mark.parametrize("form", list(FORMATS))
def test_the_same_snapshot_and_options_make_the_same_bytes(world: Workspace, tmp_path: Path, form: str) -> None:
    options = Options(form, (), resize=64, shard_size=13)
    first = export(world, tmp_path / "one", options)
    second = export(world, tmp_path / "two", options)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert first.changed
    assert second.changed
    assert first.images == sum(sum(labels.values()) for labels in first.labels.values())
    assert first.files == len(files(tmp_path / "one")) - 2  # SHA256SUMS and export.json list and count the others


class Stopping(Store):
    """A store after whose `left` reads the user presses Ctrl-C."""

    def __init__(self, url: str, left: int) -> None:
        super().__init__(url)
        self.left = left

    def get(self, image: str) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().get(image)


@pytest.mark.parametrize(
    ("form", "after"), [("imagefolder", 1), ("imagefolder", 40), ("webdataset", 25), ("parquet", 50)]
)
def test_a_stopped_export_continues_and_ends_as_if_nothing_had_been(
    world: Workspace, tmp_path: Path, form: str, after: int
) -> None:
    options = Options(form, (), shard_size=7)
    export(world, tmp_path / "whole", options)
    with copied(world, tmp_path / "ws") as ws:
        whole = ws.store
        ws.store = Stopping(whole.root, after)
        with pytest.raises(KeyboardInterrupt):
            export(ws, tmp_path / "out", options)
        assert not (tmp_path / "out").exists()
        half = tmp_path / "out.unfinished" / "train" / "x.jpg.12345678.tmp"  # as `kill -9` leaves it
        half.parent.mkdir(exist_ok=True)
        half.write_bytes(b"half")
        ws.store = whole
        assert export(ws, tmp_path / "out", options).changed
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert not (tmp_path / "out.unfinished").exists()


def test_parts_that_the_journal_names_are_not_made_again(world: Workspace, tmp_path: Path) -> None:
    options = Options("webdataset", ("train",), shard_size=5)
    with copied(world, tmp_path / "ws") as ws:
        lost = read_manifest(ws, find(ws, "horse")).split("train")[12].image
        kept = ws.store.get(lost)
        Path(ws.store.path(lost)).unlink()
        with pytest.raises(CollectError, match=f"image {lost[:12]} are not in the store"):
            export(ws, tmp_path / "out", options)
        shards = tmp_path / "out.unfinished"
        assert len(list((shards / JOURNAL).iterdir())) == 2
        before = (shards / "train-00000.tar").stat().st_mtime_ns
        ws.store.put(kept)
        export(ws, tmp_path / "out", options)
        assert (tmp_path / "out" / "train-00000.tar").stat().st_mtime_ns == before


def test_an_export_that_was_killed_just_before_its_name_only_gets_it(world: Workspace, tmp_path: Path) -> None:
    export(world, tmp_path / "out", ALL)
    (tmp_path / "out").rename(tmp_path / "out.unfinished")
    assert export(world, tmp_path / "out", ALL).changed
    assert not export(world, tmp_path / "out", ALL).changed


def test_an_unfinished_export_with_other_options_begins_anew(world: Workspace, tmp_path: Path) -> None:
    draft = tmp_path / "out.unfinished"
    export(world, draft, Options("parquet", ()))
    export(world, tmp_path / "out", ALL)
    assert not (tmp_path / "out" / "data").exists()


def test_a_finished_export_is_left_alone_and_a_changed_one_is_named(world: Workspace, tmp_path: Path) -> None:
    export(world, tmp_path / "out", ALL)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    again = export(world, tmp_path / "out", ALL)
    assert not again.changed
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before
    with pytest.raises(UsageError, match="holds another export"):
        export(world, tmp_path / "out", Options("csv", (), resize=64))
    (tmp_path / "out" / "images.csv").write_text("changed", encoding="utf-8")
    with pytest.raises(CollectError, match="1 changed"):
        export(world, tmp_path / "out", ALL)


def test_a_folder_with_other_things_is_never_touched(world: Workspace, tmp_path: Path) -> None:
    for name in ("out", "other.unfinished"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="is no export"):
        export(world, tmp_path / "out", ALL)
    with pytest.raises(UsageError, match="no unfinished export"):
        export(world, tmp_path / "other", ALL)
    assert (tmp_path / "out" / "thesis.txt").read_text(encoding="utf-8") == "mine"
    assert (tmp_path / "other.unfinished" / "thesis.txt").read_text(encoding="utf-8") == "mine"
    (tmp_path / "empty").mkdir()
    assert export(world, tmp_path / "empty", ALL).images > 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options("zip", ()), "not a format"),
        (Options("csv", ("trian",)), "did you mean `train`"),
        (Options("csv", ("test",)), "no pictures in `test`"),
        (Options("csv", (), resize=3), "too small"),
        (Options("csv", (), shard_size=0), "shard-size"),
    ],
)
def test_a_wrong_option_is_one_sentence(world: Workspace, tmp_path: Path, options: Options, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        export(world, tmp_path / "out", options)
    assert not list(tmp_path.iterdir())


def test_only_the_wanted_split_is_written(world: Workspace, tmp_path: Path) -> None:
    made_ = export(world, tmp_path / "out", Options("imagefolder", ("validation",)))
    assert set(made_.labels) == {"validation"}
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()} == {"validation"}
    wanted = {row.image[:16] for row in read_manifest(world, find(world, "horse")).split("validation")}
    assert {path.stem for path in (tmp_path / "out" / "validation").rglob("*.*") if path.is_file()} == wanted


def test_changed_bytes_in_the_store_stop_the_export(world: Workspace, tmp_path: Path) -> None:
    with copied(world, tmp_path / "ws") as ws:
        image = read_manifest(ws, find(ws, "horse")).rows[5].image
        Path(ws.store.path(image)).write_bytes(jpeg(99))
        with pytest.raises(CollectError, match=f"{image[:12]} are not those of the snapshot"):
            export(ws, tmp_path / "out", ALL)


def test_a_forgotten_picture_is_left_out_and_an_export_with_it_is_refused(world: Workspace, tmp_path: Path) -> None:
    with copied(world, tmp_path / "ws") as ws:
        before = export(ws, tmp_path / "before", ALL)
        image = read_manifest(ws, find(ws, "horse")).rows[0].image
        row = {"sha256": image, "phash": "", "reason": forgotten.REASON, "buried_at": "2026-01-01"}
        with ws.catalog.write() as connection:
            connection.execute(tombstone.insert(), [row])
        after = export(ws, tmp_path / "after", ALL)
        assert after.images == before.images - 1
        assert after.left_out == {"forgotten": 1}
        assert image not in (tmp_path / "after" / "images.csv").read_text(encoding="utf-8")
        assert not list((tmp_path / "after").rglob(f"{image[:16]}*"))
        with pytest.raises(CollectError, match="forgotten, withdrawn or relicensed"):
            export(ws, tmp_path / "before", ALL)


def test_no_exported_file_says_where_it_was_taken_and_all_are_upright(world: Workspace, tmp_path: Path) -> None:
    made_ = export(world, tmp_path / "out", ALL)
    assert made_.stripped >= 1
    assert made_.turned == 1
    assert "EXIF orientation" in made_.warnings[0]
    for path in (tmp_path / "out" / "images").rglob("*.*"):
        assert privacy.found(path.read_bytes()) == ([], [])


def test_kept_metadata_is_the_original_file_and_a_warning(world: Workspace, tmp_path: Path) -> None:
    made_ = export(world, tmp_path / "out", Options("csv", (), keep_exif=True))
    stored = {path.stem: path.read_bytes() for path in (tmp_path / "out" / "images").rglob("*.*")}
    for row in read_manifest(world, find(world, "horse")).rows:
        assert stored[row.image[:16]] == world.store.get(row.image)
    assert made_.stripped == 0
    assert "metadata was kept" in made_.warnings[-1]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "turned"])
def test_metadata_goes_and_no_pixel_changes(world: Workspace, kind: str) -> None:
    before = encoded(5, kind)
    after = made(world, before)
    assert opened(after.data).tobytes() == opened(before).tobytes()
    assert (after.width, after.height) == opened(before).size


@pytest.mark.parametrize(
    ("kind", "size", "expected"),
    [
        ("JPEG", (640, 480), (85, 64)),
        ("PNG", (480, 640), (64, 85)),
        ("turned", (640, 480), (64, 85)),
        ("CMYK", (300, 200), (96, 64)),
        ("AVIF", (64, 300), (64, 300)),
        ("JPEG", (70, 64), (70, 64)),
    ],
)
def test_the_shorter_side_is_reduced_and_never_enlarged(
    world: Workspace, kind: str, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    before = encoded(6, kind, size)
    after = made(world, before, Options("csv", (), resize=64))
    assert opened(after.data).size == (after.width, after.height) == expected
    assert ("resized" in after.changes) == (min(size) > 64)
    if "resized" in after.changes:
        assert after.suffix == ".jpg"
        wanted = opened(before).resize(expected, Image.Resampling.LANCZOS)
        assert np.asarray(ImageChops.difference(wanted, opened(after.data))).max() < 40  # the right way up


def test_a_picture_with_a_profile_is_resized_in_srgb(world: Workspace) -> None:
    from PIL import ImageCms

    red = Image.new("RGB", (128, 128), (200, 40, 40))
    lab = ImageCms.createProfile("LAB")
    odd, buffer = ImageCms.ImageCmsProfile(lab).tobytes(), io.BytesIO()
    red.save(buffer, "JPEG", quality=95, icc_profile=odd)  # a profile that does not fit the picture is left out
    after = made(world, buffer.getvalue(), Options("csv", (), resize=64))
    pixel = opened(after.data).getpixel((32, 32))
    assert isinstance(pixel, tuple)
    assert max(abs(a - b) for a, b in zip(pixel, (200, 40, 40), strict=True)) < 6
    assert "icc_profile" not in Image.open(io.BytesIO(after.data)).info


def portrait() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(data.astronaut()).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def test_faces_are_blurred_and_pictures_without_one_keep_their_bytes(world: Workspace) -> None:
    options = Options("csv", (), blur_faces=True)
    after = made(world, portrait(), options)
    assert after.changes == {"blurred": "a face blurred"}
    again = make(world.store, row_of(world, after.data), options, EVERY)
    assert isinstance(again, Made)
    assert not again.changes  # nobody is found in it any more
    plain = jpeg(3)
    assert made(world, plain, options).data == plain


def test_a_license_against_derivatives_is_kept(world: Workspace) -> None:
    row = row_of(world, portrait(), "by-nc-nd")
    assert License(row.license).nd
    small = made(world, portrait(), Options("csv", (), resize=64), "by-nc-nd")
    assert small.spared
    assert (small.width, small.height) == (512, 512)
    assert make(world.store, row, Options("csv", (), blur_faces=True), EVERY) == "no-derivatives"
    assert made(world, jpeg(4), Options("csv", (), blur_faces=True), "by-nc-nd").data == jpeg(4)


def test_pictures_that_keep_their_size_are_counted_in_a_sentence(world: Workspace, tmp_path: Path) -> None:
    made_ = export(world, tmp_path / "out", Options("imagefolder", (), resize=64))
    spared = sum("nd" in row.license for row in read_manifest(world, find(world, "horse")).rows)
    assert made_.resized == made_.images - spared
    assert made_.warnings[0].startswith(f"{spared} pictures kept their size")
    assert "resized to" in (tmp_path / "out" / "ATTRIBUTION.md").read_text(encoding="utf-8")


def test_a_damaged_file_that_still_decodes_becomes_a_png(world: Workspace) -> None:
    whole = encoded(7, "JPEG")
    odd = whole[:20] + b"\xff\x00" + whole[20:]  # decoders skip it, but where the metadata ends is not known any more
    after = made(world, odd)
    assert after.changes == {"converted": "coded again as PNG"}
    assert opened(after.data).tobytes() == opened(whole).tobytes()


def test_the_command_writes_an_export_and_verify_checks_it(
    world: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., tuple[int, str, str]]
) -> None:
    monkeypatch.chdir(world.root)
    code, said, _ = run("export", "horse", "--format", "csv", "--out", str(tmp_path / "out"), "--json")
    assert code == 0
    assert json.loads(said)["images"] > 50
    shutil.rmtree(tmp_path / "out" / "images" / next((tmp_path / "out" / "images").iterdir()).name)
    monkeypatch.chdir(tmp_path)  # no workspace here
    code, said, wrong = run("verify", "out")
    assert code == 1
    assert "the export is not whole" in wrong
    assert "missing" in said


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    from pipelines.cli import main as entry

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["collect", *words])
        with pytest.raises(SystemExit) as ended:
            entry.main()
        said = capfd.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def test_the_command_offers_every_format() -> None:
    from pipelines.cli.export import NAMES  # written out there, because help must not import the formats

    assert list(FORMATS) == list(NAMES)
