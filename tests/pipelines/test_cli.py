"""The command line's manners: fast help, pure JSON, two-line errors, exit codes, settings with origins."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest

from collector.importing import ImportSummary
from pipelines.cli.main import cli
from pipelines.cli.output import Output
from tests.conftest import REPOSITORY, jpeg

COLLECT = [sys.executable, "-m", "pipelines.cli"]


def collect(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `collect` as a process of its own in `folder`."""
    return subprocess.run(
        [*COLLECT, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def answer(folder: Path, *arguments: str) -> dict[str, Any]:
    """The JSON object that a command prints; it must print nothing else on stdout."""
    done = collect(folder, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A workspace made by `collect init`."""
    done = collect(tmp_path, "init")
    assert done.returncode == 0, done.stderr
    return tmp_path


def commands() -> list[tuple[str, click.Command]]:
    found, waiting = [], list(cli.commands.items())
    for name, command in waiting:
        if isinstance(command, click.Group):
            waiting += [(f"{name} {sub}", each) for sub, each in command.commands.items()]
        else:
            found.append((name, command))
    return found


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, pipelines.cli.main; print([m for m in sys.modules if '.' not in m])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.replace("'", '"')))
    heavy = {"torch", "scrapy", "numpy", "PIL", "pandas", "sqlalchemy", "pydantic", "rich", "httpx", "matplotlib"}
    assert not loaded & heavy


@pytest.mark.parametrize(("name", "command"), commands())
def test_every_command_and_every_option_says_what_it_is(name: str, command: click.Command) -> None:
    assert command.help, name
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.name != "help":
            assert parameter.help, f"{name} {parameter.name}"
    assert {"config", "as_json", "verbose", "quiet", "no_progress"} <= {str(each.name) for each in command.params}


def test_a_mistyped_command_gets_the_nearest_one(tmp_path: Path) -> None:
    done = collect(tmp_path, "crwal", "horse")
    assert done.returncode == 2
    assert "crawl" in done.stderr


def test_without_a_workspace_the_next_step_is_named(tmp_path: Path) -> None:
    done = collect(tmp_path, "status")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].startswith("error: no config.toml in")
    assert done.stderr.splitlines()[1] == "hint: `collect init` writes one here"


def test_init_does_not_overwrite_settings(home: Path) -> None:
    assert collect(home, "init").returncode == 2
    assert collect(home, "init", "--force").returncode == 0


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("[crawl]\nlimt = 5\n", "`crawl.limt` is not a setting; did you mean `crawl.limit`?"),
        ("[crawl]\nlimit = 'many'\n", '`crawl.limit` = "many": input should be a valid integer'),
        ("[crwal]\nlimit = 5\n", "`crwal` is not a section; did you mean `crawl`?"),
        ("crawl = 5\n", "`crawl` must be a table"),
        ("[crawl\n", "is not TOML"),
        ("[sources.openvers]\nenabled = true\n", "did you mean `sources.openverse`?"),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(tmp_path: Path, config: str, said: str) -> None:
    (tmp_path / "config.toml").write_text(config, encoding="utf-8")
    done = collect(tmp_path, "status")
    assert done.returncode == 2
    assert said in done.stderr
    assert "config.toml" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 2


def test_a_wrong_environment_variable_is_named_rather_than_the_file(home: Path) -> None:
    done = collect(home, "status", COLLECT__CRAWL__LIMIT="many")
    assert done.returncode == 2
    assert done.stderr.startswith("error: COLLECT__CRAWL__LIMIT")


def test_the_origin_of_each_setting_is_told(home: Path) -> None:
    done = collect(home, "doctor", "--config-origin", "--json", COLLECT__CRAWL__LIMIT="7")
    rows = {row["setting"]: row for row in json.loads(done.stdout)}
    assert rows["crawl.limit"] == {"setting": "crawl.limit", "value": 7, "origin": "COLLECT__CRAWL__LIMIT"}
    assert rows["dedup.threshold"]["origin"].endswith("config.toml")
    (home / "config.toml").write_text("", encoding="utf-8")
    rows = {row["setting"]: row for row in json.loads(collect(home, "doctor", "--config-origin", "--json").stdout)}
    assert rows["dedup.threshold"]["origin"] == "default"


def test_doctor_asks_the_label_studio_of_the_settings(home: Path) -> None:
    done = collect(home, "doctor", "--json", COLLECT__LABEL__URL="http://127.0.0.1:9")
    found = json.loads(done.stdout)["checks"]["label studio server"]
    assert "http://127.0.0.1:9, of `label.url`, does not answer" in found


def test_import_dedup_and_status_add_up_in_json(home: Path) -> None:
    pictures = home / "pictures"
    pictures.mkdir()
    for seed in range(4):
        (pictures / f"{seed}.jpg").write_bytes(jpeg(seed))
    (pictures / "copy.jpg").write_bytes(jpeg(0, quality=50))
    (pictures / "same.jpg").write_bytes(jpeg(1))
    (pictures / "broken.jpg").write_bytes(jpeg(9)[:900])
    done = answer(home, "import", "horse", "pictures", "--license", "own")
    assert (done["kept"], done["seen"], sum(done["rejected"].values())) == (5, 7, 1)
    found = answer(home, "dedup")
    assert (found["images"], found["groups"], found["duplicates"]) == (5, 1, 1)
    assert answer(home, "status")["concepts"]["horse"]["images"] == 5


def test_concept_is_optional_only_where_there_is_one(home: Path) -> None:
    done = collect(home, "negatives")
    assert done.returncode == 2
    assert "which concept?" in done.stderr


def test_an_unknown_license_is_a_usage_error(home: Path) -> None:
    (home / "pictures").mkdir()
    (home / "pictures" / "a.jpg").write_bytes(jpeg(1))
    done = collect(home, "import", "horse", "pictures", "--license", "free")
    assert done.returncode == 2
    assert "free" in done.stderr


def test_a_folder_without_pictures_is_a_usage_error(home: Path) -> None:
    (home / "empty").mkdir()
    assert collect(home, "import", "horse", "empty", "--license", "own").returncode == 2


def test_a_workspace_of_a_newer_version_is_refused_with_words(home: Path) -> None:
    import sqlite3

    with sqlite3.connect(home / ".collect" / "catalog.sqlite") as connection:
        connection.execute("update alembic_version set version_num = '9999'")
    done = collect(home, "status")
    assert done.returncode == 2
    assert "newer version" in done.stderr


def test_label_studio_that_does_not_run_is_said_with_the_command_that_starts_it(home: Path) -> None:
    (home / "pictures").mkdir()
    for seed in range(3):
        (home / "pictures" / f"{seed}.jpg").write_bytes(jpeg(seed))
    collect(home, "import", "horse", "pictures", "--license", "own")
    done = collect(home, "label", "push")
    assert done.returncode == 1
    assert "collect label start" in done.stderr


def test_ctrl_c_ends_with_130_and_keeps_the_work(home: Path) -> None:
    pictures = home / "pictures"
    pictures.mkdir()
    for seed in range(300):
        (pictures / f"{seed:03}.jpg").write_bytes(jpeg(seed))
    command = [*COLLECT, "import", "horse", "pictures", "--license", "own"]
    environ = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    running = subprocess.Popen(command, cwd=home, env=environ, stderr=subprocess.PIPE, text=True)
    objects = home / ".collect" / "store" / "objects"
    deadline = time.monotonic() + 60
    while sum(1 for _ in objects.glob("*/*/*")) < 20:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "saved" in said
    done = answer(home, "import", "horse", "pictures", "--license", "own")
    assert done["kept"] == 300
    assert done["new"] < 300


def test_the_data_folder_is_readable_by_its_owner_only(home: Path) -> None:
    for path in (home / ".collect").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_summary_of_a_thousand_labels_fits_on_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    counts = {f"label {k}": k for k in range(1000)}
    out = Output(config=None, as_json=False, verbose=0, quiet=False, progress=False)
    out.show(ImportSummary(concept="a", kept=0, seen=0, rejected=counts, repeats=0, new=0, labeled=0, license="own"))
    shown = capsys.readouterr().out
    assert "label 0 0   label 1 1" in shown
    assert "... and 988 more (--json has all)" in shown
    assert len(shown.splitlines()) == 8
    assert len(shown) < 1000
    out.as_json = True
    out.show(ImportSummary(concept="a", kept=0, seen=0, rejected=counts, repeats=0, new=0, labeled=0, license="own"))
    assert json.loads(capsys.readouterr().out)["rejected"] == counts
