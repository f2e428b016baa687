"""`recheck` on loopback: what a source says anew becomes a new row, and nothing that it said before is lost."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import sqlalchemy as sa

from collector.catalog import sightings
from collector.catalog.tables import sighting
from collector.errors import UsageError
from collector.intake import take_in
from collector.licenses import from_code
from collector.records import Kept, Known, Sighting
from collector.spiders.recheck import recheck
from collector.workspace import Workspace
from tests.collector.crawls import MakeWorkspace, settings
from tests.conftest import jpeg

CC = "https://creativecommons.org/licenses"


class Source:
    """Answers like Openverse about single pictures, and like a web site under /page/; `says` may be changed."""

    def __init__(self) -> None:
        self.says: dict[str, dict[str, Any] | int] = {}
        self.pages: dict[str, int] = {}
        self.refuses_head: set[str] = set()
        self.asked: Counter[str] = Counter()
        source = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path = self.path.split("?")[0]
                source.asked[f"{self.command} {path}"] += 1
                said = source.answer(path, self.command)
                status, body = (said, b"{}") if isinstance(said, int) else (200, json.dumps(said).encode())
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, path: str, method: str) -> dict[str, Any] | int:
        if path.startswith("/page/"):
            refused = method == "HEAD" and path in self.refuses_head
            return 405 if refused else self.pages.get(path.removeprefix("/page/"), 200)
        if path.startswith("/v1/images/"):
            return self.says.get(path.split("/")[3], 404)
        return 404

    def state(self, number: int, code: str = "by", version: str = "2.0") -> None:
        """What Openverse says of a picture from now on."""
        self.says[f"id-{number}"] = self.detail(number, code, version)

    def detail(self, number: int, code: str = "by", version: str = "2.0") -> dict[str, Any]:
        """Openverse's answer about one picture."""
        return {
            "id": f"id-{number}", "url": f"{self.url}/{number}.jpg", "foreign_landing_url": f"{self.url}/page/{number}",
            "title": f"Horse {number}", "creator": "Ada", "creator_url": f"{self.url}/ada", "license": code,
            "license_version": version, "license_url": f"{CC}/{code}/{version}/", "width": 320, "height": 240,
        }  # fmt: skip


@pytest.fixture
def source() -> Iterator[Source]:
    made = Source()
    yield made
    made.server.shutdown()
    made.server.server_close()


def settled(ws: Workspace) -> list[tuple[str, int, str, str, str]]:
    """(source id, revision, state, license, version) of all rows, in order."""
    columns = ("source_id", "revision", "state", "license", "license_version")
    with ws.catalog.read() as connection:
        rows = connection.execute(sa.select(*(sighting.c[name] for name in columns)).order_by(sighting.c.id))
        return [tuple(row) for row in rows]


def store(ws: Workspace, source: Source, number: int, *, concept: str = "horse", by: str = "openverse") -> str:
    """Take a picture in as the crawl would, under CC BY 2.0."""
    ws.concept(concept, create=True)
    source.state(number)
    license = from_code("by", "2.0", f"{CC}/by/2.0/", "license='by' license_version='2.0'")
    seen = Sighting(
        by, f"id-{number}", f"{source.url}/{number}.jpg", license, concept, concept, concept,
        page=f"{source.url}/page/{number}", title=f"Horse {number}", creator="Ada",
    )  # fmt: skip
    outcome = take_in(ws, jpeg(number, (160, 120)), seen)
    assert isinstance(outcome, Kept | Known)
    return outcome.image


def test_what_changed_becomes_a_new_row_and_the_old_one_stays(make_workspace: MakeWorkspace, source: Source) -> None:
    ws = make_workspace(settings(source.url))
    for number in range(5):
        store(ws, source, number)
    before = settled(ws)
    source.state(1, "by-nc")
    source.state(2, "by", "4.0")
    source.says["id-3"] = 404
    source.says["id-4"] = {**source.detail(4), "license": "", "license_version": "", "license_url": ""}
    summary = recheck(ws, "horse")
    assert (summary.asked, summary.unchanged, summary.unanswered) == (5, 1, 0)
    assert summary.changed == {"license-changed": 3, "withdrawn": 1}
    assert settled(ws)[:5] == before
    assert sorted(settled(ws)[5:]) == [
        ("id-1", 1, "license-changed", "by-nc", "2.0"),
        ("id-2", 1, "license-changed", "by", "4.0"),
        ("id-3", 1, "withdrawn", "by", "2.0"),
        ("id-4", 1, "license-changed", "missing", ""),
    ]
    assert any("horse: openverse id-1: CC BY 2.0 -> CC BY-NC 2.0" in line for line in summary.changes)
    assert any("id-3: withdrawn (was CC BY 2.0)" in line for line in summary.changes)
    assert all(f"{source.url}/page/" in line for line in summary.changes)
    source.state(3)
    again = recheck(ws, "horse")
    assert (again.unchanged, again.changed) == (4, {"live": 1})
    assert settled(ws)[-1] == ("id-3", 2, "live", "by", "2.0")


def test_the_oldest_check_comes_first_and_one_question_is_for_all_concepts(
    make_workspace: MakeWorkspace, source: Source
) -> None:
    ws = make_workspace(settings(source.url))
    for number in range(3):
        store(ws, source, number)
    store(ws, source, 2, concept="pony")
    assert recheck(ws, older_than=1).asked == 0
    first = recheck(ws, limit=2)
    assert (first.asked, first.later) == (2, 2)
    assert source.asked == {"GET /v1/images/id-0/": 1, "GET /v1/images/id-1/": 1}
    source.state(2, "by-nd")
    second = recheck(ws, limit=2)
    assert second.changed == {"license-changed": 2}
    assert {line.split(":")[0] for line in second.changes} == {"horse", "pony"}
    assert source.asked["GET /v1/images/id-2/"] == 1
    assert source.asked.total() == 3


def test_a_silent_source_is_given_up_while_the_pages_of_another_are_looked_at(
    make_workspace: MakeWorkspace, source: Source
) -> None:
    ws = make_workspace(settings(source.url, "retries = 0"))
    for number in range(12):
        store(ws, source, number)
        source.says[f"id-{number}"] = 503
    for number in (21, 22, 23):
        store(ws, source, number, by="openimages")
    source.pages = {"21": 410, "22": 200, "23": 500}
    source.refuses_head = {"/page/22"}
    before = settled(ws)
    summary = recheck(ws)
    assert (summary.asked, summary.unchanged, summary.changed, summary.unanswered) == (15, 1, {"dead": 1}, 13)
    assert settled(ws) == [*before, ("id-21", 1, "dead", "by", "2.0")]
    assert summary.down == ("openverse",)
    assert any("openverse is not asked any further: it answered HTTP 503" in text for text in summary.warnings)
    asked = Counter({target: n for target, n in source.asked.items() if "/v1/" in target})
    assert asked.total() < 12
    assert (source.asked["HEAD /page/21"], source.asked["GET /page/21"]) == (1, 0)
    assert (source.asked["HEAD /page/22"], source.asked["GET /page/22"]) == (1, 1)


def test_what_nobody_can_be_asked_about_is_left_alone(make_workspace: MakeWorkspace, source: Source) -> None:
    ws = make_workspace(settings(source.url))
    store(ws, source, 1, by="folder")
    store(ws, source, 2, by="flickr")
    summary = recheck(ws)
    assert summary.asked == 0
    assert [text for text in summary.warnings if "COLLECT_FLICKR_KEY" in text]
    with pytest.raises(UsageError):
        recheck(ws, limit=0)


def test_a_withdrawn_picture_and_a_closed_license_no_longer_speak_for_an_image(
    make_workspace: MakeWorkspace, source: Source
) -> None:
    ws = make_workspace(settings(source.url))
    for number in range(4):
        store(ws, source, number)
    elsewhere = store(ws, source, 3, by="wikimedia")
    every = {seen.found.source_id: seen for seen in sightings.latest(ws.catalog, "horse", ["openverse"])}
    closed = from_code("by-nc", "2.0")
    for number, (license, state) in {1: (closed, "license-changed"), 3: (closed, "license-changed")}.items():
        seen = every[f"id-{number}"]
        assert sightings.revise(ws.catalog, seen, Sighting("x", "x", "x", license), state)
        assert not sightings.revise(ws.catalog, seen, Sighting("x", "x", "x", license), state)
    sightings.revise(ws.catalog, every["id-2"], every["id-2"].found, "withdrawn")
    best = sightings.origins(ws.catalog, "horse", "open")
    refused = {seen.found.source_id: seen.refusal("open") for seen in best.values()}
    assert refused == {"id-0": "", "id-1": "license-changed", "id-2": "withdrawn", "id-3": ""}
    assert best[elsewhere].found.source == "wikimedia"
    assert not [seen for seen in best.values() if seen.refusal("any-cc") == "license-changed"]
