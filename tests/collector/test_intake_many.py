"""Many pictures at once: groups are written together, futures tell what became of each, and nobody harms another."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from collector import intake as module
from collector.catalog import images, pools
from collector.decoding import Decoded
from collector.dedup import dedup
from collector.errors import DiskFull
from collector.intake import Intake, taking_in
from collector.records import Kept, Known, License, Outcome, Rejected, Sighting
from collector.workspace import Workspace
from tests.conftest import REPOSITORY, jpeg

PICTURES = [jpeg(seed, (440, 440) if seed % 2 else (120, 100)) for seed in range(12)]
IDS = [hashlib.sha256(data).hexdigest() for data in PICTURES]


def seen(name: str, concept: str = "horse", **more: Any) -> Sighting:
    return Sighting("web", name, f"https://x/{name}", License("by", "4.0"), concept=concept, label=concept, **more)


@pytest.fixture
def ws(make_workspace: Callable[..., Workspace]) -> Workspace:
    """A workspace with two concepts."""
    ws = make_workspace()
    for name in ("horse", "zebra"):
        ws.concept(name, create=True)
    return ws


@pytest.fixture
def transactions(ws: Workspace) -> list[str]:
    """The statements by which writing transactions begin."""
    begun: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement == "BEGIN IMMEDIATE":
            begun.append(statement)

    sa.event.listen(ws.catalog.engine, "before_cursor_execute", note)
    return begun


def test_what_comes_together_is_written_together(ws: Workspace, transactions: list[str]) -> None:
    with taking_in(ws) as intake:
        waiting = [intake.take(data, seen(str(n))) for n, data in enumerate(PICTURES * 3)]
        outcomes = [each.result() for each in waiting]
    assert Counter(map(type, outcomes)) == {Kept: 12, Known: 24}
    assert len(transactions) <= 12
    assert images.ids(ws.catalog) == set(IDS) == set(ws.store.images())
    assert len(ws.catalog.frame("sighting")) == 36
    for name, preview in images.previews(ws.catalog).items():
        assert (preview is None) == (IDS.index(name) % 2 == 0)
        assert preview is None or ws.store.get_preview(preview).startswith(b"\xff\xd8")


def test_one_picture_alone_does_not_wait_for_others(ws: Workspace) -> None:
    with taking_in(ws) as intake:
        intake.take(PICTURES[0], seen("0")).result()
        started = time.perf_counter()
        for n in range(20):
            intake.reject(seen(f"bad {n}"), Rejected("timeout")).result()
        assert time.perf_counter() - started < 20 * module.LINGER_S + 1


def test_a_future_is_done_when_the_row_is_there(ws: Workspace) -> None:
    with taking_in(ws) as intake:
        for n, data in enumerate(PICTURES[:3]):
            intake.take(data, seen(str(n))).result()
            assert len(images.ids(ws.catalog)) == n + 1
        assert intake.reject(seen("bad"), Rejected("timeout", "30 s")).result() == Rejected("timeout", "30 s")
        assert list(ws.catalog.frame("rejection")["reason"]) == ["timeout"]


def test_the_first_place_that_shows_an_image_to_a_concept_is_told_apart(ws: Workspace) -> None:
    with taking_in(ws) as intake:
        together = [intake.take(PICTURES[0], seen("a")), intake.take(PICTURES[0], seen("b"))]
        assert {each.result() for each in together} == {Kept(IDS[0]), Known(IDS[0])}
        assert intake.take(PICTURES[0], seen("c", "zebra")).result() == Known(IDS[0], new_here=True)
        assert intake.again(IDS[0], seen("d", "zebra")).result() == Known(IDS[0])
        assert intake.again(IDS[0], seen("a")).result() == Known(IDS[0])
        assert intake.again("ab" * 32, seen("e")).result() == Rejected(
            "gone", f"the catalog holds no image {'ab' * 6} any more"
        )
    assert len(ws.catalog.frame("sighting")) == 4


def test_where_redirects_led_and_what_the_source_says_are_written_down(ws: Workspace) -> None:
    facts = {"width": 120, "tags": ["pony", "half \ud83d emoji"], "mature": False}
    with taking_in(ws) as intake:
        intake.take(PICTURES[0], seen("a", final_url="https://cdn/x", facts=facts)).result()
    row = ws.catalog.frame("sighting").iloc[0]
    assert (row["final_url"], row["facts"], row["revision"], row["state"]) == ("https://cdn/x", facts, 0, "live")


def test_a_check_refuses_a_picture_for_its_looks_off_the_callers_thread(ws: Workspace) -> None:
    threads = set()

    def only_large(decoded: Decoded) -> Rejected | None:
        threads.add(threading.current_thread())
        return Rejected("facet-size", "small") if decoded.width < 200 else None

    with taking_in(ws) as intake:
        waiting = [intake.take(data, seen(str(n)), only_large) for n, data in enumerate(PICTURES)]
        outcomes = [each.result() for each in waiting]
        assert intake.take(PICTURES[1], seen("repost"), lambda _: Rejected("facet-color")).result() == Rejected(
            "facet-color"
        )
    assert Counter(map(type, outcomes)) == {Kept: 6, Rejected: 6}
    assert threading.main_thread() not in threads
    assert len(list(ws.store.images())) == 6


def test_a_mistake_in_a_check_is_told_to_its_picture_only(ws: Workspace) -> None:
    with taking_in(ws) as intake:
        wrong = intake.take(PICTURES[0], seen("0"), lambda decoded: decoded.no_such_thing)  # type: ignore[attr-defined]
        right = [intake.take(data, seen(str(n))) for n, data in enumerate(PICTURES[1:], 1)]
        with pytest.raises(AttributeError):
            wrong.result()
        assert {type(each.result()) for each in right} == {Kept}


def test_a_row_that_the_database_refuses_costs_its_picture_only(ws: Workspace) -> None:
    with taking_in(ws) as intake:
        wrong = intake.take(PICTURES[0], seen("0", facts={"what": object()}))
        unknown = intake.take(PICTURES[1], seen("1", "no such concept"))
        right = [intake.take(data, seen(str(n))) for n, data in enumerate(PICTURES[2:], 2)]
        for each in (wrong, unknown):
            with pytest.raises(sa.exc.SQLAlchemyError):
                each.result()
        assert {type(each.result()) for each in right} == {Kept}
    assert images.ids(ws.catalog) == set(IDS[2:])


def test_a_full_disk_is_told_to_everybody_who_waits_and_the_next_pictures_are_taken(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with taking_in(ws) as intake:
        with monkeypatch.context() as broken:
            broken.setattr(os, "replace", full)
            waiting = [intake.take(data, seen(str(n))) for n, data in enumerate(PICTURES)]
            for each in waiting:
                with pytest.raises(DiskFull):
                    each.result()
        assert ws.catalog.frame("image").empty
        assert [path for path in Path(ws.store.root).rglob("*") if path.is_file()] == []
        waiting = [intake.take(data, seen(str(n))) for n, data in enumerate(PICTURES)]
        assert {type(each.result()) for each in waiting} == {Kept}


def test_a_caller_waits_while_too_many_bytes_are_on_their_way(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, commit = threading.Event(), module.commit

    def slow(*arguments: Any) -> list[Outcome]:
        gate.wait()
        return commit(*arguments)

    monkeypatch.setattr(module, "commit", slow)
    monkeypatch.setattr(module, "WAITING_BYTES", 3 * len(PICTURES[1]))
    given: list[Future[Outcome]] = []

    def give(intake: Intake) -> None:
        for n in range(8):
            given.append(intake.take(PICTURES[1], seen(str(n))))

    with taking_in(ws) as intake:
        giver = threading.Thread(target=give, args=[intake])
        giver.start()
        giver.join(0.5)
        assert giver.is_alive()
        assert len(given) == 3
        gate.set()
        giver.join()
        assert len([each.result() for each in given]) == 8


def test_who_stops_waiting_for_a_picture_does_not_stop_it(ws: Workspace) -> None:
    with taking_in(ws) as intake:
        assert not intake.take(PICTURES[0], seen("0")).cancel()
    assert images.ids(ws.catalog) == {IDS[0]}


def test_leaving_writes_down_all_that_was_given(ws: Workspace) -> None:
    def stopped() -> None:
        with taking_in(ws) as intake:
            for n, data in enumerate(PICTURES):
                intake.take(data, seen(str(n)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert images.ids(ws.catalog) == set(IDS)


def test_a_buried_image_is_refused_everywhere_and_counted_as_refused(ws: Workspace) -> None:
    gray = jpeg(1, (320, 240), quality=40)
    with taking_in(ws) as intake:
        for n, data in enumerate([*PICTURES[:3], gray]):
            intake.take(data, seen(str(n))).result()
        assert images.counts(ws.catalog, "horse") == (4, 4, {})
        assert dedup(ws).duplicates == 1
        assert images.bury(ws.catalog, IDS[1], "placeholder")
        assert not images.bury(ws.catalog, IDS[1], "placeholder")
        again, elsewhere = intake.take(PICTURES[1], seen("9")), intake.again(IDS[1], seen("10", "zebra"))
        refused = [each.result() for each in (again, elsewhere)]
        assert [each.reason for each in refused if isinstance(each, Rejected)] == ["placeholder", "placeholder"]
    assert images.counts(ws.catalog, "horse") == (5, 3, {"placeholder": 2})
    assert images.counts(ws.catalog, "zebra", ["web"]) == (1, 0, {"placeholder": 1})
    assert IDS[1] not in images.ids(ws.catalog)
    assert IDS[1] not in pools.keepers(ws.catalog, "horse")
    assert (dedup(ws).images, dedup(ws).duplicates) == (3, 0)
    with taking_in(ws):
        pass
    assert ws.store.get(IDS[1]) == PICTURES[1]  # it is set aside, not deleted


def test_bytes_that_were_buried_elsewhere_leave_nothing_in_the_store(ws: Workspace) -> None:
    images.bury(ws.catalog, IDS[1], "placeholder")
    with taking_in(ws) as intake:
        assert isinstance(intake.take(PICTURES[1], seen("0")).result(), Rejected)
    assert list(ws.store.images()) == []


TAKER = """
import json, sys
from collector.intake import taking_in
from collector.records import Kept
from collector.workspace import Workspace
from tests.collector.test_intake_many import PICTURES, seen
with Workspace.open(sys.argv[1]) as ws, taking_in(ws) as intake:
    waiting = [intake.take(data, seen(sys.argv[2] + str(n))) for n, data in enumerate(PICTURES * 4)]
    outcomes = [each.result() for each in waiting]
print(json.dumps([each.image for each in outcomes if isinstance(each, Kept) or each.new_here]))
"""


def test_two_processes_agree_on_who_was_first(ws: Workspace) -> None:
    command = [sys.executable, "-c", TAKER, str(ws.settings.path)]
    running = [subprocess.Popen([*command, me], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) for me in "ab"]
    first: Sequence[str] = [image for each in running for image in json.loads(each.communicate()[0])]
    assert sorted(first) == sorted(IDS)
    assert len(ws.catalog.frame("sighting")) == 2 * 4 * len(PICTURES)


def test_fingerprints_of_an_older_version_are_computed_again(ws: Workspace) -> None:
    with taking_in(ws) as intake:
        for n, data in enumerate([jpeg(1, (640, 480)), jpeg(1, (320, 240)), *PICTURES[2:5]]):
            intake.take(data, seen(str(n))).result()
    expected = dedup(ws, dry_run=True)
    assert expected.duplicates == 1
    with ws.catalog.write() as connection:
        connection.execute(sa.text("update fingerprint set algorithm = 'old ' || algorithm, value = '00'"))
    Path(ws.store.path(IDS[3])).unlink()
    found = dedup(ws)
    assert (found.images, found.duplicates) == (expected.images - 1, 1)
    assert len(ws.catalog.frame("fingerprint")) == 4 * 5 + 4 * 4
