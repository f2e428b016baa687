"""Every table of the first release, with the triggers that keep people's and models' words as they were said."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

APPEND_ONLY = ("annotation", "prediction", "rejection", "erratum")


def upgrade() -> None:
    """Create the tables, then forbid UPDATE and DELETE on the append-only ones."""
    op.create_table(
        "annotator",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("added_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_annotator")),
    )
    op.create_table(
        "concept",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("queries", sa.JSON(), nullable=False),
        sa.Column("synsets", sa.JSON(), nullable=False),
        sa.Column("exclude", sa.JSON(), nullable=False),
        sa.Column("added_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_concept")),
    )
    op.create_table(
        "dedup_pass",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dedup_pass")),
    )
    op.create_table(
        "image",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("bytes", sa.Integer(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("frames", sa.Integer(), nullable=False),
        sa.Column("orientation", sa.Integer(), nullable=False),
        sa.Column("preview_pack", sa.Text(), nullable=True),
        sa.Column("preview_offset", sa.Integer(), nullable=True),
        sa.Column("preview_bytes", sa.Integer(), nullable=True),
        sa.Column("added_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_image")),
    )
    op.create_table(
        "tombstone",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("phash", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("buried_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_tombstone")),
    )
    op.create_table(
        "consensus",
        sa.Column("concept", sa.Text(), nullable=False),
        sa.Column("image", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("confidence", sa.Float(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("votes", sa.JSON(), nullable=False),
        sa.Column("settled_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["concept"], ["concept.name"], name=op.f("fk_consensus_concept_concept")),
        sa.ForeignKeyConstraint(["image"], ["image.id"], name=op.f("fk_consensus_image_image")),
        sa.PrimaryKeyConstraint("concept", "image", name=op.f("pk_consensus")),
    )
    op.create_table(
        "duplicate",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dedup_pass", sa.Integer(), nullable=False),
        sa.Column("image", sa.Text(), nullable=False),
        sa.Column("keeper", sa.Text(), nullable=False),
        sa.Column("distance", sa.Integer(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["dedup_pass"], ["dedup_pass.id"], name=op.f("fk_duplicate_dedup_pass_dedup_pass")),
        sa.ForeignKeyConstraint(["image"], ["image.id"], name=op.f("fk_duplicate_image_image")),
        sa.ForeignKeyConstraint(["keeper"], ["image.id"], name=op.f("fk_duplicate_keeper_image")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_duplicate")),
        sa.UniqueConstraint("dedup_pass", "image", name=op.f("uq_duplicate_dedup_pass_image")),
    )
    op.create_table(
        "fingerprint",
        sa.Column("image", sa.Text(), nullable=False),
        sa.Column("algorithm", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("quality", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["image"], ["image.id"], name=op.f("fk_fingerprint_image_image")),
        sa.PrimaryKeyConstraint("image", "algorithm", name=op.f("pk_fingerprint")),
    )
    op.create_table(
        "pool",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("concept", sa.Text(), nullable=False),
        sa.Column("image", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("checks", sa.JSON(), nullable=False),
        sa.Column("added_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["concept"], ["concept.name"], name=op.f("fk_pool_concept_concept")),
        sa.ForeignKeyConstraint(["image"], ["image.id"], name=op.f("fk_pool_image_image")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pool")),
        sa.UniqueConstraint("concept", "image", name=op.f("uq_pool_concept_image")),
    )
    op.create_table(
        "rejection",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("concept", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("page", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["concept"], ["concept.name"], name=op.f("fk_rejection_concept_concept")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rejection")),
        sa.UniqueConstraint(
            "concept",
            "source",
            "source_id",
            "reason",
            name=op.f("uq_rejection_concept_source_source_id_reason"),
        ),
    )
    op.create_table(
        "round",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("concept", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("guideline", sa.Text(), nullable=False),
        sa.Column("guideline_hash", sa.Text(), nullable=False),
        sa.Column("overlap", sa.Integer(), nullable=False),
        sa.Column("blind", sa.Boolean(), nullable=False),
        sa.Column("proposals", sa.Boolean(), nullable=False),
        sa.Column("projects", sa.JSON(), nullable=False),
        sa.Column("opened_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["concept"], ["concept.name"], name=op.f("fk_round_concept_concept")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_round")),
        sa.UniqueConstraint("concept", "name", name=op.f("uq_round_concept_name")),
    )
    op.create_table(
        "sighting",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("image", sa.Text(), nullable=False),
        sa.Column("concept", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("page", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("creator", sa.Text(), nullable=False),
        sa.Column("creator_url", sa.Text(), nullable=False),
        sa.Column("license", sa.Text(), nullable=False),
        sa.Column("license_version", sa.Text(), nullable=False),
        sa.Column("license_url", sa.Text(), nullable=False),
        sa.Column("license_jurisdiction", sa.Text(), nullable=False),
        sa.Column("license_evidence", sa.Text(), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["concept"], ["concept.name"], name=op.f("fk_sighting_concept_concept")),
        sa.ForeignKeyConstraint(["image"], ["image.id"], name=op.f("fk_sighting_image_image")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sighting")),
        sa.UniqueConstraint(
            "concept", "source", "source_id", "image", name=op.f("uq_sighting_concept_source_source_id_image")
        ),
    )
    op.create_index(op.f("ix_sighting_image"), "sighting", ["image"], unique=False)
    op.create_index(op.f("ix_sighting_url"), "sighting", ["url"], unique=False)
    op.create_table(
        "snapshot",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("concept", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("made_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["concept"], ["concept.name"], name=op.f("fk_snapshot_concept_concept")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_snapshot")),
    )
    op.create_table(
        "split",
        sa.Column("concept", sa.Text(), nullable=False),
        sa.Column("image", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("frozen_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["concept"], ["concept.name"], name=op.f("fk_split_concept_concept")),
        sa.ForeignKeyConstraint(["image"], ["image.id"], name=op.f("fk_split_image_image")),
        sa.PrimaryKeyConstraint("concept", "image", name=op.f("pk_split")),
    )
    op.create_table(
        "experiment",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("concept", sa.Text(), nullable=False),
        sa.Column("snapshot", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=True),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Text(), nullable=False),
        sa.Column("finished_at", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["concept"], ["concept.name"], name=op.f("fk_experiment_concept_concept")),
        sa.ForeignKeyConstraint(["snapshot"], ["snapshot.digest"], name=op.f("fk_experiment_snapshot_snapshot")),
        sa.PrimaryKeyConstraint("run", name=op.f("pk_experiment")),
    )
    op.create_table(
        "model_run",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("experiment", sa.Text(), nullable=True),
        sa.Column("backbone", sa.Text(), nullable=False),
        sa.Column("weights_digest", sa.Text(), nullable=False),
        sa.Column("transform_digest", sa.Text(), nullable=False),
        sa.Column("made_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["experiment"], ["experiment.run"], name=op.f("fk_model_run_experiment_experiment")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_run")),
    )
    op.create_table(
        "prediction",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model_run", sa.Text(), nullable=False),
        sa.Column("concept", sa.Text(), nullable=False),
        sa.Column("image", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("probabilities", sa.JSON(), nullable=False),
        sa.Column("predicted_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["concept"], ["concept.name"], name=op.f("fk_prediction_concept_concept")),
        sa.ForeignKeyConstraint(["image"], ["image.id"], name=op.f("fk_prediction_image_image")),
        sa.ForeignKeyConstraint(["model_run"], ["model_run.id"], name=op.f("fk_prediction_model_run_model_run")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prediction")),
        sa.UniqueConstraint("model_run", "concept", "image", name=op.f("uq_prediction_model_run_concept_image")),
    )
    op.create_table(
        "task",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("image", sa.Text(), nullable=False),
        sa.Column("annotator", sa.Text(), nullable=False),
        sa.Column("project", sa.Integer(), nullable=False),
        sa.Column("studio_task", sa.Integer(), nullable=False),
        sa.Column("prediction", sa.Integer(), nullable=True),
        sa.Column("pushed_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["annotator"], ["annotator.name"], name=op.f("fk_task_annotator_annotator")),
        sa.ForeignKeyConstraint(["image"], ["image.id"], name=op.f("fk_task_image_image")),
        sa.ForeignKeyConstraint(["prediction"], ["prediction.id"], name=op.f("fk_task_prediction_prediction")),
        sa.ForeignKeyConstraint(["round"], ["round.id"], name=op.f("fk_task_round_round")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task")),
        sa.UniqueConstraint("round", "image", "annotator", name=op.f("uq_task_round_image_annotator")),
    )
    op.create_table(
        "annotation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task", sa.Integer(), nullable=True),
        sa.Column("concept", sa.Text(), nullable=False),
        sa.Column("image", sa.Text(), nullable=False),
        sa.Column("annotator", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("proposal", sa.Text(), nullable=True),
        sa.Column("proposal_kept", sa.Boolean(), nullable=True),
        sa.Column("studio_annotation", sa.Integer(), nullable=True),
        sa.Column("studio_updated_at", sa.Text(), nullable=True),
        sa.Column("studio_updated_by", sa.Text(), nullable=True),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("supersedes", sa.Integer(), nullable=True),
        sa.Column("seen_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["annotator"], ["annotator.name"], name=op.f("fk_annotation_annotator_annotator")),
        sa.ForeignKeyConstraint(["concept"], ["concept.name"], name=op.f("fk_annotation_concept_concept")),
        sa.ForeignKeyConstraint(["image"], ["image.id"], name=op.f("fk_annotation_image_image")),
        sa.ForeignKeyConstraint(["supersedes"], ["annotation.id"], name=op.f("fk_annotation_supersedes_annotation")),
        sa.ForeignKeyConstraint(["task"], ["task.id"], name=op.f("fk_annotation_task_task")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_annotation")),
        sa.UniqueConstraint("content", name=op.f("uq_annotation_content")),
    )
    op.create_index(op.f("ix_annotation_concept_image"), "annotation", ["concept", "image"], unique=False)
    op.create_table(
        "erratum",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("concept", sa.Text(), nullable=False),
        sa.Column("image", sa.Text(), nullable=False),
        sa.Column("annotation", sa.Integer(), nullable=True),
        sa.Column("was", sa.Text(), nullable=False),
        sa.Column("should_be", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("opened_by", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["annotation"], ["annotation.id"], name=op.f("fk_erratum_annotation_annotation")),
        sa.ForeignKeyConstraint(["concept"], ["concept.name"], name=op.f("fk_erratum_concept_concept")),
        sa.ForeignKeyConstraint(["image"], ["image.id"], name=op.f("fk_erratum_image_image")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erratum")),
    )
    for table in APPEND_ONLY:
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
