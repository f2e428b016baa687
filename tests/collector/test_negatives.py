"""Negatives: what is the concept, a kind or a parent of it, or a copy of a positive, never gets in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from collector.catalog import pools, quality, suspects
from collector.catalog.quality import Measured
from collector.dedup import dedup
from collector.errors import CollectError, UsageError
from collector.intake import take_in
from collector.negatives import negatives
from collector.quality import keys_of_checks
from collector.records import Kept, License, Sighting
from collector.workspace import Workspace
from tests.collector.test_dedup import keep
from tests.conftest import REPOSITORY, SHARED, jpeg

HORSE, ZEBRA, DOG, CAR, PONY = "n02374451", "n02391049", "n02084071", "n02958343", "n02382437"


@pytest.fixture
def imagen(tmp_path: Path) -> Path:
    """A folder named like ImageN: two of each of four synsets, one file that is no picture."""
    folder = tmp_path / "imagen"
    folder.mkdir()
    for n, (wnid, name) in enumerate([(HORSE, "horse"), (ZEBRA, "zebra"), (DOG, "dog"), (CAR, "car")]):
        for k in range(2):
            (folder / f"{wnid}_{n}{k}_{name}.jpg").write_bytes(jpeg(500 + 10 * n + k))
    (folder / f"{DOG}_99_dog.jpg").write_bytes(b"<html>gone</html>")
    return folder


@pytest.fixture
def positives(ws: Workspace) -> list[str]:
    return [keep(ws, jpeg(seed), f"horse{seed}") for seed in range(6)]


def names(ws: Workspace) -> set[str]:
    return {row.reason.split(": ")[1] for row in pools.members(ws.catalog, "horse") if row.role == "negative"}


def test_horses_are_no_negatives_of_horse(ws: Workspace, positives: list[str], imagen: Path) -> None:
    summary = negatives(ws, "horse", folder=imagen, ratio=10)
    assert summary.positives == 6
    assert summary.negatives == 6
    assert summary.excluded == {"is-the-concept": 2, "not-an-image": 1}
    assert summary.tiers == {"far": 2, "mid": 2, "near": 2}
    assert not [name for name in names(ws) if "horse" in name]
    assert "no more to give" in summary.warnings[0]


def test_a_copy_of_a_positive_is_no_negative(ws: Workspace, positives: list[str], imagen: Path) -> None:
    (imagen / f"{CAR}_77_car.jpg").write_bytes(jpeg(3, quality=60))
    summary = negatives(ws, "horse", folder=imagen, ratio=10)
    assert summary.excluded["copy-of-a-positive"] == 1
    assert f"{CAR}_77_car.jpg" not in names(ws)


def test_a_second_run_tops_up_and_earlier_picks_stay(ws: Workspace, positives: list[str], imagen: Path) -> None:
    first = negatives(ws, "horse", folder=imagen, ratio=0.5)
    picked = names(ws)
    assert (first.negatives, first.new) == (3, 3)
    second = negatives(ws, "horse", folder=imagen, ratio=1)
    assert (second.negatives, second.new) == (6, 3)
    assert picked < names(ws)
    assert negatives(ws, "horse", folder=imagen, ratio=1).new == 0


def test_the_ratio_is_met_exactly(ws: Workspace, positives: list[str], imagen: Path) -> None:
    assert negatives(ws, "horse", folder=imagen, ratio=0.34).negatives == 2


def test_a_folder_whose_names_say_nothing_gives_what_it_has(
    ws: Workspace, positives: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    for seed in range(700, 704):
        (folder / f"{seed}.jpg").write_bytes(jpeg(seed))
    assert negatives(ws, "horse", folder=folder).tiers == {"given": 4}


def test_an_empty_folder_is_said_in_one_sentence(ws: Workspace, positives: list[str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no files"):
        negatives(ws, "horse", folder=tmp_path / "empty")


def test_a_concept_without_a_synset_is_refused_rather_than_guessed(ws: Workspace, imagen: Path) -> None:
    ws.concept("zyzzyva-like", create=True)
    with pytest.raises(UsageError, match="no WordNet synset"):
        negatives(ws, "zyzzyva-like", folder=imagen)


@pytest.fixture
def archive(imagen: Path, tmp_path: Path) -> Iterator[str]:
    """ImageN's archive on loopback."""
    site = tmp_path / "site"
    site.mkdir()
    with zipfile.ZipFile(site / "imagen.zip", "w") as file:
        for path in imagen.iterdir():
            file.write(path, f"imagen-master/imagen/{path.name}")
    handler = partial(SimpleHTTPRequestHandler, directory=str(site))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_imagen_is_fetched_once_from_its_archive(ws: Workspace, positives: list[str], archive: str) -> None:
    ws.settings.raw["negatives"] = {"archive": f"{archive}/imagen.zip", "ratio": 0.5}
    assert negatives(ws, "horse").negatives == 3
    ws.settings.raw["negatives"] = {"archive": f"{archive}/gone.zip", "ratio": 1}
    assert negatives(ws, "horse").negatives == 6


def test_an_archive_that_cannot_be_had_names_the_ways_without_it(ws: Workspace, archive: str) -> None:
    ws.concept("horse", create=True)
    ws.settings.raw["negatives"] = {"archive": f"{archive}/gone.zip"}
    with pytest.raises(CollectError, match="cannot be fetched") as caught:
        negatives(ws, "horse")
    assert "--folder" in caught.value.hint


KILLED = """
import os, signal, sys
from pathlib import Path
from collector.catalog import pools
from collector.negatives import quotas, step
from collector.workspace import Workspace
add, left = pools.add, int(sys.argv[3])
def dying(*args):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return add(*args)
with Workspace.open(sys.argv[1]) as ws:
    pools.add, quotas.AT_ONCE = dying, 2
    step.negatives(ws, "horse", folder=Path(sys.argv[2]), ratio=1)
"""


@pytest.mark.parametrize("survived", [1, 3])
def test_killed_between_store_and_pool_it_ends_with_the_same_picks(
    ws: Workspace, positives: list[str], imagen: Path, survived: int, make_workspace: Callable[..., Workspace]
) -> None:
    config = str(ws.settings.path)
    command = [sys.executable, "-c", KILLED, config, str(imagen), str(survived)]
    killed = subprocess.run(command, cwd=REPOSITORY, env=dict(os.environ), check=False)
    assert killed.returncode == -signal.SIGKILL
    assert negatives(ws, "horse", folder=imagen, ratio=1).negatives == 6
    unkilled = make_workspace(name="unkilled")
    for seed in range(6):
        keep(unkilled, jpeg(seed), f"horse{seed}")
    negatives(unkilled, "horse", folder=imagen, ratio=1)
    assert names(ws) == names(unkilled)


@pytest.mark.realdata
@pytest.mark.skipif(not (SHARED / "data" / "imagen").is_dir(), reason="the real pictures in ../shared are absent")
def test_none_of_imagens_five_horses_becomes_a_negative_of_horse(ws: Workspace) -> None:
    keep(ws, jpeg(1), "one")
    summary = negatives(ws, "horse", folder=SHARED / "data" / "imagen", ratio=995)
    assert summary.excluded["is-the-concept"] == 5
    assert summary.negatives == 1000 - sum(summary.excluded.values())
    assert not [name for name in names(ws) if name.startswith(HORSE)]


def test_a_copy_of_imagen_is_named_by_argument_or_by_setting(ws: Workspace, positives: list[str], imagen: Path) -> None:
    assert negatives(ws, "horse", imagen=imagen, ratio=0.5).negatives == 3
    ws.settings.raw["negatives"] = {"imagen": str(imagen), "ratio": 1}
    assert negatives(ws, "horse").negatives == 6


def test_no_class_of_a_concept_becomes_a_negative_of_it(make_workspace: Callable[..., Workspace], imagen: Path) -> None:
    ws = make_workspace('[concepts.equids]\nlabels = ["horse", "zebra", "none"]\n')
    ws.concept("equids")
    seen = Sighting("test", "1", "https://x/1", License("by"), concept="equids", label="zebra")
    take_in(ws, jpeg(1), seen)
    summary = negatives(ws, folder=imagen, ratio=10)
    assert summary.synsets == {"horse": HORSE, "zebra": ZEBRA}
    assert summary.excluded["is-the-concept"] == 4
    assert summary.negatives == 4


def test_what_quality_exclude_names_is_no_negative_and_is_replaced(
    make_workspace: Callable[..., Workspace], imagen: Path
) -> None:
    ws = make_workspace('[quality]\nexclude = ["dark"]\n')
    horses = [keep(ws, jpeg(seed), f"horse{seed}") for seed in range(4)]
    crawled = Sighting("test", "cow", "https://x/cow", License("by"), "horse", "not-horse", query="cow")
    taken = take_in(ws, jpeg(901), crawled)
    assert isinstance(taken, Kept)
    cow = taken.image
    dark = {each: Measured(each, keys_of_checks()["dark"], 0.0, {}) for each in (horses[0], cow)}
    quality.put(ws.catalog, dark.values())
    first = negatives(ws, "horse", folder=imagen)
    assert (first.positives, first.negatives, first.poor) == (3, 3, 0)
    assert first.excluded["quality: dark"] == 1
    assert not [row for row in pools.members(ws.catalog, "horse") if row.image == cow]
    picked = next(row.image for row in pools.members(ws.catalog, "horse") if row.role == "negative")
    quality.put(ws.catalog, [Measured(picked, keys_of_checks()["dark"], 0.0, {})])
    again = negatives(ws, "horse", folder=imagen)
    assert (again.negatives, again.new, again.poor) == (4, 1, 1)


def test_where_people_are_asked_for_negatives_with_a_face_are_looked_at_first(ws: Workspace, imagen: Path) -> None:
    ws.concept("person", create=True)
    for n in range(6):
        seen = Sighting("test", str(n), f"https://x/{n}", License("by"), "person", "person")
        take_in(ws, jpeg(n), seen)
    first = negatives(ws, "person", folder=imagen)
    assert "--faces" in first.warnings[-1]
    shown = sorted(row.image for row in pools.members(ws.catalog, "person") if row.role == "negative")[2]
    quality.put(ws.catalog, [Measured(shown, keys_of_checks()["faces"], 0.0, {})])
    negatives(ws, "person", folder=imagen)
    listed = suspects.of(ws.catalog, "person")
    assert (listed[0].image, listed[0].reason) == (shown, "it shows a face")


def test_a_face_says_nothing_where_no_people_are_asked_for(ws: Workspace, positives: list[str], imagen: Path) -> None:
    negatives(ws, "horse", folder=imagen)
    every = [row.image for row in pools.members(ws.catalog, "horse") if row.role == "negative"]
    quality.put(ws.catalog, [Measured(image, keys_of_checks()["faces"], 0.0, {}) for image in every])
    assert "--faces" not in str(negatives(ws, "horse", folder=imagen).warnings)
    assert suspects.of(ws.catalog, "horse") == []


def test_a_negative_set_aside_as_a_copy_is_replaced(ws: Workspace, positives: list[str], imagen: Path) -> None:
    (imagen / f"{DOG}_98_dog.jpg").write_bytes(jpeg(520, (640, 480)))
    (imagen / f"{HORSE}_00_horse.jpg").unlink()
    negatives(ws, "horse", folder=imagen, ratio=10)
    assert dedup(ws).duplicates == 1
    again = negatives(ws, "horse", folder=imagen, ratio=10)
    assert (again.negatives, again.new) == (6, 0)


def test_two_folders_may_use_the_same_names(ws: Workspace, positives: list[str], tmp_path: Path) -> None:
    for name, seeds in (("one", range(800, 803)), ("two", range(810, 813))):
        (tmp_path / name / "pictures").mkdir(parents=True)
        for n, seed in enumerate(seeds):
            (tmp_path / name / "pictures" / f"{n}.jpg").write_bytes(jpeg(seed))
    assert negatives(ws, "horse", folder=tmp_path / "one" / "pictures").negatives == 3
    assert negatives(ws, "horse", folder=tmp_path / "two" / "pictures").negatives == 6


def test_a_file_that_cannot_be_taken_whole_is_a_reason(ws: Workspace, positives: list[str], imagen: Path) -> None:
    ws.settings.raw["intake"] = {"max_bytes": 20_000}
    (imagen / f"{CAR}_66_car.jpg").write_bytes(jpeg(900) + bytes(20_000))
    assert negatives(ws, "horse", folder=imagen, ratio=10).excluded["too-large"] == 1
