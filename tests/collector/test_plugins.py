"""A source of a user's own: the example of docs/sources.md, word for word, against a server of its kind."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from collector.errors import UsageError
from collector.spiders import BUILT_IN
from collector.spiders.runner import crawl, sources
from tests.collector.crawls import MakeWorkspace, adds_up, settings
from tests.conftest import REPOSITORY, jpeg

PAGE = (REPOSITORY / "docs" / "sources.md").read_text(encoding="utf-8")
EXAMPLE = re.findall(r"^```python\n(.+?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)[0]


class Handler(BaseHTTPRequestHandler):
    """Seven photos, three on a page; every other one is not free."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/photos":
            start = int(parse_qs(parts.query)["from"][0])
            host = f"http://{self.headers['Host']}"
            photos = [
                {
                    "id": f"p{n}",
                    "file": f"{host}/{n}.jpg",
                    "license": "by-4.0" if n % 2 else "by-nd-4.0",
                    "keeper": "Kim",
                }
                for n in range(start, min(start + 3, 7))
            ]
            self._send(
                "application/json", json.dumps({"photos": photos, "next": start + 3 if start < 6 else None}).encode()
            )
        elif parts.path == "/robots.txt":
            self._send("text/plain", b"")
        else:
            self._send("image/jpeg", jpeg(int(parts.path[1:-4]), (160, 120)))

    def _send(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture
def zoo() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_example_of_the_documentation_crawls(make_workspace: MakeWorkspace, zoo: str) -> None:
    ws = make_workspace(settings(zoo).replace("[sources]", '[sources]\nplugins = ["zoo.py"]'))
    (ws.root / "zoo.py").write_text(EXAMPLE.replace("https://zoo.example", zoo))
    summary = crawl(ws, "horse", sources=["zoo"], limit=10)
    assert (summary.kept, summary.rejected) == (3, {"license-not-allowed": 4})
    assert adds_up(summary)
    assert set(ws.catalog.frame("sightings")["creator"]) == {"Kim"}
    assert sources(ws).sources["zoo"]["gives"] == "the animals of our zoo"


def test_the_example_has_at_most_fifteen_lines() -> None:
    body = EXAMPLE[EXAMPLE.index("class ") :]
    assert len([line for line in body.splitlines() if line.strip()]) <= 15


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("x = 1\n", "has no source"),
        ("import nothing_of_that_name\n", "cannot be loaded: ModuleNotFoundError"),
        (EXAMPLE.replace('"zoo"', '"openverse"'), "two plug-ins call their source `openverse`"),
    ],
)
def test_a_plugin_that_is_none_is_explained(make_workspace: MakeWorkspace, code: str, said: str) -> None:
    ws = make_workspace(settings("http://127.0.0.1:1").replace("[sources]", '[sources]\nplugins = ["zoo.py"]'))
    (ws.root / "zoo.py").write_text(code)
    with pytest.raises(UsageError, match=said):
        crawl(ws, "horse", limit=1)


def test_a_plugin_file_that_is_missing_is_named(make_workspace: MakeWorkspace) -> None:
    ws = make_workspace(settings("http://127.0.0.1:1").replace("[sources]", '[sources]\nplugins = ["none.py"]'))
    with pytest.raises(UsageError, match=r"none\.py is not a Python file"):
        crawl(ws, "horse", limit=1)


def test_every_source_has_its_section_in_the_documentation() -> None:
    assert set(re.findall(r"^### `(\w+)`$", PAGE, flags=re.MULTILINE)) == set(BUILT_IN)
