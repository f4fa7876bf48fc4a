"""Decides what may happen to a disk's content, then makes, checks or grows its file system.

Here belong the rules of formatting. Not here: reading the disk (`probe`), the steps of a format (`formatting`), the
tools' arguments (`mkfs`), mounting (`mounts`).
"""

import asyncio
import logging
import uuid
from pathlib import Path

from csi.errors import CsiError, ErrorKind
from node import btrfs_uuid, mkfs
from node.devices import Devices
from node.disk_calls import Claim, claimed, opened, turn
from node.format_record import TAIL_BYTES
from node.formatting import Formatter
from node.lasting import LIMIT_S, LastingWork
from node.model import (
    MIB,
    Blank,
    CommandResult,
    Device,
    FileSystem,
    Foreign,
    FsRequest,
    FsState,
    FsType,
    GrowResult,
    InterruptedFormat,
    PartitionTable,
)
from node.ports import Kernel, Observer, Runner, SilentObserver
from node.probe import Probe
from node.superblock import Superblock

_LOG = logging.getLogger(__name__)

GROW_GAP_BYTES = 16 * MIB
"""A file system this close to its disk's size is as large as it gets: the tail of our mkfs, and xfs drops a last
allocation group below 16 MiB."""

_CLONE_NAMESPACE = uuid.UUID("5f0c7f0e-6c07-4a0e-9d0e-2f9a4f1f7b11")
_E2FSCK_REPAIRED = frozenset({1, 2, 3})
_E2FSCK_UNREPAIRED = 4


Unmade = Blank | InterruptedFormat | Foreign | PartitionTable


def parse_fs_type(name: str) -> FsType:
    """Give the file system type; the empty name means ext4. Raises CsiError INVALID naming those supported."""
    try:
        return FsType(name or "ext4")
    except ValueError:
        known = ", ".join(fs_type.value for fs_type in FsType)
        raise CsiError(ErrorKind.INVALID, f"file system {name[:40]!r} is not supported; known are {known}") from None


def mount_options(
    fs_type: FsType, *, read_only: bool, device_read_only: bool, flags: tuple[str, ...]
) -> tuple[str, ...]:
    """Give the options to mount a volume with: the caller's flags, plus what the file system needs.

    xfs gets `nouuid`, because a clone carries the UUID of its source. A disk that cannot be written gets the option
    that mounts without replaying the journal.
    """
    options = list(flags)
    if read_only or device_read_only:
        options.append("ro")
    if fs_type is FsType.XFS:
        options.append("nouuid")
    if device_read_only:
        options.append({FsType.XFS: "norecovery", FsType.BTRFS: "rescue=nologreplay"}.get(fs_type, "noload"))
    return tuple(dict.fromkeys(options))


def clone_uuid(serial: str) -> str:
    """Give the UUID that a btrfs clone gets: always the same for one volume, so that a second try changes nothing."""
    return str(uuid.uuid5(_CLONE_NAMESPACE, serial))


class FileSystems:
    """File systems on volumes of this host."""

    def __init__(
        self,
        kernel: Kernel,
        runner: Runner,
        devices: Devices,
        *,
        sys_root: Path = Path("/sys"),
        observer: Observer | None = None,
        format_limit: int = 2,
    ) -> None:
        """`format_limit`: so many mkfs and e2fsck at once, because each takes memory and disk bandwidth."""
        self._kernel = kernel
        self._runner = runner
        self._devices = devices
        self._sys_root = sys_root
        self._observer = observer or SilentObserver()
        self._probe = Probe(kernel, runner)
        self._formatter = Formatter(kernel, runner, devices, observer=self._observer)
        self._formats = asyncio.Semaphore(format_limit)
        # Apart from the formats: a check may take hours, and blank disks need not wait for it.
        self._lasting = LastingWork(kernel, limit=format_limit)

    async def ensure(self, device: Device, request: FsRequest, *, deadline: float) -> FsState:
        """Make sure that the (unmounted) disk has the file system asked for, formatting it only if proved blank.

        Idempotent. An existing ext file system is checked unless read-only; a btrfs clone gets a UUID of its own.
        Raises CsiError: INVALID (unknown type), ALREADY_EXISTS (another file system), PRECONDITION (foreign content,
        partition table, disk in use or changed, blank but read-only), DATA_LOSS (blank although written or restored;
        damage that the check may not repair), OUT_OF_RANGE (too small for the file system), BUSY (a check goes on
        beyond this call), INTERNAL (a tool failed), TIMEOUT.
        """
        fs_type = parse_fs_type(request.fs_type)
        if request.serial not in device.serials:
            raise CsiError(
                ErrorKind.PRECONDITION, f"{device.describe()} is not the volume with serial {request.serial!r}"
            )
        await self._lasting.settle(device, deadline=deadline)
        in_use = await asyncio.to_thread(self._devices.in_use, device)
        if in_use:
            raise self._refusal(device, "in_use", ErrorKind.PRECONDITION, f"it is {in_use}")
        # The claim spans proof and mkfs: nobody can mount, map or format the disk in between.
        async with claimed(self._kernel, device, deadline=deadline) as claim:
            content = await self._probe.content(device, serial=request.serial, deadline=deadline, claim=claim)
            if isinstance(content, FileSystem):
                return await self._accept(claim, content, fs_type, request, deadline)
            self._require_may_format(device, content, request)
            interrupted = isinstance(content, InterruptedFormat)
            async with turn(self._formats, deadline=deadline):
                made = await self._formatter.format(claim, fs_type, request, interrupted=interrupted, deadline=deadline)
        return FsState(fs_type, made.uuid, formatted=True)

    def can_grow_mounted(self, fs_type: FsType) -> bool:
        """Whether this process may grow a mounted file system of this type.

        Where it may, growing mounted is the better way also at stage: the kernel journals it, whereas resize2fs on an
        unmounted disk is not safe against a power cut.
        """
        return not fs_type.is_ext or self._kernel.has_sys_resource()

    async def grow(self, device: Device, fs_type: FsType, *, mount_path: Path | None, deadline: float) -> GrowResult:
        """Grow the file system to the disk when that is larger by more than 16 MiB; else change nothing.

        `mount_path` is where it is mounted read-write, None when it is not mounted; xfs and btrfs can only grow
        mounted. The size in the result is the one on the disk, which a mounted xfs writes with a delay. Raises
        CsiError: PRECONDITION when it grows only unmounted (at the next stage), BUSY when the growth goes on beyond
        this call, INTERNAL with the tool's words, TIMEOUT.
        """
        if mount_path is None:
            await self._lasting.settle(device, deadline=deadline)
        device = await self._devices.reread(device)
        block = await self._superblock(device, deadline)
        if device.size_bytes - block.size_bytes <= GROW_GAP_BYTES:
            return GrowResult(block.size_bytes, device.size_bytes, grown=False)
        device = await self._devices.verify(device)
        if mount_path is None:
            await self._grow_unmounted(device, fs_type, deadline)
        else:
            await self._grow_mounted(device, fs_type, mount_path, deadline)
        block = await self._superblock(device, deadline)
        return GrowResult(block.size_bytes, device.size_bytes, grown=True)

    async def _accept(
        self, claim: Claim, found: FileSystem, fs_type: FsType, request: FsRequest, deadline: float
    ) -> FsState:
        """Use the file system that is there, or refuse it. Nothing is ever formatted on this path."""
        device = claim.device
        if found.fs_type != fs_type.value:
            raise self._refusal(
                device,
                "other_file_system",
                ErrorKind.ALREADY_EXISTS,
                f"it has the file system {found.fs_type}, and {fs_type.value} is asked for. Use a StorageClass or "
                f"volume definition with fsType {found.fs_type}, or another volume",
            )
        repaired = False
        fs_uuid = found.uuid
        if fs_type is FsType.BTRFS:
            fs_uuid = await self._separate_from_twin(claim, request, deadline)
        if fs_type.is_ext and not request.read_only and not device.read_only:
            await claim.let_tools_in()
            repaired = await self._lasting.run(
                claim, "e2fsck", lambda lock_fd: self._check(device, fs_type, lock_fd), deadline=deadline
            )
        return FsState(fs_type, fs_uuid, formatted=False, repaired=repaired)

    def _require_may_format(self, device: Device, content: Unmade, request: FsRequest) -> None:
        """Let only a blank disk or our own interrupted format through."""
        if isinstance(content, PartitionTable):
            raise self._refusal(
                device, "partition_table", ErrorKind.PRECONDITION, f"it has a partition table ({content.kind})"
            )
        if isinstance(content, Foreign):
            raise self._refusal(device, "foreign", ErrorKind.PRECONDITION, f"it holds {content.description}")
        if request.has_source:
            raise self._refusal(
                device,
                "has_source",
                ErrorKind.DATA_LOSS,
                "it is blank, although the volume was made from a snapshot or another volume and must hold a file "
                "system. The restore may have failed; restore again",
            )
        if request.read_only or device.read_only:
            raise self._refusal(
                device,
                "read_only",
                ErrorKind.PRECONDITION,
                "it is blank and to be used read-only; use it writable once",
            )
        if isinstance(content, Blank) and request.allocated_bytes:
            raise self._refusal(
                device,
                "written",
                ErrorKind.DATA_LOSS,
                f"it looks blank, although the platform reports {request.allocated_bytes} bytes written to it. "
                "Its data may be gone or not be presented; check the volume on the platform before anything else",
            )
        if device.size_bytes - TAIL_BYTES < mkfs.SMALLEST_BYTES[parse_fs_type(request.fs_type)]:
            least = mkfs.SMALLEST_BYTES[parse_fs_type(request.fs_type)] + TAIL_BYTES
            raise self._refusal(
                device, "too_small", ErrorKind.OUT_OF_RANGE, f"{request.fs_type or 'ext4'} needs at least {least} bytes"
            )

    def _refusal(self, device: Device, reason: str, kind: ErrorKind, text: str) -> CsiError:
        self._observer.format_refused(reason)
        return CsiError(kind, f"{device.describe()} is left as it is: {text}.")

    async def _check(self, device: Device, fs_type: FsType, lock_fd: int) -> bool:
        """Check an ext file system and say whether it had to be repaired."""
        result = await self._run_through(mkfs.check_argv(device.path), lock_fd)
        if result.exit_code in _E2FSCK_REPAIRED:
            self._tell_repair(device, fs_type, result)
            return True
        if result.exit_code == 0:
            return False
        damaged = result.exit_code > 0 and result.exit_code & _E2FSCK_UNREPAIRED
        raise CsiError(
            ErrorKind.DATA_LOSS if damaged else ErrorKind.INTERNAL,
            f"{device.describe()}: e2fsck ended with {result.exit_code}: {result.output}. It is not mounted."
            + (" Take a snapshot, then repair it with e2fsck by hand." if damaged else ""),
        )

    async def _run_through(self, argv: tuple[str, ...], lock_fd: int) -> CommandResult:
        """Run a tool that changes an unmounted file system, and so is never cut off."""
        limit = asyncio.get_running_loop().time() + LIMIT_S
        return await self._runner.run_through(argv, deadline=limit, pass_fds=(lock_fd,))

    def _tell_repair(self, device: Device, fs_type: FsType, result: CommandResult) -> None:
        # Repaired is not the same as unharmed: somebody has to hear that the disk had errors.
        _LOG.warning("%s: e2fsck repaired its %s: %s", device.describe(), fs_type.value, result.output)
        self._observer.repaired(fs_type.value)

    async def _separate_from_twin(self, claim: Claim, request: FsRequest, deadline: float) -> str:
        """Give a btrfs clone a UUID of its own before its first mount.

        The kernel knows btrfs by UUID and device id, which a clone shares with its source: mounting one of them may
        show the data of the other.
        """
        device = claim.device
        block = await self._superblock(device, deadline)
        if block.devices != 1:
            raise CsiError(ErrorKind.PRECONDITION, f"{device.describe()} is one of {block.devices} disks of a btrfs")
        fs_uuid = block.uuid
        writable = not request.read_only and not device.read_only
        if request.has_source and writable and fs_uuid != clone_uuid(request.serial):
            fs_uuid = clone_uuid(request.serial)
            await self._devices.verify(device)
            await claim.run(lambda: self._change_uuid(device, fs_uuid), "written", deadline=deadline)
        twins = await asyncio.to_thread(self._mounted_btrfs, fs_uuid)
        if twins - {device.name}:
            raise CsiError(
                ErrorKind.PRECONDITION,
                f"{device.describe()}: a btrfs with the same UUID {fs_uuid} is mounted from "
                f"{', '.join(sorted(twins))}; the kernel would show one in place of the other. Unmount that one, or "
                "stage this volume writable once.",
            )
        return fs_uuid

    def _change_uuid(self, device: Device, fs_uuid: str) -> None:
        try:
            with opened(self._kernel, device, writable=True) as fd:
                btrfs_uuid.change(self._kernel, fd, fs_uuid)
        except ValueError as error:
            raise CsiError(
                ErrorKind.PRECONDITION,
                f"{device.describe()}: the btrfs clone cannot get a UUID of its own: {error}. It is not mounted, or it "
                "would be taken for its source.",
            ) from error

    def _mounted_btrfs(self, fs_uuid: str) -> set[str]:
        try:
            return {member.name for member in (self._sys_root / "fs/btrfs" / fs_uuid / "devices").iterdir()}
        except OSError:
            return set()

    async def _grow_mounted(self, device: Device, fs_type: FsType, mount_path: Path, deadline: float) -> None:
        if not await asyncio.to_thread(self.can_grow_mounted, fs_type):
            raise CsiError(
                ErrorKind.PRECONDITION,
                f"{device.describe()}: this kernel grows a mounted {fs_type.value} only for a process with "
                "CAP_SYS_RESOURCE, which the node plugin does not have. It grows when the volume is staged next; end "
                "the pods that use it, or give the plugin the capability.",
            )
        # The kernel does this growth and journals it, so the command may be cut off with its caller.
        argv = mkfs.grow_argv(fs_type, device.path, mount_path)
        _require_success(await self._runner.run(argv, deadline=deadline), device)

    async def _grow_unmounted(self, device: Device, fs_type: FsType, deadline: float) -> None:
        if not fs_type.is_ext:
            raise CsiError(
                ErrorKind.INTERNAL, f"{device.describe()}: {fs_type.value} can only grow while it is mounted"
            )
        async with claimed(self._kernel, device, deadline=deadline) as claim:
            await claim.let_tools_in()
            # One piece of work: a check that took longer than the call must not begin again at the next one.
            await self._lasting.run(
                claim,
                "e2fsck and resize2fs",
                lambda lock_fd: self._check_and_grow(device, fs_type, lock_fd),
                deadline=deadline,
            )

    async def _check_and_grow(self, device: Device, fs_type: FsType, lock_fd: int) -> None:
        checked = await self._run_through(mkfs.check_argv(device.path, whole=True), lock_fd)
        if checked.exit_code in _E2FSCK_REPAIRED:
            self._tell_repair(device, fs_type, checked)
        elif checked.exit_code != 0:
            raise CsiError(
                ErrorKind.DATA_LOSS,
                f"{device.describe()}: not grown, because e2fsck ended with {checked.exit_code}: {checked.output}.",
            )
        _require_success(await self._run_through(mkfs.grow_argv(fs_type, device.path, None), lock_fd), device)

    async def _superblock(self, device: Device, deadline: float) -> Superblock:
        block = await self._probe.superblock(device, deadline=deadline)
        if block is None:
            raise CsiError(ErrorKind.INTERNAL, f"{device.describe()}: no superblock of ext, xfs or btrfs can be read")
        return block


def _require_success(result: CommandResult, device: Device) -> None:
    if result.exit_code != 0:
        words = f"{result.argv[0]} ended with {result.exit_code}: {result.output}"
        raise CsiError(ErrorKind.INTERNAL, f"{device.describe()}: {words}")
