"""A table of answers from a file, and its whole report without a workspace."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from collector.errors import UsageError
from collector.records import Summary
from labeling.agreement import MISSING, Estimate, Level
from labeling.measure import Measured, Options, measure, words

NEEDED = ("task", "annotator", "label")
OPTIONAL = ("truth", "seconds", "note", "at", "guideline", "proposal", "kept", "sentinel")
# What other tools call the columns: crowd-kit, Label Studio, common data sets.
ALIASES = {"worker": "annotator", "rater": "annotator", "item": "task", "image": "task", "question": "task",
           "answer": "label", "gold": "truth", "lead_time": "seconds"}  # fmt: skip
Figures = dict[str, float | int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSummary(Summary):
    """Agreement of a table: each figure with its 95 % interval over tasks, None where undefined (`warnings` say why).

    `words` are the same in sentences. `accuracy` is against the truth, where the table has one; `settled` counts the
    tasks with a label by `method`, `ties` those without a majority.
    """

    file: str
    tasks: int
    answers: int
    alpha: float | None
    alpha_low: float | None
    alpha_high: float | None
    shared: int
    percent: Figures
    pairwise: Figures
    unanimous: Figures
    fleiss: Figures
    randolph: Figures
    cohen: Figures
    entropy: Figures
    labels: dict[str, Figures]
    annotators: dict[str, dict[str, Any]]
    pairs: list[dict[str, Any]]
    confusions: list[dict[str, Any]]
    guidelines: dict[str, Figures]
    anchoring: dict[str, Figures]
    accuracy: dict[str, Figures]
    method: str
    settled: int
    ties: int
    disputed: int
    seconds: float | None
    words: list[str]

    def for_people(self) -> dict[str, Any]:
        """The figures in short, and the sentences; the tables are in `--json` and on the page."""
        first = ("tasks", "answers", "alpha", "alpha_low", "alpha_high", "shared")
        shown = {name: getattr(self, name) for name in first}
        for name in ("percent", "pairwise", "unanimous", "cohen", "fleiss", "randolph"):
            figure = getattr(self, name)
            shown |= {name: figure["value"], f"{name}_low": figure["low"], f"{name}_high": figure["high"]}
        shown["labels"] = {name: figure["value"] for name, figure in self.labels.items()}
        kept = ("answers", "agreement", "alpha_without", "right", "seconds")
        worst = sorted(self.annotators.items(), key=lambda item: _last_if_none(item[1]["agreement"]))
        shown["annotators"] = {name: {key: row[key] for key in kept} for name, row in worst[:20]}
        if len(worst) > 20:
            shown["more"] = f"{len(worst) - 20} annotators more, who agree more, are in --json"
        if self.accuracy:
            shown["accuracy"] = {name: figure["value"] for name, figure in self.accuracy.items()}
        return {**shown, "settled": self.settled, "ties": self.ties, "disputed": self.disputed, "words": self.words}


def read(path: Path) -> pd.DataFrame:
    """The answers in a .csv, .tsv, .parquet or .json file, one row each, with the columns of `labeling.measure.Row`.

    Raises:
        UsageError: no such file, a kind that is not known, no rows, or a column is missing.
    """
    frame = _load(path)
    frame.columns = [str(name).strip().removeprefix("\ufeff").lower() for name in frame.columns]
    for theirs, ours in ALIASES.items():
        if ours not in frame and theirs in frame:
            frame = frame.rename(columns={theirs: ours})
    missing = [name for name in NEEDED if name not in frame]
    if missing:
        raise UsageError(
            f"{path} has no column {' and no '.join(f'`{name}`' for name in missing)}; it has"
            f" {', '.join(f'`{name}`' for name in frame.columns) or 'none'}",
            hint=f"name the columns {', '.join(NEEDED)}, and if you have them {', '.join(OPTIONAL)}",
        )
    blank = frame["task"].isna() | frame["annotator"].isna()
    if blank.any():
        raise UsageError(
            f"{path}: {int(blank.sum())} rows name no task or no annotator, the first is row {int(blank.argmax()) + 1}",
            hint='an empty label is "can\'t tell", but who was asked and about what must be there',
        )
    if frame.empty:
        raise UsageError(f"{path} has no answers", hint="one row for each answer is asked for")
    return frame


def agreement_of(
    path: Path,
    labels: Sequence[str] = (),
    *,
    several: bool = False,
    level: Level = "nominal",
    options: Options | None = None,
) -> tuple[Measured, TableSummary]:
    """Measure the answers in a file.

    Raises:
        UsageError: see `read` and `measure`.
    """
    found = measure(read(path), labels, several=several, level=level, options=options)
    return found, _summary(str(path), found)


def _load(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise UsageError(f"{path} is not a file")
    kind = path.suffix.lower()
    try:
        if kind == ".parquet":
            return pd.read_parquet(path)
        if kind == ".json":
            return pd.DataFrame(json.loads(path.read_text(encoding="utf-8")))
        if kind in (".csv", ".tsv", ".txt"):
            tab = kind == ".tsv"
            return pd.read_csv(path, sep="\t" if tab else ",", dtype=str, keep_default_na=False, na_values=[""])
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not UTF-8: it holds the byte {error.object[error.start]:#04x}",
            hint="save it as UTF-8 (Excel: `CSV UTF-8`)",
        ) from None
    except (ValueError, OSError) as error:  # pandas' and pyarrow's own errors are kinds of these
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"{path} cannot be read as a table: {reason}") from None
    raise UsageError(f"{path} is no .csv, .tsv, .parquet or .json file")


def _summary(file: str, found: Measured) -> TableSummary:
    return TableSummary(
        file=file,
        tasks=len(found.answers.tasks),
        answers=int((found.answers.label != MISSING).sum()),
        alpha=_number(found.alpha.value),
        alpha_low=_number(found.alpha.low),
        alpha_high=_number(found.alpha.high),
        shared=found.shared,
        percent=_figures(found.percent),
        pairwise=_figures(found.pairwise),
        unanimous=_figures(found.unanimous),
        fleiss=_figures(found.fleiss),
        randolph=_figures(found.randolph),
        cohen=_figures(found.cohen),
        entropy=_figures(found.entropy),
        labels={name: _figures(figure) for name, figure in found.by_label.items()},
        annotators=_people(found),
        pairs=_pairs(found),
        confusions=_confusions(found),
        guidelines={name: _figures(figure) for name, figure in found.guidelines.items()},
        anchoring={
            name: _figures(getattr(found.anchoring, name))
            for name in ("accepted", "resisted", "shown", "blank", "change")
        },
        accuracy={name: _figures(figure) for name, figure in found.accuracy.items()},
        method=found.method,
        settled=int((found.winners != MISSING).sum()),
        ties=int(found.ties.sum()),
        disputed=int(found.disputed.sum()),
        seconds=_number(found.seconds),
        words=words(found),
        warnings=found.warnings,
    )


def _people(found: Measured) -> dict[str, dict[str, Any]]:
    rows = {}
    for person in found.people:
        figures = (person.agreement, person.alpha_without, person.right)
        names = ("agreement", "alpha_without", "right")
        rows[person.name] = {
            "answers": person.answers,
            "unsure": person.unsure,
            "seconds": _number(person.seconds),
            "fast": person.fast,
            "compared": person.compared,
            "information": _number(person.information),
            "drift": _number(person.drift.value),
            "windows": [_number(window.agreement.value) for window in person.windows],
        }
        for name, figure in zip(names, figures, strict=True):
            rows[person.name] |= {
                name: _number(figure.value), f"{name}_low": _number(figure.low), f"{name}_high": _number(figure.high)
            }  # fmt: skip
    return rows


def _pairs(found: Measured) -> list[dict[str, Any]]:
    return [
        {
            "first": pair.first,
            "second": pair.second,
            "shared": pair.shared,
            "agreement": pair.agreement,
            "kappa": _number(pair.kappa),
            "low": _number(pair.low),
            "high": _number(pair.high),
            "linear": _number(pair.linear),
            "quadratic": _number(pair.quadratic),
        }
        for pair in found.pairs
    ]


def _confusions(found: Measured) -> list[dict[str, Any]]:
    return [
        {"first": row.first, "second": row.second, "pairs": row.pairs, "tasks": len(row.images), **_figures(row.share)}
        for row in found.confusions
    ]


def _last_if_none(value: float | None) -> float:
    return math.inf if value is None else value


def _figures(figure: Estimate) -> Figures:
    return {"value": _number(figure.value), "low": _number(figure.low), "high": _number(figure.high)}


def _number(value: float) -> float | None:
    """JSON has no nan."""
    return None if math.isnan(value) else value
