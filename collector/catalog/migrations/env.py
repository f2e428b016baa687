"""Alembic's entry point; `Catalog.migrate` hands over its connection, so one transaction covers a whole upgrade."""

from alembic import context

from collector.catalog.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
