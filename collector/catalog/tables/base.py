"""What all tables share: the metadata with its naming rules, and the columns that many of them have."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Column, ForeignKey, MetaData, Text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def image_column() -> Column[str]:
    """The picture that a row is about."""
    return Column("image", Text, ForeignKey("image.id"), nullable=False)


def concept_column() -> Column[str]:
    """The concept that a row serves."""
    return Column("concept", Text, ForeignKey("concept.name"), nullable=False)


def texts(*names: str) -> Iterator[Column[str]]:
    """Columns of text that are never null."""
    return (Column(name, Text, nullable=False) for name in names)
