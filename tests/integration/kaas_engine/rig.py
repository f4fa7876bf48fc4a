"""Engines on a database, and handlers that tell what they were called for."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, cast

import psycopg

from kaas.engine.procrastinate import ProcrastinateEngine
from kaas.engine.procrastinate_schema import conninfo_of
from process.life import Stop

WITHIN_S = 40.0


class NothingDue:
    """Tables that never say that anything is due, so that only jobs wake."""

    async def due(self, *, limit: int) -> list[str]:
        return []


class Told:
    """A handler that tells what it was called for; `holds` keeps it from ending."""

    def __init__(self, *, holds: bool = False) -> None:
        self.began: asyncio.Queue[str] = asyncio.Queue()
        self.active: list[str] = []
        self.ended: list[str] = []
        self.cancelled: list[str] = []
        self.go = asyncio.Event()
        if not holds:
            self.go.set()

    async def __call__(self, cluster_id: str) -> None:
        assert cluster_id not in self.active
        self.active.append(cluster_id)
        self.began.put_nowait(cluster_id)
        try:
            await self.go.wait()
            self.ended.append(cluster_id)
        except asyncio.CancelledError:
            self.cancelled.append(cluster_id)
            raise
        finally:
            self.active.remove(cluster_id)

    async def next(self) -> str:
        return await asyncio.wait_for(self.began.get(), WITHIN_S)


@contextlib.asynccontextmanager
async def engine(url: str, handler: Told, store: object | None = None, **options: Any) -> AsyncIterator[None]:
    """Let an engine run, quick to notice that another is dead."""
    options = {"heartbeat_s": 0.2, "stalled_s": 1.0, "poll_s": 0.2, "grace_s": 5.0} | options
    subject = ProcrastinateEngine(conninfo_of(url), cast(Any, store or NothingDue()), **options)
    stop = Stop()
    async with asyncio.TaskGroup() as group:
        group.create_task(subject.run(handler, concurrency=4, stop=stop))
        try:
            yield
        finally:
            stop()


async def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    async with await psycopg.AsyncConnection.connect(conninfo_of(url), autocommit=True) as connection:
        cursor = await connection.execute(cast(Any, query))
        return await cursor.fetchall() if cursor.description else []


async def until(url: str, query: str, wanted: list[tuple[Any, ...]]) -> None:
    """Ask until the answer is the one that is wanted."""
    async with asyncio.timeout(WITHIN_S):
        while await rows(url, query) != wanted:  # noqa: ASYNC110 - a database is asked, there is no event
            await asyncio.sleep(0.05)
