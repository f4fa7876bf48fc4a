"""What Alembic runs around revisions, on the connection that `kaas.db.migrate` has made and passes."""

from alembic import context

from kaas.db.session import SQLITE
from kaas.db.tables import metadata


def run() -> None:
    """Run the revisions that were asked for."""
    connection = context.config.attributes["connection"]
    context.configure(
        connection=connection,
        target_metadata=metadata,
        # SQLite changes a table by making it anew.
        render_as_batch=connection.dialect.name == SQLITE,
    )
    with context.begin_transaction():
        context.run_migrations()


# Alembic loads this file under that name; to whom imports the package it is a module like any other.
if __name__ == "env_py":
    run()
