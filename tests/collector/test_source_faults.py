"""The crawl against sources that go wrong: their certificates, their answers; and a disk that is full.

Files that go wrong are in test_crawl_faults.py, what sources may do with a key in test_keys.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from collector.errors import ServiceDown
from collector.spiders.runner import crawl
from pipelines.demo.site import Site
from tests.collector import naive
from tests.collector.certificates import DAY, NOW, Authority
from tests.collector.crawls import MakeWorkspace, adds_up, pictures, settings
from tests.collector.fault_server import (
    Answer,
    Fault,
    FaultServer,
    bomb,
    drips,
    faulty,
    good,
    plugins,
    rendered,
    then_hangs_up,
    then_is_silent,
    then_resets,
)
from tests.conftest import REPOSITORY

# -- TLS ----------------------------------------------------------------------------------------------------------


def test_only_a_certificate_that_proves_the_host_is_accepted(
    make_workspace: MakeWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    contexts = {
        "good": ours.server("127.0.0.1"),
        "self-signed": stranger.server("127.0.0.1"),
        "expired": ours.server("127.0.0.1", until=NOW - DAY),
        "wrong-host": ours.server("other.example"),
    }
    with ExitStack() as stack:
        site = stack.enter_context(FaultServer({}))
        for n, (name, context) in enumerate(contexts.items()):
            server = stack.enter_context(FaultServer({f"/{name}": good(n)}, tls=context))
            site.files[f"{server.url}/{name}"] = good(n)
        site.files[f"https://{site.netloc}/no-tls"] = good(9)
        size = len(good(0)[2])
        careless = ssl._create_unverified_context()
        said = [naive.fetch(url, careless) for url in site.files]
        assert said[0] == f"{size} bytes"
        assert [each.endswith(" bytes") for each in said] == [True, True, True, True, False]

        monkeypatch.setenv("SSL_CERT_FILE", str(ours.file))
        ws = make_workspace(faulty(site, allow_private_hosts=["127.0.0.1"], retries=0))
        crawl(ws, "horse", limit=9)
        assert [url.rpartition("/")[2] for url in ws.catalog.frame("sightings")["url"]] == ["good"]
        rows = ws.catalog.frame("rejections")
        assert list(rows["reason"]) == ["tls"] * 4, rows[["source_id", "reason", "detail"]].to_string()


# -- answers of an API --------------------------------------------------------------------------------------------

JSON = {"Content-Type": "application/json"}
RESULT = {"id": "1", "url": "http://127.0.0.1/1.jpg", "license": "by", "license_version": "4.0", "title": "A horse"}


def answer(**fields: object) -> Answer:
    return 200, JSON, json.dumps({"page_count": 1, "results": [], **fields}).encode()


def without(field: str) -> Answer:
    return answer(results=[{name: value for name, value in RESULT.items() if name != field}])


ANSWERS: dict[str, tuple[Answer | Fault, str]] = {
    "broken JSON": ((200, JSON, b'{"results": ['), r'it answered HTTP 200: \{"results": \['),
    "HTML": ((200, JSON, b"<!doctype html><title>Sorry"), r"it answered HTTP 200: <!doctype html>"),
    "another type": ((200, JSON, b"[]"), r"it answered HTTP 200: \[\]"),
    "nothing": ((200, JSON, b""), r"it answered HTTP 200"),
    "not text": ((200, JSON, b"\xff\xfe\x00"), r"it answered HTTP 200"),
    "deep": ((200, JSON, b"[" * 100_000), r"it answered HTTP 200: \[\["),
    "long number": ((200, JSON, b'{"page_count": ' + b"9" * 9999 + b"}"), r"it answered HTTP 200"),
    "an error": ((500, JSON, b'{"detail": "oops"}'), r'it answered HTTP 500: \{"detail": "oops"\}'),
    "forbidden": ((403, JSON, b'{"detail": "no"}'), r'it answered HTTP 403: \{"detail": "no"\}'),
    "moved": ((301, {"Location": "/elsewhere"}, b""), r"it answered HTTP 301"),
    "too many": ((429, {"Retry-After": "9000"}, b""), r"asks to be left alone|limit of requests"),
    "a bomb": ((200, {**JSON, "Content-Encoding": "gzip"}, bomb(50)), r"it does not answer|it answered HTTP 200"),
    "endless": (drips(b"HTTP/1.1 200 OK\r\n\r\n", bytes(99_999), 0), r"it does not answer \(.*8000000"),
    "silence": (then_is_silent(b""), r"it does not answer \(.*seconds"),
    "a reset": (then_resets(b""), r"it does not answer"),
    "cut short": (then_hangs_up(rendered(*answer())[:-9]), r"it does not answer"),
    "no results": ((200, JSON, b'{"page_count": 1, "items": []}'), r"`results` is missing, expected list"),
    "other results": (answer(results={"1": RESULT}), r"`results` is dict, expected list"),
    "no count": (answer(page_count=None), r"`page_count` is missing, expected int"),
    "no address": (without("url"), r"`results\[\]\.url` is missing"),
    "no license": (without("license"), r"`results\[\]\.license` is missing"),
}


def test_a_source_that_answers_nonsense_is_down_and_says_why(make_workspace: MakeWorkspace, tmp_path: Path) -> None:
    with FaultServer({"/fine": good(1)}) as server:
        bases = {name.replace(" ", "-"): f"{server.url}/as/{n}" for n, name in enumerate(ANSWERS)}
        server.files |= {f"/as/{n}/v1/images/": page for n, (page, _) in enumerate(ANSWERS.values())}
        line = plugins(tmp_path, bases, like="openverse")
        config = faulty(server, timeout=1.5, retries=0).replace("[sources]", f"[sources]\n{line}")
        ws = make_workspace(config)
        summary = crawl(ws, "horse", limit=5, sources=["openverse", *bases])
        assert summary.kept == 1
        assert set(summary.down) == set(bases)
    ended = json.loads(next((ws.data / "logs").glob("crawl-horse-*.json")).read_text())["ended"]
    for name, (page, words) in zip(bases, ANSWERS.values(), strict=True):
        assert re.search(words, ended[name]), (name, ended[name])
        kept = ws.data / "logs" / f"{name}-answer.json"
        if words.startswith("`"):
            assert f"{name} has changed its answers: " in ended[name]
            assert str(kept) in ended[name]
            assert isinstance(page, tuple)
            assert json.loads(kept.read_text()) == json.loads(page[2])
        else:
            assert not kept.exists()


def test_a_changed_answer_names_source_field_and_a_sample_of_what_was_expected(make_workspace: MakeWorkspace) -> None:
    with FaultServer({}, pages=[without("license")]) as server:
        ws = make_workspace(faulty(server))
        with pytest.raises(ServiceDown, match=r"openverse has changed its answers: `results\[\]\.license`") as error:
            crawl(ws, "horse", limit=5)
    sample = "collector/spiders/samples/openverse.json"
    assert sample in error.value.message
    assert json.loads((REPOSITORY / sample).read_text())["/v1/images/"]["results"][0]["license"]


def test_one_odd_result_among_good_ones_harms_nobody(make_workspace: MakeWorkspace) -> None:
    with FaultServer({"/1": good(1), "/2": good(2)}) as server:
        listed = json.loads(server.search())["results"]
        odd = [None, 7, "text", {}, {"id": "x"}, {**listed[0], "id": "y", "url": 5, "title": {"en": 1}, "tags": "a"}]
        server.pages = [answer(results=[*odd, *listed])]
        ws = make_workspace(faulty(server))
        summary = crawl(ws, "horse", limit=9)
    assert summary.kept == 2
    assert adds_up(summary)


def test_pages_that_repeat_forever_end_the_search(make_workspace: MakeWorkspace) -> None:
    with FaultServer({f"/{n}": good(n) for n in range(5)}) as server:
        server.pages = [(200, JSON, server.search(page_count=10**9))]
        search = f"{server.url}/v1/images/?page="
        assert len({naive.fetch(f"{search}{page}") for page in range(1, 30)}) == 1  # one could ask for ever
        server.asked.clear()
        summary = crawl(make_workspace(faulty(server)), "horse", limit=50)
        assert summary.kept == 5
        assert 2 <= server.count("/v1/images/") <= 5
    assert "openverse: its pages repeat themselves" in summary.warnings[0]


def test_empty_pages_that_never_end_end_the_search(make_workspace: MakeWorkspace) -> None:
    with FaultServer({"/fine": good(1)}) as server:

        def next_page(connection: socket.socket) -> None:
            offset = {"gsroffset": 50 * server.count("/w/api.php"), "continue": "gsroffset||"}
            connection.sendall(rendered(200, JSON, json.dumps({"batchcomplete": "", "continue": offset}).encode()))

        server.pages = [(200, JSON, server.search())]
        server.files["/w/api.php"] = next_page
        summary = crawl(make_workspace(faulty(server, "openverse", "wikimedia")), "horse", limit=5)
        assert summary.kept == 1
        assert 50 < server.count("/w/api.php") < 150
    assert "wikimedia: its pages repeat themselves" in summary.warnings[0]


def test_what_one_source_cannot_give_the_others_do(make_workspace: MakeWorkspace) -> None:
    """A source that is down from the beginning, and one that dies on its way."""
    with Site(pictures(40)) as site, FaultServer({f"/{n}": good(100 + n) for n in range(5)}) as server:
        plain = settings(site.url, "retries = 0\ntimeout = 2.0")
        server.pages = [(503, {}, b"")]
        config = plain.replace(f'"{site.url}/v1"', f'"{server.url}"')
        summary = crawl(make_workspace(config, name="down"), "horse", limit=20)
        assert (summary.kept, list(summary.sources), summary.warnings) == (20, ["wikimedia"], ())
        server.pages = [(200, JSON, server.search(page_count=3)), (500, {}, b"")]
        summary = crawl(make_workspace(config, name="dying"), "horse", limit=20)
        assert summary.kept == 20
        assert summary.sources["openverse"]["kept"] == 5


def test_all_sources_down_is_an_error_that_names_each(make_workspace: MakeWorkspace) -> None:
    with FaultServer({}) as server:
        config = faulty(server, "openverse", "wikimedia", retries=0)
    assert naive.fetch(f"{server.url}/v1/images/") == "ConnectionRefusedError"
    with pytest.raises(ServiceDown, match=r"openverse: it does not answer .*; wikimedia: it does not answer"):
        crawl(make_workspace(config), "horse", limit=5)


def test_short_of_the_limit_the_exit_code_is_3(make_workspace: MakeWorkspace, tmp_path: Path) -> None:
    with FaultServer({"/fine": good(1)}) as server:
        server.pages = [(200, JSON, server.search(page_count=3)), (500, {}, b"")]
        make_workspace(faulty(server, retries=0))
        config = str(tmp_path / "ws" / "config.toml")
        command = [sys.executable, "-m", "pipelines.cli", "crawl", "horse", "--limit", "9", "--config", config]
        typed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert typed.returncode == 3, typed.stderr
    assert "1 of 9 images: openverse: it answered HTTP 500" in typed.stderr


# -- a full disk --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", ["size=1200k", "nr_inodes=260"])
def test_a_crawl_that_fills_the_disk_stops_and_a_larger_disk_completes_it(tmp_path: Path, options: str) -> None:
    enter = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*enter, "true"], capture_output=True).returncode != 0:
        pytest.skip("this account may not mount a small disk of its own (unshare --mount)")
    command = [*enter, sys.executable, "-m", "tests.collector.small_disk", str(tmp_path), options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["error"] == "DiskFull"
    assert 0 < said["first"] < said["kept"] == said["wanted"]
    assert said["faults"] == []
    assert said["asked_again"] == []
