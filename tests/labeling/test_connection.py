from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from threading import Event

import httpx
import pytest

from collector.errors import CollectError, ServiceDown
from labeling import connection
from labeling.connection import TIMEOUT, TRIES
from labeling.studio import VERSION, Studio
from tests.collector.certificates import Authority
from tests.labeling.stand_in import Asked, Said, standing_in

SECRET = "5ec2e7" * 6 + "5ec2"
PAGE = b"<!doctype html><title>Sign in</title><h1>Bad gateway</h1>"
BAD = {
    "401": (Said(401, {"detail": "Invalid token."}), "does not accept our token", "COLLECT_LABEL_TOKEN"),
    "403": (Said(403, {"detail": "You do not have permission"}), "does not allow us", "member of the organization"),
    "429": (Said(429, {"detail": "slow"}, {"Retry-After": "0"}), "too busy", "later"),
    "500": (Said(500, PAGE), r"failed at GET /api/version/ \(500\): Sign in Bad gateway", "same command again"),
    "502": (Said(502, PAGE), "failed at", "same command again"),
    "a page": (Said(200, PAGE), "not JSON", "label.url"),
    "a redirect": (Said(302, PAGE, {"Location": "/login/?next=x"}), "elsewhere, to /login/", "label.url"),
    "an older one": (Said(body={"release": "1.9.1"}), f"1.9.1, older than {VERSION}", "backup"),
    "a newer one": (Said(body={"release": "2.0.0"}), f"2.0.0, newer than {VERSION}", "backup"),
}


@pytest.mark.parametrize("name", BAD)
def test_every_bad_answer_is_one_sentence_with_the_next_step_and_no_secret(name: str) -> None:
    said, words, step = BAD[name]
    with (
        standing_in(lambda asked: said) as url,
        Studio(url, SECRET) as studio,
        pytest.raises(CollectError, match=words) as caught,
    ):
        studio.check()
    assert step in caught.value.hint
    assert url in caught.value.message
    assert "\n" not in caught.value.message
    assert SECRET not in caught.value.message + caught.value.hint


def _in(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("said", "waited"),
    [("3", 3.0), (lambda: _in(20), 20.0), ("0", 0.1), ("soon", 1.0), (None, 1.0), ("86400", 60.0), ("-5", 0.1)],
)
def test_a_busy_server_is_asked_again_as_late_as_it_says(
    said: str | Callable[[], str] | None, waited: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("labeling.connection.time.sleep", slept.append)
    words = said() if callable(said) else said
    busy = Said(429, {}, {} if words is None else {"Retry-After": words})
    answers = iter([busy, busy, Said(body={"release": VERSION})])
    with standing_in(lambda asked: next(answers)) as url, Studio(url, SECRET) as studio:
        assert studio.version() == VERSION
    assert slept == pytest.approx([waited, waited], abs=2)


def test_a_server_that_stays_busy_is_left_alone_after_a_few_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labeling.connection.time.sleep", lambda seconds: None)
    asked: list[Asked] = []

    def busy(request: Asked) -> Said:
        asked.append(request)
        return Said(503)

    with standing_in(busy) as url, Studio(url, SECRET) as studio, pytest.raises(ServiceDown, match="too busy"):
        studio.version()
    assert len(asked) == TRIES


def test_an_answer_may_take_half_a_minute_and_no_answer_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    assert TIMEOUT.read is not None
    assert TIMEOUT.read > 30
    monkeypatch.setattr(connection, "TIMEOUT", httpx.Timeout(0.2))
    ended = Event()

    def hang(asked: Asked) -> Said:
        ended.wait(10)
        return Said()

    with standing_in(hang) as url, Studio(url, SECRET) as studio:
        with pytest.raises(ServiceDown, match="did not answer in time") as caught:
            studio.version()
        ended.set()
    assert "again" in caught.value.hint


def test_a_connection_that_breaks_is_said_clearly() -> None:
    short = Said(200, b"{}", {"Content-Length": "1000"})
    with (
        standing_in(lambda asked: short) as url,
        Studio(url, SECRET) as studio,
        pytest.raises(ServiceDown, match="broke off"),
    ):
        studio.version()


def test_a_certificate_of_a_strange_authority_is_said_and_can_be_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    known = Said(body={"release": VERSION})
    with standing_in(lambda asked: known, tls=authority.server("127.0.0.1")) as url:
        with Studio(url, SECRET) as studio, pytest.raises(ServiceDown, match="is not trusted") as caught:
            studio.version()
        assert "SSL_CERT_FILE" in caught.value.hint
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        with Studio(url, SECRET) as studio:
            assert studio.version() == VERSION
