"""The file that the world is kept in. It outlives its users, as the platform outlives a conductor that is killed."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from kaas.drivers.simulator.records import Record

Thing = TypeVar("Thing", bound=Record)

_TABLES = """
CREATE TABLE IF NOT EXISTS thing (
    kind TEXT NOT NULL, id TEXT NOT NULL, cluster TEXT NOT NULL, name TEXT NOT NULL, host TEXT NOT NULL,
    waits INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (kind, id));
CREATE INDEX IF NOT EXISTS thing_of_cluster ON thing (cluster, kind, name);
CREATE INDEX IF NOT EXISTS thing_by_name ON thing (kind, name);
CREATE INDEX IF NOT EXISTS thing_by_host ON thing (host, kind);
CREATE INDEX IF NOT EXISTS thing_that_waits ON thing (kind) WHERE waits;
CREATE TABLE IF NOT EXISTS call (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, method TEXT NOT NULL, what TEXT NOT NULL,
    cluster TEXT NOT NULL, outcome TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""


class Call(msgspec.Struct, frozen=True):
    """A line of the audit log: `what` is `<kind> <name>` for the platform, and the command for a machine."""

    at: float
    method: str
    what: str
    cluster: str
    outcome: str
    """`done`, `lost` (done, but the caller does not know), or the code of the error."""


class Ground:
    """Records and the audit log in one SQLite file; None: in memory. Any number of processes may share a file.

    The calls block for some tens of microseconds, which a simulator may.
    """

    def __init__(self, path: Path | None = None) -> None:
        # Transactions are begun by hand: the module's own would begin them too late for what is read first.
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=20, check_same_thread=False)
        if path is not None:
            self._db.execute("PRAGMA journal_mode=WAL")
            # What was committed survives the death of a process; nobody asks more of a simulator.
            self._db.execute("PRAGMA synchronous=OFF")
        self._db.executescript(_TABLES)

    def close(self) -> None:
        """Close the file; the world stays in it."""
        self._db.close()

    @contextlib.contextmanager
    def change(self) -> Iterator[None]:
        """Do what is inside as one transaction."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def get(self, of: type[Thing], thing_id: str) -> Thing | None:
        """Give a record by id."""
        row = self._db.execute("SELECT body FROM thing WHERE kind = ? AND id = ?", (of.kind, thing_id)).fetchone()
        return msgspec.json.decode(row[0], type=of) if row else None

    def all(self, of: type[Thing], *, cluster: str = "", name: str = "", host: str = "") -> list[Thing]:
        """Give the records of a kind, oldest first; of one cluster, name or address if asked."""
        wanted = {"kind": of.kind, "cluster": cluster, "name": name, "host": host}
        given = {column: value for column, value in wanted.items() if value}
        # The columns are the four above, never a caller's text.
        where = " AND ".join(f"{column} = ?" for column in given)
        rows = self._db.execute(f"SELECT body FROM thing WHERE {where} ORDER BY id", tuple(given.values()))  # noqa: S608
        return [msgspec.json.decode(row[0], type=of) for row in rows.fetchall()]

    def waiting(self, of: type[Thing]) -> list[Thing]:
        """Give those that have something to do by themselves, oldest first."""
        rows = self._db.execute("SELECT body FROM thing WHERE kind = ? AND waits ORDER BY id", (of.kind,))
        return [msgspec.json.decode(row[0], type=of) for row in rows.fetchall()]

    def count(self, of: type[Record]) -> int:
        """Count the records of a kind."""
        return int(self._db.execute("SELECT count(*) FROM thing WHERE kind = ?", (of.kind,)).fetchone()[0])

    def put(self, thing: Record) -> None:
        """Write a record."""
        self._db.execute(
            "INSERT OR REPLACE INTO thing (kind, id, cluster, name, host, waits, body) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (thing.kind, thing.id, thing.cluster, thing.name, thing.address, thing.waits, msgspec.json.encode(thing)),
        )

    def remove(self, thing: Record) -> None:
        """Take a record away."""
        self._db.execute("DELETE FROM thing WHERE kind = ? AND id = ?", (thing.kind, thing.id))

    def next(self, counter: str) -> int:
        """Count on, and give the number."""
        row = self._db.execute(
            "INSERT INTO counter VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value",
            (counter,),
        ).fetchone()
        return int(row[0])

    def log(self, call: Call) -> None:
        """Add a line to the audit log."""
        self._db.execute(
            "INSERT INTO call (at, method, what, cluster, outcome) VALUES (?, ?, ?, ?, ?)",
            (call.at, call.method, call.what, call.cluster, call.outcome),
        )

    def calls(self, *, method: str = "", cluster: str = "") -> list[Call]:
        """Give the audit log, oldest first."""
        rows = self._db.execute(
            "SELECT at, method, what, cluster, outcome FROM call"
            " WHERE (? = '' OR method = ?) AND (? = '' OR cluster = ?) ORDER BY seq",
            (method, method, cluster, cluster),
        )
        return [Call(*row) for row in rows.fetchall()]
