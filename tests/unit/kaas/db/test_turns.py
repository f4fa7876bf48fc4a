"""Lining up before a row."""

import asyncio
import gc
from typing import cast

from kaas.db.conducting import ConductorStore
from kaas.db.session import Database
from kaas.db.turns import Turns
from kaas.domain.model import Event, Lease


class OneAfterTheOther:
    """In place of a database: notes who writes at one time, and lets them go when told."""

    def __init__(self) -> None:
        self.writing: list[object] = []
        self.go = asyncio.Event()
        self.entered = asyncio.Semaphore(0)

    async def write(self, work: object) -> None:
        self.writing.append(work)
        self.entered.release()
        await self.go.wait()
        self.writing.remove(work)


async def test_writes_to_one_cluster_take_one_connection() -> None:
    database = OneAfterTheOther()
    store = ConductorStore(cast("Database", database))
    one, other = Lease("one", "me", 1), Lease("other", "me", 1)
    event = Event("one", "CODE", "text", "info")
    async with asyncio.TaskGroup() as group:
        for lease in (one, one, one, other):
            group.create_task(store.add_event(lease, event))
        # Those of `one` were first; the other cluster's comes in all the same.
        await database.entered.acquire()
        await database.entered.acquire()
        assert len(database.writing) == 2
        database.go.set()
    assert database.writing == []


async def test_a_key_that_nobody_waits_for_is_forgotten() -> None:
    turns = Turns()
    lock = turns.of("a")
    assert turns.of("a") is lock
    assert turns.of("b") is not lock
    del lock
    gc.collect()
    assert not turns._locks
