"""What people say of pairs, which copy is kept and why, what geometry adds, odd pictures."""

from __future__ import annotations

import io
import os
from collections.abc import Callable

import numpy as np
import pytest
import sqlalchemy as sa
from PIL import Image, ImageFilter, ImageOps

from collector.catalog import pools
from collector.dedup import DedupSummary, dedup, detail, hints
from collector.dedup.explain import explain, say
from collector.errors import UsageError
from collector.intake import take_in
from collector.records import Kept, License, Sighting
from collector.workspace import Workspace
from tests.collector.gallery import add, flipped
from tests.collector.test_dedup import keep
from tests.conftest import jpeg, picture

OFF = '[dedup]\ngeometry = "off"\n'


def saved(image: Image.Image, format_: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def photo(seed: int, size: tuple[int, int] = (480, 360)) -> Image.Image:
    """A picture with detail of every size, as photographs have, and corners to hold on to."""
    rng = np.random.default_rng(seed)
    layers = np.zeros((size[1], size[0]))
    side = 4
    while side < size[0]:
        noise = rng.normal(0, 1, (max(2, side * size[1] // size[0]), side)).astype(np.float32)
        layers += np.asarray(Image.fromarray(noise, "F").resize(size, Image.Resampling.BICUBIC))
        side *= 2
    layers = 128 + 40 * layers / layers.std() * 1.2
    return Image.fromarray(np.clip(layers, 0, 255).astype(np.uint8)).convert("RGB")


def aside(ws: Workspace) -> dict[str, str]:
    return {row.image: row.keeper for row in pools.duplicates(ws.catalog).values()}


# What people say


def test_a_pair_that_was_called_different_is_never_merged_again(ws: Workspace) -> None:
    one, other = add(ws, "aa", 0), add(ws, "bb", 1)
    assert dedup(ws).duplicates == 1
    say(ws, one[:8], other[:8], False, "two frames of one film")
    assert dedup(ws).duplicates == 0
    add(ws, "cc", 3)
    found = dedup(ws)
    assert found.duplicates == 1
    assert {frozenset(pair) for pair in aside(ws).items()}.isdisjoint({frozenset((one, other))})


def test_a_pair_that_was_called_the_same_is_merged_whatever_is_measured(ws: Workspace) -> None:
    one, other = add(ws, "aa", 0), add(ws, "bb", 2**40 - 1)
    assert dedup(ws).duplicates == 0
    say(ws, one, other, True)
    assert dedup(ws).methods["person"] == 1
    say(ws, one, other, None)
    assert dedup(ws).duplicates == 0


def test_what_a_person_called_the_same_goes_together_with_a_copy_of_one_of_them(ws: Workspace) -> None:
    large = add(ws, "aa", 0, size=(500, 500))
    copy, odd = add(ws, "bb", 1), add(ws, "cc", 2**40 - 1)
    say(ws, copy, odd, True)
    dedup(ws)
    assert aside(ws) == {copy: large, odd: large}


@pytest.mark.parametrize("strictness", ["star", "clique", "component"])
def test_different_wins_in_every_kind_of_group(make_workspace: Callable[..., Workspace], strictness: str) -> None:
    ws = make_workspace(f'{OFF}groups = "{strictness}"\n')
    names = [add(ws, f"a{k}", flipped(0, range(3 * k)), size=(100 - k, 100)) for k in range(4)]
    say(ws, names[0], names[1], False)
    dedup(ws)
    assert (names[1], names[0]) not in aside(ws).items()
    assert (names[0], names[1]) not in aside(ws).items()


def test_verdicts_that_contradict_each_other_are_named(ws: Workspace) -> None:
    one, two, three = (add(ws, name, 2 ** (20 * k) - 1) for k, name in enumerate(("aa", "bb", "cc")))
    say(ws, one, three, False)
    say(ws, one, two, True)
    say(ws, two, three, True)
    found = dedup(ws)
    assert any("contradicts" in warning for warning in found.warnings)
    assert (three, one) not in aside(ws).items()


@pytest.mark.parametrize("name", ["", "zz", "a"])
def test_an_image_that_is_not_there_or_not_unique_is_one_clear_sentence(ws: Workspace, name: str) -> None:
    add(ws, "aa", 0)
    add(ws, "ab", 2**50)
    with pytest.raises(UsageError, match="image"):
        say(ws, name, "aa", True)
    with pytest.raises(UsageError, match="are one image"):
        say(ws, "aa", "aa", True)
    with pytest.raises(UsageError, match="image"):
        explain(ws, name)


def test_chains_are_groups_only_where_they_are_asked_for(make_workspace: Callable[..., Workspace]) -> None:
    found: dict[str, DedupSummary] = {}
    for strictness in ("star", "clique", "component"):
        ws = make_workspace(f'{OFF}groups = "{strictness}"\nkeep = ["resolution"]\n', strictness)
        for k in range(5):  # each 8 bits from the next, and one a step aside from the first
            add(ws, f"a{k}", flipped(0, range(8 * k)), size=(200 - k, 200))
        add(ws, "af", flipped(0, range(56, 64)), size=(150, 150))
        found[strictness] = dedup(ws)
    assert found["component"].groups == 1
    assert found["component"].duplicates == 5
    assert found["component"].methods["chain"] == 3
    assert found["star"].duplicates == 3  # two of the first, one of the third
    assert found["clique"].duplicates == 2


# Which copy is kept


def test_an_upscaled_copy_does_not_win_by_its_pixels(ws: Workspace) -> None:
    original = photo(1)
    small = keep(ws, saved(original, quality=90), "small")
    large = keep(ws, saved(original.resize((960, 720), Image.Resampling.BICUBIC), quality=95), "large")
    dedup(ws)
    assert aside(ws) == {large: small}
    assert "upscaled" in pools.duplicates(ws.catalog)[large].reason


def test_a_larger_original_wins_by_its_pixels(ws: Workspace) -> None:
    original = photo(1)
    small = keep(ws, saved(original.resize((240, 180), Image.Resampling.LANCZOS), quality=95), "small")
    large = keep(ws, saved(original, quality=90), "large")
    dedup(ws)
    assert aside(ws) == {small: large}


def test_less_compression_wins_then_exif_then_the_source(make_workspace: Callable[..., Workspace]) -> None:
    exif = Image.Exif()
    exif[0x010F] = "camera"
    original = photo(2)
    for name, config, good, bad, said in (
        (
            "quality",
            "",
            saved(original, quality=92),
            saved(original, quality=50),
            "less compressed (quality 92 against 50)",
        ),
        ("exif", "", saved(original, quality=80, exif=exif), saved(original, quality=80), "EXIF kept"),
        ("source", 'sources = ["good", "bad"]\n', saved(original), saved(original, optimize=True), "preferred source"),
    ):
        ws = make_workspace(f"[dedup]\n{config}", name)
        ws.concept("horse", create=True)
        taken = {}
        for source, data in (("bad", bad), ("good", good)):
            seen = Sighting(source, source, f"https://x/{source}.jpg", License("by", "4.0"), "horse", "horse")
            outcome = take_in(ws, data, seen)
            assert isinstance(outcome, Kept)
            taken[source] = outcome.image
        dedup(ws)
        assert aside(ws) == {taken["bad"]: taken["good"]}, name
        assert pools.duplicates(ws.catalog)[taken["bad"]].reason.startswith(said)


def test_the_order_of_the_policy_is_a_setting(make_workspace: Callable[..., Workspace]) -> None:
    ws = make_workspace('[dedup]\nkeep = ["quality", "resolution"]\n')
    large = keep(ws, saved(photo(3, (960, 720)), quality=60), "large")
    fine = keep(ws, saved(photo(3, (960, 720)).resize((480, 360)), quality=95), "fine")
    dedup(ws)
    assert aside(ws) == {large: fine}


@pytest.mark.parametrize("scale", [1.5, 2.0])
@pytest.mark.parametrize("filter_", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS])
def test_the_spectrum_tells_upscaled_pictures_from_detailed_ones(scale: float, filter_: Image.Resampling) -> None:
    original = photo(4)
    size = (round(480 * scale), round(360 * scale))
    upscaled, _ = detail.of_file(saved(original.resize(size, filter_), quality=90))
    assert not detail.holds_more(upscaled, 1 / scale)
    assert detail.holds_more(detail.of_file(saved(photo(4, size), quality=90))[0], 1 / scale)
    assert detail.of_file(b"no picture") == ([], 1.0)


def test_files_are_read_once_for_ever_and_a_lost_file_is_no_obstacle(ws: Workspace) -> None:
    original = photo(5)
    small, large = keep(ws, saved(original), "small"), keep(ws, saved(original.resize((960, 720))), "large")
    dedup(ws)
    rows = len(ws.catalog.frame("quality"))
    assert rows > 0
    first = aside(ws)
    for image in (small, large):
        os.unlink(ws.store.path(image))
    dedup(ws)
    assert aside(ws) == first
    assert len(ws.catalog.frame("quality")) == rows


# Mirrored and turned copies, and what only geometry finds


def test_mirrored_and_turned_copies_are_found_with_their_form(ws: Workspace) -> None:
    original = photo(6)
    keep(ws, saved(original, quality=95), "original")
    turned = {
        "mirrored": ImageOps.mirror(original),
        "rotated 90": original.transpose(Image.Transpose.ROTATE_270),
        "rotated 180": original.transpose(Image.Transpose.ROTATE_180),
    }
    taken = {keep(ws, saved(each, quality=80), form): form for form, each in turned.items()}
    dedup(ws)
    rows = pools.duplicates(ws.catalog)
    assert {taken[image]: row.evidence["form"] for image, row in rows.items()} == {form: form for form in turned}
    assert {row.method for row in rows.values()} == {"dct"}


def test_a_crop_of_the_same_name_is_settled_by_geometry_and_a_stranger_is_no_copy(ws: Workspace) -> None:
    original = photo(7, (640, 480))
    whole = keep(ws, saved(original), "the-horse-640x480.jpg")
    crop = keep(ws, saved(original.crop((80, 60, 560, 420))), "the-horse-480x360.jpg")
    keep(ws, saved(photo(8, (640, 480))), "the-horse-1024x768.jpg")
    found = dedup(ws)
    assert aside(ws) == {crop: whole}
    assert found.methods["geometry"] == 1
    row = pools.duplicates(ws.catalog)[crop]
    assert row.evidence["inliers"] >= 10
    assert 0.5 < row.evidence["scale"] < 2
    assert found.checked in (2, 3)  # the keeper is asked about both others
    asked = len(ws.catalog.frame("comparison"))
    dedup(ws)
    assert len(ws.catalog.frame("comparison")) == asked


def test_all_compares_pictures_that_share_points_whatever_they_are_called(
    make_workspace: Callable[..., Workspace],
) -> None:
    original = photo(9, (640, 480))
    found = {}
    for mode in ("off", "grey", "all"):
        ws = make_workspace(f'[dedup]\ngeometry = "{mode}"\n', mode)
        keep(ws, saved(original), "one")
        keep(ws, saved(original.crop((0, 0, 448, 336)).rotate(20, expand=True)), "two")
        keep(ws, saved(photo(10)), "other")
        found[mode] = dedup(ws).duplicates
    assert found == {"off": 0, "grey": 0, "all": 1}


def test_without_opencv_the_grey_zone_counts_as_no_copies_and_that_is_said(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    original = photo(7, (640, 480))
    keep(ws, saved(original), "the-horse-640x480.jpg")
    keep(ws, saved(original.crop((80, 60, 560, 420))), "the-horse-480x360.jpg")
    for name in ("collector.dedup.geometry", "collector.dedup.keypoints"):
        monkeypatch.setitem(sys.modules, name, None)
    found = dedup(ws)
    assert found.duplicates == 0
    assert any("opencv" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("url", "stem"),
    [
        ("https://x/wp/My%20Horse-300x200.jpg", "my horse"),
        ("https://upload.wikimedia.org/a/ab/320px-Brown_horse.jpg", "brown_horse"),
        ("https://x/brown-horse_thumb@2x.png?x=1", "brown-horse"),
        ("https://x/IMG_1.jpg", ""),
        ("https://x/", ""),
        ("http://[", ""),
    ],
)
def test_the_stem_of_a_file_name_is_what_its_sizes_have_in_common(url: str, stem: str) -> None:
    assert hints.stem(url) == stem


# Why


def test_an_image_is_explained_with_its_group_its_evidence_and_what_comes_close(ws: Workspace) -> None:
    large, small = keep(ws, jpeg(1, (640, 480)), "large"), keep(ws, jpeg(1, (320, 240)), "small")
    other = keep(ws, jpeg(2), "other")
    dedup(ws)
    told = explain(ws, small[:12])
    assert (told.state, told.keeper, told.reason) == ("set aside", large, "more pixels (307200 against 76800)")
    assert told.copies[0]["image"] == small
    assert told.copies[0]["method"] == "phash"
    assert [each["image"] for each in told.nearest] == [other]
    assert explain(ws, large).state == "kept"
    assert explain(ws, other).state == "alone"
    say(ws, small, other, False, "no")
    assert explain(ws, other).verdicts[0]["other"] == small


# Bad pictures


def test_odd_pictures_are_compared_like_any_other(make_workspace: Callable[..., Workspace]) -> None:
    ws = make_workspace("[intake]\nmin_side = 1\n")
    frames = [picture(seed, (120, 90)) for seed in range(3)]
    odd = {
        "dot": saved(Image.new("RGB", (1, 1), "red"), "PNG"),
        "other dot": saved(Image.new("RGB", (1, 1), "blue"), "PNG"),
        "panorama": saved(photo(1, (6000, 200)), quality=70),
        "animated": saved(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "first frame": saved(frames[0], "PNG"),
        "blurred": saved(picture(9).filter(ImageFilter.GaussianBlur(3))),
        "plain": saved(picture(9)),
        **{f"color {n}": saved(Image.new("RGB", (64 + n, 64), (n, n, n)), "PNG") for n in range(20)},
    }
    for name, data in odd.items():
        keep(ws, data, name)
    found = dedup(ws)
    assert found.images == len(odd)
    assert found.duplicates == 2  # the first frame, and the blurred picture


def test_a_killed_search_is_taken_up_again(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(3):
        keep(ws, jpeg(seed, (640, 480)), str(seed))
        keep(ws, jpeg(seed), f"copy{seed}")
    with monkeypatch.context() as dying:
        dying.setattr("collector.dedup.step.pools.write_pass", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            dedup(ws)
    assert dedup(ws).duplicates == 3
    with ws.catalog.read() as connection:
        assert connection.execute(sa.text("select count(*) from dedup_pass")).scalar() == 1


def test_a_frame_does_not_win_by_its_pixels(ws: Workspace) -> None:
    original = photo(11, (480, 360))
    plain = keep(ws, saved(original, quality=90), "plain")
    framed = {
        "white": keep(ws, saved(ImageOps.expand(original, 24, "white"), quality=95), "white"),
        "black": keep(ws, saved(ImageOps.pad(original, (480, 480), color="black"), quality=95), "black"),
        "turned": keep(ws, saved(original.rotate(12, expand=True), quality=95), "turned"),
    }
    dedup(ws)
    assert aside(ws) == dict.fromkeys(framed.values(), plain)
    assert "by its frame only" in pools.duplicates(ws.catalog)[framed["white"]].reason


def test_a_hundred_copies_of_a_picture_do_not_hide_its_crop(ws: Workspace) -> None:
    original = photo(12, (640, 480))
    whole = keep(ws, saved(original, quality=95), "whole")
    for quality in range(40, 80):
        keep(ws, saved(original.resize((320, 240)), quality=quality), f"copy{quality}")
    crop = keep(ws, saved(ImageOps.mirror(original.crop((100, 60, 500, 380)))), "mirrored crop")
    dedup(ws)
    rows = pools.duplicates(ws.catalog)
    assert {row.keeper for row in rows.values()} == {whole}
    assert rows[crop].method == "geometry"
    assert rows[crop].evidence["mirrored"]
    told = explain(ws, crop)
    assert told.compared[0]["same"]
    assert told.compared[0]["image"] == whole
    assert told.compared[0]["alike"] > 0.8


def test_two_pictures_that_share_a_drawn_thing_are_no_copies(ws: Workspace) -> None:
    thing = photo(13, (240, 180))
    for seed in (14, 15):
        ground = photo(seed, (640, 480))
        ground.paste(thing, (200, 150))
        keep(ws, saved(ground), str(seed))
    assert dedup(ws).duplicates == 0
