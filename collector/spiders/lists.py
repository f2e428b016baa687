"""Lists of addresses: text, CSV, TSV or Parquet, read as a stream from any row on.

Memory does not grow with the list: text is read by the line, Parquet by small batches. Where a row ends is a place from
which reading continues: bytes in a text file, rows in a Parquet file.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from collector.errors import UsageError
from collector.registry import did_you_mean
from collector.spiders.config import UrlsConfig

ALSO = {  # setting -> what else such a column is called in the lists that people have
    "url_column": ("url", "image_url", "img_url"),
    "license_column": ("license", "licence", "license_url"),
    "caption_column": ("caption", "text", "title"),
}
LINE = 1 << 20  # bytes; what is longer is no line of a list
BATCH = 1000  # rows of Parquet in memory
PARQUET = b"PAR1"


class Row(NamedTuple):
    """A row of a list; `number` counts from 1, and reading continues behind it at `after`."""

    number: int
    after: int
    address: str
    license: str = ""
    caption: str = ""


def rows(path: Path, config: UrlsConfig, after: int = 0, number: int = 0) -> Iterator[Row]:
    """The rows of a list; with the `after` and `number` of a row, those behind it.

    Raises:
        UsageError: no such file, no such column, or it is no list of addresses.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint="name a list of addresses") from None
    if not start:
        raise UsageError(f"{path} is empty", hint="it should hold one address a line, or columns with a header")
    if start[:2] in (b"\xff\xfe", b"\xfe\xff") or start[:3] == b"\xff\xd8\xff":
        raise UsageError(f"{path} is not UTF-8 text, CSV or Parquet", hint="save it as UTF-8")
    if start == PARQUET:
        return _parquet(path, config, after)
    if path.name.lower().removesuffix(".gz").endswith((".csv", ".tsv")):
        return _table(path, config, after, number)
    return _text(path, after, number)


def check(paths: Sequence[Path], config: UrlsConfig) -> None:
    """Read the first row of every list. Raises `UsageError`, also for a list without rows."""
    if not paths:
        raise UsageError("no list of addresses is named", hint="`--urls FILE`, or `files` of [sources.urls]")
    for path in paths:
        if next(rows(path, config), None) is None:
            raise UsageError(f"{path} holds no addresses", hint="its header is all there is")


# -- text and CSV ---------------------------------------------------------------------------------------------------


class _Lines:
    """The lines of a file as text; `after` is where the last one ended."""

    def __init__(self, file: BinaryIO, after: int) -> None:
        self.after = after
        self._file = file

    def __iter__(self) -> Iterator[str]:
        try:
            self._file.seek(self.after)
            for line in iter(lambda: self._file.readline(LINE), b""):
                text = line.decode("utf-8-sig" if self.after == 0 else "utf-8", "replace")
                self.after += len(line)
                yield text
        except (OSError, EOFError, zlib.error) as error:  # gzip has an error for every kind of damage
            raise UsageError(f"{self._file.name} cannot be read on: {error}", hint="is the file whole?") from None


def _opened(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb")


def _text(path: Path, after: int, number: int) -> Iterator[Row]:
    """One address a line; blank lines and lines that begin with # are no rows."""
    first = not after
    with _opened(path) as file:
        lines = _Lines(file, after)
        for line in lines:
            address = line.strip()
            if not address or address.startswith("#"):
                continue
            if first and "://" not in address:
                raise UsageError(
                    f"{path} has no address in its first line, but {address[:60]!r}",
                    hint="one address a line; tables are called .csv, .tsv or .parquet",
                )
            first = False
            number += 1
            yield Row(number, lines.after, address)


def _table(path: Path, config: UrlsConfig, after: int, number: int) -> Iterator[Row]:
    with _opened(path) as file:
        lines = _Lines(file, 0)
        header = next(iter(lines), "")
        delimiter = max(",\t;", key=header.count)
        names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
        url, license, caption = _columns(path, names, config)
        width = max(url, license, caption) + 1
        lines = _Lines(file, after or lines.after)
        reader = csv.reader(lines, delimiter=delimiter)
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                raise UsageError(
                    f"{path}: row {number + 1} is no CSV: {error}", hint="is a quote not closed there?"
                ) from None
            if row is None:
                return
            if not row:
                continue
            number += 1
            row += [""] * (width - len(row))
            yield Row(
                number,
                lines.after,
                row[url].strip(),
                row[license].strip() if license >= 0 else "",
                row[caption].strip() if caption >= 0 else "",
            )


def _columns(path: Path, names: Sequence[str], config: UrlsConfig) -> tuple[int, int, int]:
    """Where the address, the license and the caption stand; -1 for a column that a list need not have."""
    lower = [name.casefold() for name in names]
    places = []
    for setting, also in ALSO.items():
        wanted = getattr(config, setting)
        by_default = wanted == also[0]
        known = [name for name in (wanted.casefold(), *(also if by_default else ())) if name in lower]
        if known:
            places.append(names.index(wanted) if wanted in names else lower.index(known[0]))
        elif by_default and setting != "url_column":
            places.append(-1)
        else:
            raise UsageError(
                f"{path} has no column `{wanted}`{did_you_mean(wanted, names)}",
                hint=f"it has {', '.join(names)[:200]}; name the right one as {setting} of [sources.urls]",
            )
    return places[0], places[1], places[2]


# -- Parquet --------------------------------------------------------------------------------------------------------


def _parquet(path: Path, config: UrlsConfig, after: int) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path, buffer_size=LINE, pre_buffer=False) as file:
            names = file.schema_arrow.names
            places = _columns(path, names, config)
            for before, batch in _batches(file, [names[place] for place in places if place >= 0], after):
                columns = [_texts(batch, names[place]) if place >= 0 else [""] * batch.num_rows for place in places]
                for number, cells in enumerate(zip(*columns, strict=True), before + 1):
                    if number > after:
                        yield Row(number, number, *cells)
    except (pyarrow.ArrowException, OSError) as error:
        raise UsageError(f"{path} is no Parquet file that can be read: {error}", hint="is it whole?") from None


def _batches(file: Any, columns: list[str], after: int) -> Iterator[tuple[int, Any]]:
    """(rows before it, batch) for every batch that has rows behind `after`; whole groups before it are not read."""
    before = 0
    for group in range(file.num_row_groups):
        size = file.metadata.row_group(group).num_rows
        if before + size > after:
            start = before
            for batch in file.iter_batches(BATCH, row_groups=[group], columns=columns):
                if start + batch.num_rows > after:
                    yield start, batch
                start += batch.num_rows
        before += size


def _texts(batch: Any, name: str) -> list[str]:
    return ["" if value is None else str(value).strip() for value in batch.column(name).to_pylist()]
