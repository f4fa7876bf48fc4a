"""The steps of making a file system on a disk that may be formatted.

Here belongs the order: record, mkfs, flush, proof of what was made, record away. Whether the disk may be formatted is
decided before, in `filesystems`; nothing here looks at what was on it.
"""

import asyncio

from csi.errors import CsiError, ErrorKind
from node import format_record, mkfs
from node.devices import Devices
from node.disk_calls import Claim, opened
from node.format_record import FormatRecord
from node.model import MIB, Content, Device, FileSystem, Foreign, FsRequest, FsType, PartitionTable
from node.ports import Kernel, Observer, Runner
from node.probe import Probe
from node.superblock import Superblock

_KILLED = -9


class Formatter:
    """Makes file systems, so that a format that stops halfway is recognised and done again."""

    def __init__(self, kernel: Kernel, runner: Runner, devices: Devices, *, observer: Observer) -> None:
        self._kernel = kernel
        self._runner = runner
        self._devices = devices
        self._probe = Probe(kernel, runner)
        self._observer = observer
        self._tool_versions: dict[FsType, mkfs.Version] = {}

    async def format(
        self, claim: Claim, fs_type: FsType, request: FsRequest, *, interrupted: bool, deadline: float
    ) -> Superblock:
        """Make the file system on the claimed disk. Cancelled or killed at any point, the next call finishes the work.

        Gives what was made. `interrupted`: the disk carries the record of an earlier try. Raises CsiError PRECONDITION
        when the disk is another one now, INTERNAL when mkfs failed or made something else, or the disk cannot be
        written, TIMEOUT.
        """
        device = claim.device
        tool = await self._tool_version(fs_type, deadline)
        argv = mkfs.mkfs_argv(
            fs_type,
            device.path,
            format_record.fs_bytes(device.size_bytes),
            request.mkfs_options,
            kernel=self._kernel.release(),
            tool=tool,
        )
        # After every wait and right before the first write: the disk must still be the one that was proved blank.
        now = await self._devices.verify(device)
        if now.size_bytes != device.size_bytes:
            raise CsiError(ErrorKind.PRECONDITION, f"{device.describe()} changed its size just now; ask again")
        record = FormatRecord(request.serial, fs_type.value, device.size_bytes)
        await claim.run(lambda: self._begin(device, record, clear_head=interrupted), "written", deadline=deadline)
        await claim.let_tools_in()
        began = asyncio.get_running_loop().time()
        result = await self._runner.run(argv, deadline=deadline, pass_fds=(claim.lock_fd,))
        if result.exit_code != 0:
            # The record stays: whatever mkfs left is ours to overwrite.
            hint = " It was killed, probably for want of memory." if result.exit_code == _KILLED else ""
            raise CsiError(
                ErrorKind.INTERNAL,
                f"{device.describe()}: {argv[0]} ended with {result.exit_code}: {result.output}.{hint} Ask again.",
            )
        # All of mkfs before the record goes, or a power cut could leave a damaged file system that looks whole.
        await claim.run(lambda: self._flush(device), "written", deadline=deadline)
        made = await self._require_made(device, fs_type, request, interrupted=interrupted, deadline=deadline)
        await claim.run(lambda: self._finish(device), "written", deadline=deadline)
        self._observer.formatted(fs_type.value, asyncio.get_running_loop().time() - began)
        return made

    async def _require_made(
        self, device: Device, fs_type: FsType, request: FsRequest, *, interrupted: bool, deadline: float
    ) -> Superblock:
        """See that the disk has the type asked for, as every later stage will find it."""
        made = await self._probe.superblock(device, deadline=deadline)
        seen = made.kind if made is not None else "nothing that is known"
        if made is not None and seen == fs_type.value and interrupted:
            # What an earlier try left may stand beside the new file system; blkid looks for everything it knows.
            seen = _name(await self._probe.signatures(device, deadline=deadline))
        if made is not None and seen == fs_type.value:
            return made
        # The record stays: nothing that could be mounted as asked for is there, so the next try begins anew.
        raise CsiError(
            ErrorKind.INTERNAL,
            f"{device.describe()}: mkfs made {seen} in place of {fs_type.value}. Probably an option of the "
            f"StorageClass makes another type of it (mkfsOptions: {' '.join(request.mkfs_options) or 'none'}); use "
            "other options.",
        )

    def _begin(self, device: Device, record: FormatRecord, *, clear_head: bool) -> None:
        with opened(self._kernel, device, writable=True) as fd:
            self._kernel.write(fd, format_record.offset(device.size_bytes), record.encode())
            # On the disk before the first byte of mkfs, or a power cut could leave half a file system without record.
            self._kernel.flush(fd)
            if clear_head:
                # Superblocks of the earlier try, perhaps of another type, must not survive beside the new one.
                self._kernel.write(fd, 0, bytes(MIB))
                self._kernel.flush(fd)

    def _flush(self, device: Device) -> None:
        with opened(self._kernel, device, writable=True) as fd:
            self._kernel.flush(fd)

    def _finish(self, device: Device) -> None:
        with opened(self._kernel, device, writable=True) as fd:
            self._kernel.write(fd, format_record.offset(device.size_bytes), format_record.no_record())
            self._kernel.flush(fd)

    async def _tool_version(self, fs_type: FsType, deadline: float) -> mkfs.Version:
        """Give the tools' version where it matters; asked once."""
        if not mkfs.depends_on_kernel(fs_type, self._kernel.release()):
            return (0, 0)
        if fs_type not in self._tool_versions:
            result = await self._runner.run(mkfs.version_argv(fs_type), deadline=deadline)
            self._tool_versions[fs_type] = mkfs.parse_version(f"{result.stdout} {result.stderr}")
        return self._tool_versions[fs_type]


def _name(content: Content | None) -> str:
    match content:
        case FileSystem(fs_type=fs_type):
            return fs_type
        case Foreign(description=description):
            return description
        case PartitionTable(kind=kind):
            return f"a partition table ({kind})"
    return "nothing that is known"
