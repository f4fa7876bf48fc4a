"""Which instance has which disk, on disk before the disk is there: the next platform must not have to guess.

A disk that is found without its instance, or with another, is in a machine that it was taken from on paper only.
"""

from collections.abc import Iterator
from pathlib import Path
from threading import Lock

import msgspec


class Holders:
    """Instances by the serial of their disks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()

    def get(self, serial: str) -> str:
        """Give the instance that has a disk; empty for none."""
        return self._read().get(serial, "")

    def note(self, serial: str, instance_id: str) -> None:
        """Note that an instance gets a disk."""
        with self._lock:
            known = self._read()
            if known.get(serial) != instance_id:
                self._write({**known, serial: instance_id})

    def forget(self, serial: str) -> None:
        """Note that no instance has a disk."""
        with self._lock:
            known = self._read()
            if known.pop(serial, None) is not None:
                self._write(known)

    def of(self, instance_id: str) -> Iterator[str]:
        """Give the serials of an instance's disks."""
        return (serial for serial, holder in self._read().items() if holder == instance_id)

    def of_others(self, instance_id: str) -> Iterator[str]:
        """Give the serials of all other disks."""
        return (serial for serial, holder in self._read().items() if holder != instance_id)

    def _read(self) -> dict[str, str]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            return {}

    def _write(self, known: dict[str, str]) -> None:
        part = self._path.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(known))
        part.rename(self._path)
