"""A Label Studio for a team, through an address that is not 127.0.0.1, as a browser of another machine would see it."""

from __future__ import annotations

import os
import re
import signal
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

from collector.errors import CollectError, ServiceDown, UsageError
from collector.workspace import Workspace
from labeling import accounts, lifecycle, server
from labeling.interface import Item, interface
from labeling.server import LOG, Server
from labeling.studio import Studio
from pipelines.machine import BROWSER, LABEL_STUDIO
from tests.conftest import need

pytestmark = pytest.mark.studio

ELSEWHERE = "127.0.0.3"  # stands for an address of this machine that others use
CHOSEN, LATER = "correct horse battery", "staple of the battery"


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Workspace]:
    """A workspace whose Label Studio listens on every address; started with a password of a person's choice."""
    need(LABEL_STUDIO)
    root = tmp_path_factory.mktemp("team")
    (root / "config.toml").write_text(f'[label]\nhost = "0.0.0.0"\nport = {free_port()}\nnames = ["{ELSEWHERE}"]\n')
    with Workspace.open(root / "config.toml", environ={}) as ws:
        yield ws
        lifecycle.stop(ws)


@pytest.fixture(scope="module")
def running(team: Workspace) -> Server:
    lifecycle.start(team, password=CHOSEN)
    return lifecycle.running(team)


def test_nobody_opens_a_server_to_others_without_choosing_a_password(team: Workspace, tmp_path: Path) -> None:
    assert lifecycle.must_choose_password(team)
    assert not lifecycle.must_choose_password(team, "127.0.0.1")
    with pytest.raises(UsageError, match="password of your choice") as caught:
        lifecycle.start(team)
    assert lifecycle.PASSWORD in caught.value.hint
    with pytest.raises(UsageError, match="has 5 characters"):
        lifecycle.start(team, password="horse")
    file = tmp_path / "password"
    file.write_text(f"{CHOSEN}\n")
    file.chmod(0o644)
    with pytest.raises(UsageError, match="read by others"):
        lifecycle.read_password(file)
    file.chmod(0o600)
    assert lifecycle.read_password(file) == CHOSEN
    assert lifecycle.read_password(None, {lifecycle.PASSWORD: CHOSEN}) == CHOSEN
    assert lifecycle.status(team).health == "stopped"


def test_the_summary_names_the_addresses_and_says_that_nothing_is_encrypted(team: Workspace, running: Server) -> None:
    again = lifecycle.start(team)
    assert again.url == f"http://127.0.0.1:{running.port}"
    assert again.team
    assert not any("127.0.0.1" in address for address in again.team)
    assert again.warnings == (lifecycle.UNENCRYPTED,)
    assert CHOSEN not in repr(again)
    assert "another password" in lifecycle.start(team, password=LATER).warnings[0]
    with pytest.raises(UsageError, match=r"on 0\.0\.0\.0 and not on 127\.0\.0\.1") as caught:
        lifecycle.start(team, host="127.0.0.1")
    assert "label stop" in caught.value.hint


def test_the_password_works_from_elsewhere_and_stands_in_one_private_file(team: Workspace, running: Server) -> None:
    url = f"http://{ELSEWHERE}:{running.port}"
    assert _sign_in(url, url, CHOSEN) == 302
    assert _sign_in(url, url, "wrong password 1") == 200
    assert _sign_in(url, f"https://{ELSEWHERE}", CHOSEN) == 302  # TLS ends in a server in front of it
    assert _sign_in(url, "https://attacker.example", CHOSEN) == 403
    assert httpx.get(f"{url}/health", headers={"Host": "attacker.example"}).status_code == 400
    with httpx.Client(base_url=url) as visitor:
        assert visitor.get("/api/projects/").status_code == 401
        visitor.get("/user/signup/")
        form = {"email": "x@y.org", "password": CHOSEN, "csrfmiddlewaretoken": visitor.cookies["csrftoken"]}
        assert visitor.post("/user/signup/", data=form, headers={"Referer": url}).status_code == 403
    assert stat.S_IMODE((running.folder / accounts.FILE).stat().st_mode) == 0o600
    lines = [process.read_bytes() for process in Path("/proc").glob("[0-9]*/cmdline")]
    assert not any(CHOSEN.encode() in line for line in lines)
    assert CHOSEN not in (running.folder / LOG).read_text()


def _sign_in(url: str, origin: str, password: str) -> int:
    with httpx.Client(base_url=url) as browser:
        page = browser.get("/user/login/").text
        csrf = re.search(r'csrfmiddlewaretoken" value="([^"]+)"', page)
        assert csrf is not None
        form = {"email": "me@collect.local", "password": password, "csrfmiddlewaretoken": csrf[1]}
        return browser.post("/user/login/", data=form, headers={"Origin": origin}).status_code


@pytest.mark.browser
def test_no_page_asks_another_host_for_anything(team: Workspace, running: Server) -> None:
    chromium = need(BROWSER)
    objects = Path(str(team.store.root)) / "objects"
    picture = objects / "ab" / "cd" / ("abcd" + "0" * 60)
    picture.parent.mkdir(parents=True)
    Image.new("RGB", (320, 200), (90, 120, 30)).save(picture, "JPEG")
    with running.connect() as studio:
        project = studio.create_project("privacy", interface(("horse", "not-horse")), "Say <b>what</b> it is.")
        studio.serve_images(project, str(objects))
        studio.import_items(project, [Item(picture.name)])
    hosts: dict[str, set[str]] = {}
    base = f"http://{ELSEWHERE}:{running.port}"
    with sync_playwright() as driver:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = driver.chromium.launch(executable_path=chromium, args=options)
        context = browser.new_context()
        page = context.new_page()

        def note(url: str) -> None:
            hosts.setdefault(page.url.partition("?")[0], set()).add(urlsplit(url.removeprefix("blob:")).netloc)

        context.on("request", lambda request: note(request.url))
        page.on("websocket", lambda socket: note(socket.url))
        page.goto(f"{base}/user/login/")
        page.fill("input[name=email]", "me@collect.local")
        page.fill("input[name=password]", CHOSEN)
        page.click("button[type=submit]")
        page.wait_for_url(lambda url: "/login" not in url)
        page.goto(f"{base}/projects/{project}/data")
        page.get_by_text("privacy").first.wait_for()
        page.wait_for_load_state("networkidle")
        page.goto(f"{base}/projects/{project}/data?labeling=1")
        page.wait_for_function("[...document.images].some(i => i.naturalWidth == 320)", timeout=30_000)
        page.wait_for_load_state("networkidle")
        browser.close()
    assert len(hosts) >= 3
    assert set.union(*hosts.values()) - {""} == {urlsplit(base).netloc}  # "" are data: addresses


@pytest.mark.slow
def test_killed_it_is_said_and_two_starts_at_once_make_one_server_that_keeps_everything(
    team: Workspace, running: Server
) -> None:
    with running.connect() as studio:
        projects = studio.projects()
        os.killpg(running.group, signal.SIGKILL)
        with pytest.raises(ServiceDown) as caught:
            _wait_for_the_end(studio)
    assert "collect label start" in caught.value.hint
    with pytest.raises(ServiceDown, match="not running"):
        lifecycle.running(team)
    assert lifecycle.status(team).health == "stopped"
    config = team.root / "config.toml"
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: _start(config), range(2)))
    assert found[0] == found[1]
    assert found[0].group != running.group
    with found[0].connect() as studio:
        assert studio.projects() == projects
    url = f"http://{ELSEWHERE}:{running.port}"
    assert _sign_in(url, url, LATER) == 302
    assert _sign_in(url, url, CHOSEN) == 200


def _wait_for_the_end(studio: Studio) -> None:
    while True:
        studio.projects()


def _start(config: Path) -> Server:
    with Workspace.open(config, environ={}) as ws:
        lifecycle.start(ws, password=LATER)
        return lifecycle.running(ws)


def test_a_broken_list_of_accounts_is_said_and_left_alone(team: Workspace, running: Server) -> None:
    path = running.folder / accounts.FILE
    whole = path.read_bytes()
    for broken in (b"{", b"[1]", b'{"name": "me"}', b'[{"name": "me"}]', b"\xff"):
        path.write_bytes(broken)
        with pytest.raises(CollectError, match=r"accounts\.json is not a list of accounts") as caught:
            lifecycle.start(team)
        assert "backup" in caught.value.hint
        assert path.read_bytes() == broken
    path.write_bytes(whole)


def test_it_stops(team: Workspace, running: Server) -> None:
    assert lifecycle.stop(team).stopped
    assert server.status(running.folder) is None
