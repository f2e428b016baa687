"""`collect label start` in the foreground, as a person runs it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from pipelines.machine import LABEL_STUDIO
from tests.conftest import REPOSITORY, need
from tests.pipelines.test_cli import COLLECT, answer, collect


@pytest.mark.studio
@pytest.mark.slow
def test_label_studio_runs_in_the_foreground_until_ctrl_c(tmp_path: Path) -> None:
    need(LABEL_STUDIO)
    collect(tmp_path, "init")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*COLLECT, "label", "start", "--port", str(port), "--json"]
    environ = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert f":{port}" in running.stdout.readline()
        assert httpx.get(f"http://127.0.0.1:{port}/health").json() == {"status": "UP"}
        taken = collect(tmp_path, "init", "other")
        assert taken.returncode == 0
        other = collect(tmp_path / "other", "label", "start", "--detach", "--port", str(port))
        assert other.returncode == 1
        assert f"port {port}" in other.stderr
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 130
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            httpx.get(f"http://127.0.0.1:{port}/health")
        except httpx.ConnectError:
            break
        time.sleep(0.2)
    else:
        pytest.fail("Label Studio still answers after Ctrl-C")
    assert not answer(tmp_path, "label", "stop")["stopped"]


def test_a_server_for_others_needs_a_password_that_no_command_line_takes(tmp_path: Path) -> None:
    collect(tmp_path, "init")
    refused = collect(tmp_path, "label", "start", "--host", "0.0.0.0")
    assert refused.returncode == 2
    assert "COLLECT_LABEL_PASSWORD" in refused.stderr
    assert "--password " not in collect(tmp_path, "label", "start", "--help").stdout
    status = answer(tmp_path, "label", "status")
    assert (status["health"], status["url"], status["tasks"]) == ("stopped", "http://127.0.0.1:8330", None)
