"""WebDataset: tar shards with `KEY.jpg`, `KEY.cls` (the number of the label) and `KEY.json` for each picture.

Members follow one another as the library wants them, and carry no time and no owner, so equal pictures make equal
shards. Pictures are in the order of their sha256, which is a shuffled one.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

from pipelines.export.loose import entry
from pipelines.export.records import About, Entry, Format, Made, Part
from pipelines.export.shards import digest, whole
from pipelines.export.table import record

_LOAD = """\
import glob

import webdataset

shards = sorted(glob.glob("{split}-*.tar"))
train = webdataset.WebDataset(shards, shardshuffle=False).decode("pil")
for sample in train:
    image = next(sample[kind] for kind in ("jpg", "png", "webp") if kind in sample)
    print(image.size, sample["cls"], sample["json"]["label"])
    break"""


def _write(
    folder: Path, part: Part, pictures: Iterable[Made], about: About
) -> tuple[dict[str, tuple[str, int]], list[Entry]]:
    name = f"{part.name}.tar"
    numbers = {label: number for number, label in enumerate(about.labels)}
    entries = []
    with whole(folder / name) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for made in pictures:
            told = entry(made, name)
            about_it = json.dumps(record(made.row, told), sort_keys=True, ensure_ascii=False)
            _add(tar, f"{made.stem}.cls", str(numbers[made.row.label]).encode())
            _add(tar, f"{made.stem}{made.suffix}", made.data)
            _add(tar, f"{made.stem}.json", about_it.encode("utf-8", "replace"))
            entries.append(told)
    return {name: digest(folder / name)}, entries


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # time 0, owner 0, no names of people
    member.size = len(data)
    member.mode = 0o444
    tar.addfile(member, io.BytesIO(data))


WEBDATASET = Format(
    reads=frozenset({"JPEG", "PNG", "WEBP"}),
    write=_write,
    load=lambda about: _LOAD.format(split=about.options.splits[0]),
    library="webdataset",
    configs="{split}-*.tar",
)
