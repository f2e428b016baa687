"""`collect agreement --from`: a file of answers, whatever is wrong with it, and the report without a workspace."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from collector.errors import GateNotMet, UsageError
from labeling.measure import Options, Row, measure
from labeling.tables import agreement_of, read
from pipelines.cli.main import cli
from tests.labeling.test_measure import FEW, crowd


def _write(folder: Path, text: str, name: str = "answers.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_a_file_gives_the_figures_of_its_rows(tmp_path: Path) -> None:
    rows = crowd(tasks=40)
    frame = pd.DataFrame(rows, columns=Row._fields)
    frame.to_csv(tmp_path / "answers.csv", index=False)
    frame.to_csv(tmp_path / "answers.tsv", index=False, sep="\t")
    frame.to_parquet(tmp_path / "answers.parquet")
    frame.to_json(tmp_path / "answers.json", orient="records")
    expected = measure(rows, options=FEW)
    for name in ("answers.csv", "answers.tsv", "answers.parquet", "answers.json"):
        found, summary = agreement_of(tmp_path / name, options=FEW)
        assert repr((found.alpha, found.people, found.accuracy)) == repr(
            (expected.alpha, expected.people, expected.accuracy)
        )
        assert summary.alpha == found.alpha.value


def test_other_tools_names_of_columns_an_empty_label_and_numbers_are_understood(tmp_path: Path) -> None:
    path = _write(tmp_path, "\ufeffItem, Worker ,Answer\n10,ann,NA\n9,ann,\n9,ben,nan\n")
    found, _ = agreement_of(path, options=FEW)
    assert found.answers.tasks == ("9", "10")  # as numbers
    assert found.answers.labels == ("NA", "nan")  # words like any other
    assert found.people[0].unsure == 0.5


def test_whole_numbers_beside_gaps_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / "answers.parquet"
    pd.DataFrame({"task": [1, 1, 2], "annotator": ["a", "b", "a"], "label": [1, None, 0]}).to_parquet(path)
    found, _ = agreement_of(path, options=FEW)
    assert found.answers.labels == ("0", "1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task,annotator\nt,a\n", "has no column `label`; it has `task`, `annotator`"),
        ("when,who\n", "no column `task` and no `annotator` and no `label`"),
        ("task,annotator,label\n", "has no answers"),
        ("", "cannot be read as a table"),
        ("task,annotator,label\nt,a,cat\n,b,cat\n", "1 rows name no task or no annotator, the first is row 2"),
        ("task,annotator,label\nt,a,cat\nu,b,cat,,,,\n", "cannot be read as a table"),
    ],
)
def test_a_file_that_is_no_table_of_answers_is_refused_in_a_sentence(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(_write(tmp_path, text))


def test_a_file_in_another_encoding_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    path.write_bytes("task,annotator,label\nt,Jörg,cat\n".encode("latin-1"))
    with pytest.raises(UsageError, match="not UTF-8: it holds the byte 0xf6"):
        read(path)
    with pytest.raises(UsageError, match="is not a file"):
        read(tmp_path / "elsewhere.csv")
    with pytest.raises(UsageError, match=r"is no \.csv"):
        read(_write(tmp_path, "x", "answers.xlsx"))
    with pytest.raises(UsageError, match="cannot be read as a table"):
        read(_write(tmp_path, "not parquet", "answers.parquet"))
    with pytest.raises(UsageError, match="cannot be read as a table"):
        read(_write(tmp_path, "{", "answers.json"))


def test_the_command_needs_no_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pd.DataFrame(crowd(tasks=60), columns=Row._fields).to_csv("answers.csv", index=False)
    run = CliRunner().invoke(cli, ["agreement", "--from", "answers.csv", "--json"])
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    assert found["alpha_low"] < found["alpha"] < found["alpha_high"]
    assert found["annotators"]["a0"]["right_low"] < found["annotators"]["a0"]["right"]
    assert len(found["pairs"]) == 6
    assert found["words"]
    people = CliRunner().invoke(cli, ["agreement", "--from", "answers.csv", "--method", "dawid-skene"])
    assert "The task is" in people.output
    assert not list(tmp_path.glob("*.toml"))


def test_the_command_fails_under_a_figure_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    pd.DataFrame(crowd(tasks=60), columns=Row._fields).to_csv(path, index=False)
    run = CliRunner().invoke(cli, ["agreement", "--from", str(path), "--fail-under", "0.99"])
    assert isinstance(run.exception, GateNotMet)
    assert "below 0.99" in run.exception.message
    assert "The task is" in run.output  # the figures come first


def test_an_ordinal_scale_is_in_the_order_that_was_given(tmp_path: Path) -> None:
    pairs = ("ll", "mm", "hh", "lm", "lh")
    rows = [f"t{i},{name},{label}" for i, pair in enumerate(pairs) for name, label in zip("ab", pair, strict=True)]
    path = _write(tmp_path, "\n".join(["task,annotator,label", *rows]))
    ordered, _ = agreement_of(path, ("l", "m", "h"), level="ordinal", options=Options(draws=20))
    shuffled, _ = agreement_of(path, ("m", "l", "h"), level="ordinal", options=Options(draws=20))
    assert ordered.answers.labels == ("l", "m", "h")
    assert ordered.alpha.value != shuffled.alpha.value
