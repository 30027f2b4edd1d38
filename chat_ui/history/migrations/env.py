"""What Alembic runs for an upgrade: on the connection, and in the transaction, that it is given."""

from alembic import context

# The caller's transaction covers every revision: a process killed half-way leaves the old tables.
context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
