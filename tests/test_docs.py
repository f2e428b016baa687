"""The documents say what the code does: every command, every JSON key, every line of docs/python.md."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import click
import pytest

from collector.catalog import pools
from collector.dedup import DedupSummary
from collector.dedup.leaks import LeaksSummary
from collector.importing import ImportSummary
from collector.negatives import NegativesSummary, PlanSummary
from collector.quality import QualitySummary
from collector.records import Summary
from collector.spiders.recheck import RecheckSummary
from collector.spiders.runner import CrawlSummary, SourcesSummary
from collector.splits import draw
from collector.workspace import Workspace
from labeling.annotators import AnnotatorsSummary
from labeling.errata import ErrataSummary
from labeling.exchange import LabelExportSummary, LabelImportSummary
from labeling.lifecycle import LabelStatusSummary, StartSummary, StopSummary
from labeling.pull import PullSummary
from labeling.push import PushSummary
from labeling.review import AgreementSummary
from labeling.tables import TableSummary
from pipelines.backend import BackendSummary
from pipelines.carry import ExportModelSummary
from pipelines.cli.main import cli
from pipelines.compare import CompareSummary, RunsSummary
from pipelines.contamination import ContaminationSummary
from pipelines.demo.steps import DemoSummary
from pipelines.doctor import DoctorSummary
from pipelines.errata import ApplySummary, SuspectsSummary
from pipelines.evaluate import EvaluateSummary
from pipelines.export import ExportSummary
from pipelines.forget import ForgetSummary
from pipelines.gc import GcSummary
from pipelines.init import InitSummary
from pipelines.mining import MineSummary
from pipelines.next import NextSummary
from pipelines.prelabel import PrelabelSummary
from pipelines.reports.build import ReportSummary
from pipelines.reports.credits import CreditsSummary
from pipelines.shortcuts import ShortcutsSummary
from pipelines.snapshot import SnapshotSummary
from pipelines.snapshots import SnapshotDiffSummary, SnapshotShowSummary, SnapshotsSummary
from pipelines.split import SplitSummary
from pipelines.status import StatusSummary
from pipelines.sweep import SweepSummary
from pipelines.train import RunSummary
from pipelines.verify import VerifySummary
from tests.conftest import REPOSITORY, jpeg
from tests.pipelines.labeled import answer

SUMMARIES: dict[str, type[Summary]] = {
    "init": InitSummary,
    "crawl": CrawlSummary,
    "import": ImportSummary,
    "sources": SourcesSummary,
    "dedup": DedupSummary,
    "leaks": LeaksSummary,
    "quality": QualitySummary,
    "negatives": NegativesSummary,
    "negatives --plan": PlanSummary,
    "negatives --mine": MineSummary,
    "shortcuts": ShortcutsSummary,
    "contamination": ContaminationSummary,
    "recheck": RecheckSummary,
    "label start": StartSummary,
    "label stop": StopSummary,
    "label status": LabelStatusSummary,
    "label annotators": AnnotatorsSummary,
    "label assign": AnnotatorsSummary,
    "label push": PushSummary,
    "label pull": PullSummary,
    "label backend": BackendSummary,
    "label import": LabelImportSummary,
    "label export": LabelExportSummary,
    "agreement": AgreementSummary,
    "agreement --from": TableSummary,
    "errata open": ErrataSummary,
    "errata list": ErrataSummary,
    "errata dismiss": ErrataSummary,
    "errata apply": ApplySummary,
    "errata suspects": SuspectsSummary,
    "split": SplitSummary,
    "snapshot": SnapshotSummary,
    "snapshot list": SnapshotsSummary,
    "snapshot show": SnapshotShowSummary,
    "snapshot diff": SnapshotDiffSummary,
    "train-baseline": RunSummary,
    "runs": RunsSummary,
    "compare": CompareSummary,
    "evaluate": EvaluateSummary,
    "prelabel": PrelabelSummary,
    "next": NextSummary,
    "sweep": SweepSummary,
    "export": ExportSummary,
    "export-model": ExportModelSummary,
    "verify": VerifySummary,
    "forget": ForgetSummary,
    "gc": GcSummary,
    "credits": CreditsSummary,
    "report": ReportSummary,
    "status": StatusSummary,
    "doctor": DoctorSummary,
    "demo": DemoSummary,
}


def commands() -> set[str]:
    names = set()
    for name, command in cli.commands.items():
        inner = command.commands if isinstance(command, click.Group) else {"": command}
        names |= {f"{name} {sub}".strip() for sub in inner}
    return names


def sections() -> dict[str, str]:
    text = (REPOSITORY / "docs" / "json.md").read_text(encoding="utf-8")
    parts = re.split(r"^### `(.+)`$", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_command_has_its_keys_on_the_page() -> None:
    assert set(sections()) == set(SUMMARIES)
    assert {name.partition(" --")[0] for name in SUMMARIES} == commands()


@pytest.mark.parametrize("command", SUMMARIES)
def test_the_page_names_the_keys_of_each_command(command: str) -> None:
    fields = {field.name for field in dataclasses.fields(SUMMARIES[command])} - {"next", "warnings"}
    if command == "demo":
        fields = {name.replace("train_baseline", "train-baseline") for name in fields}
    written = set(re.findall(r"`([a-z_-]+)`", sections()[command])) - {"confusion"} | (fields & {"confusion"})
    assert written == fields


def test_the_lines_of_the_python_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLLECT__TRAIN__BACKBONE", "classic")  # no pretrained weights in the tests
    for folder, seeds in (("pictures", range(40)), ("others", range(100, 150))):
        (tmp_path / folder).mkdir()
        for seed in seeds:
            (tmp_path / folder / f"{seed}.jpg").write_bytes(jpeg(seed, (160, 120)))
    text = (REPOSITORY / "docs" / "python.md").read_text(encoding="utf-8")
    first, second = re.findall(r"^```python\n(.+?)^```", text, flags=re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(first, "docs/python.md", "exec"), names)
    with Workspace.open("project/config.toml") as ws:
        draw(ws, ws.concept("horse"))
        labels = {row.image: row.label for row in pools.members(ws.catalog, "horse")}
        answer(ws, labels, ["ann", "ben"])
    exec(compile(second, "docs/python.md", "exec"), names)
    assert names["run"].validation > 0
    assert 0 <= names["run"].ap_low <= names["run"].ap <= names["run"].ap_high <= 1


PAGES = ["README.md", *(f"docs/{page.name}" for page in sorted((REPOSITORY / "docs").glob("*.md")))]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_that_a_page_shows_exists_with_its_options(page: str) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    for line in re.findall(r"(?:^|`)collect ([a-z-]+(?: [^`\n#]*)?)", text, flags=re.MULTILINE):
        words = line.split()
        command: click.Command = cli
        while isinstance(command, click.Group) and words and words[0].split("|")[0] in command.commands:
            command = command.commands[words.pop(0).split("|")[0]]
        command = command.commands.get("", command) if isinstance(command, click.Group) else command
        assert command is not cli, line
        known = {option for each in command.params for option in each.opts}
        assert {word for word in words if word.startswith("--")} <= known, line
        assert not isinstance(command, click.Group) or not words, line


def test_the_pages_show_every_command() -> None:
    text = "".join((REPOSITORY / page).read_text(encoding="utf-8") for page in PAGES)
    missing = {name for name in commands() if f"collect {name}" not in text}
    assert not missing
