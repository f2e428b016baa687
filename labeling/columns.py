"""From rows, one for each answer, to the arrays that figures are computed from. No loop runs over answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labeling.agreement import MISSING, Answers, Floats, Ints

SEVERAL = "|"  # between the labels of one answer, where a picture may get several


class Row(NamedTuple):
    """One answer: `label` None is "can't tell"; several labels at once are joined by `|`.

    `truth` is the known label of the task, `at` when he answered (ISO 8601), `guideline` the version that he saw,
    `proposal` the label that was shown to him and `kept` whether he left it; `sentinel` is the known answer of a task
    that was planted: such answers count for nothing else.
    """

    task: str
    annotator: str
    label: str | None
    truth: str | None = None
    seconds: float | None = None
    note: str = ""
    at: str | None = None
    guideline: str | None = None
    proposal: str | None = None
    kept: bool | None = None
    sentinel: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """One entry for each answer of `answers`, `MISSING` or nan where unknown; `truth` has one for each task.

    `classes` are the single labels; with several at once, `answers.labels` are the sets of them that occur. `repeated`
    answers were replaced by a later one of the same annotator; `unread` times are no times; on `contradicted` tasks the
    rows state different truths.
    """

    answers: Answers
    classes: tuple[str, ...]
    seconds: Floats
    at: Ints
    guidelines: tuple[str, ...]
    guideline: Ints
    shown: NDArray[np.bool_]
    proposal: Ints
    kept: NDArray[np.bool_]
    sentinel: Ints
    truth: Ints
    repeated: int
    unread: int
    contradicted: int


def arrange(
    rows: Sequence[Row] | pd.DataFrame, labels: Sequence[str] = (), *, several: bool = False
) -> tuple[Columns, Columns]:
    """The answers, and those to sentinels: sorted by task and annotator, the last of each annotator to a task.

    Labels that are not among `labels` follow them, sorted: by number where all are numbers, and tasks likewise. A frame
    has the fields of `Row` as columns; task, annotator and label are enough.
    """
    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(rows, columns=Row._fields)
    frame = pd.DataFrame({name: frame.get(name) for name in Row._fields}, index=frame.index)
    texts = {name: _text(frame[name], labels, several) for name in ("label", "truth", "proposal", "sentinel")}
    found = pd.Series(
        [text for name in ("label", "truth", "sentinel") for text in texts[name][1] if text], dtype=object
    )
    others = found.drop_duplicates()[lambda kept: ~kept.isin(labels)]
    if several:
        names = tuple(others.sort_values().tolist())
        single = {one for name in names for one in name.split(SEVERAL)}
        names = (*(label for label in labels if label in set(found)), *names)
        classes = (*labels, *sorted(single - set(labels)))
    else:
        names = classes = (*labels, *_ordered(others.astype(str)).tolist())
    known = pd.Index(names, dtype=object)
    codes = {name: known.get_indexer(pd.Index(spelled, dtype=object))[code] for name, (code, spelled) in texts.items()}
    codes["annotator"], annotators = _factorize(frame["annotator"])
    planted, axes = codes["sentinel"] != MISSING, (annotators, names, classes)
    if not planted.any():
        return (
            _columns(frame, codes, axes),
            _columns(frame[:0], {name: code[:0] for name, code in codes.items()}, axes),
        )
    main, other = (
        _columns(frame[part], {name: code[part] for name, code in codes.items()}, axes) for part in (~planted, planted)
    )
    return main, other


def _columns(
    frame: pd.DataFrame, codes: dict[str, Ints], axes: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
) -> Columns:
    annotators, names, classes = axes
    task, tasks = _factorize(frame["task"])
    annotator = codes["annotator"]
    at, unread = _moments(frame["at"])
    key = task * max(1, len(annotators)) + annotator
    order = np.lexsort((at, key)) if (at != MISSING).any() else np.argsort(key, kind="stable")
    last = order[np.append(key[order][1:] != key[order][:-1], True)] if len(order) else order
    guideline, guidelines = pd.factorize(frame["guideline"].to_numpy(object)[last])
    label, proposal = codes["label"][last], codes["proposal"][last]
    shown = frame["proposal"].notna().to_numpy()[last]
    kept = frame["kept"].to_numpy(object)[last]
    stated = pd.notna(kept)
    truth, contradicted = _truth(codes["truth"], task, len(tasks))
    return Columns(
        answers=Answers(tasks, annotators, names, task[last], annotator[last], label),
        classes=classes,
        seconds=_seconds(frame["seconds"])[last],
        at=at[last],
        guidelines=tuple(map(str, guidelines)),
        guideline=guideline.astype(np.int64),
        shown=shown,
        proposal=proposal,
        kept=np.where(stated, kept == True, (label == proposal) & (label != MISSING)).astype(bool),  # noqa: E712
        sentinel=codes["sentinel"][last],
        truth=truth,
        repeated=len(frame) - len(last),
        unread=unread,
        contradicted=contradicted,
    )


def _text(column: pd.Series, labels: Sequence[str], several: bool) -> tuple[Ints, list[str | None]]:
    """Codes and what they mean: labels as text, None where empty; the last meaning is None, for code -1.

    Sets have one spelling: each label once, in order of `labels`, then sorted.
    """
    code, names = pd.factorize(column)
    place = {label: i for i, label in enumerate(labels)}
    spelled: list[str | None] = []
    for name in names.tolist():
        text = _name(name).strip()
        if several:
            chosen = {one.strip() for one in text.split(SEVERAL)} - {""}
            text = SEVERAL.join(sorted(chosen, key=lambda one: (place.get(one, len(place)), one)))
        spelled.append(text or None)
    return code, [*spelled, None]


def _factorize(column: pd.Series) -> tuple[Ints, tuple[str, ...]]:
    code, names = pd.factorize(column)
    text = pd.Series([_name(name) for name in names.tolist()], dtype=object)
    ordered = _ordered(text)
    place = np.empty(len(text), dtype=np.int64)
    place[ordered.index.to_numpy()] = np.arange(len(text))
    return place[code], tuple(ordered.tolist())


def _name(value: object) -> str:
    """As text; a whole number that was read as a float, because others are missing, without its `.0`."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _ordered(names: pd.Series) -> pd.Series:
    """Sorted, by number where all names are numbers."""
    names = names.reset_index(drop=True)
    try:
        numbers = pd.to_numeric(names).to_numpy(np.float64)
    except (ValueError, TypeError):
        return names.sort_values()
    return names.iloc[np.lexsort((names.to_numpy(object), numbers))]


def _moments(column: pd.Series) -> tuple[Ints, int]:
    """Times as nanoseconds, `MISSING` where there is none, and how many could not be read."""
    if column.isna().all():
        return np.full(len(column), MISSING, dtype=np.int64), 0
    times = pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601").dt.as_unit("ns")
    found = times.astype("int64").to_numpy().astype(np.int64)
    found[times.isna()] = MISSING
    return found, int((times.isna() & column.notna()).sum())


def _seconds(column: pd.Series) -> Floats:
    if column.isna().all():
        return np.full(len(column), np.nan)
    return pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)


def _truth(code: Ints, task: Ints, tasks: int) -> tuple[Ints, int]:
    stated = code != MISSING
    truth = np.full(tasks, MISSING, dtype=np.int64)
    truth[task[stated]] = code[stated]
    return truth, len(np.unique(task[stated][truth[task[stated]] != code[stated]]))
