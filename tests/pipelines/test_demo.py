"""`collect demo` from end to end, killed once in the middle, with the real Label Studio."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from collector.catalog import images, pools
from collector.errors import Busy, UsageError
from collector.workspace import Workspace
from pipelines.demo.folder import LIMIT, configured
from pipelines.demo.pictures import HORSES_AMONG_THEM, given
from pipelines.demo.steps import demo
from pipelines.machine import LABEL_STUDIO
from tests.conftest import need

REPOSITORY = Path(__file__).resolve().parents[2]


def _killed_in_the_crawl(root: Path) -> set[str]:
    """Start the demo as a person does, end it with SIGKILL in the crawl; the paths of the files that it had stored."""
    command = [sys.executable, "-c", "from pipelines.cli.main import main; main()", "demo", "--folder", str(root), "-q"]
    process = subprocess.Popen(command, cwd=REPOSITORY)
    log, deadline = root / "requests.log", time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if log.exists() and len(log.read_text(encoding="utf-8").splitlines()) > 110:
            break
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    with Workspace.open(root / "config.toml") as ws:
        found = [images.stored_files(ws.catalog, source) for source in ("openverse", "wikimedia")]
    return {urlsplit(url).path for files in found for _, url in files}


@pytest.mark.slow
@pytest.mark.studio
@pytest.mark.timeout(900)
def test_a_killed_demo_continues_and_repeats_nothing(tmp_path: Path) -> None:
    need(LABEL_STUDIO)
    root = tmp_path / "demo"
    stored = _killed_in_the_crawl(root)
    first = demo(root)
    again = demo(root)

    assert first.crawl.kept == LIMIT
    assert first.crawl.seen == first.crawl.kept + first.crawl.repeats + sum(first.crawl.rejected.values())
    assert {"dead-link", "opted-out", "broken", "not-an-image", "empty", "excluded-word"} <= set(first.crawl.rejected)
    assert first.dedup.groups > 0
    assert first.negatives.excluded == {"is-the-concept": HORSES_AMONG_THEM}
    assert first.answers == first.pull.annotations > 500
    assert first.agreement.alpha is not None
    assert 0.6 < first.agreement.alpha < 0.95
    assert first.train_baseline.ap is not None
    assert first.train_baseline.ap > 0.7
    assert first.prelabel.proposed > 20
    assert Path(first.report.path).is_file()

    assert again.files_requested == again.answers == again.pull.new == again.push.new == again.prelabel.fresh == 0
    assert again.train_baseline.reused
    assert again.snapshot.digest == first.snapshot.digest
    assert {**again.for_people(), "seconds": 0} == {**first.for_people(), "seconds": 0}
    served = Counter((root / "requests.log").read_text(encoding="utf-8").splitlines())
    assert len(stored) > 20
    assert {path: served[f"200 {path}"] for path in stored} == dict.fromkeys(stored, 1)

    with Workspace.open(root / "config.toml") as ws:
        negatives = {row.image for row in pools.members(ws.catalog, "horse") if row.role == "negative"}
    truth = Counter(path.name.startswith("n02374451") for path in (root / "site" / "negatives").iterdir())
    assert truth[True] == HORSES_AMONG_THEM
    assert len(negatives) == first.negatives.negatives


def test_a_demo_keeps_out_of_a_folder_that_is_something_else(tmp_path: Path) -> None:
    configured(tmp_path, "drawings")
    assert configured(tmp_path, "drawings") == tmp_path / "config.toml"
    with pytest.raises(UsageError, match="something else"):
        configured(tmp_path, "/pictures and /negatives")


def test_real_horses_need_real_negatives(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="negatives"):
        demo(tmp_path / "demo", pictures=tmp_path)
    assert not (tmp_path / "demo").exists()


def test_a_folder_without_pictures_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no pictures"):
        given(tmp_path, tmp_path)


def test_a_second_demo_in_the_same_folder_is_refused_while_one_runs(tmp_path: Path) -> None:
    with Workspace.open(configured(tmp_path, "drawings")) as ws, ws.lock("demo"), pytest.raises(Busy, match="`demo`"):
        demo(tmp_path)
