"""CSV: columns image, annotator, label[, seconds, note, at]; one row for each answer.

The separator may be a comma, a semicolon or a tab. An empty label is a skip.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from collector.errors import UsageError
from collector.registry import did_you_mean
from labeling.exchange.lines import About, Line, moment, number, save, text

NEEDED, MORE = ("image", "label"), ("annotator", "seconds", "note", "at", "truth")


def read(path: Path) -> list[Line]:
    """The answers in a table; raises `UsageError` when a column is missing or a row is broken."""
    lines = io.StringIO(text(path), newline="")
    header = lines.readline()
    delimiter = max(",;\t", key=header.count)
    names = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])]
    for name in NEEDED:
        if name not in names:
            raise UsageError(
                f"{path} has no column `{name}`{did_you_mean(name, names)}",
                hint=f"its first line must name the columns: {', '.join(NEEDED + MORE)}",
            )
    place = [names.index(name) if name in names else len(names) for name in ("image", "annotator", "label")]
    rest = [names.index(name) if name in names else len(names) for name in ("note", "seconds", "at")]
    found = []
    try:
        for at, row in enumerate(csv.reader(lines, delimiter=delimiter), start=2):
            if not any(row):
                continue
            if len(row) != len(names):
                raise UsageError(
                    f"{path}, row {at}, has {len(row)} fields where the first line has {len(names)}",
                    hint="put texts that contain the separator into double quotes",
                )
            row.append("")  # a column that is not there
            image, annotator, label = (row[index].strip() for index in place)
            note, seconds, when = (row[index] for index in rest)
            found.append(Line(image, annotator, label, note, number(seconds.strip(), path), moment(when.strip(), path)))
    except csv.Error as error:
        raise UsageError(f"{path} is not a table: {error}", hint="one row a line, texts in double quotes") from None
    return found


def write(answers: Sequence[Line], path: Path, about: About) -> None:
    """Write a table; every answer, skips included."""
    out = io.StringIO(newline="")
    table = csv.writer(out, lineterminator="\n")
    table.writerow(("image", "annotator", "label", "seconds", "note", "at"))
    for line in answers:
        seconds = "" if line.seconds is None else repr(line.seconds)
        table.writerow((line.image, line.annotator, line.label, seconds, line.note, line.at or ""))
    save(path, out.getvalue())
