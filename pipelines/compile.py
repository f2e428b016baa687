"""Compile the record of a concept into the rows of a snapshot: what counts, and why the rest is left out.

The queries of `collector.catalog.compile` bring columns from whatever engine holds the record; all that decides is done
here, on whole columns. The result depends on what was said and seen, not on when, nor on the order of rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from collector import licenses
from collector.catalog import compile as record
from collector.catalog.compile import Read
from collector.splits import HASHED, IMAGE, position, require_untouched, shares
from pipelines.manifest import HELD_OUT, schema

if TYPE_CHECKING:
    import pyarrow as pa

ERRATUM = "erratum"  # the method of a label that an erratum set, with its number
Mask = NDArray[np.bool_]
RANK = ("source", "source_id", "url", "page", "title", "creator", "license_url")  # as `sightings.speaking` orders
REST = ("license_version", "license_evidence", "creator_url", "query", "license_jurisdiction", "facts", "id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What counts as a label, and which images are wanted; an empty collection wants all, a cap of 0 is none.

    `accepted` license codes make a changed license good. `flags` is flag -> (check, threshold); images with one of
    `excluded` are left out. The same bytes at `everywhere` addresses are a placeholder. `key` is what caps draw by.
    """

    concept: str
    labels: Sequence[str]
    min_confidence: float
    min_annotators: int
    accepted: Collection[str]
    flags: Mapping[str, tuple[str, float]]
    excluded: Sequence[str] = ()
    everywhere: int = 0
    methods: Collection[str] = ()
    licenses: Collection[str] = ()
    sources: Collection[str] = ()
    tiers: Collection[str] = ()
    per_source: int = 0
    per_creator: int = 0
    negatives: float = 0.0
    key: str = ""


class Compiled(NamedTuple):
    """The rows that count, sorted by image (`pipelines.manifest.schema`), and reason -> images that do not."""

    table: pa.Table
    excluded: dict[str, int]


def compiled(read: Read, rules: Rules) -> Compiled:
    """The rows of a snapshot, by whichever engine `read` asks.

    Raises:
        CollectError: an image is not in the split that its keyed hash draws.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    settled, answers = read.start(record.settled(rules.concept)), read.start(record.answers(rules.concept))
    poor, often = read.start(record.poor(dict(rules.flags.values()))), read.start(record.everywhere(rules.everywhere))
    found = _speaking(settled(), rules)
    found = _amended(found, read(record.amended(rules.concept)))
    _require_untouched(rules.concept, found.select(["image", "split", "rule"]).drop_null())
    names = found["image"]
    given = _given(answers(), names)
    flags = _flags(rules, names, poor(), often)
    reasons = _reasons(read, rules, found, given, flags)
    order = pc.sort_indices(names).to_numpy()
    keep = order[reasons[order] == ""]
    kept = _taken(found, keep)
    people, _ = given
    columns = _columns(kept, people[keep], flags[keep], rules)
    table = pa.table([columns[each.name].cast(each.type) for each in schema()], schema=schema())
    over = _over(table, rules)
    table = _taken(table, np.flatnonzero(over == ""))
    left = pd.Series(np.concatenate([reasons[reasons != ""], over[over != ""]]), dtype=object).value_counts()
    assert not any(pc.any(pc.is_null(column)).as_py() for column in table.columns)
    return Compiled(table.combine_chunks(), {str(why): int(n) for why, n in sorted(left.items())})


def _speaking(rows: pa.Table, rules: Rules) -> pa.Table:
    """One row for each image: with the sighting that speaks for it, see `sightings.speaking`.

    A sighting is its highest revision. One that [snapshot] wants goes before one that it does not.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    state, license = rows["state"], rows["license"]
    changed = np.zeros(rows.num_rows, bool)
    several = _mask(pc.greater(pc.fill_null(rows["revision"], 0), 0))
    codes = pc.index_in(rows["image"], pc.unique(rows["image"])).to_numpy()
    several |= (np.bincount(codes)[codes] > 1) if len(codes) else several
    keep = ~several
    if several.any():
        place = np.flatnonzero(several)
        some = rows.take(pa.array(place)).to_pandas()
        some["place"] = place
        one = ["image", "source", "source_id"]
        some = some.sort_values([*one, "revision"], kind="stable")
        agreed = some.groupby(one, sort=False, dropna=False)["license"].transform("first")
        good = [code for code in licenses.CODES if code in rules.accepted]
        some["changed"] = (some["license"] != agreed) & ~some["license"].isin(good)
        some = some.drop_duplicates(one, keep="last")
        some["refused"] = (some["state"] == "withdrawn") | some["changed"]
        wanted = ((some["license"], rules.licenses), (some["source"], rules.sources))
        some["unwanted"] = np.logical_or.reduce([~column.isin(set(of)) & bool(of) for column, of in wanted])
        some["dead"] = some["state"] == "dead"
        some["openness"] = -some["license"].map(licenses.openness)
        best = some.sort_values(["refused", "unwanted", "dead", "openness", *RANK, *REST], kind="stable")
        best = best.drop_duplicates("image")
        keep[best["place"].to_numpy()] = True
        changed[best["place"].to_numpy()] = best["changed"].to_numpy(bool)
    refusal = np.where(_mask(pc.equal(pc.fill_null(state, ""), "withdrawn")), "withdrawn", "").astype(object)
    refusal[changed & (refusal == "")] = "license-changed"
    refusal[_mask(pc.is_null(license))] = "no-origin"
    return _taken(rows.append_column("refusal", pa.array(refusal, pa.string())), np.flatnonzero(keep))


def _require_untouched(concept: str, drawn: pa.Table) -> None:
    """`splits.require_untouched`, row by row only for what is not where the hash of its own rule puts it.

    The same arithmetic as `splits.place`, on whole columns.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    for rule in pc.unique(drawn["rule"]).to_pylist():
        rows = _taken(drawn, np.flatnonzero(_mask(pc.equal(drawn["rule"], rule))))
        key = rule.removeprefix(HASHED).rpartition(IMAGE)[0]
        start, sizes = f"{key}:".encode(), shares(rule)
        heads = b"".join([sha256(start + image.encode()).digest()[:8] for image in rows["image"].to_pylist()])
        at = np.frombuffer(heads, ">u8") / 2.0**64
        found, free = np.full(rows.num_rows, "train", object), np.ones(rows.num_rows, bool)
        for name, share in sizes.items():
            found[free & (at < share)] = name
            free &= at >= share
            at = at - share
        doubtful = (rows["split"].to_numpy() != found) | (not sizes or key.partition(":")[2] != concept)
        if doubtful.any():
            some = rows.filter(pa.array(doubtful)).to_pydict()
            require_untouched(concept, zip(*(some[name] for name in ("image", "split", "rule")), strict=True))


def _amended(found: pa.Table, applied: pa.Table) -> pa.Table:
    """The label of the erratum that was applied last in place of the votes'; `erratum` is its number, or 0."""
    import pyarrow as pa

    frame = applied.to_pandas().sort_values(["at", "id"]).drop_duplicates("image", keep="last")
    place = pd.Index(frame["image"]).get_indexer(found["image"].to_pandas()) if len(frame) else np.full(len(found), -1)
    here = place >= 0
    columns = {name: np.array(found[name].to_pylist(), object) for name in ("label", "method")}
    confidence = found["confidence"].to_numpy().copy()
    number = np.zeros(len(found), np.int64)
    if here.any():
        picked = frame.iloc[place[here]]
        number[here], confidence[here] = picked["id"], 1.0
        columns["label"][here] = picked["should_be"]
        columns["method"][here] = [f"{ERRATUM} {each}" for each in picked["id"]]
    for name, values in (*columns.items(), ("confidence", confidence)):
        found = found.set_column(
            found.schema.get_field_index(name), name, pa.array(values, found.schema.field(name).type)
        )
    return found.append_column("erratum", pa.array(number))


def _given(answers: pa.Table, names: pa.ChunkedArray) -> tuple[NDArray[np.int64], Mask]:
    """How many people's labels stand for each image, and whether one of them was shown a proposal.

    As `labels.current` has it: what nothing supersedes, one for each answer of Label Studio (two machines that read in
    one at once both add it), not deleted, the last of an annotator to a task; then his last label of the image.
    """
    import pyarrow.compute as pc

    rows = pd.DataFrame({name: answers[name].to_numpy() for name in ("id", "task", "studio", "said", "supersedes")})
    rows["image"] = pc.fill_null(pc.index_in(answers["image"], names), -1).to_numpy()
    rows["who"] = pc.index_in(answers["annotator"], pc.unique(answers["annotator"])).to_numpy()
    rows = rows.sort_values("id")  # the last one is the newest
    rows = rows[~rows["id"].isin(rows["supersedes"])]
    again = rows.duplicated(["task", "studio"], keep="last") & (rows["studio"] != 0)
    rows = rows[~again & (rows["said"] & record.DELETED == 0) & (rows["image"] >= 0)]
    rows = rows[~rows.duplicated(["task", "image", "who"], keep="last") & (rows["said"] & record.LABELED != 0)]
    rows = rows[~rows.duplicated(["image", "who"], keep="last")]
    image = rows["image"].to_numpy()
    people = np.bincount(image, minlength=len(names)).astype(np.int64)
    return people, np.bincount(image, weights=rows["said"] & record.SHOWN, minlength=len(names)) > 0


def _flags(rules: Rules, names: pa.ChunkedArray, bad: pa.Table, often: Callable[[], pa.Table]) -> NDArray[np.int64]:
    """The flags of each image, one bit for each of `rules.flags`."""
    import pyarrow.compute as pc

    bits = np.zeros(len(names), np.int64)
    for k, (flag, (check, _)) in enumerate(rules.flags.items()):
        bits |= _mask(pc.is_in(names, bad["image"].filter(pc.equal(bad["check"], check)))).astype(np.int64) << k
        if flag == "placeholder" and rules.everywhere:
            bits |= _mask(pc.is_in(names, often()["image"])).astype(np.int64) << k
    return bits


def _reasons(
    read: Read,
    rules: Rules,
    found: pa.Table,
    given: tuple[NDArray[np.int64], Mask],
    flags: NDArray[np.int64],
) -> NDArray[np.object_]:
    """Why each image is left out, the first reason of several; empty where it counts."""
    import pyarrow.compute as pc

    names, place = found["image"], {flag: k for k, flag in enumerate(rules.flags)}
    aside, listed = read(record.copies()), read(record.outside())
    labels, split = found["label"], found["split"]
    people, shown = given
    held_out = _mask(pc.is_in(split, _words(HELD_OUT)))
    unlabeled = _mask(pc.is_null(labels))
    checks: list[tuple[Mask, Any]] = [
        (_mask(pc.is_in(names, aside["image"])), "copy"),
        *((flags >> place[flag] & 1 == 1, f"quality: {flag}") for flag in rules.excluded),
        *_outside(names, aside, listed),
        (_mask(pc.is_in(names, read(record.buried())["image"])), "not-in-pool"),
        (_mask(pc.or_(pc.is_null(found["role"]), pc.is_null(split))), "not-in-pool"),
        *((_mask(pc.equal(found["refusal"], why)), why) for why in ("no-origin", "withdrawn", "license-changed")),
        *((_mask(pc.invert(pc.is_in(found[name], _words(some)))), f"filtered: {name}")
          for name, some in (("license", rules.licenses), ("source", rules.sources), ("tier", rules.tiers)) if some),
        (_other_method(found, rules), "filtered: method"),
        (unlabeled & _mask(pc.not_equal(found["votes"], "{}")), "tie"),
        (unlabeled, "nobody-could-tell"),
        (_mask(pc.invert(pc.is_in(labels, _words(rules.labels)))), "unknown-label"),
        (found["confidence"].to_numpy() < rules.min_confidence, "low-confidence"),
        (held_out & shown, "not-blind"),
        (held_out & (people < rules.min_annotators), "too-few-annotators"),
    ]  # fmt: skip
    return np.select([mask for mask, _ in checks], [np.array(why, object) for _, why in checks], "").astype(object)


def _outside(names: pa.ChunkedArray, aside: pa.Table, listed: pa.Table) -> list[tuple[Mask, str]]:
    """Copies of outside sets, and what is kept for such copies: set by set, the first by name counts."""
    import pyarrow.compute as pc

    found = []
    for name in sorted(set(listed["name"].to_pylist())):
        these = listed["image"].filter(pc.equal(listed["name"], name))
        kept = aside["keeper"].filter(pc.is_in(aside["image"], these))
        found.append((_mask(pc.is_in(names, these)) | _mask(pc.is_in(names, kept)), f"copy of {name}"))
    return found


def _other_method(found: pa.Table, rules: Rules) -> Mask:
    import pyarrow.compute as pc

    if not rules.methods:
        return np.zeros(found.num_rows, bool)
    voted: Mask = found["erratum"].to_numpy() == 0
    return voted & _mask(pc.invert(pc.is_in(found["method"], _words(rules.methods))))


def _columns(
    kept: pa.Table, people: NDArray[np.int64], flags: NDArray[np.int64], rules: Rules
) -> dict[str, pa.ChunkedArray | pa.Array]:
    """The columns of the manifest."""
    import pyarrow as pa
    import pyarrow.compute as pc

    # Where a folder lies on this machine is nobody else's business, and would give equal content another digest.
    public = pc.match_substring_regex(kept["url"], "^https?://")
    words = {
        mask: " ".join(flag for k, flag in enumerate(rules.flags) if mask >> k & 1) for mask in set(flags.tolist())
    }
    votes = kept["votes"].to_pandas()
    spelled = {text: json.dumps(json.loads(text), sort_keys=True) for text in votes.unique()}
    columns = {name: kept[name] for name in schema().names if name in kept.column_names}
    return columns | {
        "confidence": pa.array(np.round(kept["confidence"].to_numpy(), 6)),
        "votes": pa.array(votes.map(spelled), pa.string()),
        "annotators": pa.array(people),
        "group": kept["image"],
        "flags": pa.array([words[bits] for bits in flags.tolist()], pa.string()),
        **{name: pc.if_else(public, kept[name], "") for name in ("url", "source_id")},
        "facts": pc.if_else(public, kept["facts"], "{}"),
    }


def _over(table: pa.Table, rules: Rules) -> NDArray[np.object_]:
    """Why an image is too many, by the caps of [snapshot]; empty where it is not.

    Caps thin the training part, and only that: what is held out stays the random sample that it was drawn as. Which
    ones stay is decided by a keyed hash.
    """
    why = np.full(table.num_rows, "", object)
    if not (rules.per_source or rules.per_creator or rules.negatives):
        return why
    rows = pd.DataFrame({name: table[name].to_pandas() for name in ("image", "split", "label", "source", "creator")})
    rows = rows[rows["split"] == "train"]
    rows = rows.assign(at=[position(f"{rules.key}:{image}") for image in rows["image"]]).sort_values("at")
    for cap, keys in ((rules.per_source, ["source"]), (rules.per_creator, ["source", "creator"])):
        if cap:
            known = rows if keys == ["source"] else rows[rows["creator"] != ""]
            over = known.index[known.groupby(keys).cumcount() >= cap]
            why[over] = f"cap: {keys[-1]}"
            rows = rows.drop(over)
    if rules.negatives:
        negative = rows["label"] == rules.labels[-1]
        over = rows.index[negative][int(rules.negatives * (~negative).sum()) :]
        why[over] = "cap: negatives"
    return why


def _taken(table: pa.Table, places: NDArray[np.int64]) -> pa.Table:
    """The rows at some places; where that is all of them in order, nothing is copied."""
    import pyarrow as pa

    if np.array_equal(places, np.arange(table.num_rows)):
        return table
    return table.take(pa.array(places)).combine_chunks()


def _words(some: Collection[str]) -> pa.Array:
    import pyarrow as pa

    return pa.array(sorted(some), pa.string())


def _mask(values: Any) -> Mask:
    """A Boolean column as numpy has it; null is false."""
    import pyarrow.compute as pc

    return np.asarray(pc.fill_null(values, False).to_numpy(zero_copy_only=False), bool)
