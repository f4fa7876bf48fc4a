"""Locks by name that refuse instead of queueing.

A sidecar that repeats a call while the first one runs gets ABORTED at once and comes back later; a queue would only
collect calls whose callers have given up.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from csi.errors import CsiError, ErrorKind


class KeyLocks:
    """The names that calls of this process are working on. For one event loop; not for threads."""

    def __init__(self) -> None:
        self._held: set[str] = set()

    @contextmanager
    def hold(self, *keys: str) -> Iterator[None]:
        """Hold all keys while the `with` block runs, or none of them.

        Raises CsiError BUSY at once when any is held, also by the same caller. A key that is named twice in one call
        counts once.
        """
        wanted = frozenset(keys)
        busy = sorted(wanted & self._held)
        if busy:
            names = ", ".join(busy)
            raise CsiError(ErrorKind.BUSY, f"another call is working on {names}; nothing was done, ask again")
        self._held |= wanted
        try:
            yield
        finally:
            self._held -= wanted

    def __len__(self) -> int:
        return len(self._held)
