"""What a pool needs: which pairs were compared and found alike, what people say of pairs, quality, suspects."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Let duplicates have evidence; create the tables of comparisons, verdicts, quality and suspects."""
    with op.batch_alter_table("duplicate") as duplicate:
        duplicate.add_column(sa.Column("evidence", sa.JSON(), nullable=False, server_default="{}"))
    with op.batch_alter_table("duplicate") as duplicate:
        duplicate.alter_column("evidence", server_default=None)
    op.create_table(
        "comparison",
        sa.Column("first", sa.Text(), nullable=False),
        sa.Column("second", sa.Text(), nullable=False),
        sa.Column("algorithm", sa.Text(), nullable=False),
        sa.Column("same", sa.Boolean(), nullable=False),
        sa.Column("distance", sa.Float(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["first"], ["image.id"], name=op.f("fk_comparison_first_image")),
        sa.ForeignKeyConstraint(["second"], ["image.id"], name=op.f("fk_comparison_second_image")),
        sa.PrimaryKeyConstraint("first", "second", "algorithm", name=op.f("pk_comparison")),
    )
    op.create_table(
        "searched",
        sa.Column("image", sa.Text(), nullable=False),
        sa.Column("algorithm", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["image"], ["image.id"], name=op.f("fk_searched_image_image")),
        sa.PrimaryKeyConstraint("image", "algorithm", name=op.f("pk_searched")),
    )
    op.create_table(
        "verdict",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("first", sa.Text(), nullable=False),
        sa.Column("second", sa.Text(), nullable=False),
        sa.Column("same", sa.Boolean(), nullable=True),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("said_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["first"], ["image.id"], name=op.f("fk_verdict_first_image")),
        sa.ForeignKeyConstraint(["second"], ["image.id"], name=op.f("fk_verdict_second_image")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdict")),
    )
    op.create_table(
        "quality",
        sa.Column("image", sa.Text(), nullable=False),
        sa.Column("check", sa.Text(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["image"], ["image.id"], name=op.f("fk_quality_image_image")),
        sa.PrimaryKeyConstraint("image", "check", name=op.f("pk_quality")),
    )
    op.create_table(
        "suspect",
        sa.Column("concept", sa.Text(), nullable=False),
        sa.Column("image", sa.Text(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("similarity", sa.Float(), nullable=True),
        sa.Column("nearest", sa.Text(), nullable=True),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("found_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["concept"], ["concept.name"], name=op.f("fk_suspect_concept_concept")),
        sa.ForeignKeyConstraint(["image"], ["image.id"], name=op.f("fk_suspect_image_image")),
        sa.ForeignKeyConstraint(["nearest"], ["image.id"], name=op.f("fk_suspect_nearest_image")),
        sa.PrimaryKeyConstraint("concept", "image", name=op.f("pk_suspect")),
    )
    op.create_index(op.f("ix_verdict_first_second"), "verdict", ["first", "second"])
    for verb in ("update", "delete"):
        _forbid("verdict", verb)


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
