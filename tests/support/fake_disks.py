"""Disks, events and figures of the simulated host."""

import asyncio
import contextlib
import errno
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from node.model import MIB, DeviceNumber


class CrashError(Exception):
    """The process under test was killed, or the power went, at a scripted point."""


@dataclass
class FakeDisk:
    name: str
    number: DeviceNumber
    image: Path
    size_bytes: int
    serial: str
    transport: str
    read_only: bool = False
    unreadable: bool = False
    """Every read fails, as on a dead disk."""
    unreadable_ranges: list[range] = field(default_factory=list)
    damage: str = ""
    """What e2fsck will find: "" nothing, "repairable", "fatal"."""
    checked: bool = False
    """e2fsck -f ran since the last mount, as resize2fs demands."""
    unflushed: list[tuple[int, bytes]] = field(default_factory=list)
    """Earlier content of what was written since the last flush; a power cut brings it back."""

    def read(self, offset: int, length: int) -> bytes:
        wanted = range(offset, offset + length)
        broken = any(wanted.start < bad.stop and bad.start < wanted.stop for bad in self.unreadable_ranges)
        if self.unreadable or broken or offset + length > self.size_bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        with self.image.open("rb") as file:
            file.seek(offset)
            return file.read(length).ljust(length, b"\0")

    def write(self, offset: int, data: bytes) -> None:
        if self.unreadable or offset + len(data) > self.size_bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        with self.image.open("r+b") as file:
            file.seek(offset)
            self.unflushed.append((offset, file.read(len(data)).ljust(len(data), b"\0")))
            file.seek(offset)
            file.write(data)

    def lose_unflushed(self) -> None:
        for offset, data in reversed(self.unflushed):
            with self.image.open("r+b") as file:
                file.seek(offset)
                file.write(data)
        self.unflushed.clear()

    @property
    def head(self) -> bytes:
        return self.read(0, min(MIB, self.size_bytes))


@dataclass
class OpenFile:
    disk: FakeDisk
    writable: bool
    exclusive: bool
    locked: bool = False


class FakeEvents:
    """Disk events that a test (or plugging) rings."""

    def __init__(self) -> None:
        self._bells: set[asyncio.Event] = set()

    @contextlib.contextmanager
    def listen(self) -> Iterator[asyncio.Event]:
        bell = asyncio.Event()
        self._bells.add(bell)
        try:
            yield bell
        finally:
            self._bells.discard(bell)

    def ring(self) -> None:
        for bell in self._bells:
            bell.set()


class CountingObserver:
    """Keeps every figure."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.formats: list[tuple[str, float]] = []
        self.refusals: Counter[str] = Counter()
        self.repairs: Counter[str] = Counter()

    def device_waited(self, seconds: float) -> None:
        self.waits.append(seconds)

    def formatted(self, fs_type: str, seconds: float) -> None:
        self.formats.append((fs_type, seconds))

    def format_refused(self, reason: str) -> None:
        self.refusals[reason] += 1

    def repaired(self, fs_type: str) -> None:
        self.repairs[fs_type] += 1

    def command_ended(self, program: str, seconds: float) -> None:
        pass
