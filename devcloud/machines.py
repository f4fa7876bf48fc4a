"""The port to what stands behind instances, and the back end without any device.

A disk is named by its serial. Every method is safe to repeat; calls for one serial are made one after the other.
"""

import contextlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Disk:
    """A volume as an instance gets it."""

    serial: str
    image: Path
    instance_id: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class PresentDisk:
    """A disk that is presented now."""

    serial: str
    device_path: str
    read_only: bool = False


class Machines(Protocol):
    """What the platform needs from a compute back end."""

    async def present(self, disk: Disk) -> str:
        """Give the instance the disk and return the device's path; the same disk again changes nothing.

        Raises BackendError; then the disk is not presented.
        """
        ...

    async def withdraw(self, serial: str) -> None:
        """Take the disk away; one that is not there is no error.

        Raises DiskBusyError when the instance has it mounted or open (it keeps the disk), BackendError.
        """
        ...

    async def grow(self, serial: str) -> None:
        """Let the instance see the new size of the image; a disk that is not presented is no error."""
        ...

    async def disks(self) -> Mapping[str, PresentDisk]:
        """Give all presented disks by serial."""
        ...

    async def writes(self, serial: str) -> int | None:
        """Give a number that changes with every write to the disk (0: not presented); None while one is under way."""
        ...

    async def flush(self, serials: Sequence[str]) -> None:
        """Write out what the instance still has in memory for these disks, as far as that can be done from outside."""
        ...

    def frozen(self, serials: Sequence[str]) -> AbstractAsyncContextManager[None]:
        """Hold back writes of mounted file systems on these disks; as short as can be."""
        ...


class NoMachines:
    """No devices: remembers what would be presented. Disks never are busy unless told so."""

    def __init__(self) -> None:
        self.presented: dict[str, Disk] = {}
        self.grown: list[str] = []

    async def present(self, disk: Disk) -> str:
        """Remember the disk."""
        self.presented[disk.serial] = disk
        return f"/dev/disk/by-id/virtio-{disk.serial}"

    async def withdraw(self, serial: str) -> None:
        """Forget the disk."""
        self.presented.pop(serial, None)

    async def grow(self, serial: str) -> None:
        """Remember that the disk grew."""
        self.grown.append(serial)

    async def disks(self) -> Mapping[str, PresentDisk]:
        """Give what is remembered."""
        return {
            serial: PresentDisk(serial, f"/dev/disk/by-id/virtio-{serial}", disk.read_only)
            for serial, disk in self.presented.items()
        }

    async def writes(self, serial: str) -> int | None:
        """Nothing can write."""
        del serial
        return 0

    async def flush(self, serials: Sequence[str]) -> None:
        """Nothing is in memory."""

    def frozen(self, serials: Sequence[str]) -> AbstractAsyncContextManager[None]:
        """Nothing to hold back."""
        del serials
        return contextlib.nullcontext()
