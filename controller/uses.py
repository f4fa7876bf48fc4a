"""Who is working on which object: refuses a second worker at once.

Exclusive work (attach, delete, expand …) excludes everything on the same object. A source of new volumes may be used by
many at one time, but not be deleted meanwhile.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from csi.errors import CsiError, ErrorKind
from csi.locks import KeyLocks


class Uses:
    """Locks of all objects of this controller.

    They spare the platform calls that would meet; between several controllers it is the platform that decides, and on a
    strict one nobody (docs/replicas.md).
    """

    def __init__(self) -> None:
        self._locks = KeyLocks()
        self._readers: Counter[str] = Counter()

    @contextmanager
    def alone(self, *keys: str) -> Iterator[None]:
        """Hold keys exclusively. Raises CsiError BUSY when one is held or in use as a source."""
        with self._locks.hold(*keys):
            for key in keys:
                if self._readers[key]:
                    raise CsiError(ErrorKind.BUSY, f"{key}: a volume or a snapshot is being made from it; try again")
            yield

    @contextmanager
    def as_source(self, key: str) -> Iterator[None]:
        """Hold a key together with other users of it as a source. Raises CsiError BUSY when it is held exclusively."""
        with self._locks.hold(key):
            self._readers[key] += 1
        try:
            yield
        finally:
            self._readers[key] -= 1
            if not self._readers[key]:
                del self._readers[key]


def volume_key(volume_id: str) -> str:
    """Name a volume for `Uses`."""
    return f"volume {volume_id.lower()}"


def snapshot_key(snapshot_id: str) -> str:
    """Name a snapshot for `Uses`."""
    return f"snapshot {snapshot_id.lower()}"


def group_key(group_id: str) -> str:
    """Name a group snapshot for `Uses`."""
    return f"group snapshot {group_id.lower()}"


def name_key(kind: str, csi_name: str) -> str:
    """Name an object that has no id yet for `Uses`."""
    return f"{kind} named {csi_name}"
