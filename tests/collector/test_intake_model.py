"""Intake against a model: whatever happens in whatever order, rows, files and the model say the same."""

from __future__ import annotations

import hashlib
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from collector import durable
from collector.catalog import images
from collector.intake import take_in, taking_in
from collector.records import Kept, Known, License, Outcome, Rejected, Sighting
from collector.workspace import Workspace
from tests.conftest import jpeg
from tests.crash.verify import leftovers

PICTURES = [jpeg(seed, (440, 440) if seed % 2 else (120, 100)) for seed in range(5)]
BROKEN = [b"<html>", PICTURES[1][:900], b""]


def seen_as(name: str) -> Sighting:
    return Sighting("folder", name, name, License("own"), concept="horse")


class Intake(RuleBasedStateMachine):
    """Pictures, reposts and broken files come in; processes end and leave things behind; a file is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        (self.root / "config.toml").touch()
        self.sightings: set[tuple[str, str]] = set()
        self.rejections: set[tuple[str, str]] = set()
        self.open()

    def open(self) -> None:
        self.ws = Workspace.open(self.root / "config.toml", environ={})
        self.ws.concept("horse", create=True)

    def take(self, data: bytes, name: str) -> Outcome:
        with taking_in(self.ws):
            return take_in(self.ws, data, seen_as(name))

    @rule(which=st.sampled_from(range(len(PICTURES))), name=st.sampled_from("abc"))
    def a_picture_comes_in(self, which: int, name: str) -> None:
        image = hashlib.sha256(PICTURES[which]).hexdigest()
        known = any(image == other for other, _ in self.sightings)
        assert self.take(PICTURES[which], name) == (Known(image) if known else Kept(image))
        self.sightings.add((image, name))

    @rule(which=st.sampled_from(range(len(BROKEN))), name=st.sampled_from("abc"))
    def a_broken_file_comes_in(self, which: int, name: str) -> None:
        outcome = self.take(BROKEN[which], name)
        assert isinstance(outcome, Rejected)
        self.rejections.add((name, outcome.reason))

    @rule()
    def the_process_ends_and_another_begins(self) -> None:
        self.ws.close()
        self.open()

    @rule(which=st.sampled_from(range(len(PICTURES))))
    def a_killed_process_leaves_an_object_a_draft_and_a_pack(self, which: int) -> None:
        Path(self.ws.store.path(self.ws.store.put(PICTURES[which])) + ".00000000.tmp").write_bytes(b"half")
        self.the_process_ends_and_another_begins()
        self.ws.store.put_preview(b"no row names me")
        durable.save(self.ws.data / "intakes" / "killed", b"")
        self.the_process_ends_and_another_begins()
        with taking_in(self.ws):
            pass

    @rule(name=st.sampled_from("abc"))
    def a_stored_file_is_lost_and_comes_in_again(self, name: str) -> None:
        for image in sorted({image for image, _ in self.sightings})[:1]:
            Path(self.ws.store.path(image)).unlink()
            data = next(data for data in PICTURES if hashlib.sha256(data).hexdigest() == image)
            assert self.take(data, name) == Known(image)
            self.sightings.add((image, name))

    @invariant()
    def rows_files_and_the_model_agree(self) -> None:
        known = {image for image, _ in self.sightings}
        assert leftovers(self.root) == []
        assert images.ids(self.ws.catalog) == set(self.ws.store.images()) == known
        rows = self.ws.catalog.frame("sighting")
        assert set(zip(rows["image"], rows["source_id"], strict=True)) == self.sightings
        refused = self.ws.catalog.frame("rejection")
        assert set(zip(refused["source_id"], refused["reason"], strict=True)) == self.rejections
        for image, preview in images.previews(self.ws.catalog).items():
            assert hashlib.sha256(self.ws.store.get(image)).hexdigest() == image
            assert preview is None or self.ws.store.get_preview(preview).startswith(b"\xff\xd8")

    def teardown(self) -> None:
        self.ws.close()
        self.folder.cleanup()


TestIntake = Intake.TestCase
TestIntake.settings = settings(max_examples=12, stateful_step_count=15, deadline=None)


def test_the_threads_of_a_crawl_may_take_in_at_once(ws: Workspace) -> None:
    ws.concept("horse", create=True)
    work = [(data, f"{name}") for name in range(8) for data in PICTURES]
    with taking_in(ws), ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda one: take_in(ws, one[0], seen_as(one[1])), work))
    assert sum(isinstance(outcome, Kept) for outcome in outcomes) == len(PICTURES)
    assert sum(isinstance(outcome, Known) for outcome in outcomes) == len(work) - len(PICTURES)
    assert len(ws.catalog.frame("sighting")) == len(work)
    for preview in images.previews(ws.catalog).values():
        assert preview is None or ws.store.get_preview(preview).startswith(b"\xff\xd8")
