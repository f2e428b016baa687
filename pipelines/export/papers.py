"""The papers of an export: images.csv, credits, index files, description, card, SHA256SUMS and export.json."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from collector import durable
from collector.catalog import errata, pools
from collector.credits import UNCHANGED, Credit, credit, in_order, to_csv, to_markdown
from collector.errors import CollectError
from collector.licenses import title
from collector.records import Sighting
from collector.spiders.config import CrawlConfig
from collector.workspace import Workspace
from pipelines.export import card, croissant, run, table
from pipelines.export.formats import FORMATS
from pipelines.export.records import About, Entry, Part, Written
from pipelines.export.shards import digest, whole
from pipelines.export.tally import Tally, license_of
from pipelines.folder_sums import RECORD, SUMS, line
from pipelines.manifest import ManifestRow

SHARDED = (".tar", ".parquet")


def write(ws: Workspace, draft: Path, parts: Sequence[Part], about: About) -> None:
    """Write everything but the pictures; the files are durable when this returns.

    The journal is read anew for each file, so that no list of all pictures is held but the credits, which are sorted.
    """
    ws.progress("writing credits, description and card", 0, None)
    form = FORMATS[about.options.format]
    tally, left_out, shards = Tally(), Counter(about.gone.values()), dict[str, tuple[str, int]]()
    doubted = {row.image for row in errata.register(ws.catalog, about.concept) if row.state == errata.OPEN}
    for part, done in _journal(draft, parts):
        left_out.update(done.left_out)
        tally.files += len(done.files)
        tally.bytes += sum(size for _, size in done.files.values())
        shards |= {path: told for path, told in done.files.items() if path.endswith(SHARDED)}
        for row, entry in _joined(part, done):
            tally.add(row, entry)
            tally.open_errata += row.image in doubted
    made = {table.PATH: _stream(draft / table.PATH, table.lines(_pairs(draft, parts)))}
    if form.index is not None:
        for split in about.options.splits:
            path = form.index_path.format(split=split)
            mine = [part for part in parts if part.split == split]
            made[path] = _stream(draft / path, form.index(split, partial(_pairs, draft, mine), about))
    facts = _facts(ws, tally, about, dict(sorted(left_out.items())))
    credits = in_order(_credit(row, entry) for row, entry in _pairs(draft, parts))
    texts = {
        "ATTRIBUTION.md": to_markdown(f"{about.concept}, snapshot {about.name}", credits),
        "attribution.csv": to_csv(credits),
        "croissant.json": croissant.describe(about, tally, shards, made[table.PATH]),
        "README.md": card.card(about, form, tally, facts),
    }
    for name, data in texts.items():
        durable.write(draft / name, data)
        made[name] = digest(draft / name)
    sums = _stream(draft / SUMS, _sums(draft, parts, made))
    tally.files += len(made)
    tally.bytes += sum(size for _, size in made.values())
    record = {**_record(about, tally, facts.left_out), "sums": sums[0]}
    durable.write(draft / RECORD, (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "replace"))


def _journal(draft: Path, parts: Sequence[Part]) -> Iterator[tuple[Part, Written]]:
    for part in parts:
        done = run.noted(draft, part)
        if done is None:
            raise CollectError(f"{part.name} of the unfinished export {draft} is damaged", hint="run the command again")
        yield part, done


def _joined(part: Part, done: Written) -> Iterator[tuple[ManifestRow, Entry]]:
    known = {row.image: row for row in part.rows}
    return ((known[entry.image], entry) for entry in done.entries)


def _pairs(draft: Path, parts: Sequence[Part]) -> Iterator[tuple[ManifestRow, Entry]]:
    """The rows that were exported, each with what became of it."""
    return chain.from_iterable(_joined(part, done) for part, done in _journal(draft, parts))


def _sums(draft: Path, parts: Sequence[Part], made: dict[str, tuple[str, int]]) -> Iterator[str]:
    for _, done in _journal(draft, parts):
        yield "".join(line(path, told[0]) for path, told in done.files.items())
    yield "".join(line(path, told[0]) for path, told in sorted(made.items()))


def _stream(path: Path, pieces: Iterable[str]) -> tuple[str, int]:
    with whole(path) as file:
        for piece in pieces:
            file.write(piece.encode("utf-8", "replace"))
    return digest(path)


def _credit(row: ManifestRow, entry: Entry) -> Credit:
    names = ("source", "source_id", "url", "page", "title", "creator", "creator_url")
    found = Sighting(**{name: getattr(row, name) for name in names}, license=license_of(row))
    return credit(row.image, found)._replace(changes=entry.done or UNCHANGED)


def _facts(ws: Workspace, tally: Tally, about: About, left_out: dict[str, int]) -> card.Facts:
    return card.Facts(
        agreement=tally.agreement(ws.seed),
        rules=sorted(pools.rules(ws.catalog, about.concept)),
        left_out=left_out,
        contact=ws.section(CrawlConfig).contact,
    )


def _record(about: About, tally: Tally, left_out: dict[str, int]) -> dict[str, Any]:
    """export.json: what was exported and how; `sums` is the sha256 of SHA256SUMS, which lists the files."""
    counts = {
        "images": tally.images,
        "files": tally.files,
        "bytes": tally.bytes,
        "labels": {split: {x: tally.cells[split, x] for x in about.labels} for split in about.options.splits},
        "licenses": dict(sorted((title(each), n) for each, n in tally.licenses.items())),
        **{kind: tally.changes[kind] for kind in ("stripped", "resized", "blurred")},
        "converted": dict(sorted(tally.converted.items())),
        "turned": tally.turned,
        "left_out": left_out,
    }
    return {
        "concept": about.concept,
        "plan": about.plan(),
        "labels": list(about.labels),
        "folders": dict(about.folders),
        "counts": counts,
        "warnings": list(_warnings(tally, about, left_out)),
    }


def _warnings(tally: Tally, about: About, left_out: dict[str, int]) -> Iterator[str]:
    if unlicensed := sum(n for each, n in tally.licenses.items() if each.code == "unlicensed"):
        yield f"{unlicensed} pictures have no license: never publish this export"
    if tally.spared:
        yield f"{tally.spared} pictures kept their size: their licenses forbid sharing changed copies (nd)"
    if many := left_out.get("no-derivatives"):
        yield f"{many} pictures with a face are left out: their licenses forbid sharing blurred copies (nd)"
    if many := left_out.get("forgotten"):
        yield f"{many} pictures of the snapshot were forgotten since, and are left out"
    if many := left_out.get("withdrawn"):
        yield f"{many} pictures of the snapshot were withdrawn by their source since, and are left out"
    if many := left_out.get("license-changed"):
        yield (
            f"{many} pictures of the snapshot are left out: their source now states a license that `crawl.license`"
            " refuses"
        )
    if tally.turned and not about.options.resize:
        yield (
            f"{tally.turned} pictures are upright by their EXIF orientation alone, which some readers ignore:"
            " load them as README.md shows"
        )
    if about.options.keep_exif:
        yield "metadata was kept: it may say where pictures were taken, and who owns the camera"
