"""The rows of a snapshot: equal on SQLite, PostgreSQL and DuckDB, and equal to what the single queries say."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.catalog import Catalog, consensus, errata, labels, pools, sightings, tables
from collector.catalog import compile as record
from collector.catalog.labels import Current
from collector.errors import CollectError
from collector.licenses import PRESETS
from collector.quality import QualityConfig, excluded
from pipelines.compile import Compiled, Rules, compiled
from pipelines.manifest import HELD_OUT, Manifest, ManifestRow
from tests.pipelines.worlds import fill

LABELS = ("horse", "not-horse")


def rules(**changes: Any) -> Rules:
    flags = {"dark": ("dark/1", 0.1), "blurry": ("blurry/1", 0.1)}
    basic = {"min_confidence": 0.2, "min_annotators": 1, "accepted": PRESETS["open"], "flags": flags, "key": "0"}
    return Rules(concept="horse", labels=LABELS, **{**basic, **changes})


def by_sql(catalog: Catalog, wanted: Rules) -> Compiled:
    with record.reading(catalog) as read:
        return compiled(read, wanted)


def digest(found: Compiled) -> str:
    return Manifest("horse", LABELS, {}, found.table).digest()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Callable[[int], Catalog]]:
    opened: list[Catalog] = []

    def make(seed: int, images: int = 60) -> Catalog:
        opened.append(Catalog(f"sqlite:///{tmp_path / f'{seed}-{len(opened)}'}.sqlite"))
        tables.metadata.create_all(opened[-1].engine)  # without the migrations: tests of their own look after those
        fill(opened[-1], seed, images)
        return opened[-1]

    yield make
    for catalog in opened:
        catalog.close()


FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "min_annotators": st.integers(1, 2),
        "excluded": st.sampled_from((("dark",), ("blurry", "dark"))),
        "licenses": st.sampled_from((("cc0",), ("by", "unlicensed"))),
        "sources": st.just(("flickr",)),
        "tiers": st.just(("far",)),
        "methods": st.just(("majority",)),
        "per_creator": st.integers(1, 2),
        "per_source": st.integers(1, 9),
        "negatives": st.sampled_from((0.5, 1.0)),
        "everywhere": st.integers(2, 3),
    },
)


@pytest.mark.parametrize("seed", range(2))
def test_three_engines_give_one_digest(
    world: Callable[[int], Catalog], postgres: str, tmp_path: Path, seed: int
) -> None:
    here = world(seed)
    admin = sa.create_engine(f"{postgres}/postgres".replace("sql:", "sql+psycopg:"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f'drop database if exists "compile{seed}"'))
        connection.execute(sa.text(f'create database "compile{seed}"'))
    admin.dispose()
    there = Catalog(f"{postgres}/compile{seed}")
    tables.metadata.create_all(there.engine)
    fill(there, seed)
    record.write_parquet(here, tmp_path / "tables")
    everything = {"everywhere": 2, "excluded": ("dark",), "per_source": 9, "negatives": 1.0}
    try:
        for wanted in (rules(), rules(**everything), rules(licenses=("cc0", "by"), sources=("flickr", "wikimedia"))):
            with record.reading_parquet(tmp_path / "tables") as read:
                found = [by_sql(here, wanted), by_sql(there, wanted), compiled(read, wanted)]
            assert sum(found[0].excluded.values()) > 20
            assert len({digest(each) for each in found}) == 1
            assert found[0].excluded == found[1].excluded == found[2].excluded
    finally:
        there.close()


@pytest.mark.parametrize("seed", range(12))
def test_the_columns_say_what_the_single_queries_say(world: Callable[[int], Catalog], seed: int) -> None:
    catalog = world(seed)
    found = by_sql(catalog, rules())
    kept, left_out = one_by_one(catalog)
    assert found.excluded == dict(sorted(left_out.items()))
    rows = {row.image: row for row in Manifest("horse", LABELS, {}, found.table).rows}
    assert {
        name: (row.label, row.confidence, row.annotators, row.source, row.title) for name, row in rows.items()
    } == kept
    assert list(rows) == sorted(rows)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FILTERS)
def test_filters_and_caps_only_leave_out_and_every_image_is_counted(
    world: Callable[..., Catalog], changes: dict[str, Any]
) -> None:
    catalog = world(3, 40)
    loose, strict = by_sql(catalog, rules()), by_sql(catalog, rules(**changes))
    settled = len(consensus.settled(catalog, "horse"))
    for each in (loose, strict):
        assert each.table.num_rows + sum(each.excluded.values()) == settled
    if not {"licenses", "sources"} & changes.keys():  # these may let another sighting speak
        assert set(strict.table["image"].to_pylist()) <= set(loose.table["image"].to_pylist())
    kept = rows_of(strict)
    assert all(row.license in changes.get("licenses", (row.license,)) for row in kept)
    assert all(row.source in changes.get("sources", (row.source,)) for row in kept)
    assert all(row.tier in changes.get("tiers", (row.tier,)) for row in kept)
    assert all(not set(row.flags.split()) & set(changes.get("excluded", ())) for row in kept)


def everything_by_rows(catalog: Catalog, query: sa.Select[Any]) -> Counter[tuple[Any, ...]]:
    with catalog.read() as connection:
        return Counter(tuple(row) for row in connection.execute(query))


def test_columns_read_in_parts_are_what_the_rows_say_whatever_is_in_the_texts(
    world: Callable[[int], Catalog], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "AT_ONCE", 7)
    catalog = world(4)
    with catalog.write() as connection:
        names = connection.scalars(sa.select(tables.consensus.c.image)).all()
        for n, text in enumerate(
            ("", "\0", "a\0b", " 1 ", "\x1f,\n", "\x1e", "\x1f", "größer 馬 🐎", "\U0010ffff", "0" * 3000)
        ):
            told = sa.update(tables.sighting).where(tables.sighting.c.image == names[n])
            connection.execute(told.values(title=text, facts={"x": text}))
            share = sa.update(tables.consensus).where(tables.consensus.c.image == names[n])
            connection.execute(share.values(confidence=1 / (n + 3)))
    with record.reading(catalog) as read:
        for query in (record.settled("horse"), record.answers("horse"), record.poor({"dark/1": 0.5})):
            found = read(query)
            rows = Counter(zip(*(column.to_pylist() for column in found.columns), strict=True))
            assert rows == everything_by_rows(catalog, query)
            assert found.num_rows > 20


def test_a_concept_without_labels_gives_no_rows(world: Callable[[int], Catalog]) -> None:
    with record.reading(world(1)) as read:
        for query in (record.settled("dog"), record.answers("dog"), record.poor({})):
            assert read(query).num_rows == 0


def test_all_threads_see_the_state_at_the_beginning_while_somebody_writes(world: Callable[[int], Catalog]) -> None:
    catalog, stop = world(1), threading.Event()

    def write() -> None:
        while not stop.is_set():  # both rows in one transaction: whoever sees one of them sees the other
            with catalog.write() as connection:
                for table in (tables.pool, tables.split):
                    connection.execute(sa.delete(table).where(table.c.concept == "horse"))

            with catalog.write() as connection:
                for table, rows in kept.items():
                    connection.execute(sa.insert(table), rows)

    with catalog.read() as connection:
        kept = {
            table: [dict(row) for row in connection.execute(sa.select(table)).mappings()]
            for table in (tables.pool, tables.split)
        }
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(20):
            with record.reading(catalog) as read:
                found = [read.start(record.settled("horse")) for _ in range(3)]
                seen = {column["role"].null_count for column in (each() for each in found)}
                assert len(seen) == 1
    finally:
        stop.set()
        writer.join()


def test_text_that_is_not_utf_8_is_one_clear_sentence(world: Callable[[int], Catalog]) -> None:
    catalog = world(1)
    with catalog.write() as connection:
        connection.exec_driver_sql("update sighting set title = cast(x'ff41' as text)")
    with pytest.raises(CollectError, match="not UTF-8, in `title`"):
        by_sql(catalog, rules())


def test_caps_thin_the_training_part_and_leave_what_is_held_out(world: Callable[..., Catalog]) -> None:
    catalog = world(5, 200)
    whole = rows_of(by_sql(catalog, rules()))
    for changes in ({"per_source": 3}, {"per_creator": 1}, {"negatives": 0.25}):
        thin = rows_of(by_sql(catalog, rules(**changes)))
        assert [row for row in thin if row.split in HELD_OUT] == [row for row in whole if row.split in HELD_OUT]
        assert len(thin) < len(whole)
        train = [row for row in thin if row.split == "train"]
        by_creator = Counter((row.source, row.creator) for row in train if row.creator)
        negatives = sum(row.label == "not-horse" for row in train)
        assert {
            "per_source": max(Counter(row.source for row in train).values()) == 3,
            "per_creator": max(by_creator.values()) == 1,
            "negatives": negatives == (len(train) - negatives) // 4,
        }[next(iter(changes))]


def test_a_split_that_was_edited_by_hand_is_refused_with_the_image(world: Callable[[int], Catalog]) -> None:
    catalog = world(2)
    row = next(row for row in rows_of(by_sql(catalog, rules())) if row.split == "train")
    for change in ({"name": "test"}, {"rule": "sha256(0:cow:image), test 1.0", "name": "test"}, {"rule": "chosen"}):
        with catalog.write() as connection:
            connection.execute(sa.update(tables.split).where(tables.split.c.image == row.image).values(**change))
        with pytest.raises(CollectError, match=f"not in the split .* {row.image[:12]}"):
            by_sql(catalog, rules())


def rows_of(found: Compiled) -> tuple[ManifestRow, ...]:
    return Manifest("horse", LABELS, {}, found.table).rows


def one_by_one(catalog: Catalog) -> tuple[dict[str, tuple[Any, ...]], Counter[str]]:
    """Image -> label, confidence, annotators, source, title; and reason -> images, by the queries of the catalog."""
    origins = sightings.origins(catalog, "horse", "open")
    pool = {row.image for row in pools.members(catalog, "horse")}
    home, aside = pools.splits(catalog, "horse"), pools.duplicates(catalog)
    poor = excluded(catalog, QualityConfig())
    amended = errata.applied(catalog, "horse")
    given: dict[str, dict[str, Current]] = {}
    for answer in labels.current(catalog, "horse"):
        if answer.label is not None:
            given.setdefault(answer.image, {})[answer.annotator] = answer
    kept, left_out = {}, Counter[str]()
    for row in consensus.settled(catalog, "horse"):
        if row.image in amended:
            row = row._replace(label=amended[row.image].should_be, confidence=1.0)
        people = given.get(row.image, {}).values()
        held_out = home.get(row.image) in HELD_OUT
        checks = (
            (row.image in aside, "copy"),
            (row.image in poor, poor.get(row.image, "")),
            (row.image not in pool or row.image not in home, "not-in-pool"),
            (row.image not in origins, "no-origin"),
            (row.image in origins and origins[row.image].refusal("open"), "refused"),
            (row.label is None, "tie" if row.votes else "nobody-could-tell"),
            (row.label not in LABELS, "unknown-label"),
            (row.confidence < 0.2, "low-confidence"),
            (held_out and any(each.proposal is not None for each in people), "not-blind"),
            (held_out and len(people) < 1, "too-few-annotators"),
        )
        why = next((why for here, why in checks if here), "")
        if why == "refused":
            why = origins[row.image].refusal("open")
        if why:
            left_out[why] += 1
        else:
            seen = origins[row.image].found
            kept[row.image] = (row.label, round(row.confidence, 6), len(people), seen.source, seen.title)
    return kept, left_out
