"""Run one house's revisions on the connection that `migrate` hands over."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="schema_version",
    version_table_schema=context.config.attributes["house"],
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
