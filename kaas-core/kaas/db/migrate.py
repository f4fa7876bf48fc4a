"""Bringing tables to a revision: from nothing, from an older one, and back. Needs no configuration file."""

from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from kaas.db.columns import MYSQL
from kaas.db.session import POSTGRESQL, SQLITE, make_engine, plain_errors

_SCRIPTS = Path(__file__).parent / "migrations"
_LOCK = 0x6B616173
_LOCK_S = 60


class MigrationError(Exception):
    """The tables are not as they should be; the text says what was seen."""


async def upgrade(url: str) -> None:
    """Bring the tables to the newest revision. Any number of processes may at one time; the others wait for one.

    On SQLite and PostgreSQL all of it happens or nothing; MariaDB commits each statement. Raises MigrationError,
    StoreUnavailableError.
    """
    await _run(url, lambda connection: command.upgrade(_config(connection), "head"))


async def downgrade(url: str, revision: str) -> None:
    """Bring the tables back to a revision; `base` removes them with all that is in them."""
    await _run(url, lambda connection: command.downgrade(_config(connection), revision))


async def current(url: str) -> str | None:
    """Tell the revision of the tables; None when there are none."""
    engine = make_engine(url)
    try:
        with plain_errors():
            async with engine.connect() as connection:
                return await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
    finally:
        await engine.dispose()


def newest() -> str | None:
    """Tell the revision that this version of the program works with."""
    return ScriptDirectory(str(_SCRIPTS)).get_current_head()


async def _run(url: str, work: Callable[[Connection], None]) -> None:
    engine = make_engine(url, for_migrations=True)

    def alone(connection: Connection) -> None:
        _lock(connection)
        work(connection)
        _check(connection)

    try:
        with plain_errors():
            async with engine.begin() as connection:
                await connection.run_sync(alone)
    finally:
        # The connection ends with it, and a lock that is held by it too.
        await engine.dispose()


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.attributes["connection"] = connection
    return config


def _lock(connection: Connection) -> None:
    # SQLite's transactions exclude each other as they are.
    if connection.dialect.name == POSTGRESQL:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    elif connection.dialect.name == MYSQL:
        got = connection.scalar(text("SELECT GET_LOCK(:lock, :seconds)"), {"lock": f"kaas-{_LOCK}", "seconds": _LOCK_S})
        if got != 1:
            raise MigrationError(f"another process has been changing the tables for {_LOCK_S} seconds")


def _check(connection: Connection) -> None:
    # Foreign keys are off while tables are made anew.
    broken = connection.execute(text("PRAGMA foreign_key_check")).all() if connection.dialect.name == SQLITE else []
    if broken:
        raise MigrationError(
            f"{len(broken)} rows refer to rows that are not there, in {sorted({row[0] for row in broken})}"
        )
