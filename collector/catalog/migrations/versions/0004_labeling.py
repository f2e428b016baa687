"""What labeling in a team needs: shares, guideline versions, sentinels, imported labels, errata that are resolved."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

ADDED: tuple[tuple[str, sa.Column[Any]], ...] = (
    ("annotator", sa.Column("state", sa.Text())),
    ("annotator", sa.Column("share", sa.Float())),
    ("round", sa.Column("several", sa.Boolean())),
    ("round", sa.Column("order", sa.Text())),
    ("round", sa.Column("people", sa.JSON())),
    ("round", sa.Column("template", sa.Text())),
    ("annotation", sa.Column("guideline", sa.Text())),
    ("annotation", sa.Column("origin", sa.Text())),
    ("erratum", sa.Column("evidence", sa.JSON())),
)


def upgrade() -> None:
    """Add the columns in place, since a table that is made anew would lose its triggers; then the tables."""
    for table, column in ADDED:
        op.add_column(table, column)
    op.create_table(
        "guideline",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("shown_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["round"], ["round.id"], name=op.f("fk_guideline_round_round")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_guideline")),
        sa.UniqueConstraint("round", "version", name=op.f("uq_guideline_round_version")),
    )
    op.create_table(
        "sentinel",
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("image", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("proposal", sa.Text(), nullable=True),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("planted_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["round"], ["round.id"], name=op.f("fk_sentinel_round_round")),
        sa.ForeignKeyConstraint(["image"], ["image.id"], name=op.f("fk_sentinel_image_image")),
        sa.PrimaryKeyConstraint("round", "image", name=op.f("pk_sentinel")),
    )
    op.create_table(
        "resolution",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("erratum", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["erratum"], ["erratum.id"], name=op.f("fk_resolution_erratum_erratum")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_resolution")),
    )
    op.create_index(op.f("ix_resolution_erratum"), "resolution", ["erratum"])
    # The guidelines that rounds were opened with, as far as they are known.
    op.execute(
        "insert into guideline (round, version, text, hash, shown_at) "
        "select id, 1, guideline, guideline_hash, opened_at from round"
    )
    for table in ("guideline", "resolution"):
        for verb in ("update", "delete"):
            _forbid(table, verb)


def _forbid(table: str, verb: str) -> None:
    message = f"{table} rows are never changed: add a new row instead"
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            f"create trigger {table}_no_{verb} before {verb} on {table} begin select raise(abort, '{message}'); end"
        )
        return
    op.execute(
        f"create or replace function {table}_no_{verb}() returns trigger language plpgsql as "
        f"$$ begin raise exception '{message}'; end $$"
    )
    op.execute(
        f"create trigger {table}_no_{verb} before {verb} on {table} for each row execute function {table}_no_{verb}()"
    )
