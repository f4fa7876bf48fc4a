"""What happened: rows for lists and streams, and the signal that wakes streams.

Belongs here: recording and reading events. Does not: the wire format of a stream.
"""

import asyncio
import sqlite3
from dataclasses import dataclass
from typing import Any

import msgspec

from devcloud.rows import new_id, now

KEPT = 100_000
_PRUNE_EVERY = 1_000
_COLUMNS = "seq, id, created_at, user_id, tenant_id, action, kind, resource_id, resource_type, metadata"


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `action` is the word of the strict tier's list (empty: not listed there), `kind` that of streams."""

    seq: int
    id: str
    created_at: str
    user_id: str
    tenant_id: str
    action: str
    kind: str
    resource_id: str
    resource_type: str
    metadata: dict[str, Any]


def record(
    db: sqlite3.Connection,
    *,
    user_id: str,
    tenant_id: str,
    resource_id: str,
    resource_type: str,
    action: str = "",
    kind: str = "",
    **metadata: object,
) -> None:
    """Add an event in the transaction of the change that it tells of."""
    cursor = db.execute(
        "INSERT INTO events (id, created_at, user_id, tenant_id, action, kind, resource_id, resource_type, metadata) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            new_id(),
            now(),
            user_id,
            tenant_id,
            action,
            kind,
            resource_id,
            resource_type,
            msgspec.json.encode(metadata).decode(),
        ),
    )
    if cursor.lastrowid is not None and cursor.lastrowid % _PRUNE_EVERY == 0:
        db.execute("DELETE FROM events WHERE seq <= ?", (cursor.lastrowid - KEPT,))


def list_actions(db: sqlite3.Connection, tenant_id: str, limit: int) -> list[Event]:
    """Give the newest events of a tenant that the strict list shows, newest first."""
    query = f"SELECT {_COLUMNS} FROM events WHERE tenant_id = ? AND action <> '' ORDER BY seq DESC LIMIT ?"  # noqa: S608
    return [_to_event(row) for row in db.execute(query, (tenant_id, limit))]


def read_after(db: sqlite3.Connection, tenant_id: str, seq: int, limit: int) -> list[Event]:
    """Give the events of a tenant's stream after a number, oldest first."""
    query = f"SELECT {_COLUMNS} FROM events WHERE seq > ? AND tenant_id = ? AND kind <> '' ORDER BY seq LIMIT ?"  # noqa: S608
    return [_to_event(row) for row in db.execute(query, (seq, tenant_id, limit))]


def bounds(db: sqlite3.Connection) -> tuple[int, int]:
    """Give the numbers of the oldest kept and the newest event; (0, 0) when there are none."""
    oldest, newest = db.execute("SELECT MIN(seq), MAX(seq) FROM events").fetchone()
    return oldest or 0, newest or 0


def _to_event(row: tuple[Any, ...]) -> Event:
    fields = (*row[:-1], msgspec.json.decode(row[-1]))
    return Event(*fields)


class Waiter:
    """A place from which the next wake-up is seen, also one between taking the place and waiting."""

    def __init__(self, changed: asyncio.Event) -> None:
        self._changed = changed

    async def wait(self, timeout_s: float) -> bool:
        """Wait for the wake-up, at most `timeout_s`; False when none came."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True


class Hub:
    """Wakes the streams when there may be something new, and ends them."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self.is_closed = False

    def subscribe(self) -> Waiter:
        """Take a place before looking at the state."""
        return Waiter(self._changed)

    def wake(self) -> None:
        """Let every waiting stream look again."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def close(self) -> None:
        """End all streams."""
        self.is_closed = True
        self.wake()
