"""Runs the migrations on the connection, and in the transaction, of whoever asked (`store.migrate`)."""

from alembic import context

from ocn_fast.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite can roll back DDL; Alembic assumes that it cannot.
    transactional_ddl=True,
    render_as_batch=True,
)
context.run_migrations()
