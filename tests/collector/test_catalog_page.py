"""docs/catalog.md shows the tables as they are; `python -m tests.collector.test_catalog_page` draws them again."""

from __future__ import annotations

import re
from collections.abc import Iterator

import sqlalchemy as sa

from collector.catalog.tables import APPEND_ONLY, metadata
from tests.conftest import REPOSITORY

PAGE = REPOSITORY / "docs" / "catalog.md"
DIAGRAM = re.compile(r"```mermaid\n(.*?)```", re.DOTALL)


def diagram() -> str:
    """The tables of tables.py as a Mermaid erDiagram."""
    tables = sorted(metadata.tables.values(), key=lambda table: table.name)
    return "\n".join(["erDiagram", *(line for table in tables for line in _table(table)), *_relations(tables), ""])


def _table(table: sa.Table) -> Iterator[str]:
    yield f"    {table.name} {{"
    for column in table.columns:
        keys = ", ".join(key for key, has in (("PK", column.primary_key), ("FK", column.foreign_keys)) if has)
        parts = [type(column.type).__name__.lower(), column.name, keys, '"may be null"' if column.nullable else ""]
        yield "        " + " ".join(part for part in parts if part)
    yield "    }"


def _relations(tables: list[sa.Table]) -> Iterator[str]:
    for table in tables:
        for column in table.columns:
            for key in column.foreign_keys:
                one = "|o" if column.nullable else "||"
                yield f"    {key.column.table.name} {one}--o{{ {table.name} : {column.name}"


def test_the_diagram_is_that_of_tables_py() -> None:
    drawn = DIAGRAM.search(PAGE.read_text(encoding="utf-8"))
    assert drawn is not None
    assert drawn[1] == diagram(), "run: python -m tests.collector.test_catalog_page"


def test_the_page_says_one_sentence_about_every_table() -> None:
    page = PAGE.read_text(encoding="utf-8")
    said = re.findall(r"^\| `(\w+)` \| (.+?) \|", page, re.MULTILINE)
    assert sorted(name for name, _ in said) == sorted(metadata.tables)
    assert all(sentence.endswith(".") and len(sentence) > 20 for _, sentence in said)


def test_the_page_names_the_tables_that_can_only_grow() -> None:
    page = PAGE.read_text(encoding="utf-8")
    marked = re.findall(r"^\| `(\w+)` \| .+? \| only grows \|", page, re.MULTILINE)
    assert sorted(marked) == sorted(APPEND_ONLY)


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(DIAGRAM.sub(lambda _: f"```mermaid\n{diagram()}```", text), encoding="utf-8")
