"""The commands of the simulated host: mkfs, blkid, e2fsck, growing tools, mount and umount.

Each answers with the exit code and the kind of text that the real one gives, blkid's misleading ones included.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from csi.errors import CsiError, ErrorKind
from node.model import MIB, CommandResult, DeviceNumber, MountEntry
from tests.support import fake_disk_formats as formats
from tests.support.fake_disks import FakeDisk

if TYPE_CHECKING:
    from tests.support.fake_host import FakeHost

DEVTMPFS = DeviceNumber(0, 6)
Answer = tuple[int, str, str]


@dataclass
class Gate:
    """Holds a command between its start and its work."""

    started: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    expire: asyncio.Event = field(default_factory=asyncio.Event)
    """Set, it is as if the caller's deadline passed; no test has to wait for a clock."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """The command finished or was killed."""


@dataclass
class Failure:
    """What the next run of a program does in place of its work."""

    exit_code: int
    stderr: str
    midway: bool
    """Half of the work is done first."""


class FakeRunner:
    """`ports.Runner` on the simulated host."""

    def __init__(self, host: "FakeHost") -> None:
        self._host = host
        self._gates: dict[str, Gate] = {}
        self._failures: dict[str, list[Failure]] = {}
        self.versions = {"mkfs.xfs": "mkfs.xfs version 6.1.0", "mkfs.btrfs": "mkfs.btrfs, part of btrfs-progs v6.2"}
        self.running = 0
        self.most_running: dict[str, int] = {}
        """The most runs of each program at one time."""
        self._now: dict[str, int] = {}
        self.lasting: list[asyncio.Future[CommandResult]] = []
        """Commands that go on without their callers."""

    def gate(self, program: str) -> Gate:
        """Hold the program's next runs until the test lets them go on."""
        return self._gates.setdefault(program, Gate())

    def fail_next(self, program: str, exit_code: int = 1, stderr: str = "failed", *, midway: bool = False) -> None:
        """Make the program's next run fail; `midway` leaves half of its work on the disk."""
        self._failures.setdefault(program, []).append(Failure(exit_code, stderr, midway))

    async def run(self, argv: Sequence[str], *, deadline: float, pass_fds: Sequence[int] = ()) -> CommandResult:
        program = argv[0]
        self._host.point("run " + " ".join(argv))
        if program in self._host.missing:
            raise CsiError(ErrorKind.INTERNAL, f"{program} is not installed on this node")
        self._now[program] = self._now.get(program, 0) + 1
        self.most_running[program] = max(self.most_running.get(program, 0), self._now[program])
        inherited = [self._host.kernel.duplicate(fd) for fd in pass_fds]
        try:
            await self._wait(program, deadline)
            code, stdout, stderr = self._answer(program, list(argv))
        finally:
            self._now[program] -= 1
            for fd in inherited:
                self._host.kernel.close(fd)
        return CommandResult(tuple(argv), code, stdout, stderr)

    async def run_through(self, argv: Sequence[str], *, deadline: float, pass_fds: Sequence[int] = ()) -> CommandResult:
        work = asyncio.ensure_future(self.run(argv, deadline=deadline, pass_fds=pass_fds))
        self.lasting.append(work)
        return await asyncio.shield(work)

    async def _wait(self, program: str, deadline: float) -> None:
        gate = self._gates.get(program)
        if gate is None:
            await asyncio.sleep(0)
            return
        gate.started.set()
        waits = [asyncio.ensure_future(event.wait()) for event in (gate.go_on, gate.expire)]
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            expired = not gate.go_on.is_set()
        except TimeoutError:
            expired = True
        finally:
            for wait in waits:
                wait.cancel()
            gate.ended.set()
        if expired:
            raise CsiError(ErrorKind.TIMEOUT, f"{program}: not finished in time; it was stopped")

    def _answer(self, program: str, argv: list[str]) -> Answer:
        failures = self._failures.get(program)
        if failures:
            failure = failures.pop(0)
            if failure.midway:
                self._half(argv)
            return failure.exit_code, "", failure.stderr
        tool = self._tools().get(program)
        if tool is None:
            raise CsiError(ErrorKind.INTERNAL, f"{program} is not installed on this node")
        return tool(argv)

    def _tools(self) -> dict[str, Callable[[list[str]], Answer]]:
        return {
            "mkfs.ext3": self._mkfs,
            "mkfs.ext4": self._mkfs,
            "mkfs.xfs": self._mkfs,
            "mkfs.btrfs": self._mkfs,
            "blkid": self._blkid,
            "e2fsck": self._e2fsck,
            "resize2fs": self._resize2fs,
            "xfs_growfs": self._grow_mounted,
            "btrfs": self._grow_mounted,
            "blockdev": self._blockdev,
            "mount": self._mount,
            "umount": self._umount,
        }

    # File systems

    def _mkfs(self, argv: list[str]) -> Answer:
        if "-V" in argv:
            return 0, self.versions.get(argv[0], "mke2fs 1.47.0 (5-Feb-2023)"), ""
        fs_type = "ext2" if any("^has_journal" in word for word in argv) else argv[0].removeprefix("mkfs.")
        disk, error = self._free_disk(argv)
        if disk is None:
            return 1, "", error
        size_bytes = _mkfs_size(fs_type, argv, disk)
        if fs_type in {"xfs", "btrfs"} and "-f" not in argv and formats.kinds(disk.head):
            return 1, "", f"{argv[0]}: appears to contain an existing filesystem"
        if fs_type == "xfs" and size_bytes < formats.XFS_MIN:
            return 1, "", "Filesystem must be larger than 300MB."
        if fs_type == "btrfs" and size_bytes < formats.BTRFS_MIN:
            return 1, "", f"ERROR: size {size_bytes} is too small to make a usable filesystem"
        if fs_type == "xfs":
            disk.write(disk.size_bytes - 128 * 1024, bytes(128 * 1024))
        for offset, data in formats.make(fs_type, size_bytes).items():
            disk.write(offset, data)
        disk.unflushed.clear()
        disk.checked, disk.damage = False, ""
        return 0, "", ""

    def _half(self, argv: list[str]) -> None:
        """Leave what a killed mkfs leaves: structures without a superblock, or a mount without an entry."""
        if argv[0].startswith("mkfs."):
            disk, _ = self._free_disk(argv)
            if disk is not None:
                disk.write(4096, b"\xf5" * 4096)
                disk.write(disk.size_bytes // 2, b"\xf5" * 4096)
        elif argv[0] in {"mount", "umount"}:
            self._tools()[argv[0]](argv)

    def _blkid(self, argv: list[str]) -> Answer:
        disk = self._host.disk_at(Path(argv[-1]))
        # The real one also answers 2 for a disk that it cannot read or find.
        if disk is None:
            return 2, "", ""
        try:
            found = formats.kinds(disk.head)
        except OSError:
            return 2, "", ""
        if not found:
            return 2, "", ""
        if len(found) > 1:
            return 8, "", "blkid: ambivalent result"
        tags = {"DEVNAME": argv[-1], **found[0]}
        return 0, "".join(f"{key}={value}\n" for key, value in tags.items()), ""

    def _e2fsck(self, argv: list[str]) -> Answer:
        disk, error = self._free_disk(argv)
        if disk is None or not formats.fs_type_of(disk.head).startswith("ext"):
            return 8, "", error or "Bad magic number in super-block"
        if disk.damage == "fatal":
            return 4, "UNEXPECTED INCONSISTENCY; RUN fsck MANUALLY.", ""
        repaired, disk.damage = disk.damage == "repairable", ""
        disk.checked = disk.checked or "-f" in argv
        return (1 if repaired else 0), f"{argv[-1]}: clean", ""

    def _resize2fs(self, argv: list[str]) -> Answer:
        disk = self._host.disk_at(Path(argv[-1]))
        if disk is None:
            return 1, "", "resize2fs: No such file or directory"
        mounted = any(self._host.disk_of(entry) is disk for entry in self._host.mounts)
        if mounted and not self._host.sys_resource:
            return 1, "", "resize2fs: Permission denied to resize filesystem"
        if not mounted and not disk.checked:
            return 1, "", f"Please run 'e2fsck -f {argv[-1]}' first."
        self._resize(disk)
        return 0, "", ""

    def _grow_mounted(self, argv: list[str]) -> Answer:
        entry = self._host.top_mount(Path(argv[-1]))
        disk = self._host.disk_of(entry) if entry else None
        wanted = "xfs" if argv[0] == "xfs_growfs" else "btrfs"
        if entry is None or disk is None or entry.fs_type != wanted:
            return 1, "", f"{argv[0]}: {argv[-1]} is not a mounted {wanted} filesystem"
        if entry.read_only:
            return 1, "", f"{argv[0]}: Read-only file system"
        self._resize(disk)
        return 0, "", ""

    def _blockdev(self, argv: list[str]) -> Answer:
        disk = self._host.disk_at(Path(argv[-1]))
        if disk is None:
            return 1, "", f"blockdev: cannot open {argv[-1]}: No such device or address"
        disk.read_only = argv[1] == "--setro"
        self._host.put(self._host.sys_root / "block" / disk.name / "ro", f"{int(disk.read_only)}\n")
        return 0, "", ""

    def _free_disk(self, argv: list[str]) -> tuple[FakeDisk | None, str]:
        path = next(word for word in argv if word.startswith(str(self._host.dev_root)))
        disk = self._host.disk_at(Path(path))
        if disk is None:
            return None, f"{argv[0]}: {path}: No such file or directory"
        if self._host.is_claimed(disk):
            return None, f"{path} is apparently in use by the system"
        return disk, ""

    @staticmethod
    def _resize(disk: FakeDisk) -> None:
        disk.write(0, formats.resized(disk.head, disk.size_bytes // 4096 * 4096))
        disk.unflushed.clear()

    # Mounts

    def _mount(self, argv: list[str]) -> Answer:
        split = argv.index("--")
        operands = [Path(word) for word in argv[split + 1 :]]
        options = argv[argv.index("-o") + 1].split(",") if "-o" in argv else []
        target = operands[-1]
        if not target.exists():
            return 32, "", f"mount: {target}: mount point does not exist."
        if "remount" in options:
            return self._remount(target, options)
        if "bind" in options:
            return self._bind(operands[0], target)
        return self._mount_disk(operands[0], target, argv[argv.index("-t") + 1], options)

    def _mount_disk(self, source: Path, target: Path, fs_type: str, options: list[str]) -> Answer:
        disk = self._host.disk_at(source)
        if disk is None or disk.unreadable:
            return 32, "", f"mount: {target}: special device {source} does not exist."
        if formats.fs_type_of(disk.head) != fs_type or not target.is_dir():
            return 32, "", f"mount: {target}: wrong fs type, bad option, bad superblock on {source}."
        below = self._host.top_mount(target)
        if below is not None and self._host.disk_of(below) is disk and below.root == "/":
            return 32, "", f"mount: {target}: {source} already mounted on {target}."
        uuid = formats.uuid_of(disk.head)
        twins = [
            (entry, other)
            for entry in self._host.mounts
            if (other := self._host.disk_of(entry))
            and other is not disk
            and formats.kinds(other.head)
            and formats.uuid_of(other.head) == uuid
            and entry.fs_type == fs_type
        ]
        if fs_type == "xfs" and twins and "nouuid" not in options:
            return 32, "", f"mount: {target}: wrong fs type, bad option, bad superblock on {source}."
        # The kernel tells btrfs file systems apart by UUID: the mounted one is shown again in place of its clone.
        shown = twins[0][1] if twins and fs_type == "btrfs" else disk
        read_only = "ro" in options or disk.read_only
        if not read_only:
            shown.write(0, formats.mounted_once(shown.head))
        shown.checked = False
        number = DeviceNumber(0, 40 + shown.number.minor) if fs_type == "btrfs" else shown.number
        mode = "ro" if read_only else "rw"
        entry = MountEntry(
            self._host.take("mount"),
            self._parent(target),
            number,
            "/",
            target,
            (mode, "relatime"),
            fs_type,
            str(self._host.dev_root / shown.name),
            (mode, *(o for o in options if o not in {"ro", "rw"})),
        )
        self._host.add_mount(entry)
        return 0, "", ""

    def _bind(self, source: Path, target: Path) -> Answer:
        number = self._host.kernel.node_number(source)
        if number is None and (not source.is_dir() or not target.is_dir()):
            return 32, "", f"mount: {target}: special device {source} does not exist."
        if number is not None and target.is_dir():
            return 32, "", f"mount: {target}: mount(2) system call failed: Not a directory."
        below = self._host.kernel.mount_of(source)
        mount_id = self._host.take("mount")
        if number is not None:
            entry = MountEntry(
                mount_id,
                self._parent(target),
                DEVTMPFS,
                f"/{source.name}",
                target,
                ("rw",),
                "devtmpfs",
                "devtmpfs",
                ("rw",),
            )
            self._host.bound_nodes[mount_id] = number
        else:
            inside = source.relative_to(below.mount_point)
            root = str(Path(below.root) / inside)
            entry = MountEntry(
                mount_id,
                self._parent(target),
                below.device,
                root,
                target,
                below.options,
                below.fs_type,
                below.source,
                below.super_options,
            )
        self._host.add_mount(entry)
        return 0, "", ""

    def _remount(self, target: Path, options: list[str]) -> Answer:
        entry = self._host.top_mount(target)
        if entry is None:
            return 32, "", f"mount: {target}: mount point not mounted or bad option."
        own = [option for option in options if option not in {"remount", "bind"}]
        mode = "ro" if "ro" in own else "rw"
        kept = [option for option in entry.options if option not in {"ro", "rw"}]
        self._host.replace_mount(entry, options=(mode, *kept, *(o for o in own if o not in {"ro", "rw", *kept})))
        return 0, "", ""

    def _umount(self, argv: list[str]) -> Answer:
        target = Path(argv[-1])
        entry = self._host.top_mount(target)
        if entry is None:
            return 32, "", f"umount: {target}: not mounted."
        nested = any(target in other.mount_point.parents for other in self._host.mounts)
        if target in self._host.busy or nested:
            return 32, "", f"umount: {target}: target is busy."
        disk = self._host.disk_of(entry)
        self._host.drop_mount(entry)
        self._host.path_errors.pop(target, None)
        if disk is not None:
            disk.unflushed.clear()
        return 0, "", ""

    def _parent(self, target: Path) -> int:
        return self._host.kernel.mount_of(target).mount_id


def _mkfs_size(fs_type: str, argv: list[str], disk: FakeDisk) -> int:
    if fs_type.startswith("ext"):
        return int(argv[-1].removesuffix("k")) * 1024 if argv[-1].endswith("k") else disk.size_bytes // MIB * MIB
    if fs_type == "xfs":
        return next((int(word.removeprefix("size=")) for word in argv if word.startswith("size=")), disk.size_bytes)
    return int(argv[argv.index("--byte-count") + 1]) if "--byte-count" in argv else disk.size_bytes
