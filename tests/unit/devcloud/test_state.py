"""The store: whole transactions, frozen copies, one schema."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from devcloud.rows import TENANTS, USERS, Tenant, User
from devcloud.state import Store


def make_user(db: sqlite3.Connection, user_id: str) -> User:
    return USERS.insert(db, User(id=user_id, email=user_id, name="n", password_hash=""))


async def test_failed_work_changes_nothing(tmp_path: Path) -> None:
    store = await Store(tmp_path / "state.db", durable=True).open()

    def fail(db: sqlite3.Connection) -> None:
        make_user(db, "a")
        make_user(db, "a")

    with pytest.raises(sqlite3.IntegrityError):
        await store.write(fail)
    assert await store.read(USERS.all) == []
    await store.close()


async def test_frozen_copy_stays_as_it_was(tmp_path: Path) -> None:
    store = await Store(tmp_path / "state.db", durable=False).open()
    await store.write(lambda db: make_user(db, "a"))
    # Queued before the copy, so part of it, although nobody waited for it.
    queued = asyncio.ensure_future(store.write(lambda db: make_user(db, "b")))
    await asyncio.sleep(0)
    copy = store.freeze()
    await store.write(lambda db: make_user(db, "c"))
    await queued

    assert {user.id for user in await store.read(USERS.all, copy=copy)} == {"a", "b"}
    assert {user.id for user in await store.read(USERS.all)} == {"a", "b", "c"}
    await store.close()
    await store.close()


async def test_rows_come_back_as_they_were_and_references_hold(tmp_path: Path) -> None:
    store = await Store(tmp_path / "state.db", durable=False).open()
    user = await store.write(lambda db: make_user(db, "a"))

    assert await store.read(lambda db: USERS.get(db, "a")) == user
    with pytest.raises(sqlite3.IntegrityError):
        await store.write(lambda db: TENANTS.insert(db, Tenant(id="t", name="n", slug="s", owner_id="nobody")))
    assert await store.write(lambda db: USERS.delete(db, "a"))
    assert not await store.write(lambda db: USERS.delete(db, "a"))
    await store.close()


async def test_another_schema_is_refused_with_what_to_do(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "state.db")
    db.execute("PRAGMA user_version = 99")
    db.close()

    with pytest.raises(RuntimeError, match=r"schema 99.*devcloud reset"):
        await Store(tmp_path / "state.db", durable=True).open()
