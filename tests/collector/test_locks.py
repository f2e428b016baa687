"""A lock belongs to a living process, and says to which."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.errors import Busy, CollectError
from collector.locks import named_lock

HOLDER = """
import sys, time
from pathlib import Path
from collector.locks import named_lock
sys.argv = ["/usr/bin/collect", "dedup", "horse"]
with named_lock(Path({folder!r}), "dedup", shared={shared}):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock `dedup`."""
    code = HOLDER.format(folder=str(tmp_path), shared=getattr(request, "param", False))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_busy_lock_names_the_pid_and_the_command_of_its_holder(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    with pytest.raises(Busy) as busy, named_lock(tmp_path, "dedup"):
        pass
    assert f"pid {holder.pid}, `collect dedup horse`, since 20" in busy.value.message
    assert "`dedup`" in busy.value.message
    assert busy.value.hint
    with named_lock(tmp_path, "another"):
        pass


def test_kill_9_of_the_holder_frees_the_lock(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    with named_lock(tmp_path, "dedup", wait_s=10):
        pass


def test_a_waiting_process_gets_the_lock_as_soon_as_it_is_free(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    threading.Timer(0.3, holder.kill).start()
    started = time.monotonic()
    with named_lock(tmp_path, "dedup", wait_s=30):
        assert 0.2 < time.monotonic() - started < 10


@pytest.mark.parametrize("holder", [True], indirect=True)
def test_a_shared_lock_is_shared_with_others_and_not_with_who_must_be_alone(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    with named_lock(tmp_path, "dedup", shared=True):
        pass
    with pytest.raises(Busy), named_lock(tmp_path, "dedup", wait_s=0.2):
        pass


def test_a_lock_is_free_again_after_an_error_inside(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), named_lock(tmp_path, "dedup"):
        raise ZeroDivisionError
    with named_lock(tmp_path, "dedup"):
        pass


@pytest.mark.parametrize("text", ["", "[]", "3", "{}", "\xff\xfe"])
def test_a_holder_that_has_not_said_who_it_is_makes_no_trouble(tmp_path: Path, text: str) -> None:
    with named_lock(tmp_path, "dedup"):
        (tmp_path / "dedup.lock").write_text(text, encoding="latin-1")
        with pytest.raises(Busy, match="has not said who it is"), named_lock(tmp_path, "dedup"):
            pass


def test_a_folder_that_cannot_hold_locks_is_named(tmp_path: Path) -> None:
    (tmp_path / "locks").touch()
    with pytest.raises(CollectError, match="locks"), named_lock(tmp_path / "locks", "dedup"):
        pass
