"""The crawl against servers on this machine: exact, explained, polite, and the same after any interruption."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from collector.catalog import images
from collector.config import load
from collector.errors import Busy, CollectError, ServiceDown
from collector.spiders.runner import CrawlSummary, child_environment, crawl
from collector.workspace import Workspace
from pipelines.demo.entries import Picture
from pipelines.demo.site import Answer, Site
from tests.conftest import REPOSITORY, jpeg

MakeWorkspace = Callable[..., Workspace]
CC_BY = "https://creativecommons.org/licenses/by/4.0/"


def pictures(number: int) -> list[Picture]:
    return [Picture(f"horse{n}", f"A horse in field {n}", jpeg(n, (160, 120)), ("horse",)) for n in range(number)]


@pytest.fixture(scope="module")
def drawn() -> list[Picture]:
    return pictures(45)


@pytest.fixture
def site(drawn: list[Picture]) -> Iterator[Site]:
    with Site(drawn) as site:
        yield site


def settings(url: str, more: str = "") -> str:
    return f"""
[crawl]
contact = "tests@localhost"
{more}
[sources.openverse]
base_url = "{url}/v1"
[sources.wikimedia]
base_url = "{url}"
"""


def adds_up(summary: CrawlSummary) -> bool:
    return (
        summary.seen == summary.kept + summary.repeats + sum(summary.rejected.values())
        and summary.kept == sum(row["kept"] for row in summary.sources.values()) == sum(summary.licenses.values())
        and summary.seen == sum(row["seen"] for row in summary.sources.values())
    )


def paths_of_stored(ws: Workspace) -> set[str]:
    return {urlsplit(url).path for url in ws.catalog.frame("sightings")["url"]}


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
        "license-contradictory", "license-unknown", "license-missing", "license-not-allowed",
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
    assert len(images.ids(ws.catalog)) == 10


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
    assert crawl(ws, "horse", limit=500, sources=["wikimedia"]).rejected["license-not-allowed"] == 1
    wider = crawl(ws, "horse", limit=500, sources=["wikimedia"], license="noncommercial")
    assert "license-not-allowed" not in wider.rejected
    assert wider.licenses["by-nc-sa"] == 1
    assert adds_up(wider)


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
    assert load(path, child_environment(opened)).raw == opened.raw
    assert child_environment(load(path, {})).keys() >= {"PATH"}


# -- a server that misbehaves -------------------------------------------------------------------------------------


class Faults:
    """A source with one Openverse page of results that a test lists, and the files behind them.

    A file is (status, headers, body); the body None sends the headers and then nothing, for ever.
    """

    def __init__(self, files: dict[str, tuple[int, dict[str, str], bytes | None]]) -> None:
        self.files = files
        self.titles: dict[str, str] = {}
        self.asked: list[tuple[float, str]] = []
        self.agents: set[str] = set()
        handler = type("Handler", (_Handler,), {"faults": self})
        self.server = _Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def count(self, path: str) -> int:
        return sum(each == path for _, each in self.asked)

    def search(self) -> bytes:
        results = [
            {
                "id": path,
                "url": path if "://" in path else self.url + path,
                "title": self.titles.get(path, path),
                "license": "by",
                "license_version": "4.0",
                "license_url": CC_BY,
            }
            for path in self.files
            if not path.startswith("/hidden/")
        ]
        return json.dumps({"page_count": 1, "results": results}).encode()

    def __enter__(self) -> Faults:
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Silent: clients hang up on this server."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    faults: Faults

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.faults.asked.append((time.monotonic(), path))
        self.faults.agents.add(self.headers.get("User-Agent", ""))
        status, headers, body = self.faults.files.get(path, (404, {}, b""))
        if path == "/v1/images/":
            status, headers, body = 200, {"Content-Type": "application/json"}, self.faults.search()
        if path == "/robots.txt":
            status, headers, body = 200, {}, b"User-agent: *\nDisallow: /private/\nDisallow: /v1/\n"
        try:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(1000 if body is None else len(body)))
            self.end_headers()
            self.wfile.write(body or b"")
            if body is None or len(body) < int(headers.get("Content-Length", 0)) < 10_000_000:
                self.wfile.flush()
                time.sleep(8 if body is None else 0)
                self.close_connection = True
        except ConnectionError:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


def faulty(server: Faults) -> str:
    return f"""
[intake]
max_bytes = 100000
[crawl]
timeout = 2.0
retries = 1
[sources.openverse]
base_url = "{server.url}"
[sources.wikimedia]
enabled = false
[concepts.horse]
labels = ["horse", "not-horse"]
exclude = ["rocking horse"]
"""


def good(seed: int) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "image/jpeg"}, jpeg(seed, (160, 120))


def test_every_fault_is_one_rejection_with_its_reason(make_workspace: MakeWorkspace) -> None:
    expected = {
        "/gone": "dead-link",
        "/nowhere": "dead-link",
        "/error": "http-error",
        "/forbidden": "http-error",
        "/stalls": "timeout",
        "/loop": "http-error",
        "/to-a-file": "http-error",
        "/short": "connection",
        "/large": "too-large",
        "/opted-out": "opted-out",
        "/private/1": "robots",  # two of them, because they wait for robots.txt together
        "/private/2": "robots",
        "/html": "not-an-image",
        "/rocking": "excluded-word",
        "file:///etc/hostname": "bad-address",
    }
    with Faults(
        {
            "/gone": (410, {}, b""),
            "/nowhere": (404, {}, b""),
            "/error": (500, {}, b""),
            "/forbidden": (403, {}, b""),
            "/stalls": (200, {}, None),
            "/loop": (302, {"Location": "/loop"}, b""),
            "/to-a-file": (302, {"Location": "file:///etc/hostname"}, b""),
            "/short": (200, {"Content-Length": "5000"}, b"x" * 100),
            "/large": (200, {"Content-Length": "10000000000"}, b"x"),
            "/opted-out": (200, {"X-Robots-Tag": "somebot: noai"}, None),  # the body never comes: the headers suffice
            "/private/1": good(1),
            "/html": (200, {}, b"<!doctype html><p>no"),
            "/private/2": good(6),
            "/rocking": good(2),
            "file:///etc/hostname": good(3),
            "/moved": (301, {"Location": "/hidden/4"}, b""),
            "/hidden/4": good(4),
            "/fine": good(5),
        }
    ) as server:
        server.titles["/rocking"] = "A Rocking Horse"
        ws = make_workspace(faulty(server))
        summary = crawl(ws, "horse", limit=50)
        rows = ws.catalog.frame("rejections")
        assert dict(zip(rows["source_id"], rows["reason"], strict=True)) == expected
        assert set(ws.catalog.frame("sightings")["source_id"]) == {"/moved", "/fine"}
        assert adds_up(summary)
        assert server.count("/private/1") == server.count("/private/2") == server.count("/rocking") == 0
        assert server.count("/error") == 2
        assert server.agents == {"collect/0.1.0"}

        before = Counter(path for _, path in server.asked)
        crawl(ws, "horse", limit=50)
        more = Counter(path for _, path in server.asked) - before
        transient = {path for path, reason in expected.items() if reason in ("http-error", "timeout", "connection")}
        assert {path for path in more if path not in ("/v1/images/", "/robots.txt")} == transient
        assert len(ws.catalog.frame("rejections")) == len(expected)


def test_retry_after_is_obeyed_to_the_second_by_the_whole_host(make_workspace: MakeWorkspace, site: Site) -> None:
    asked: list[float] = []

    class Busy_(Site):
        def answer(self, target: str, user_agent: str) -> Answer:
            if target.startswith("/files/"):
                asked.append(time.monotonic())
                if len(asked) == 8:
                    return 429, {"Retry-After": "3"}, b""
            return super().answer(target, user_agent)

    with Busy_(pictures(30)) as busy:
        summary = crawl(make_workspace(settings(busy.url)), "horse", limit=20)
    assert summary.kept == 20
    gaps = [later - earlier for earlier, later in pairwise(asked)]
    # what was on its way when the 429 left may still arrive, at most one request for each other connection
    pause = max(gaps)
    assert 2.9 <= pause < 4.5
    assert gaps.index(pause) - 7 <= 3


def test_a_host_that_asks_for_too_long_a_pause_is_left_alone(make_workspace: MakeWorkspace) -> None:
    with Faults({"/busy": (429, {"Retry-After": "9000"}, b""), "/other": good(1)}) as server:
        ws = make_workspace(faulty(server))
        began = time.monotonic()
        summary = crawl(ws, "horse", limit=5)
        assert time.monotonic() - began < 30
        assert summary.rejected["http-error"] >= 1
        assert server.count("/busy") == 1
        rows = ws.catalog.frame("rejections")
        assert "asks to be left alone for" in rows["detail"].str.cat()


def test_all_sources_down_is_an_error_and_one_is_a_warning(make_workspace: MakeWorkspace, site: Site) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
        ws = make_workspace(settings(nobody, "retries = 0"), name="down")
        with pytest.raises(ServiceDown, match=r"openverse: it does not answer.*wikimedia"):
            crawl(ws, "horse", limit=5)
        half = settings(site.url, "retries = 0").replace(f'"{site.url}/v1"', f'"{nobody}"')
        summary = crawl(make_workspace(half, name="half"), "horse", limit=500)
    assert summary.sources.keys() == {"wikimedia"}
    assert "openverse: it does not answer" in summary.warnings[0]


# -- Scrapy's settings --------------------------------------------------------------------------------------------

PROBE = """
import json, sys
from collector.spiders import process
from collector.spiders.openverse import Openverse

class Probe(Openverse):
    async def start(self):
        get = self.crawler.settings
        engine = self.crawler.engine
        told = {
            "certificates": engine.downloader.handlers._get_handler("https")._contextFactory.__class__.__name__,
            "verify": get.getbool("DOWNLOAD_VERIFY_CERTIFICATES"),
            "schemes": [s for s in ("http", "https", "file", "data", "ftp", "s3")
                        if engine.downloader.handlers._get_handler(s)],
            "extensions": [type(each).__name__ for each in self.crawler.extensions.middlewares],
            "max_bytes": get.getint("DOWNLOAD_MAXSIZE"),
            "timeout": get.getfloat("DOWNLOAD_TIMEOUT"),
            "redirects": get.getint("REDIRECT_MAX_TIMES"),
            "downloader": [type(each).__name__ for each in engine.downloader.middleware.middlewares],
            "spider": [type(each).__name__ for each in engine.scraper.spidermw.middlewares],
            "agent": get["USER_AGENT"],
            "wikimedia": get.getdict("DOWNLOAD_SLOTS")["upload.wikimedia.org"]["concurrency"],
            "reactor": get["TWISTED_REACTOR"],
        }
        process._tell("progress", text=json.dumps(told), done=0, total=1)
        self._end("probed")
        return
        yield

process.load_object = lambda path: Probe
process.main()
"""


def test_a_running_crawler_has_none_of_the_defaults_that_trust_everybody(ws: Workspace) -> None:
    ws.concept("horse", create=True)
    order = {
        "config": str(ws.settings.path), "concept": "horse", "queries": [["horse", "horse"]], "license": "open",
        "sources": ["openverse"], "limit": 1, "dry_run": False, "log": str(ws.data / "probe.log"),
    }  # fmt: skip
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COLLECT__CRAWL__CONTACT": "me@localhost"}
    with subprocess.Popen(
        [sys.executable, "-c", PROBE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
        told = json.loads(json.loads(process.stdout.readline())["text"])
        process.stdout.read()
    assert told["verify"] is True
    assert told["schemes"] == ["http", "https"]
    assert not {"TelnetConsole", "RemoteControl"} & set(told["extensions"])
    assert (told["max_bytes"], told["timeout"], told["redirects"]) == (40_000_000, 30.0, 5)
    assert {"RobotsMiddleware", "RetryAfterMiddleware", "OptOutMiddleware"} <= set(told["downloader"])
    unwanted = ("Cookies", "MetaRefresh", "HttpCache", "Retry", "RobotsTxt")
    assert not {f"{name}Middleware" for name in unwanted} & set(told["downloader"])
    assert "RefererMiddleware" not in told["spider"]
    assert told["agent"] == "collect/0.1.0 (+me@localhost)"
    assert told["wikimedia"] == 2
    assert told["reactor"].endswith("AsyncioSelectorReactor")
