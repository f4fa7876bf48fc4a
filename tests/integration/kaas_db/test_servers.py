"""What only servers do: deadlocks, connections that break, statements that wait."""

import asyncio

import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection

from kaas.db import session, tables
from kaas.db.columns import MYSQL
from kaas.domain.errors import StoreUnavailableError
from tests.support.kaas_tables import Kit, scope


def locking(tenant: str):
    return select(tables.tenant).where(tables.tenant.c.project_id == tenant).with_for_update()


async def test_transactions_that_wait_for_each_other_both_end(kit: Kit, other: Kit) -> None:
    for tenant in ("a", "b"):
        await kit.execute(insert(tables.tenant).values(project_id=tenant))
    both = asyncio.Barrier(2)
    tries = 0

    def crossing(first: str, second: str):
        is_first_try = True

        async def work(connection: AsyncConnection) -> str:
            nonlocal is_first_try, tries
            tries += 1
            await connection.execute(locking(first))
            if is_first_try:
                is_first_try = False
                await both.wait()
            await connection.execute(locking(second))
            return first

        return work

    ends = await asyncio.gather(kit.database.write(crossing("a", "b")), other.database.write(crossing("b", "a")))
    assert ends == ["a", "b"]
    assert tries == 3


async def end_connections(kit: Kit) -> None:
    """End all connections but the one that says so, as a restart of the server does."""
    async with kit.engine.connect() as connection:
        if connection.dialect.name == MYSQL:
            mine = await connection.scalar(text("SELECT CONNECTION_ID()"))
            rows = await connection.execute(text("SELECT id FROM information_schema.processlist WHERE user = 'kaas'"))
            for row in rows.all():
                if row.id != mine:
                    await connection.execute(text(f"KILL CONNECTION {row.id}"))
        else:
            others = "FROM pg_stat_activity WHERE usename = 'kaas' AND pid <> pg_backend_pid()"
            await connection.execute(text(f"SELECT pg_terminate_backend(pid) {others}"))


async def use_connections(kit: Kit, number: int) -> None:
    """Have so many transactions at one time, each with a connection of its own."""
    all_of_them = asyncio.Barrier(number)
    waited = set()

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(text("SELECT 1"))
        task = asyncio.current_task()
        if task not in waited:
            waited.add(task)
            await all_of_them.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(number):
            group.create_task(kit.database.write(work))


async def test_connections_that_broke_are_made_anew(kit: Kit, other: Kit) -> None:
    made = (await kit.make()).cluster
    await use_connections(kit, 8)
    await end_connections(other)
    await use_connections(kit, 8)
    await end_connections(other)
    assert await kit.conducting.claim(made.id, "one", ttl_s=60) is not None
    await use_connections(kit, 8)
    assert (await kit.requests.get(scope(), "dev")).cluster == made


async def test_work_whose_connection_breaks_in_the_middle_is_done_again(kit: Kit, other: Kit) -> None:
    tries = 0

    async def work(connection: AsyncConnection) -> None:
        nonlocal tries
        tries += 1
        await connection.execute(insert(tables.tenant).values(project_id="once"))
        if tries == 1:
            await end_connections(other)
        await connection.execute(update(tables.tenant).values(project_id="once"))

    await kit.database.write(work)
    assert (tries, await kit.count(tables.tenant)) == (2, 1)


async def test_mistake_in_a_statement_is_not_the_database_being_away(kit: Kit) -> None:
    async def wrong(connection: AsyncConnection) -> None:
        await connection.execute(text("SELECT 1 FROM nowhere"))

    with pytest.raises(ProgrammingError):
        await kit.database.read(wrong)


async def test_lock_that_is_not_given_is_an_error(url: str, kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_LOCK_S", 1)
    hasty = Kit(url)
    made = (await kit.make()).cluster
    holds, enough = asyncio.Event(), asyncio.Event()

    async def hold(connection: AsyncConnection) -> None:
        await connection.execute(select(tables.cluster).where(tables.cluster.c.uuid == made.id).with_for_update())
        holds.set()
        await enough.wait()

    holding = asyncio.create_task(kit.database.write(hold))
    await holds.wait()
    with pytest.raises(StoreUnavailableError, match=r"(?i)lock"):
        await hasty.conducting.claim(made.id, "one", ttl_s=60)
    enough.set()
    await holding
    assert await hasty.conducting.claim(made.id, "one", ttl_s=60) is not None
    await hasty.store.close()
