"""The one store: SQLite on a thread of its own, one transaction per call.

Belongs here: the connection, transactions, frozen copies for stale reads. Does not: what the rows mean.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

SCHEMA_VERSION = 3
_SCHEMA = Path(__file__).with_name("schema.sql")


class FrozenCopy:
    """The state as it was at one moment, for reads that have to be stale."""

    def __init__(self, source: Future[sqlite3.Connection]) -> None:
        self.source = source


class Store:
    """Runs pieces of work against the state, one after the other.

    `write` returns only when its transaction is on disk (`durable`), so what was answered survives a kill -9 and, with
    `durable`, a power cut.
    """

    def __init__(self, path: Path, *, durable: bool) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="devcloud-state")
        self._db: sqlite3.Connection
        self._path = path
        self._durable = durable
        self._copies: list[sqlite3.Connection] = []

    async def open(self) -> Self:
        """Open the database, making it when there is none; raises RuntimeError for another schema."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._open)
        return self

    async def close(self) -> None:
        """Finish what is queued and close; safe to call again."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        except RuntimeError:
            return
        self._thread.shutdown(wait=False)

    async def read(self, work: Work[T], *, copy: FrozenCopy | None = None) -> T:
        """Run work that changes nothing, on the state or on a frozen copy of it."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, work, copy)

    async def write(self, work: Work[T]) -> T:
        """Run work in a transaction; an exception from it rolls everything back and reaches the caller."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._write, work)

    def freeze(self) -> FrozenCopy:
        """Copy the state as it is after all work queued so far; returns at once."""
        return FrozenCopy(self._thread.submit(self._copy))

    def _open(self) -> None:
        db = sqlite3.connect(self._path, isolation_level=None)
        self._db = db
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'OFF'}")
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA busy_timeout = 5000")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            db.executescript(f"BEGIN; {_SCHEMA.read_text()} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        elif version != SCHEMA_VERSION:
            db.close()
            raise RuntimeError(
                f"{self._path} has schema {version}, this devcloud needs {SCHEMA_VERSION}; "
                "remove it with `devcloud reset --data-dir DIR`"
            )

    def _close(self) -> None:
        for copy in self._copies:
            copy.close()
        self._copies.clear()
        self._db.close()

    def _read(self, work: Work[T], copy: FrozenCopy | None) -> T:
        return work(self._db if copy is None else copy.source.result())

    def _write(self, work: Work[T]) -> T:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            result = work(db)
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")
        return result

    def _copy(self) -> sqlite3.Connection:
        copy = sqlite3.connect(":memory:")
        self._db.backup(copy)
        self._copies.append(copy)
        return copy
