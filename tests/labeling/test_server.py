from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from collector.errors import CollectError, ServiceDown
from labeling import accounts, server
from labeling.config import LabelConfig
from labeling.server import Server
from labeling.studio import VERSION

pytestmark = pytest.mark.studio


def test_a_second_start_reuses_the_running_server(
    studio_server: Server, studio_data: Path, free_port: Callable[[], int]
) -> None:
    before = server.running(studio_server.folder)  # another test may have killed and started the one of the fixture
    again = server.start(studio_server.folder, studio_data / "store", LabelConfig(port=free_port()))
    assert again == before
    with again.connect() as studio:
        assert studio.check() == "me@collect.local"


def test_stray_variables_do_not_change_the_server(studio_server: Server, studio_data: Path) -> None:
    page = httpx.get(f"{studio_server.url}/user/login/").text
    assert "example.org" not in page
    assert "DEBUG = True" not in httpx.get(f"{studio_server.url}/no/such/page").text
    assert httpx.get(f"{studio_server.url}/health", headers={"Host": "example.org"}).status_code == 400
    assert not (studio_data / "elsewhere.sqlite3").exists()
    assert (studio_server.folder / "label_studio.sqlite3").exists()


def test_a_taken_port_is_named_with_the_way_out(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(CollectError) as caught:
            server.start(tmp_path / "studio", tmp_path / "store", LabelConfig(port=port))
    assert str(port) in caught.value.message
    assert "`label.port`" in caught.value.hint
    assert server.status(tmp_path / "studio") is None


def test_secrets_stand_in_one_private_file_and_nowhere_else(studio_server: Server) -> None:
    folder = studio_server.folder
    admin = accounts.load(folder)["me"]
    assert re.fullmatch("[0-9a-f]{40}", admin.token)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in (accounts.FILE, ".env", "label_studio.sqlite3", server.LOG):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600, name
    log = (folder / server.LOG).read_text()
    lines = [process.read_bytes() for process in Path("/proc").glob("[0-9]*/cmdline")]
    assert any(str(studio_server.port).encode() in line for line in lines)
    for secret in (admin.token, admin.password):
        assert secret not in log
        assert not any(secret.encode() in line for line in lines)
        assert secret not in repr(admin)


def test_only_this_machine_reaches_it_and_nobody_signs_up_without_a_link(studio_server: Server) -> None:
    with pytest.raises(httpx.ConnectError):  # it listens on 127.0.0.1 and on no other address
        httpx.get(f"http://127.0.0.2:{studio_server.port}/health")
    with httpx.Client(base_url=studio_server.url) as visitor:
        page = visitor.get("/user/signup/").text
        csrf = re.search(r'csrfmiddlewaretoken" value="([^"]+)"', page)
        assert csrf is not None
        form = {"email": "x@y.org", "password": "long enough 1", "csrfmiddlewaretoken": csrf[1]}
        refused = visitor.post("/user/signup/", data=form, headers={"Referer": studio_server.url})
        assert refused.status_code == 403
        assert visitor.get("/health", headers={"Host": "example.org"}).status_code == 400


def test_files_outside_the_store_are_not_served(studio_server: Server, studio_data: Path) -> None:
    outside = studio_data / "store" / "secret.txt"
    outside.write_text("not a picture")
    token = {"Authorization": f"Token {accounts.load(studio_server.folder)['me'].token}"}
    for path in ("secret.txt", "objects/../secret.txt", "../label-studio/accounts.json"):
        answer = httpx.get(f"{studio_server.url}/data/local-files/", params={"d": path}, headers=token)
        assert answer.is_error, path
        assert b"not a picture" not in answer.content


def test_a_start_that_is_killed_half_way_is_taken_up_by_the_next(tmp_path: Path, free_port: Callable[[], int]) -> None:
    folder, port = tmp_path / "studio", free_port()
    code = (
        "import sys; from pathlib import Path; from labeling import server; from labeling.config import LabelConfig;"
        f"server.start(Path({str(folder)!r}), Path({str(tmp_path / 'store')!r}), LabelConfig(port={port}))"
    )
    child = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 100
    while not (folder / "server.json").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    orphan = server.status(folder)
    assert orphan is not None
    try:
        started = server.start(folder, tmp_path / "store", LabelConfig(port=port))
        assert started == orphan
        with started.connect() as studio:
            assert studio.check() == "me@collect.local"
    finally:
        assert server.stop(folder)
    assert server.status(folder) is None
    with pytest.raises(ServiceDown, match="not running"):
        server.running(folder)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{orphan.url}/health")


def test_stop_never_ends_a_stranger_who_got_the_old_pid(tmp_path: Path) -> None:
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        (tmp_path / "server.lock").touch()
        (tmp_path / "server.json").write_text(json.dumps({"group": stranger.pid, "port": 1}))
        assert server.status(tmp_path) is None
        assert not server.stop(tmp_path)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_the_version_is_pinned_where_the_known_holes_are_closed() -> None:
    assert tuple(map(int, VERSION.split("."))) >= (1, 23, 2)
