"""Alembic's entry: runs inside the transaction that `orchestrator.database` opened and locked."""

from __future__ import annotations

from alembic import context

from orchestrator.tables import METADATA, VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    transactional_ddl=True,  # of SQLite too: `orchestrator.database` sends its own BEGIN
)
with context.begin_transaction():
    context.run_migrations()
