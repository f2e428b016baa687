"""The crawl against the demo's site: exact, explained, and the same after any interruption."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from collector.catalog import images
from collector.config import load
from collector.errors import Busy, CollectError
from collector.spiders.children import as_environment
from collector.spiders.runner import crawl
from collector.workspace import Workspace
from pipelines.demo.entries import Picture
from pipelines.demo.site import Answer, Site
from tests.collector.crawls import MakeWorkspace, adds_up, paths_of_stored, pictures, settings
from tests.conftest import REPOSITORY, jpeg

HOSTS = ("127.0.0.1", "localhost")


def searches(site: Site) -> int:
    """How many search pages a site was asked for."""
    return len(site.searches)


@pytest.fixture(scope="module")
def drawn() -> list[Picture]:
    return pictures(45)


@pytest.fixture
def site(drawn: list[Picture]) -> Iterator[Site]:
    with Site(drawn) as site:
        yield site


# -- how many, and why not more -----------------------------------------------------------------------------------


def test_the_limit_is_exact_and_a_higher_one_continues(make_workspace: MakeWorkspace, site: Site) -> None:
    ws = make_workspace(settings(site.url))
    for limit, new in ((1, 1), (20, 19), (21, 1)):
        before, stored = Counter(site.requests), paths_of_stored(ws)
        summary = crawl(ws, "horse", limit=limit)
        assert (summary.kept, summary.new, len(images.ids(ws.catalog))) == (limit, new, limit)
        assert adds_up(summary)
        assert summary.warnings == ()
        assert not [path for path in stored if site.requests[path] > before[path]]
    before = Counter(site.requests)
    assert crawl(ws, "horse", limit=21).new == 0
    assert site.requests == before


def test_fewer_than_asked_is_explained_to_the_last_candidate(
    make_workspace: MakeWorkspace, site: Site, drawn: list[Picture]
) -> None:
    ws = make_workspace(settings(site.url))
    summary = crawl(ws, "horse", limit=500)
    assert adds_up(summary)
    rows = ws.catalog.frame("rejections")
    assert len(rows) == sum(summary.rejected.values())
    assert set(summary.rejected) >= {
        "dead-link", "broken", "not-an-image", "empty", "opted-out",
        "license-contradictory", "license-missing", "license-not-allowed",
    }  # fmt: skip
    assert summary.repeats > 0
    assert len(ws.catalog.frame("sightings")) == summary.kept + summary.repeats
    assert summary.kept >= len(drawn) - 10
    assert f"{summary.kept} of 500 images" in summary.warnings[0]
    assert "openverse: it has no more to give" in summary.warnings[0]
    assert summary.next == "collect dedup"
    files = site.listing.files()
    assert not [path for path, count in site.requests.items() if count > 1 and not files[path].busy_once]

    before = Counter(site.requests)
    again = crawl(ws, "horse", limit=500)
    assert (again.kept, again.seen, again.rejected, again.new) == (summary.kept, summary.seen, summary.rejected, 0)
    assert site.requests == before


def test_a_repost_adds_a_sighting_not_an_image(make_workspace: MakeWorkspace, site: Site) -> None:
    ws = make_workspace(settings(site.url))
    crawl(ws, "horse", limit=500)
    sightings = ws.catalog.frame("sightings")
    seen_at = sightings.groupby("image")["url"].nunique()
    assert seen_at.max() > 1
    assert len(seen_at) == len(images.ids(ws.catalog))
    assert (sightings["license_evidence"] != "").all()
    assert set(sightings["query"]) == {"horse"}


def test_a_file_that_another_concept_has_is_not_fetched_again(make_workspace: MakeWorkspace, site: Site) -> None:
    ws = make_workspace(settings(site.url))
    first = crawl(ws, "horse", limit=10)
    before, stored = Counter(site.requests), paths_of_stored(ws)
    second = crawl(ws, "pony", limit=10, query="horse")
    assert (first.kept, second.kept, second.new) == (10, 10, 10)
    assert not [path for path in stored if site.requests[path] > before[path]]
    # Nearly all are shared; which ten a concept holds may differ by a repost that the other source showed first.
    assert len(images.ids(ws.catalog)) <= 12


def test_several_queries_share_the_limit_and_name_the_label(make_workspace: MakeWorkspace) -> None:
    animals = ("donkey", "zebra")
    drawn = [
        Picture(f"{animal}{n}", f"A {animal} {n}", jpeg(1000 * k + n, (160, 120)), (animal,))
        for n in range(20)
        for k, animal in enumerate(animals)
    ]
    with Site(drawn) as site:
        concept = """
[concepts.equids]
labels = ["donkey", "zebra", "none"]
queries = { donkey = ["donkey"], zebra = ["zebra"] }
"""
        ws = make_workspace(settings(site.url) + concept)
        assert crawl(ws, "equids", limit=12).kept == 12
    sightings = ws.catalog.frame("sightings")
    assert set(sightings["label"]) == set(animals)
    assert min(Counter(sightings["label"]).values()) >= 4


def test_a_dry_run_asks_one_page_of_each_source_and_writes_nothing(make_workspace: MakeWorkspace, site: Site) -> None:
    ws = make_workspace(settings(site.url))
    summary = crawl(ws, "horse", limit=500, dry_run=True)
    assert len(summary.planned) > 20
    assert all(line.split()[1] in ("cc0", "pdm", "by", "by-sa") for line in summary.planned)
    assert {line.split()[0] for line in summary.planned} == {"openverse", "wikimedia"}
    assert (summary.kept, summary.seen, site.requests) == (0, 0, Counter())
    assert images.ids(ws.catalog) == set()


def test_another_preset_judges_the_refused_anew(make_workspace: MakeWorkspace, site: Site) -> None:
    ws = make_workspace(settings(site.url))
    narrow = crawl(ws, "horse", limit=500, sources=["wikimedia"]).rejected["license-not-allowed"]
    wider = crawl(ws, "horse", limit=500, sources=["wikimedia"], license="noncommercial")
    assert wider.rejected.get("license-not-allowed", 0) < narrow
    assert wider.licenses["by-nc-sa"] == 1
    assert adds_up(wider)


def test_commercial_use_leaves_noncommercial_licenses_out(make_workspace: MakeWorkspace, site: Site) -> None:
    ws = make_workspace(settings(site.url))
    summary = crawl(ws, "horse", limit=500, license="any-cc", commercial=True, modify=True)
    assert set(summary.licenses) <= {"cc0", "pdm", "us-gov", "by", "by-sa"}


def test_a_daily_rerun_asks_only_the_first_page_of_each_source(make_workspace: MakeWorkspace, site: Site) -> None:
    """All pages are asked once; a repeated search ends where everything is known."""
    ws = make_workspace(settings(site.url, "until_known = 5"))
    first = crawl(ws, "horse", limit=500)
    pages = searches(site)
    again = crawl(ws, "horse", limit=500)
    assert (again.kept, again.seen) == (first.kept, first.seen)
    assert searches(site) - pages == pages - 1  # the second page of openverse is not asked for
    assert set(ws.catalog.frame("search")["exhausted"]) == {True}


def test_a_higher_limit_asks_on_from_the_page_that_was_reached(make_workspace: MakeWorkspace, site: Site) -> None:
    ws = make_workspace(settings(site.url))
    crawl(ws, "horse", limit=18, sources=["openverse"])
    before = list(site.searches)
    crawl(ws, "horse", limit=500, sources=["openverse"])
    assert "page=2" in before[-1]
    assert "page=2" in site.searches[len(before)]


def test_what_failed_for_the_moment_is_asked_again_only_on_demand(make_workspace: MakeWorkspace) -> None:
    class Flaky(Site):
        broken = True

        def answer(self, target: str, user_agent: str) -> Answer:
            if self.broken and target.startswith("/files/"):
                return 500, {}, b""
            return super().answer(target, user_agent)

    with Flaky(pictures(6)) as site:
        ws = make_workspace(settings(site.url, "retries = 0"))
        first = crawl(ws, "horse", limit=500)
        assert first.kept == 0
        assert "--retry-failed" in first.warnings[-1]
        site.broken = False  # type: ignore[attr-defined]
        assert crawl(ws, "horse", limit=500).kept == 0
        last = crawl(ws, "horse", limit=500, retry_failed=True)
        assert last.kept > 0
        assert "http-error" not in last.rejected
        assert adds_up(last)


@pytest.mark.slow
def test_two_processes_keep_the_limit_exactly(make_workspace: MakeWorkspace, site: Site, tmp_path: Path) -> None:
    port = urlsplit(site.url).port
    files = sorted(site.listing.files())[:40]
    (tmp_path / "list.txt").write_text("".join(f"http://{h}:{port}{path}\n" for path in files for h in HOSTS))
    ws = make_workspace(settings(site.url) + '[sources.urls]\nlicense = "by-4.0"\n')
    for limit in (1, 7, 30):
        summary = crawl(ws, "horse", limit=limit, urls=[str(tmp_path / "list.txt")], processes=2)
        assert (summary.kept, len(images.ids(ws.catalog))) == (limit, limit)
        assert adds_up(summary)


# -- stopped and continued ----------------------------------------------------------------------------------------

CRAWL = """
import sys
from collector.spiders.runner import crawl
from collector.workspace import Workspace
with Workspace.open(sys.argv[1], environ={}) as ws:
    crawl(ws, "horse", limit=500)
"""


class Slow(Site):
    """A site that takes its time for every file, so that a crawl can be met in its middle."""

    pause = 0.1

    def answer(self, target: str, user_agent: str) -> Answer:
        if target.startswith("/files/"):
            time.sleep(self.pause)
        return super().answer(target, user_agent)


@pytest.fixture
def slow(drawn: list[Picture]) -> Iterator[Slow]:
    site = Slow(drawn)
    with site:
        yield site


def start(ws: Workspace) -> subprocess.Popen[bytes]:
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen([sys.executable, "-c", CRAWL, str(ws.settings.path)], env=environ, stderr=subprocess.PIPE)


def wait_for(what: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def is_crawling(ws: Workspace) -> bool:
    """Whether a crawling process of this workspace is alive."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            files = {os.readlink(link) for link in (folder / "fd").iterdir()}
        except OSError:
            continue
        if int(folder.name) != os.getpid() and str(ws.data / "locks" / "intake.lock") in files:
            return True
    return False


def final_state(ws: Workspace) -> tuple[set[str], list[Any], list[Any]]:
    sightings, rejections = ws.catalog.frame("sightings"), ws.catalog.frame("rejections")
    places = sorted(zip(sightings["source_id"], sightings["image"], sightings["license"], strict=True))
    refused = sorted(zip(rejections["source_id"], rejections["reason"], strict=True))
    return images.ids(ws.catalog), places, refused


@pytest.mark.slow
def test_a_killed_crawl_continues_and_fetches_nothing_stored_twice(make_workspace: MakeWorkspace, slow: Slow) -> None:
    ws = make_workspace(settings(slow.url))
    for wanted in (8, 25):
        with start(ws) as process:
            wait_for(lambda wanted=wanted: len(images.ids(ws.catalog)) >= wanted)  # type: ignore[misc]
            process.kill()
        wait_for(lambda: not is_crawling(ws), 5.0)
        stored, before = paths_of_stored(ws), Counter(slow.requests)
        assert len(images.ids(ws.catalog)) < 40
    slow.pause = 0.0
    summary = crawl(ws, "horse", limit=500)
    assert not [path for path in stored if slow.requests[path] > before[path]]
    assert adds_up(summary)

    unkilled = make_workspace(settings(slow.url), name="unkilled")
    crawl(unkilled, "horse", limit=500)
    assert final_state(ws) == final_state(unkilled)
    assert all(ws.store.get(image) for image in images.ids(ws.catalog))


def test_ctrl_c_stops_within_five_seconds_and_nothing_is_lost(make_workspace: MakeWorkspace, slow: Slow) -> None:
    ws = make_workspace(settings(slow.url))
    with start(ws) as process:
        wait_for(lambda: len(images.ids(ws.catalog)) >= 5)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
        assert time.monotonic() - began < 6.0
        assert said.splitlines()[-1].startswith(b"KeyboardInterrupt")
    assert not is_crawling(ws)
    kept = len(images.ids(ws.catalog))
    assert kept >= 5
    assert crawl(ws, "horse", limit=kept + 2).new == 2


def test_two_crawls_of_a_concept_at_once_are_refused_and_the_holder_named(
    make_workspace: MakeWorkspace, slow: Slow
) -> None:
    ws = make_workspace(settings(slow.url))
    with start(ws) as process:
        wait_for(lambda: slow.requests.total() > 0)
        with pytest.raises(Busy, match=rf"crawl-horse.*pid {process.pid}"):
            crawl(ws, "horse", limit=5)
        assert crawl(ws, "pony", query="horse", limit=3).kept == 3
        process.kill()
    wait_for(lambda: not is_crawling(ws), 5.0)


def test_a_crawling_process_that_dies_is_explained(make_workspace: MakeWorkspace, slow: Slow) -> None:
    ws = make_workspace(settings(slow.url))

    def kill_child(text: str, done: int, total: int | None) -> None:
        for child in Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)

    ws.progress = kill_child
    with pytest.raises(CollectError, match="exit -9") as error:
        crawl(ws, "horse", limit=30)
    log = Path(error.value.hint.split("the log is ")[1])
    assert "Spider opened" in log.read_text()


def test_the_crawling_process_reads_the_settings_that_the_workspace_was_opened_with(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[crawl]\nlimit = 7\n")
    given = {
        "COLLECT__SOURCES__OPENVERSE__BASE_URL": "http://127.0.0.1:1",
        "COLLECT__CONCEPTS__HORSE__EXCLUDE": '["rocking horse"]',
    }
    opened = load(path, given)
    assert load(path, as_environment(opened)).raw == opened.raw
    assert as_environment(load(path, {})) == {}
