"""`collect forget`: what is asked for is gone from every file, stays gone, and everything that it touched is named."""

from __future__ import annotations

import io
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from collector.catalog import forgotten, images, quality
from collector.catalog.quality import Measured
from collector.dedup import dedup, keypoints
from collector.errors import Busy, GateNotMet, UsageError
from collector.importing import import_folder
from collector.intake import take_in, taking_in
from collector.records import Kept, Known, License, Rejected, Sighting
from collector.spiders.runner import crawl
from collector.workspace import Workspace
from pipelines import forget as step
from pipelines.backbones import load_backbone
from pipelines.demo.site import Site
from pipelines.features import features
from pipelines.forget import allow, forget
from pipelines.manifest import find, read_manifest
from pipelines.snapshot import snapshot
from pipelines.train import train_baseline
from pipelines.verify import verify_snapshot
from tests.collector.crawls import adds_up, pictures, settings
from tests.conftest import jpeg, picture
from tests.pipelines.labeled import collect, label_all

SIZE = (900, 700)  # large enough for a preview


def seen(n: int | str, *, creator: str = "Jane Doe", concept: str = "horse", host: str = "img") -> Sighting:
    by = License("by", "4.0", "https://creativecommons.org/licenses/by/4.0/", evidence=f"by {creator}")
    return Sighting(
        "flickr", f"id-{n}", f"https://{host}.example/{n}.jpg", by, concept, "horse", "horse",
        page=f"https://www.example/{n}", title=f"title of {n} by {creator}", creator=creator,
        creator_url=f"https://www.example/people/{creator.replace(' ', '-')}", facts={"tags": [f"{creator} at home"]},
    )  # fmt: skip


def keep(ws: Workspace, data: bytes, found: Sighting) -> str:
    outcome = take_in(ws, data, found)
    assert isinstance(outcome, Kept | Known), outcome
    return outcome.image


@pytest.fixture
def three(ws: Workspace) -> dict[str, str]:
    """Two pictures of Jane's and one of Bob's, with everything that the steps derive from them."""
    ws.concept("horse", create=True)
    found = {
        "first": keep(ws, jpeg(1, SIZE), seen("first")),
        "second": keep(ws, jpeg(2, SIZE), seen("second")),
        "bob": keep(ws, jpeg(3, SIZE), seen("bob", creator="Bob")),
    }
    names = list(found.values())
    features(ws, names, load_backbone("classic"))
    assert len(keypoints.keypoints(ws, names)) == 3
    quality.put(ws.catalog, [Measured(name, "faces/1", 0.5, {"boxes": [[1, 2, 3, 4]]}) for name in names])
    return found


def files(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path, path.read_bytes()


def traces(ws: Workspace, image: str, data: bytes) -> list[bytes]:
    """Pieces of bytes that only this image brings: of the original, the preview, the vector and the points."""
    place = images.previews(ws.catalog, [image])[image]
    assert place is not None
    preview = ws.store.get_preview(place)
    vector = features(ws, [image], load_backbone("classic")).astype(np.float16).tobytes()
    points = keypoints.keypoints(ws, [image])[image]
    return [data[5000:5200], preview[5000:5200], vector[:64], points.descriptors.tobytes()[:64]]


def holding(ws: Workspace, piece: bytes) -> list[str]:
    found = [str(path) for path, data in files(ws.data) if piece in data]
    for path in (ws.data / "features").glob("*/*.parquet"):
        vectors = pq.read_table(path)["vector"].combine_chunks().flatten().to_numpy()
        found += [str(path)] if piece in vectors.tobytes() else []
    return found


def test_no_file_holds_the_picture_any_more(ws: Workspace, three: dict[str, str]) -> None:
    pieces = traces(ws, three["first"], jpeg(1, SIZE))
    others = traces(ws, three["bob"], jpeg(3, SIZE))
    assert all(holding(ws, piece) for piece in (*pieces, *others)), "the search itself is blind"
    done = forget(ws, three["first"], yes=True)
    assert (done.done, done.images, done.vectors) == (True, 1, 1)
    assert done.bytes > len(jpeg(1, SIZE))
    assert [holding(ws, piece) for piece in pieces] == [[], [], [], []]
    assert all(holding(ws, piece) for piece in others), "its neighbors stay"
    assert set(keypoints.keypoints(ws, list(three.values()))) >= {three["second"], three["bob"]}


def test_without_yes_nothing_changes_and_the_next_command_is_named(ws: Workspace, three: dict[str, str]) -> None:
    before = {path: data for path, data in files(ws.data) if "locks" not in path.parts and "catalog" not in path.name}
    said = forget(ws, "Jane Doe")
    assert (said.kind, said.done, said.images, said.concepts) == ("creator", False, 2, ("horse",))
    assert said.next == "collect forget --creator 'Jane Doe' --yes"
    after = {path: data for path, data in files(ws.data) if "locks" not in path.parts and "catalog" not in path.name}
    assert after == before
    assert not forgotten.among(ws.catalog, three.values())


def test_the_record_says_nothing_of_the_creator_any_more(ws: Workspace, three: dict[str, str]) -> None:
    forget(ws, "jane  doe", why="she asked", yes=True)
    left = [path.name for path, data in files(ws.data) if b"Jane" in data or b"jane" in data]
    assert not [name for name in left if name.startswith("catalog")], "not in free pages, nor in the log of SQLite"
    assert quality.details(ws.catalog, "faces/1", [three["bob"]])
    frame = ws.catalog.frame("quality")
    assert set(frame["image"]) == {three["bob"]}


def copy_of(seed: int, quality_: int = 60, *, mirrored: bool = False) -> bytes:
    image = picture(seed, SIZE).resize((640, 498), Image.Resampling.LANCZOS)
    if mirrored:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality_)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (jpeg(1, SIZE), seen("elsewhere", creator="Eve", host="other")),
        (copy_of(1), seen("re-encoded", creator="Eve", host="other")),
        (copy_of(1, mirrored=True), seen("mirrored", creator="Eve", host="other")),
        (jpeg(50, SIZE), seen("first", creator="Eve")),
    ],
    ids=["the same bytes", "a smaller copy", "a mirrored copy", "other bytes at the same address"],
)
def test_a_forgotten_picture_never_comes_back(
    ws: Workspace, three: dict[str, str], data: bytes, found: Sighting
) -> None:
    forget(ws, three["first"], yes=True)
    outcome = take_in(ws, data, found)
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "forgotten"


def test_nothing_by_a_forgotten_creator_is_taken_in_and_others_are(ws: Workspace, three: dict[str, str]) -> None:
    forget(ws, "Jane Doe", yes=True)
    outcome = take_in(ws, jpeg(60, SIZE), seen("new", creator=" JANE DOE ", host="new"))
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "forgotten"
    rows = ws.catalog.frame("rejection")
    assert set(rows["url"]) == {""}, "a refusal does not bring the address back"
    assert isinstance(take_in(ws, jpeg(61, SIZE), seen("other", creator="Joe")), Kept)


def test_a_creator_may_be_forgotten_before_anything_is_here(ws: Workspace) -> None:
    ws.concept("horse", create=True)
    done = forget(ws, "Jane Doe", yes=True)
    assert done.images == 0
    assert "none will be taken in" in done.warnings[0]
    assert isinstance(take_in(ws, jpeg(1), seen(1)), Rejected)


@pytest.mark.parametrize(
    "address",
    [
        "https://img.example/first.jpg",
        "http://img.example/first.jpg#x",
        "https://www.example/first/",
        "https://www.example/people/Jane-Doe",
    ],
)
def test_an_address_is_that_of_the_file_its_page_or_its_creator(
    ws: Workspace, three: dict[str, str], address: str
) -> None:
    said = forget(ws, address)
    assert said.kind == "url"
    assert said.images == (2 if "people" in address else 1)


def test_a_beginning_of_a_sha256_must_fit_one_image(ws: Workspace, three: dict[str, str]) -> None:
    assert forget(ws, three["first"][:10]).images == 1
    with pytest.raises(UsageError, match="no image begins"):
        forget(ws, "0123456789")
    with pytest.raises(UsageError, match="forget what"):
        forget(ws)
    assert forget(ws, creator="deadbeef").kind == "creator"


def test_copies_that_are_here_go_with_it(ws: Workspace, three: dict[str, str]) -> None:
    copy = keep(ws, copy_of(1), seen("copy", creator="Eve"))
    said = forget(ws, three["first"])
    assert (said.images, said.copies) == (1, 1)
    forget(ws, three["first"], yes=True)
    assert forgotten.among(ws.catalog, [copy, three["bob"]]) == {copy}


def test_a_look_alike_is_let_in_when_a_person_says_so(ws: Workspace, three: dict[str, str]) -> None:
    forget(ws, three["first"], yes=True)
    alike = seen("alike", creator="Eve")
    refused = take_in(ws, copy_of(1), alike)
    assert isinstance(refused, Rejected)
    allow(ws, refused.detail.rsplit(" ", 1)[1].rstrip("`"))
    assert isinstance(take_in(ws, copy_of(1), alike), Kept)
    with pytest.raises(UsageError, match="itself was forgotten"):
        allow(ws, three["first"])


def test_forgetting_again_does_nothing_and_says_so(ws: Workspace, three: dict[str, str]) -> None:
    forget(ws, three["first"], why="asked", yes=True)
    again = forget(ws, three["first"], yes=True)
    assert (again.images, again.again, again.bytes, again.vectors) == (1, 1, 0, 0)
    by_address = forget(ws, "https://img.example/first.jpg", yes=True)
    assert by_address.images == 0
    assert "forgotten before" in by_address.warnings[0]


def test_an_image_of_several_concepts_leaves_all_of_them(ws: Workspace, three: dict[str, str]) -> None:
    ws.concept("animal", create=True)
    keep(ws, jpeg(1, SIZE), seen("first", concept="animal"))
    done = forget(ws, three["first"], yes=True)
    assert done.concepts == ("animal", "horse")
    for name in ("animal", "horse"):
        assert images.counts(ws.catalog, name)[2] == {"forgotten": 1}
    dedup(ws)


def test_a_crawl_in_progress_is_not_disturbed(
    ws: Workspace, three: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "WAIT_S", 0.1)
    with taking_in(ws), pytest.raises(Busy):
        forget(ws, three["first"], yes=True)


def test_a_picture_that_is_imported_again_is_refused_with_the_reason(ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "horses").mkdir()
    for n in range(3):
        (tmp_path / "horses" / f"{n}.jpg").write_bytes(jpeg(n, SIZE))
    import_folder(ws, "horse", tmp_path / "horses", license="own")
    forget(ws, sorted(images.ids(ws.catalog))[0], yes=True)
    again = import_folder(ws, "horse", tmp_path / "horses", license="own")
    assert again.rejected == {"forgotten": 1}
    assert again.kept == 2


@pytest.fixture
def trained(make_workspace: Callable[..., Workspace]) -> Workspace:
    ws = make_workspace('[train]\nbackbone = "classic"\nbootstrap = 100\n')
    label_all(ws, collect(ws, splits=("validation", "test", "calibration", "train", "train")))
    snapshot(ws, "horse")
    train_baseline(ws, "horse")
    return ws


def test_snapshots_and_runs_that_it_touches_are_named_and_stay_readable(trained: Workspace) -> None:
    ws = trained
    row = find(ws, "horse")
    manifest = read_manifest(ws, row)
    image = manifest.split("train")[0].image
    done = forget(ws, image, yes=True)
    assert done.snapshots == (f"horse {row.digest[:16]}: 1 images",)
    assert [line.split()[0] for line in done.runs] == ["horse"]
    assert read_manifest(ws, row) == manifest
    told = verify_snapshot(ws, row.digest, "horse")
    assert (told.ok, told.forgotten, told.missing) == (True, 1, ())
    assert train_baseline(ws, "horse").reused
    with pytest.raises(GateNotMet, match="1 of these images were forgotten on request"):
        train_baseline(ws, "horse", replicate=1)
    again = snapshot(ws, "horse")
    assert again.digest != row.digest
    assert not train_baseline(ws, "horse").reused


def test_a_kill_at_any_moment_leaves_nothing_that_the_same_command_does_not_finish(
    make_workspace: Callable[..., Workspace], tmp_path: Path
) -> None:
    """The process is killed just before each of its calls that change a file or the record, one after another."""
    first = make_workspace(name="first")
    first.concept("horse", create=True)
    image = keep(first, jpeg(1, SIZE), seen("first"))
    other = keep(first, jpeg(2, SIZE), seen("second", creator="Bob"))
    features(first, [image, other], load_backbone("classic"))
    keypoints.keypoints(first, [image, other])
    pieces = traces(first, image, jpeg(1, SIZE))
    first.close()
    for moment in range(100):
        root = shutil.copytree(first.root, tmp_path / f"kill-{moment}")
        finished = killed_at(root, moment)
        with Workspace.open(root / "config.toml", environ={}) as ws:
            if forgotten.among(ws.catalog, [image]):
                outcome = take_in(ws, jpeg(1, SIZE), seen("first"))
                assert isinstance(outcome, Rejected), "from the first row on it cannot come back"
            forget(ws, "Jane Doe", yes=True)
            assert [holding(ws, piece) for piece in pieces] == [[], [], [], []], moment
            assert not forgotten.unfinished(ws.catalog)
            assert ws.store.get(other) == jpeg(2, SIZE)
        if finished:
            assert moment > 5
            return
    raise AssertionError("it never came to its end")


def killed_at(root: Path, moment: int) -> bool:
    """Forget in a child that is killed before its n-th change; True when it came to its end."""
    pid = os.fork()
    if pid == 0:
        left = [moment]

        def count(name: str, real: Callable[..., object]) -> Callable[..., object]:
            def counted(*arguments: object, **named: object) -> object:
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1
                return real(*arguments, **named)

            return counted

        try:
            for name in ("unlink", "remove", "replace", "fsync"):
                setattr(os, name, count(name, getattr(os, name)))
            with Workspace.open(root / "config.toml", environ={}) as mine:
                forget(mine, "Jane Doe", yes=True)
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL)
    return code == 0


def test_a_second_crawl_asks_for_nothing_that_was_forgotten_and_its_sums_add_up(
    make_workspace: Callable[..., Workspace],
) -> None:
    with Site(pictures(8)) as site:
        ws = make_workspace(settings(site.url))
        first = crawl(ws, "horse", limit=500, sources=["openverse"])
        image = sorted(images.ids(ws.catalog))[0]
        paths = {urlsplit(url).path for *_, url in forgotten.addresses(ws.catalog, [image]) if url}
        done = forget(ws, image, yes=True)
        before = Counter(site.requests)
        for retry in (False, True):
            again = crawl(ws, "horse", limit=500, sources=["openverse"], retry_failed=retry)
            assert not [path for path in paths if site.requests[path] > before[path]]
            assert adds_up(again)
            assert (again.seen, again.kept) == (first.seen, first.kept - done.images - done.copies)
