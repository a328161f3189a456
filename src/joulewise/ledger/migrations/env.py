"""How Alembic reaches the ledger: over the connection and inside the transaction of whoever upgrades it."""

from __future__ import annotations

from alembic import context

from joulewise.ledger.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="joulewise_schema",  # a database may be shared with a program that uses Alembic's own name
    transactional_ddl=False,  # the caller's transaction holds: Alembic begins and commits nothing
)
context.run_migrations()
