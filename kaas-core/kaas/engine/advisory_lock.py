"""One conductor on one SQLite file: a second one is told so at its start, instead of working against the first."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

SUFFIX = ".conductor-lock"


class SecondConductorError(Exception):
    """Another process conducts with the same database; the text says which, and what to do."""


class Alone:
    """Shows that nobody else conducts with a database, for as long as the block of `only_conductor` runs."""


@contextlib.contextmanager
def only_conductor(database: Path) -> Iterator[Alone]:
    """Hold the lock of a SQLite database while the block runs. Raises SecondConductorError.

    The kernel gives it back when the process ends, however it ends. The file stays: who removed it could let two
    processes hold two files of one name.
    """
    # Two names of one file must not be two locks.
    database = database.resolve()
    path = database.with_name(database.name + SUFFIX)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor, path, database)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield Alone()
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path, database: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        who = f"process {holder}" if holder.isdigit() else "another process"
        raise SecondConductorError(
            f"{who} conducts with {database} and holds {path}; end it first, or give all conductors a PostgreSQL "
            "database, which is what several of them need"
        ) from None
