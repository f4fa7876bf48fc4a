"""How a database is reached, and what is said when it is not."""

import asyncio
import threading
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from kaas.db import migrate, session, tables
from kaas.db.session import Database, make_engine, parse_url
from kaas.db.store import open_store
from kaas.domain.errors import StoreUnavailableError
from tests.support.kaas_tables import Kit, scope


@pytest.mark.parametrize(
    "url",
    [
        "",
        "no url: hunter2",
        "sqlite:////tmp/hunter2",
        "postgresql://u:hunter2@h/d",
        "mysql+pymysql://u:hunter2@h/d",
        "sqlite+aiosqlite://",
        "sqlite+aiosqlite:///:memory:",
    ],
)
def test_address_that_is_none_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="database") as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_addresses_of_all_databases_are_taken() -> None:
    for name in ("sqlite+aiosqlite:///x.db", "postgresql+psycopg://u:p@h/d", "mysql+aiomysql://u:p@h/d"):
        assert parse_url(name).drivername == name.split(":", 1)[0]


async def test_error_holds_no_parameters(kit: Kit) -> None:
    async def wrong(connection: AsyncConnection) -> None:
        await connection.execute(text("SELECT 1 FROM nowhere WHERE x = :x"), {"x": "hunter2"})

    with pytest.raises((SQLAlchemyError, StoreUnavailableError)) as caught:
        await kit.database.read(wrong)
    assert "hunter2" not in f"{caught.value} {caught.value.__cause__}"


async def test_readers_see_one_moment_and_change_nothing(kit: Kit, other: Kit) -> None:
    await kit.make("a")

    async def twice(connection: AsyncConnection) -> list[int]:
        query = select(tables.cluster.c.uuid)
        first = len((await connection.execute(query)).all())
        await other.make("b")
        return [first, len((await connection.execute(query)).all())]

    assert await kit.database.read(twice) == [1, 1]
    assert await kit.database.read(_count) == 2


async def _count(connection: AsyncConnection) -> int:
    return len((await connection.execute(select(tables.cluster.c.uuid))).all())


async def test_failed_work_is_undone(kit: Kit) -> None:
    async def work(connection: AsyncConnection) -> None:
        await connection.execute(tables.tenant.insert().values(project_id="half"))
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        await kit.database.write(work)
    assert await kit.count(tables.tenant) == 0
    await kit.make()


async def test_connections_suffice_for_more_callers_than_there_are(kit: Kit) -> None:
    await kit.make()
    answers = await asyncio.gather(*(kit.requests.get(scope(), "dev") for _ in range(60)))
    assert len(answers) == 60


@pytest.mark.parametrize(
    "url",
    [
        "sqlite+aiosqlite:////proc/none/kaas.db",
        "postgresql+psycopg://kaas:hunter2@/kaas?host=/proc/none",
        "mysql+aiomysql://kaas:hunter2@localhost/kaas?unix_socket=/proc/none",
    ],
)
async def test_database_that_is_not_there_is_said_to_be_so(url: str) -> None:
    store = open_store(url)
    for request in (
        store.conducting.due(limit=1),
        store.conducting.claim("x", "y", ttl_s=1),
        migrate.upgrade(url),
        migrate.current(url),
    ):
        with pytest.raises(StoreUnavailableError, match="does not answer") as caught:
            await request
        assert "hunter2" not in str(caught.value)
    await store.close()
    # SQLite's driver ends the threads of connections that failed later, and tells this loop.
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:
            await asyncio.to_thread(thread.join, 5)


async def test_writer_that_never_ends_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_LOCK_S", 0.05)
    url = f"sqlite+aiosqlite:///{tmp_path / 'kaas.db'}"
    first, second = make_engine(url), make_engine(url)
    async with first.begin():
        with pytest.raises(StoreUnavailableError, match="locked"):
            await Database(second).write(_nothing)
    await Database(second).write(_nothing)
    await first.dispose()
    await second.dispose()


async def _nothing(_connection: AsyncConnection) -> None:
    return


async def test_database_that_says_nothing_any_more_is_given_up(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_WHOLE_S", 0.2)

    async def hang(connection: AsyncConnection) -> None:
        await connection.execute(text("SELECT 1"))
        await asyncio.Event().wait()

    with pytest.raises(StoreUnavailableError, match="did not answer within"):
        await kit.database.write(hang)
    monkeypatch.undo()
    assert await kit.make() is not None


async def test_what_is_urgent_does_not_wait_for_room(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite+aiosqlite:///{tmp_path / 'kaas.db'}", pool_size=2)
    database = Database(engine, at_once=2)
    go, inside = asyncio.Event(), asyncio.Semaphore(0)
    began = 0

    async def stay(_: AsyncConnection) -> None:
        nonlocal began
        began += 1
        inside.release()
        await go.wait()

    async with asyncio.TaskGroup() as group:
        for _number in range(5):
            group.create_task(database.read(stay))
        for _number in range(2):
            await inside.acquire()
        await database.write(_nothing, urgent=True)
        assert began == 2
        go.set()
    assert began == 5
    await database.close()
