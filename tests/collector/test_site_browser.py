"""Pages rendered in a real Chromium: it scrolls, it loads no pictures, it has no network, and its sandbox is on."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from scrapy.http import Response

from collector.errors import UsageError
from collector.spiders.browser import Browser, Rendering, launcher
from collector.spiders.page_license import read_page
from collector.spiders.runner import crawl
from pipelines.machine import BROWSER
from tests.collector.crawls import MakeWorkspace, adds_up
from tests.collector.hostile_page import HOSTILE, IN_A_NETWORK_OF_ITS_OWN, Canary, hostile_crawl, packets_in
from tests.collector.web import BY, Web, serving, settings
from tests.conftest import REPOSITORY, need

pytestmark = pytest.mark.browser

SCROLLING = """
<div id="g"></div><script>
let page = 0, busy = false;
async function load() {
    if (busy) return;
    busy = true;
    const found = await (await fetch("/api?page=" + page++, {method: "POST", body: "x"})).json();
    for (const name of found) {
        const image = document.createElement("img");
        image.src = `/img/horse${name}.jpg`;
        image.alt = `Horse ${name}`;
        image.style = "display: block";
        document.getElementById("g").append(image);
    }
    busy = !found.length;
}
WHEN
load();
</script>"""
BY_SCROLL = """addEventListener("scroll", () => {
    if (innerHeight + scrollY >= document.documentElement.scrollHeight - 200) load();
});"""
BY_BUTTON = """document.write("<button>Load more photos</button>");
document.querySelector("button").onclick = load;"""
BY_SIGHT = """const last = document.createElement("p");
document.body.append(last);
new IntersectionObserver(seen => seen[0].isIntersecting && load()).observe(last);"""
FURNITURE = """<style>@font-face { font-family: f; src: url(/font.woff2); } body { font-family: f; }</style>
<video src="/film.mp4" autoplay muted></video><audio src="/sound.mp3" autoplay></audio><p>Horses</p>
<link rel="icon" href="/favicon.png"><div style="background: url(/back.jpg); height: 9px"></div>"""


@pytest.fixture(scope="module", autouse=True)
def chromium() -> str:
    return need(BROWSER)


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as running:
        yield running


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that `nobody` may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory(prefix="collect-test-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def endless(web: Web, pages: int, each: int = 10, when: str = BY_SCROLL) -> None:
    """A page that shows `each` pictures more when it is scrolled, `pages` times."""

    def api(path: str) -> tuple[int, dict[str, str], bytes] | None:
        if not path.startswith("/api?page="):
            return None
        page = int(path.partition("=")[2])
        names = range(page * each, (page + 1) * each) if page < pages else range(0)
        return 200, {"Content-Type": "application/json"}, json.dumps(list(names)).encode()

    for name in range(pages * each):
        web.picture(f"/img/horse{name}.jpg", name)
    web.otherwise = api
    web.page("/g", FURNITURE + SCROLLING.replace("WHEN", when), f'<link rel="license" href="{BY}">')


def plainly(web: Web) -> Callable[[str, str, Mapping[str, str], bytes], Awaitable[Response]]:
    """What a page asks for, fetched without any manners, from this site only."""

    async def fetch(url: str, method: str, headers: Mapping[str, str], body: bytes) -> Response:
        assert url.startswith(web.url), url

        def ask() -> Response:
            with urlopen(Request(url, data=body or None, headers=dict(headers), method=method), timeout=10) as answer:
                return Response(url, status=answer.status, headers=dict(answer.headers), body=answer.read())

        return await asyncio.to_thread(ask)

    return fetch


def render(web: Web, path: str, use: Callable[[Rendering], Awaitable[Any]], **browser: str) -> Any:
    """Open a page in a Browser of its own, and do something with it."""

    async def run() -> Any:
        chrome = Browser(plainly(web), **browser)
        try:
            rendering = await chrome.open(await plainly(web)(web.url + path, "GET", {}, b""))
            return await use(rendering)
        finally:
            await chrome.close()

    return asyncio.run(run())


# -- an infinite page -------------------------------------------------------------------------------------------------


def test_an_infinite_page_is_scrolled_until_there_is_enough(make_workspace: MakeWorkspace, web: Web) -> None:
    endless(web, pages=12)
    ws = make_workspace(settings(web))
    summary = crawl(ws, "horse", url=f"{web.url}/g", browser=True, limit=45)
    assert adds_up(summary)
    assert (summary.kept, summary.licenses) == (45, {"by": 45})
    asked = {path for path in web.requests if path.startswith("/api")}
    assert {f"/api?page={number}" for number in range(5)} <= asked
    assert len(asked) <= 9
    fetched = {path: count for path, count in web.requests.items() if path.startswith("/img")}
    assert set(fetched.values()) == {1}
    assert {web.headers[path]["Accept"] for path in fetched} == {"image/*"}  # Scrapy's requests, not Chromium's
    assert {web.headers[path]["User-Agent"] for path in web.requests} == {web.headers["/g"]["User-Agent"]}
    assert web.headers["/g"]["User-Agent"].startswith("collect/")
    assert not {"/font.woff2", "/film.mp4", "/sound.mp3", "/favicon.png", "/favicon.ico", "/back.jpg"} & {*web.requests}
    assert web.requests["/g"] == 1


@pytest.mark.parametrize("when", [BY_SCROLL, BY_BUTTON, BY_SIGHT], ids=["scroll", "button", "sight"])
def test_an_infinite_page_ends_where_nothing_new_comes(web: Web, when: str) -> None:
    endless(web, pages=3, each=7, when=when)

    async def scroll(rendering: Rendering) -> tuple[str, int]:
        times = 0
        while await rendering.more():
            times += 1
        return rendering.html, times

    html, times = render(web, "/g", scroll)
    found = read_page(html, f"{web.url}/g")
    assert [each.title for each in found] == [f"Horse {number}" for number in range(21)]
    assert {each.license.code for each in found} == {"by"}
    assert times < 10
    assert not [path for path in web.requests if path.startswith("/img")]


# -- a hostile page ---------------------------------------------------------------------------------------------------


def test_a_hostile_page_reaches_the_canary_in_a_chromium_that_nobody_guards(
    web: Web, chromium: str, public: Path
) -> None:
    from playwright.sync_api import sync_playwright

    with Canary() as canary, sync_playwright() as engine:
        web.page("/hostile", HOSTILE.replace("HOST", canary.host))
        chrome = engine.chromium.launch(executable_path=launcher(chromium, public), chromium_sandbox=True)
        page = chrome.new_page()
        page.goto(f"{web.url}/hostile", wait_until="commit")
        time.sleep(2)
        chrome.close()
    came = " ".join(canary.hits)
    for what in ("/img", "/frame", "/script", "/fetch", "/post", "/socket", "/beacon", "/worker", "/away", "udp"):
        assert what in came, (what, canary.hits)


def test_a_hostile_page_reaches_nothing_on_this_machine(make_workspace: MakeWorkspace, web: Web) -> None:
    with Canary() as canary:
        assert hostile_crawl(make_workspace(settings(web, site="depth = 0")), web, [canary.host]) == 1
    assert canary.hits == []
    assert web.requests["/open.js"] == 1
    assert web.requests["/closed.js"] == 0


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a network of its own")
@pytest.mark.skipif(not all(map(shutil.which, ("unshare", "ip", "nft"))), reason="unshare, ip or nft is missing")
def test_a_hostile_page_sends_no_packet_to_private_addresses(tmp_path: Path) -> None:
    command = ["unshare", "--net", "sh", "-c", IN_A_NETWORK_OF_ITS_OWN, sys.executable, str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    packets = {name: packets_in(tmp_path / name) for name in ("rules", "control", "counted")}
    assert packets["rules"] == [0, 0]
    assert packets["control"] == [1, 0]  # the counter counts
    assert packets["counted"] == packets["control"]
    assert (tmp_path / "kept").read_text() == "3"


def test_a_page_that_never_lets_go_is_left(make_workspace: MakeWorkspace, web: Web, monkeypatch: Any) -> None:
    monkeypatch.setattr("collector.spiders.browser.STEP_S", 1.0)
    web.page("/busy", '<img src="/img/1.jpg"><script>setTimeout(() => { for (;;) {} }, 50)</script>')

    async def scroll(rendering: Rendering) -> tuple[str, bool]:
        return rendering.html, await rendering.more()

    began = time.monotonic()
    assert render(web, "/busy", scroll) == ("", False)
    assert time.monotonic() - began < 30


# -- the sandbox ------------------------------------------------------------------------------------------------------


def chromiums(profile: str = "collect-chromium-") -> list[Path]:
    """The processes of our Chromium."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        if profile in command and ("--type=" in command or "--remote-debugging-pipe" in command):
            found.append(process)
    return found


def test_the_sandbox_is_on_and_nobody_is_root(web: Web) -> None:
    web.gallery("/g", range(2))

    async def look(rendering: Rendering) -> tuple[list[str], list[dict[str, str]], str]:
        commands, states = [], []
        for process in chromiums():
            commands.append((process / "cmdline").read_bytes().decode().replace("\0", " "))
            lines = (process / "status").read_text().splitlines()
            states.append(dict(line.split(":\t", 1) for line in lines if ":\t" in line))
        page = await (await rendering._context.browser.new_context()).new_page()
        await page.goto("chrome://sandbox")
        return commands, states, await page.inner_text("body")

    commands, states, told = render(web, "/g", look)
    assert "You are adequately sandboxed." in told
    assert commands
    assert not [command for command in commands if "--no-sandbox" in command]
    assert {state["Uid"].split()[1] for state in states} == {"65534" if os.geteuid() == 0 else str(os.geteuid())}
    renderers = [state for state, command in zip(states, commands, strict=True) if "--type=renderer" in command]
    assert renderers
    assert {state["Seccomp"] for state in renderers} == {"2"}
    assert all(len(state["NSpid"].split()) > 1 for state in renderers)  # in a namespace of its own


def test_without_a_sandbox_nothing_is_rendered(web: Web, public: Path, chromium: str) -> None:
    web.gallery("/g", range(1))

    async def nothing(rendering: Rendering) -> None:
        raise AssertionError("it was rendered")

    fails = public / "fails"
    fails.write_text("#!/bin/sh\necho 'FATAL: No usable sandbox! If you want to live dangerously ...' >&2\nexit 1\n")
    careless = public / "careless"
    careless.write_text(f'#!/bin/sh\nexec {chromium} "$@" --no-sandbox\n')
    for script, said in ((fails, "sandboxing failed"), (careless, "--no-sandbox")):
        script.chmod(0o755)
        with pytest.raises(UsageError, match="does not start with its sandbox on") as error:
            render(web, "/g", nothing, chromium=str(script))
        assert said in error.value.message
    with pytest.raises(UsageError, match="no Chromium to render pages with at /nowhere"):
        render(web, "/g", nothing, chromium="/nowhere")


def test_without_playwright_one_sentence_says_what_to_install(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    web.gallery("/g", range(1))
    monkeypatch.setitem(sys.modules, "playwright.async_api", None)

    async def nothing(rendering: Rendering) -> None:
        raise AssertionError("it was rendered")

    with pytest.raises(UsageError, match="not installed") as error:
        render(web, "/g", nothing)
    assert error.value.hint == "pip install 'collect-dataset[browser]'"


def test_chromium_ends_with_a_killed_crawl(make_workspace: MakeWorkspace, web: Web) -> None:
    endless(web, pages=50)
    web.delay = 0.05
    ws = make_workspace(settings(web))
    before = {process.name for process in chromiums()}
    code = "import sys; from collector.workspace import Workspace; from collector.spiders.runner import crawl; "
    code += "crawl(Workspace.open(sys.argv[1]), 'horse', url=sys.argv[2], browser=True, limit=500)"
    command = [sys.executable, "-c", code, str(ws.settings.path), f"{web.url}/g"]
    child = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not [path for path in web.requests if path.startswith("/img")] and child.poll() is None:
        time.sleep(0.02)
    assert {process.name for process in chromiums()} - before
    child.send_signal(signal.SIGKILL)
    child.wait()
    end = time.monotonic() + 15
    while {process.name for process in chromiums()} - before and time.monotonic() < end:
        time.sleep(0.1)
    assert not {process.name for process in chromiums()} - before
