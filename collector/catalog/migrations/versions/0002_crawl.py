"""What the crawl of many sources needs: facts and revisions of sightings, and the pages that searches have reached."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

NEW: list[tuple[sa.Column[Any], str]] = [
    (sa.Column("final_url", sa.Text()), ""),
    (sa.Column("facts", sa.JSON()), "{}"),
    (sa.Column("revision", sa.Integer()), "0"),
    (sa.Column("state", sa.Text()), "live"),
    (sa.Column("checked_at", sa.Text()), ""),
]


def upgrade() -> None:
    """Widen `sighting`, and create `search`."""
    with op.batch_alter_table("sighting") as sighting:
        for column, value in NEW:  # the value is for the rows that there are; new rows bring theirs
            sighting.add_column(sa.Column(column.name, column.type, nullable=False, server_default=value))
        sighting.drop_constraint(op.f("uq_sighting_concept_source_source_id_image"), type_="unique")
        sighting.create_unique_constraint(
            op.f("uq_sighting_concept_source_source_id_image_revision"),
            ["concept", "source", "source_id", "image", "revision"],
        )
    with op.batch_alter_table("sighting") as sighting:
        for column, _ in NEW:
            sighting.alter_column(column.name, server_default=None)
    op.create_table(
        "search",
        sa.Column("concept", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("asked", sa.Text(), nullable=False),
        sa.Column("cursor", sa.JSON(), nullable=True),
        sa.Column("exhausted", sa.Boolean(), nullable=False),
        sa.Column("pages", sa.Integer(), nullable=False),
        sa.Column("asked_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["concept"], ["concept.name"], name=op.f("fk_search_concept_concept")),
        sa.PrimaryKeyConstraint("concept", "source", "asked", name=op.f("pk_search")),
    )
