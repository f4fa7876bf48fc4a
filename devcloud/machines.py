"""The port to what stands behind instances, and the back end without any device.

A disk is named by its serial, a machine by the id of its instance. Every method is safe to repeat; calls for one serial
or one instance are made one after the other.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
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


@dataclass(frozen=True, slots=True)
class Machine:
    """An instance as its machine is made and booted."""

    instance_id: str
    name: str
    hostname: str
    image: str
    """Name of the machine image."""
    address: str
    """Private address, without a prefix length."""
    zone: str = ""
    memory_bytes: int = 0
    """What the machine may use at most; 0: no limit."""
    authorized_keys: tuple[str, ...] = ()
    """Public keys that may log in as root, in OpenSSH's format."""
    environment: tuple[str, ...] = ()
    """Variables of login shells, each `NAME=value`."""
    commands: tuple[str, ...] = ()
    """Commands of the first boot, each run by a shell."""


class End(Enum):
    """How a machine ended by itself."""

    POWERED_OFF = "powered off"
    REBOOTED = "rebooted"
    """It went down in order to come up again, which is for the platform to do."""
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True)
class Ended:
    """A machine that ended without the platform's doing."""

    instance_id: str
    end: End
    seen: str
    """What was seen of it, for a person."""


class Machines(Protocol):
    """What the platform needs from a compute back end."""

    async def open(self) -> None:
        """Make ready, and take over the machines that a killed platform left running; raises BackendError."""
        ...

    async def close(self) -> None:
        """Let go of the machines; they run on."""
        ...

    async def listen(self, port: int) -> Sequence[socket.socket]:
        """Give listening sockets at which instances reach the platform, beside the one that the caller has.

        Raises BackendError.
        """
        ...

    async def boot(self, machine: Machine) -> None:
        """Start a machine, making it first where it is new, and return when it is up.

        One that runs already is only waited for. Raises BackendError; then the machine does not run.
        """
        ...

    async def halt(self, instance_id: str, *, force: bool) -> None:
        """Power a machine off, with `force` without asking it; one that does not run is no error.

        Raises BackendError when it is still there.
        """
        ...

    async def remove(self, instance_id: str) -> None:
        """Stop a machine at once and remove what belongs to it, but for its volumes; none is no error.

        Raises BackendError.
        """
        ...

    async def hold(self, instance_id: str, *, held: bool) -> None:
        """Let a machine stand still, or run on; raises BackendError."""
        ...

    async def is_running(self, instance_id: str) -> bool:
        """Tell whether a machine runs, up or not."""
        ...

    async def made(self) -> frozenset[str]:
        """Give the ids of the machines that were made and not removed."""
        ...

    async def console(self, instance_id: str) -> str:
        """Give the end of what a machine wrote to its console; empty for none."""
        ...

    def ended(self) -> AsyncIterator[Ended]:
        """Tell of machines that end by themselves, those included that did so while no platform was there."""
        ...

    async def clear(self) -> None:
        """Remove all machines and what they share on this host; raises BackendError.

        The disks are withdrawn after it, and `forget` comes last.
        """
        ...

    async def forget(self) -> None:
        """Remove what was kept about machines and disks that are gone; raises BackendError while one is not."""
        ...

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

    async def thaw(self) -> None:
        """Let go of file systems that a killed platform left frozen."""
        ...


class RowsOnly:
    """The life of machines that are nothing but rows: all that is asked for happens at once."""

    async def open(self) -> None:
        """Nothing to make ready."""

    async def close(self) -> None:
        """Nothing to let go of."""

    async def listen(self, port: int) -> Sequence[socket.socket]:
        """Instances reach the platform where everybody does."""
        del port
        return ()

    async def boot(self, machine: Machine) -> None:
        """Let it be up."""

    async def halt(self, instance_id: str, *, force: bool) -> None:
        """Let it be off."""

    async def remove(self, instance_id: str) -> None:
        """Let it be gone."""

    async def hold(self, instance_id: str, *, held: bool) -> None:
        """Let it stand still, or run."""

    async def is_running(self, instance_id: str) -> bool:
        """Nothing can keep it from running."""
        del instance_id
        return True

    async def made(self) -> frozenset[str]:
        """Nothing is left of it outside of the rows."""
        return frozenset()

    async def console(self, instance_id: str) -> str:
        """Give nothing; it writes nothing."""
        del instance_id
        return ""

    async def ended(self) -> AsyncIterator[Ended]:
        """Nothing ends by itself."""
        await asyncio.Event().wait()
        yield Ended("", End.CRASHED, "")

    async def clear(self) -> None:
        """Nothing to remove."""

    async def forget(self) -> None:
        """Nothing was kept."""

    async def thaw(self) -> None:
        """Nothing is frozen."""


class NoMachines(RowsOnly):
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
