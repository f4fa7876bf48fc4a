"""Makes the kernel refuse writes to a raw block volume that is published read-only.

A read-only bind mount of a device node does not stop writes to the device, so the disk itself is write-protected while
only read-only publications exist. Not here: file systems, where the mount's own flag does it.
"""

import asyncio
from dataclasses import replace

from csi.errors import CsiError, ErrorKind
from node.model import Device
from node.ports import Runner
from node.state import StagedVolume, VolumeRecords

COMMAND_LIMIT_S = 10.0


class WriteProtection:
    """The kernel's write protection of disks, as far as this driver set it."""

    def __init__(self, *, runner: Runner, records: VolumeRecords) -> None:
        self._runner = runner
        self._records = records

    async def protect(self, record: StagedVolume, disk: Device) -> StagedVolume:
        """Write-protect the disk and give the record that says so. A disk that already is protected stays as it is.

        Raises CsiError INTERNAL when the kernel refuses.
        """
        if disk.read_only:
            return record
        protected = replace(record, write_protected=True)
        # The record first: a protection that nobody remembers would make the volume read-only for the next pod.
        await self._records.put(protected)
        await self._set(disk, "--setro")
        return protected

    async def release(self, record: StagedVolume, disk: Device) -> StagedVolume:
        """Take back a protection of ours and give the record without it. Raises CsiError INTERNAL."""
        if not record.write_protected:
            return record
        await self._set(disk, "--setrw")
        released = replace(record, write_protected=False)
        await self._records.put(released)
        return released

    async def _set(self, disk: Device, option: str) -> None:
        deadline = asyncio.get_running_loop().time() + COMMAND_LIMIT_S
        result = await self._runner.run(("blockdev", option, str(disk.path)), deadline=deadline)
        if result.exit_code != 0:
            raise CsiError(
                ErrorKind.INTERNAL, f"blockdev {option} {disk.path} failed ({result.exit_code}): {result.output}"
            )
