"""Runs migrations on the connection that `flytower.actors.ledger.migrate` hands over. Executed by Alembic."""

from __future__ import annotations

from alembic import context

from flytower.actors.ledger.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
