"""`--notify`: what is told, over a real server, and that telling never stops, delays or gives away anything."""

from __future__ import annotations

import http.server
import json
import logging
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from collector.errors import CollectError, StoppedShort, UsageError
from collector.records import Summary
from pipelines import notify
from pipelines.cli.notified import VARIABLE, notified
from pipelines.cli.output import Output
from pipelines.finetune.alarms import LOG
from pipelines.notify import Notifier, Watch, headline, without_paths

SECRET = "T0KEN-of-a-channel"


@dataclass
class Listener:
    """A real server on the loopback, and the messages that came to it."""

    url: str = ""
    got: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture
def listener() -> Iterator[Listener]:
    found = Listener()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.got.append({"path": self.path, **json.loads(body)})
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found.url = f"http://127.0.0.1:{server.server_port}/{SECRET}"
        yield found
        server.shutdown()


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes a connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/{SECRET}"


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Output:
    monkeypatch.delenv(VARIABLE, raising=False)
    (tmp_path / "config.toml").write_text("[notify]\nstall_minutes = 0.002\n")
    return Output(config=tmp_path / "config.toml", as_json=False, verbose=0, quiet=False, progress=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained(Summary):
    ap: float = 0.93124
    ap_low: float = 0.9
    ap_high: float = 0.96
    images: int = 400
    reused: bool = False
    path: str = "/home/jane/secret/run"
    ap_by_label: dict[str, float] = field(default_factory=lambda: {"horse": 0.9})


def test_the_end_is_told_with_the_figures_and_nothing_else(out: Output, listener: Listener) -> None:
    with notified(out, [listener.url], "train-baseline horse") as tell:
        out.progress("fitting", 1, 2)
        tell(Trained())
    (message,) = [each for each in listener.got if each["state"] != "stalled"]
    assert message["title"] == "collect train-baseline horse: finished"
    assert message["text"].splitlines()[:2] == ["ap 0.931 (0.9 to 0.96)", "images 400"]
    assert "jane" not in json.dumps(message)
    assert "reused" not in message["text"]


def test_warnings_make_it_an_alarm(out: Output, listener: Listener) -> None:
    with notified(out, [listener.url], "train-baseline horse") as tell:
        tell(Trained(warnings=("the error falls while the loss rises; see /home/jane/runs/1",)))
    message = listener.got[-1]
    assert message["state"] == "alarm"
    assert message["text"].startswith("warning: the error falls while the loss rises; see (a path)\nap 0.931")


def test_an_alarm_is_told_while_the_run_goes_on(
    out: Output, listener: Listener, capsys: pytest.CaptureFixture[str]
) -> None:
    out.quiet = True
    with notified(out, [listener.url], "train-baseline horse") as tell:
        LOG.warning("calibration drifts, see /home/jane/x")
        wait_for(lambda: any(each["state"] == "alarm" for each in listener.got))
        tell(Trained())
    alarm, *_, end = [each for each in listener.got if each["state"] != "stalled"]
    assert (alarm["title"], end["state"]) == ("collect train-baseline horse: alarm", "finished")
    assert alarm["text"] == "calibration drifts, see (a path)\nit still runs"
    assert "drifts" not in capsys.readouterr().err
    LOG.warning("nobody listens any more")
    assert len([each for each in listener.got if each["state"] == "alarm"]) == 1


@pytest.mark.parametrize(
    ("error", "state", "line"),
    [
        (CollectError("the disk that holds /home/jane/x is full", hint="free some space"), "failed", "the disk that"),
        (StoppedShort("3 of 9 images", hint="the same command continues"), "stopped", "3 of 9 images"),
        (KeyboardInterrupt(), "interrupted", "what was done is saved"),
        (ZeroDivisionError("division by zero"), "failed", "ZeroDivisionError: division by zero"),
    ],
    ids=["refused", "stopped short", "interrupted", "a bug"],
)
def test_every_other_end_is_told_in_one_line_and_still_raised(
    out: Output, listener: Listener, error: BaseException, state: str, line: str
) -> None:
    with pytest.raises(type(error)), notified(out, [listener.url], "crawl horse"):
        raise error
    message = listener.got[-1]
    assert message["state"] == state
    assert message["text"].startswith(line)
    assert "jane" not in message["text"]


def test_a_standstill_is_told_once_and_again_after_progress() -> None:
    moved, told = [time.monotonic()], list[float]()
    watch = Watch(lambda: moved[0], 0.05, told.append)
    wait_for(lambda: len(told) == 1)
    time.sleep(0.2)
    assert len(told) == 1
    moved[0] = time.monotonic()
    wait_for(lambda: len(told) == 2)
    watch.end()


def test_progress_of_a_step_feeds_the_watch(out: Output, listener: Listener) -> None:
    with notified(out, [listener.url], "prelabel horse"):
        wait_for(lambda: any(each["state"] == "stalled" for each in listener.got))
        before = out.moved_at
        out.progress("predicting", 5, 10)
        assert out.moved_at > before
    assert [each["state"] for each in listener.got][-1] == "finished"


def test_addresses_of_the_environment_are_told_too(
    out: Output, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, f"{listener.url} {listener.url}/other")
    with notified(out, [], "crawl horse"):
        out.progress("crawling", 1, 2)
    assert {each["path"] for each in listener.got} == {f"/{SECRET}", f"/{SECRET}/other"}


def test_a_server_that_hangs_delays_the_end_by_the_patience_and_nothing_by_more(
    silent: str, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = Notifier([silent], patience_s=0.3)
    begin = time.monotonic()
    notifier.tell("stalled", "t", "x")
    notifier.tell("finished", "t", "x")
    assert time.monotonic() - begin < 0.3, "telling waits for nobody"
    notifier.wait()
    assert len(caplog.records) == 1
    assert SECRET not in caplog.text


def test_a_closed_port_is_warned_of_once_without_the_address(
    out: Output, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    url = f"http://127.0.0.1:{port}/{SECRET}"
    monkeypatch.setattr(sys, "argv", ["collect", "crawl", f"--notify={url}", "--notify", url])
    with caplog.at_level(logging.DEBUG), notified(out, [url, url], "crawl horse") as tell:
        tell(Trained())
    assert [record.levelname for record in caplog.records if record.name.startswith("pipelines")] == ["WARNING"]
    assert SECRET not in caplog.text
    assert SECRET not in " ".join(sys.argv), "locks say who holds them, with the arguments"


def test_apprise_tells_its_own_kinds_of_addresses(listener: Listener) -> None:
    notifier = Notifier([listener.url.replace("http://", "json://")])
    notifier.tell("failed", "collect crawl horse: failed", "the disk is full")
    notifier.wait()
    assert listener.got[0]["message"] == "the disk is full"
    assert listener.got[0]["type"] == "failure"


def test_an_address_that_nobody_can_tell_is_refused_before_the_run_without_being_shown() -> None:
    with pytest.raises(UsageError) as refused:
        Notifier([f"pigeon://{SECRET}"])
    assert "pigeon://" in refused.value.message
    assert SECRET not in refused.value.message + refused.value.hint


def test_without_apprise_a_plain_address_gets_json_and_others_are_refused(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "find_spec", lambda name: None)
    notifier = Notifier([listener.url])
    notifier.tell("finished", "t", "x")
    notifier.wait()
    assert listener.got == [{"path": f"/{SECRET}", "state": "finished", "title": "t", "text": "x"}]
    with pytest.raises(UsageError, match="json://"):
        Notifier(["json://127.0.0.1/x"])


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("cannot use /home/jane/a b.txt: no", "cannot use (a path) b.txt: no"),
        ("see ~/runs/1, then ../x and file:///etc/passwd", "see (a path), then (a path) and (a path)"),
        ("300 img/s, error 3/4, https://me:word@host.example/x", "300 img/s, error 3/4, https://host.example/x"),
        ("`/srv/x` or '/y'", "`(a path)` or '(a path)'"),
    ],
)
def test_paths_and_passwords_are_left_out(said: str, told: str) -> None:
    assert without_paths(said) == told


def test_the_headline_is_plain_numbers() -> None:
    assert headline({"a": 1, "b": 0.12345, "c": "x", "d": None, "e": {"f": 1}, "g": True}) == "a 1\nb 0.123"


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
