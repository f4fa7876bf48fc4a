"""Revisions make the tables that the program works with, and take them away again."""

import asyncio

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect

from kaas.db import migrate
from kaas.db.session import make_engine
from kaas.db.tables import metadata


async def on(url: str, work):
    engine = make_engine(url)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(work)
    finally:
        await engine.dispose()


def table_names(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names()) - {"sqlite_sequence"}


def differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, metadata))


def constraints(connection: Connection) -> dict[str, object]:
    inspector = inspect(connection)
    return {
        table: (
            sorted(str(check["name"]) for check in inspector.get_check_constraints(table)),
            sorted(
                (key["referred_table"], str(key["options"].get("ondelete")))
                for key in inspector.get_foreign_keys(table)
            ),
            inspector.get_pk_constraint(table)["constrained_columns"],
        )
        for table in metadata.tables
    }


async def test_up_down_and_up_again(empty_url: str) -> None:
    assert await migrate.current(empty_url) is None
    await migrate.upgrade(empty_url)
    assert await migrate.current(empty_url) == migrate.newest() == "0001"
    assert await on(empty_url, table_names) == {*metadata.tables, "alembic_version"}
    await migrate.upgrade(empty_url)
    await migrate.downgrade(empty_url, "base")
    assert await migrate.current(empty_url) is None
    assert await on(empty_url, table_names) == {"alembic_version"}
    await migrate.upgrade(empty_url)
    assert await migrate.current(empty_url) == migrate.newest()


async def test_revisions_make_what_the_models_say(empty_url: str) -> None:
    await migrate.upgrade(empty_url)
    assert await on(empty_url, differences) == []
    migrated = await on(empty_url, constraints)
    await migrate.downgrade(empty_url, "base")
    engine = make_engine(empty_url)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        created = await connection.run_sync(constraints)
        await connection.run_sync(metadata.drop_all)
    await engine.dispose()
    assert migrated == created
    assert migrated["operation"][0] == ["ck_operation_active"]


async def test_upgrades_at_once_happen_once(empty_url: str) -> None:
    await asyncio.gather(*(migrate.upgrade(empty_url) for _ in range(3)))
    assert await migrate.current(empty_url) == migrate.newest()
