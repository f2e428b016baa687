"""The step: what is missing is measured once, faults are rows, thresholds are settings, flags remove what they may."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from collector import quality, splits
from collector.catalog import images, pools
from collector.catalog import quality as rows
from collector.errors import UsageError
from collector.intake import take_in, taking_in
from collector.records import Kept, Known, License, Sighting
from collector.workspace import Workspace
from tests.collector.test_checks import brightened, detailed
from tests.collector.test_privacy import saved
from tests.conftest import REPOSITORY, jpeg

EVERYTHING = "[intake]\nmin_side = 1\n"


def keep(ws: Workspace, data: bytes, name: str, urls: int = 1) -> str:
    ws.concept("horse", create=True)
    for n in range(urls):
        seen = Sighting("test", f"{name}-{n}", f"https://x/{name}/{n}", License("by", "4.0"), "horse", "horse")
        outcome = take_in(ws, data, seen)
    assert isinstance(outcome, Kept | Known)
    return outcome.image


def encoded(of: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    of.save(buffer, kind, **options)
    return buffer.getvalue()


def sixteen_bits(of: Image.Image) -> Image.Image:
    return of.convert("L").convert("I").point(lambda level: level * 257).convert("I;16")


def flags(ws: Workspace) -> dict[str, set[str]]:
    found = quality.flagged(ws.catalog, ws.section(quality.QualityConfig))
    return {name: set(those) for name, those in found.items() if those}


def test_everything_is_measured_once_and_new_images_join(ws: Workspace) -> None:
    keep(ws, jpeg(1), "a")
    first = quality.quality(ws)
    assert (first.images, first.measured) == (1, 1)
    assert quality.quality(ws).measured == 0
    keep(ws, jpeg(2), "b")
    assert quality.quality(ws).measured == 1


def test_the_summary_counts_flags_and_names_the_worst(ws: Workspace) -> None:
    dark = keep(ws, encoded(brightened(detailed(1), 0.1)), "dark")
    keep(ws, encoded(detailed(2)), "fine")
    summary = quality.quality(ws)
    assert summary.flags["dark"] == 1
    assert summary.worst["dark"] == (dark,)
    assert summary.excluded == 0
    assert dark[:12] in summary.for_people()["flags"]


def test_faces_are_looked_for_only_on_demand(ws: Workspace) -> None:
    keep(ws, jpeg(1), "a")
    quality.quality(ws)
    assert not rows.scores(ws.catalog, ["faces/1"], "horse")
    assert quality.quality(ws, faces=True).measured == 1
    assert rows.scores(ws.catalog, ["faces/1"], "horse")
    assert quality.quality(ws, faces=True).measured == 0


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encoded(Image.new("RGB", (1, 1), "red")), {"tiny", "low_information"}),
        (encoded(Image.new("RGB", (200, 200), "red")), {"low_information", "placeholder"}),
        (encoded(Image.new("RGB", (30_000, 70), "white"), "JPEG"), {"odd_aspect", "light", "low_information"}),
        (encoded(detailed(1), "GIF", save_all=True, append_images=[detailed(2)]), set()),
        (encoded(detailed(1).convert("CMYK"), "JPEG"), set()),
        (
            encoded(sixteen_bits(detailed(1))),
            {"grayscale"},
        ),
        (encoded(detailed(1).convert("LA")), {"grayscale"}),
        (encoded(detailed(1).quantize(16)), set()),
    ],
)
def test_odd_pictures_are_measured_like_others(
    make_workspace: Callable[..., Workspace], data: bytes, expected: set[str]
) -> None:
    ws = make_workspace(EVERYTHING)
    keep(ws, data, "odd")
    assert quality.quality(ws).flags["broken"] == 0
    assert expected <= set(flags(ws))


def test_lost_and_damaged_files_are_rows_with_a_flag_and_are_tried_again(ws: Workspace) -> None:
    gone, damaged, fine = keep(ws, jpeg(1), "gone"), keep(ws, jpeg(2), "damaged"), keep(ws, jpeg(3), "fine")
    whole = Path(ws.store.path(gone)).read_bytes()
    Path(ws.store.path(gone)).unlink()
    Path(ws.store.path(damaged)).write_bytes(b"\xff\xd8\xffnothing")
    summary = quality.quality(ws)
    assert flags(ws)["broken"] == {gone, damaged}
    assert "cannot be read" in summary.warnings[0]
    assert "not in the store" in rows.details(ws.catalog, quality.BROKEN)[gone]["why"]
    assert fine not in flags(ws)["broken"]
    Path(ws.store.path(gone)).write_bytes(whole)
    assert quality.quality(ws).measured == 2
    assert flags(ws)["broken"] == {damaged}


def test_a_damaged_preview_gives_way_to_the_original(ws: Workspace) -> None:
    image = keep(ws, jpeg(1, (1200, 900)), "large")
    place = images.previews(ws.catalog)[image]
    assert place is not None
    pack = Path(ws.store.root) / "previews" / f"{place.pack}.pack"
    for damage in (b"\xff\xd8\xff" + b"x" * (place.size - 3), b""):
        pack.write_bytes(damage)
        with ws.catalog.write() as connection:
            connection.exec_driver_sql("delete from quality")
        assert quality.quality(ws).flags["broken"] == 0
        assert rows.details(ws.catalog, quality.BROKEN)[image]["preview"]


def test_other_thresholds_give_other_flags_without_measuring(make_workspace: Callable[..., Workspace]) -> None:
    image = keep(make_workspace(), encoded(detailed(1)), "a")
    quality.quality(make_workspace())
    Path(make_workspace().store.path(image)).unlink()  # it could not be measured again
    assert "dark" not in flags(make_workspace())
    stricter = make_workspace("[quality.below]\ndark = 1.0\n")
    assert flags(stricter)["dark"] == {image}
    assert quality.quality(stricter).measured == 0


def test_the_same_bytes_at_many_addresses_are_a_placeholder(make_workspace: Callable[..., Workspace]) -> None:
    ws = make_workspace("[quality]\nplaceholder_addresses = 5\n")
    keep(ws, encoded(detailed(1)), "once")
    everywhere = keep(ws, encoded(detailed(2)), "everywhere", urls=5)
    quality.quality(ws)
    assert flags(ws)["placeholder"] == {everywhere}


def test_flags_keep_images_out_of_the_pool_only_where_the_settings_say_so(
    make_workspace: Callable[..., Workspace],
) -> None:
    ws = make_workspace()
    dark, fine = keep(ws, encoded(brightened(detailed(1), 0.1)), "dark"), keep(ws, encoded(detailed(2)), "fine")
    quality.quality(ws)
    strict = make_workspace('[quality]\nexclude = ["blurry", "dark"]\n')
    assert quality.excluded(strict.catalog, strict.section(quality.QualityConfig)) == {dark: "quality: dark"}
    splits.enroll(strict, strict.concept("horse"))
    assert {row.image for row in pools.members(ws.catalog, "horse")} == {fine}
    splits.enroll(ws, ws.concept("horse"))
    assert {row.image for row in pools.members(ws.catalog, "horse")} == {fine, dark}


def test_a_flag_that_does_not_exist_is_refused_with_a_hint(make_workspace: Callable[..., Workspace]) -> None:
    with pytest.raises(UsageError, match="did you mean `blurry`"):
        make_workspace('[quality]\nexclude = ["blury"]\n').section(quality.QualityConfig)


def test_every_check_has_a_threshold_and_every_threshold_a_check() -> None:
    assert set(quality.keys_of_checks()) == set(quality.Thresholds.model_fields)


def test_a_place_in_the_metadata_is_flagged_and_only_the_tags_are_kept(ws: Workspace) -> None:
    image = keep(ws, saved("JPEG", size=(160, 120)), "private")
    summary = quality.quality(ws)
    assert flags(ws)["gps"] == flags(ws)["owner"] == {image}
    assert rows.details(ws.catalog, "gps/1")[image]["tags"] == ["GPSLatitude", "GPSLatitudeRef", "xmp:GPSLatitude"]
    assert "never publish" in summary.warnings[0]


def test_buried_images_count_nowhere(ws: Workspace) -> None:
    image = keep(ws, encoded(Image.new("RGB", (200, 200), "red")), "red")
    quality.quality(ws)
    images.bury(ws.catalog, image, "unwanted")
    assert flags(ws) == {}
    assert quality.quality(ws).images == 0


def test_a_killed_run_keeps_its_groups_and_the_next_one_measures_the_rest(ws: Workspace) -> None:
    with taking_in(ws) as intake:
        ws.concept("horse", create=True)
        for n in range(60):
            intake.take(jpeg(n), Sighting("test", str(n), f"https://x/{n}", License("by"), "horse", "horse"))
    program = (
        "import sys\nfrom collector import quality\nfrom collector.workspace import Workspace\nquality.GROUP = 4\n"
        "quality.quality(Workspace.open(sys.argv[1]))"
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(ws.settings.path)], cwd=REPOSITORY)
    while child.poll() is None and not rows.scores(ws.catalog, [quality.BROKEN], "horse"):
        time.sleep(0.005)
    child.kill()
    child.wait()
    done = len(rows.scores(ws.catalog, [quality.BROKEN], "horse").get(quality.BROKEN, {}))
    assert done > 0
    assert quality.quality(ws).measured == 60 - done
    assert len(rows.scores(ws.catalog, [quality.BROKEN], "horse")[quality.BROKEN]) == 60
