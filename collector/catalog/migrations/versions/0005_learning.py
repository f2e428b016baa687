"""What learning needs: names of snapshots, how often a held-out split was opened, what must never come back."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column in place, since a table that is made anew would lose its triggers; then the tables."""
    op.add_column("snapshot", sa.Column("name", sa.Text()))
    op.create_index(op.f("ix_snapshot_name"), "snapshot", ["name"], unique=True)
    op.create_table(
        "opening",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("snapshot", sa.Text(), nullable=False),
        sa.Column("protocol", sa.Text(), nullable=False),
        sa.Column("split", sa.Text(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("opened_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["experiment.run"], name=op.f("fk_opening_run_experiment")),
        sa.ForeignKeyConstraint(["snapshot"], ["snapshot.digest"], name=op.f("fk_opening_snapshot_snapshot")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_opening")),
        sa.UniqueConstraint("run", "split", name=op.f("uq_opening_run_split")),
    )
    op.create_table(
        "forgotten",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_forgotten")),
        sa.UniqueConstraint("kind", "value", name=op.f("uq_forgotten_kind_value")),
    )
    for table in ("opening", "forgotten"):
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
