"""Numbers of loop devices for disks of machines: high ones, each used once.

Low numbers belong to the machines themselves (a kubelet takes them with `losetup -f` for raw block volumes). A number
is not used again, because groups of processes that were kept from opening it stay so for their life.
Belongs here: which numbers are taken, on disk before they are. Does not: what a device is for.
"""

import asyncio
import errno
from pathlib import Path
from threading import Lock

import msgspec

from devcloud import loop

FIRST = 1000
_END = 1 << 20
"""Device numbers have twenty bits for this."""
_TRIES = 1000
_RELEASE_S = 2.0
_LOOK_S = 0.02


class _Journal(msgspec.Struct, frozen=True):
    next: int = FIRST
    taken: frozenset[int] = frozenset()


class HighNumbers:
    """Takes the next number, and removes the device when it is given back."""

    def __init__(self, journal: Path) -> None:
        self._path = journal
        self._lock = Lock()

    def attach(self, image: Path, *, read_only: bool) -> int:
        """Make a loop device with a number that was never used here, and give it the image; raises OSError."""
        for _ in range(_TRIES):
            number = self._note_next()
            if loop.attach_at(number, image, read_only=read_only):
                return number
            self._forget(number)
        raise OSError(errno.EBUSY, f"no free loop device after {_TRIES} tries")

    async def release(self, number: int) -> None:
        """Remove the device, waiting a moment for whoever looks at it; one that stays is removed by `clean`."""
        give_up_at = asyncio.get_running_loop().time() + _RELEASE_S
        while not await asyncio.to_thread(self._discard, number):
            if asyncio.get_running_loop().time() > give_up_at:
                return
            await asyncio.sleep(_LOOK_S)

    def clean(self) -> frozenset[int]:
        """Remove idle devices that a crash or a busy moment left, and give the numbers still taken; raises OSError."""
        for number in self._read().taken:
            if loop.read_loop(number) is None:
                self._discard(number)
        return self._read().taken

    def _discard(self, number: int) -> bool:
        if not loop.discard(number):
            return False
        self._forget(number)
        return True

    def _note_next(self) -> int:
        """Note the next number as taken, before it is: a device that nobody knows of would stay for ever."""
        with self._lock:
            journal = self._read()
            number = journal.next if journal.next < _END else FIRST
            self._write(_Journal(number + 1, journal.taken | {number}))
            return number

    def _forget(self, number: int) -> None:
        with self._lock:
            journal = self._read()
            self._write(_Journal(journal.next, journal.taken - {number}))

    def _read(self) -> _Journal:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_Journal)
        except FileNotFoundError:
            return _Journal()

    def _write(self, journal: _Journal) -> None:
        part = self._path.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(journal))
        part.rename(self._path)
