"""Which of our images are copies of somebody else's: an evaluation set, another team's pictures, a blocklist.

The answer is a table; what is found is set aside only where that is asked for, and can be taken back. The outside set
is a folder of pictures, a snapshot, or a text file of hashes, one a line: `sha256:`, `pixels:`, `phash:` or `dct:` and
the hash in hex, then a name if there is one. Without the word before it a hash of 16 digits is a phash, and one of 64 a
sha256.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from collector import folders
from collector.catalog import exclusions
from collector.config import IntakeConfig
from collector.decoding import Decoded, decode
from collector.dedup import across, thresholds
from collector.dedup.across import Copy, Side
from collector.dedup.gallery import Gallery
from collector.dedup.sharing import points_of, points_of_images, sharing
from collector.dedup.step import DedupConfig
from collector.dedup.thresholds import Limits, Wanted
from collector.errors import UsageError
from collector.fingerprints import DCT, PHASH, PIXELS, Thumb, fingerprints, pack
from collector.intake import fill_fingerprints
from collector.records import Rejected, Summary
from collector.workspace import Workspace

if TYPE_CHECKING:
    from collector.dedup.geometry import Points

GROUP = 256  # pictures fingerprinted together
DIGITS = {"sha256": 64, "pixels": 64, "phash": 16, "dct": 64}
COLUMNS = ("image", "outside", "method", "distance", "form")
METHODS = ("file", "pixels", "phash", "dct", "geometry")  # the surest first
_LINE = re.compile(r"(?:(sha256|pixels|phash|dct):)?([0-9a-f]+)(?:[\s,;]+(.*))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgainstSummary(Summary):
    """How many of `images` are `copies` of one of the `outside` pictures; `unreadable` are files that are none.

    `methods` counts copies by what shows them; the table is in the file `path`. `expected_false_pairs` lie within the
    thresholds by chance. `excluded` images are set aside for it now.
    """

    images: int
    outside: int
    unreadable: int
    copies: int
    excluded: int
    methods: dict[str, int]
    threshold: int
    threshold_dct: int
    expected_false_pairs: float
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenBack(Summary):
    """`images` that were set aside for the outside set are back."""

    outside: str
    images: int


class Outside(NamedTuple):
    """An outside set: what is known of its pictures, which of our images are among them, how many files were none.

    `points` are those of the pictures that can be looked at, by their place in `side`.
    """

    side: Side
    members: set[str]
    unreadable: int
    points: dict[int, Points]


class Known(NamedTuple):
    """What is known of one outside picture, in hex; empty where it is not."""

    name: str
    sha256: str = ""
    pixels: str = ""
    phash: str = ""
    dct: str = ""


def against(ws: Workspace, outside: str, *, exclude: bool = False) -> AgainstSummary:
    """Compare all images with an outside set; writes a table, and with `exclude` sets aside what is found.

    Pools and snapshots leave out what is set aside, until `take_back`.

    Raises:
        UsageError: `outside` does not exist, is empty, or is nothing that can be compared with.
    """
    theirs = read(ws, outside)
    fill_fingerprints(ws)
    gallery, limits = limits_for(ws, len(theirs.side.names))
    ours = [row for row in np.flatnonzero(gallery.alive).tolist() if gallery.names[row] not in theirs.members]
    best = copies(ws, (gallery, limits), ours, theirs)
    if exclude:
        exclusions.set_aside(ws.catalog, file_name(outside), {each.first: each._asdict() for each in best})
    path = ws.data / "against" / f"{file_name(outside)}.csv"
    across.write_csv(path, COLUMNS, best)
    return AgainstSummary(
        images=len(ours),
        outside=len(theirs.side.names),
        unreadable=theirs.unreadable,
        copies=len(best),
        excluded=len(best) if exclude else 0,
        methods=dict(sorted(Counter(each.method for each in best).items())),
        threshold=limits.phash,
        threshold_dct=limits.dct,
        expected_false_pairs=limits.expected,
        path=str(path),
        warnings=(f"{theirs.unreadable} files there are no pictures that can be read",) if theirs.unreadable else (),
    )


def take_back(ws: Workspace, outside: str) -> TakenBack:
    """Let images that were set aside for an outside set back in; the set itself is not read, and may be gone."""
    name = file_name(outside)
    return TakenBack(outside=name, images=exclusions.set_aside(ws.catalog, name, {}), next="collect dedup")


def copies(ws: Workspace, known: tuple[Gallery, Limits], ours: Sequence[int], theirs: Outside) -> list[Copy]:
    """For each of our rows that is a copy of an outside picture the pair that shows it best, sorted by image."""
    gallery, limits = known
    side = across.of_rows(gallery, np.array(ours, np.int64))
    best: dict[str, Copy] = {}
    for each in across.copies(side, theirs.side, limits):
        known_best = best.get(each.first)
        if known_best is None or _rank(each) < _rank(known_best):
            best[each.first] = each
    rest = [i for i, name in enumerate(side.names) if name not in best]
    if rest and theirs.points:
        grey = across.grey(side, theirs.side, limits)
        open_ = {(side.names[i], j) for i, j in grey}
        for name, j, match in sharing(ws, [side.names[i] for i in rest], theirs.points, open_):
            found = Copy(name, theirs.side.names[j], "geometry", match.inliers, "mirrored" if match.mirrored else "")
            if name not in best or found.distance > best[name].distance:
                best[name] = found
    return sorted(best.values())


def _rank(each: Copy) -> tuple[int, int]:
    return METHODS.index(each.method), each.distance


def read(ws: Workspace, outside: str) -> Outside:
    """The outside set of that name: a folder, a file of hashes, a Parquet manifest, or the digest of a snapshot.

    Raises:
        UsageError: it does not exist, is empty, or cannot be understood.
    """
    path = Path(outside).expanduser()
    if path.is_dir():
        return _of_folder(ws, path)
    manifests = sorted((ws.data / "snapshots").glob(f"{outside[:16]}*.parquet")) if outside.isalnum() else []
    if path.suffix == ".parquet" or (not path.exists() and len(manifests) == 1):
        return _of_manifest(ws, path if path.suffix == ".parquet" else manifests[0])
    if not path.is_file():
        raise UsageError(
            f"{outside} is no folder, no file of hashes and no snapshot",
            hint="name a folder of pictures, a text file with a hash on each line, or the digest of a snapshot",
        )
    return Outside(_side(_of_lines(path)), set(), 0, {})


def _of_folder(ws: Workspace, folder: Path) -> Outside:
    config = ws.section(IntakeConfig).model_copy(update={"min_side": 1})
    files = folders.files(folder)
    found: list[Known] = []
    points: dict[int, Points] = {}
    extract = points_of(ws)
    for start in range(0, len(files), GROUP):
        thumbs: dict[tuple[str, str], Thumb] = {}
        for path in files[start : start + GROUP]:
            data = folders.read(path, config)
            decoded = data if isinstance(data, Rejected) else decode(data, config)
            if isinstance(data, bytes) and isinstance(decoded, Decoded):
                if extract:
                    points[len(found) + len(thumbs)] = extract(np.asarray(decoded.small.convert("L")))
                thumbs[folders.inside(path, folder), hashlib.sha256(data).hexdigest()] = decoded.thumb
        found += _fingerprinted(thumbs, ws.section(DedupConfig).min_quality)
        ws.progress(f"reading {folder.name}", min(start + GROUP, len(files)), len(files))
    if not found:
        raise UsageError(f"{folder} holds no picture that can be read", hint="name a folder of pictures")
    return Outside(_side(found), set(), len(files) - len(found), points)


def _fingerprinted(thumbs: dict[tuple[str, str], Thumb], min_quality: float) -> Iterator[Known]:
    for (name, sha256), prints in zip(thumbs, fingerprints(list(thumbs.values())), strict=True):
        value = {each.algorithm: each.value for each in prints if each.quality >= min_quality}
        yield Known(name, sha256, value[PIXELS], value.get(PHASH, ""), value.get(DCT, ""))


def _of_manifest(ws: Workspace, path: Path) -> Outside:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        images = set(pq.read_table(path, columns=["image"])["image"].to_pylist())
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise UsageError(f"{path} is no snapshot: {error}", hint="name a file that `collect snapshot` wrote") from None
    if not images:
        raise UsageError(f"{path} holds no images", hint="name another snapshot")
    gallery = Gallery.read(ws.catalog, ws.section(DedupConfig).min_quality)
    rows = sorted(gallery.rows[name] for name in images if name in gallery.rows)
    here = across.of_rows(gallery, np.array(rows, np.int64))
    away = [Known(name, sha256=name) for name in sorted(images - gallery.rows.keys())]
    return Outside(_joined(here, _side(away)), images, 0, points_of_images(ws, here.names))


def _of_lines(path: Path) -> list[Known]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as text: {error}", hint="one hash a line, in hex") from None
    found = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        kind = "" if match is None else (match[1] or {16: "phash", 64: "sha256"}.get(len(match[2]), "")).lower()
        if match is None or len(match[2]) != DIGITS.get(kind):
            raise UsageError(
                f"{path}, line {number}: `{text[:40]}` is no hash",
                hint="64 hex digits of a sha256 or 16 of a phash; or `pixels:`, `dct:` and 64 digits",
            )
        found.append(Known(name=match[3] or f"line {number}", **{kind: match[2].lower()}))
    if not found:
        raise UsageError(f"{path} holds no hashes", hint="one hash a line, in hex")
    return found


def _side(found: Sequence[Known]) -> Side:
    def rows(values: Iterable[str]) -> np.ndarray:
        return np.flatnonzero([bool(value) for value in values])

    phash, dct = [each.phash for each in found], [each.dct for each in found]
    return Side(
        [each.name for each in found],
        [each.sha256 for each in found],
        [each.pixels for each in found],
        pack([value or "0" * 16 for value in phash]),
        pack([value or "0" * 64 for value in dct]).reshape(-1, 4),
        rows(phash),
        rows(dct),
    )


def _joined(one: Side, other: Side) -> Side:
    """Two sets as one; of the second only files are known."""
    return one._replace(
        names=[*one.names, *other.names],
        files=[*one.files, *other.files],
        contents=[*one.contents, *other.contents],
        phash=np.concatenate([one.phash, other.phash]),
        dct=np.concatenate([one.dct, other.dct]),
    )


def limits_for(ws: Workspace, outside: int) -> tuple[Gallery, Limits]:
    """Our images, and limits for so many outside pictures times all of them."""
    config = ws.section(DedupConfig)
    gallery = Gallery.read(ws.catalog, config.min_quality)
    rows = gallery.comparable
    chances = thresholds.chances(gallery.phash[rows], gallery.dct[rows])
    wanted = Wanted(config.threshold, config.threshold_dct, config.max_false_pairs, config.candidates)
    return gallery, thresholds.limits(chances, len(rows), len(rows) * outside, wanted)


def file_name(outside: str) -> str:
    """What an outside set is called in our files: letters, digits, - and _ of its last part."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", Path(outside).expanduser().resolve().name).strip("-")[:60] or "outside"
