"""Volumes of the tests: what the controller would say of them, the disk behind them, and the files on them."""

import asyncio
import contextlib
import secrets
import subprocess
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

from csi.pb import csi_pb2 as pb
from csi.volume_context import PublishContext, VolumeContext
from tests.support.orchestrator import capability
from tests.vm.disks import Bus, Disk, create_image
from tests.vm.guest import Guest
from tests.vm.qmp import QmpError
from tests.vm.tools import program

MIB = 1 << 20
KUBELET_DIR = "/var/lib/kubelet"
POD = "pod-1"
SIZE_BYTES = 512 * MIB


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume as the controller would describe it to a node."""

    volume_id: str
    size_bytes: int = SIZE_BYTES
    fs_type: str = "ext4"
    allocated_bytes: int | None = None
    source: str = ""

    @property
    def serial(self) -> str:
        """The serial that the platform gives its disk."""
        return self.volume_id.replace("-", "")[:20]

    @property
    def staging_path(self) -> str:
        """Where the kubelet wants it staged, as a path of the guest."""
        return f"{KUBELET_DIR}/plugins/kubernetes.io/csi/csi.thecloud.io/{self.volume_id}/globalmount"

    @property
    def target_path(self) -> str:
        """Where the pod sees it, as a path of the guest."""
        return f"{KUBELET_DIR}/pods/{POD}/volumes/kubernetes.io~csi/{self.volume_id}/mount"

    @property
    def capability(self) -> pb.VolumeCapability:
        """What the claim asks for."""
        return capability(self.fs_type)

    @property
    def publish_context(self) -> dict[str, str]:
        """What the controller found at the attach."""
        return PublishContext(self.serial, self.size_bytes, self.allocated_bytes).to_wire()

    @property
    def volume_context(self) -> dict[str, str]:
        """What the controller found at the creation."""
        return VolumeContext(source=self.source).to_wire()

    def resized(self, size_bytes: int) -> "Volume":
        """Give the volume after the platform made it larger."""
        return replace(self, size_bytes=size_bytes)

    def allocated_as(self, image: Path) -> "Volume":
        """Give the volume with what a platform would say of this image: the bytes that were ever written."""
        return replace(self, allocated_bytes=image.stat().st_blocks * 512)


def new_volume(fs_type: str = "ext4", size_bytes: int = SIZE_BYTES) -> Volume:
    """Make up a volume that nobody has seen before."""
    return Volume(str(uuid.uuid4()), size_bytes, fs_type)


def disk_of(volume: Volume, path: Path, bus: Bus = Bus.VIRTIO) -> Disk:
    """Describe the disk that presents an image as this volume; its name is new for each plugging."""
    return Disk(f"vol-{secrets.token_hex(4)}", path, volume.serial, bus)


def blank_disk(volume: Volume, folder: Path, bus: Bus = Bus.VIRTIO) -> Disk:
    """Make the volume's disk, all zeros."""
    return disk_of(volume, create_image(folder / f"{volume.volume_id}.img", volume.size_bytes), bus)


@contextlib.asynccontextmanager
async def plugged(guest: Guest, *disks: Disk) -> AsyncIterator[None]:
    """Have disks plugged in until the end of the block, unless the machine loses its power before."""
    held: list[Disk] = []
    try:
        for disk in disks:
            await guest.plug(disk)
            held.append(disk)
        yield
    except BaseException:
        # What failed is what counts; a disk that is still in use there may not go at all.
        for disk in held:
            with contextlib.suppress(TimeoutError, QmpError):
                await guest.unplug(disk, limit_s=2)
        raise
    for disk in held:
        if guest.running:
            await guest.unplug(disk)


async def disk_names(guest: Guest) -> set[str]:
    """Give the names of all block devices that the guest knows now."""
    return set((await guest.run("ls", "/sys/block")).output.split())


async def arrived(guest: Guest, known: set[str], number: int, *, limit_s: float = 20) -> None:
    """Wait until the guest has `number` more block devices than those known: QEMU plugs before the guest notices."""
    async with asyncio.timeout(limit_s):
        while len(await disk_names(guest) - known) < number:  # noqa: ASYNC110 - the guest rings no bell
            await asyncio.sleep(0.05)


async def write_file(guest: Guest, path: str, text: str, *, durable: bool = True) -> None:
    """Write a file in the guest; `durable` returns only after fsync."""
    conversion = ["conv=fsync"] if durable else []
    await guest.run("dd", f"of={path}", "bs=64k", "status=none", *conversion, text=text)


async def read_file(guest: Guest, path: str) -> str:
    """Read a file of the guest."""
    return (await guest.run("cat", path)).output


async def device_of(guest: Guest, serial: str) -> str:
    """Give the guest's name of the virtio disk with this serial."""
    script = (
        'for f in /sys/block/*/serial; do [ "$(cat "$f")" != "$1" ] || echo "/dev/$(basename "${f%/serial}")"; done'
    )
    return (await guest.run("sh", "-c", script, "sh", serial)).output.strip()


def fs_uuid(image: Path) -> str:
    """Read the file system's UUID from an image; empty when there is no file system."""
    return _probe(image, "UUID")


def fs_type(image: Path) -> str:
    """Read the file system's type from an image; empty when there is none."""
    return _probe(image, "TYPE")


def content(length: int = MIB) -> str:
    """Make up text that no file system contains by chance."""
    return secrets.token_hex(length // 2)


def _probe(image: Path, tag: str) -> str:
    command = [program("blkid"), "-p", "-s", tag, "-o", "value", str(image)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # 2 means that nothing was recognised.
    if done.returncode not in {0, 2}:
        raise OSError(f"blkid ended with {done.returncode} on {image}: {done.stderr.strip()}")
    return done.stdout.strip()
