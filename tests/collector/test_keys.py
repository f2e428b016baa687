"""A key is told to its source and to nobody else: not in logs, errors, the catalog, caches, nor to a second origin."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from urllib.parse import quote_plus

import pytest

from collector.spiders.runner import crawl
from collector.spiders.secrets import keep_secret, mask_logs
from tests.collector.crawls import MakeWorkspace
from tests.collector.fault_server import (
    Answer,
    Canary,
    Fault,
    FaultServer,
    drips,
    faulty,
    good,
    plugins,
    rendered,
    then_hangs_up,
    then_is_silent,
    then_resets,
)

JSON = {"Content-Type": "application/json"}
API = "/services/rest/"
KEY = "canary+of/a key=="  # of every character that one spelling or another escapes
TRACES = ("canary", "Y2FuYXJ5")  # also in base64
LICENSES = {"license": [{"id": "9", "name": "CC0", "url": "https://creativecommons.org/publicdomain/zero/1.0/"}]}


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLECT_FLICKR_KEY", KEY)
    monkeypatch.setenv("COLLECT_OPENVERSE_TOKEN", KEY.replace(" ", ""))


def photos(url: str) -> Answer:
    """Answers both calls of a search of Flickr at once, with one photograph."""
    photo = {"id": "1", "owner": "me", "license": "9", "title": "A horse", "url_o": url}
    listed = {"page": 1, "pages": 1, "perpage": 500, "total": 1, "photo": [photo]}
    return 200, JSON, json.dumps({"stat": "ok", "licenses": LICENSES, "photos": listed}).encode()


TOLD = f'{{"stat": "ok", "asked": "?method=search&api_key={KEY}"}}'.encode()
SPREADING: dict[str, Answer | Fault] = {  # what a source may do that could spread a key: repeat it, or fail
    "drift": (200, JSON, TOLD),
    "refusal": (200, JSON, f'{{"stat": "fail", "code": 100, "message": "Invalid key {KEY}"}}'.encode()),
    "error": (500, JSON, TOLD),
    "cut at 60": (500, JSON, b"x" * 60 + TOLD),  # errors quote the first 120 bytes
    "cut at 70": (500, JSON, b"x" * 70 + TOLD),
    "not found": (404, JSON, TOLD),
    "not JSON": (200, JSON, TOLD[:-1]),
    "a reset": then_resets(b""),
    "silence": then_is_silent(b""),
    "cut short": then_hangs_up(rendered(200, JSON, TOLD)[:-5]),
    "too large": drips(b"HTTP/1.1 200 OK\r\n\r\n" + TOLD, bytes(99_999), 0),
}


def spread(root: Path, *texts: str) -> list[str]:
    """Where a trace of the key is: which of some texts, and which files of a workspace."""
    files = [path for path in root.rglob("*") if path.is_file()]
    assert any(path.suffix == ".log" for path in files)
    said = {text: text for text in texts} | {str(path): path.read_bytes().decode("latin-1") for path in files}
    return [place for place, text in said.items() if any(trace in text for trace in TRACES)]


def test_a_source_that_fails_does_not_spread_its_key(make_workspace: MakeWorkspace, tmp_path: Path) -> None:
    with FaultServer({"/fine": good(1)}) as server:
        bases = {name.replace(" ", "-"): f"{server.url}/as/{n}" for n, name in enumerate(SPREADING)}
        server.files |= {f"/as/{n}{API}": does for n, does in enumerate(SPREADING.values())}
        line = plugins(tmp_path, bases, like="flickr")
        config = faulty(server, "openverse", timeout=1.5, cache_hours=1)
        ws = make_workspace(config.replace("[sources]", f"[sources]\n{line}"))
        summary = crawl(ws, "horse", limit=5, sources=["openverse", *bases])
        assert set(summary.down) == set(bases)
        asked = {path for _, path in server.asked}
        assert asked >= {f"/as/{n}{API}" for n in range(len(bases))}
        assert all("api_key=canary" in head for head in server.heads if "/as/" in head)
    assert spread(ws.root, repr(summary)) == []


def test_a_key_does_not_follow_a_redirect_to_another_origin(make_workspace: MakeWorkspace, tmp_path: Path) -> None:
    with FaultServer({"/fine": good(1)}) as server, Canary() as other:
        targets = [f"http://127.0.0.1:{other.port}/", f"//127.0.0.1:{other.port}", f"http://localhost:{other.port}/?"]
        moves = [(status, target) for status in (301, 302, 303, 307, 308) for target in targets]
        for n, (status, target) in enumerate(moves):
            server.files[f"/as/{n}{API}"] = server.files[f"/as/{n}/v1/images/"] = status, {"Location": target}, b""
        keyed = {f"keyed-{n}": f"{server.url}/as/{n}" for n in range(len(moves))}
        tokened = {f"tokened-{n}": f"{server.url}/as/{n}" for n in range(len(moves))}
        files = [plugins(tmp_path, keyed, like="flickr"), plugins(tmp_path, tokened, like="openverse")]
        both = f"plugins = {json.dumps([line.split(chr(34))[1] for line in files])}"
        config = faulty(server, allow_private_hosts=["127.0.0.1", "localhost"])
        ws = make_workspace(config.replace("[sources]", f"[sources]\n{both}"))
        summary = crawl(ws, "horse", limit=5, sources=["openverse", *keyed, *tokened])
        assert set(summary.down) == {*keyed, *tokened}
        assert other.hits == 0
        assert sum("api_key=canary" in head for head in server.heads) == len(moves)
        assert sum("Bearer canary" in head for head in server.heads) == len(moves) + 1
    assert spread(ws.root, repr(summary)) == []


def test_a_good_crawl_writes_no_key_and_sends_it_nowhere_else(make_workspace: MakeWorkspace) -> None:
    moved: Answer = (302, {"Location": "/2.jpg"}, b"")
    with FaultServer({}) as server, FaultServer({"/1.jpg": moved, "/2.jpg": good(1), "/3.jpg": good(2)}) as other:
        server.files = {API: photos(f"{other.url}/1.jpg"), f"{other.url}/3.jpg": good(2)}
        allowed = [server.netloc, other.netloc]
        ws = make_workspace(faulty(server, "flickr", "openverse", allow_private_hosts=allowed, cache_hours=1))
        summary = crawl(ws, "horse", limit=5)
        dry = crawl(ws, "donkey", limit=5, dry_run=True)
    assert {name: row["kept"] for name, row in summary.sources.items()} == {"flickr": 1, "openverse": 1}
    assert other.count("/2.jpg") == other.count("/3.jpg") == 1
    assert not [head for head in other.heads if any(trace in head for trace in TRACES)]
    assert spread(ws.root, repr(summary), repr(dry)) == []


def test_no_log_shows_a_secret_in_a_line_nor_in_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    before = logging.getLogRecordFactory()
    log = logging.getLogger("tests.keys")
    try:
        mask_logs()
        keep_secret(KEY)
        try:
            raise ValueError(f"https://a.example/?api_key={KEY}")
        except ValueError:
            log.exception("asked for %s", quote_plus(KEY))
    finally:
        logging.setLogRecordFactory(before)
    assert "asked for ***" in caplog.text
    assert "https://a.example/?api_key=***" in caplog.text
    assert "canary" not in caplog.text
