"""Mounts, bind mounts and unmounts, judged by the kernel's mount table and nothing else.

Not here: which path or option a volume gets (`stage`, `publish`), and parsing (`mountinfo`).
"""

import asyncio
import errno
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from csi.errors import CsiError, ErrorKind
from node import mountinfo
from node.holders import holders_of
from node.model import CommandResult, DeviceNumber, MountEntry
from node.ports import Kernel, Runner

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

DEAD = frozenset({errno.EIO, errno.ENOTCONN, errno.ESTALE, errno.EHOSTDOWN, errno.ENODEV, errno.ENXIO, errno.EUCLEAN})
"""What stat(2) and statvfs(2) say on a mount whose disk or server is gone or whose file system shut down."""
_MAX_LAYERS = 64
"""More mounts than this on one path are not undone in one call; something mounts in a loop."""
_CLEANUP_S = 5.0
_BTRFS = " - btrfs "
"""Stands in the lines of btrfs, which show an anonymous number in place of the disk's."""


class Mounts:
    """The mount table of this process's namespace."""

    def __init__(
        self,
        kernel: Kernel,
        runner: Runner,
        *,
        proc_root: Path = Path("/proc"),
        sys_root: Path = Path("/sys"),
        host_proc: Path | None = None,
    ) -> None:
        self._kernel = kernel
        self._runner = runner
        self._proc_root = proc_root
        self._host_proc = host_proc or proc_root
        self._sys_root = sys_root

    def table(self, *, holding: tuple[str, ...] = ("",)) -> tuple[MountEntry, ...]:
        """Give all mounts in the order of the kernel's table; `holding` as in `mountinfo.parse` (blocking)."""
        text = (self._proc_root / "self/mountinfo").read_text(errors="surrogateescape")
        return mountinfo.parse(text, holding=holding)

    def at(self, path: Path) -> MountEntry | None:
        """Give the topmost mount on exactly this path, None when nothing is mounted there (blocking).

        Links in the parent folders are followed; a path that is itself a link is refused with CsiError PRECONDITION.
        """
        point = _resolve(path)
        on_point = [e for e in self.table(holding=(mountinfo.word_of(point),)) if e.mount_point == point]
        # Of several mounts on one path, the topmost is the one that is nobody's parent here.
        covered = {entry.parent_id for entry in on_point}
        return next((entry for entry in reversed(on_point) if entry.mount_id not in covered), None)

    def backed_by(self, entry: MountEntry) -> DeviceNumber | None:
        """Give the block device under a mount, btrfs included; None when it has none or several (blocking)."""
        if entry.device.major != 0:
            return entry.device
        if entry.fs_type != "btrfs":
            return None
        return self._btrfs_device(entry)

    def entries_of(self, number: DeviceNumber) -> tuple[MountEntry, ...]:
        """Give every mount whose file system lives on this block device (blocking)."""
        table = self.table(holding=(f" {number} ", _BTRFS))
        return tuple(entry for entry in table if self.backed_by(entry) == number)

    async def mount(
        self, source: Path, target: Path, *, fs_type: str, options: tuple[str, ...], deadline: float
    ) -> MountEntry:
        """Mount a device on an existing folder and give the new entry. Not idempotent: look with `at` first.

        Raises CsiError INTERNAL with mount's words, TIMEOUT. Nothing is left mounted when it raises.
        """
        words = ("-o", ",".join(options)) if options else ()
        point = await _in_thread(lambda: _resolve(target), deadline, target)
        argv = ("mount", "-n", "-t", fs_type, *words, "--", str(source), str(point))
        return await self._mounted((argv,), target, read_only="ro" in options, deadline=deadline)

    async def bind(self, source: Path, target: Path, *, read_only: bool, deadline: float) -> MountEntry:
        """Bind a folder or a device node on an existing target of the same kind; read-only is verified afterwards.

        Raises as `mount`; nothing is left mounted when it raises.
        """
        point = str(await _in_thread(lambda: _resolve(target), deadline, target))
        commands: tuple[tuple[str, ...], ...] = (("mount", "-n", "-o", "bind", "--", str(source), point),)
        if read_only:
            # A bind mount takes the options of its source; its own come with a second call.
            commands += (("mount", "-n", "-o", "remount,bind,ro", "--", point),)
        return await self._mounted(commands, target, read_only=read_only, deadline=deadline)

    async def unmount(self, target: Path, *, deadline: float) -> bool:
        """Unmount everything on exactly this path; False when nothing was mounted. Never lazily, never by force.

        Raises CsiError PRECONDITION when it is busy, naming who holds it where that is known; TIMEOUT.
        """
        for layer in range(_MAX_LAYERS):
            entry = await _in_thread(lambda: self.at(target), deadline, target)
            if entry is None:
                return layer > 0
            result = await self._runner.run(_umount(entry), deadline=deadline)
            if result.exit_code != 0 and await self._still(entry, deadline):
                holders = await _in_thread(lambda: holders_of(target, self._host_proc), deadline, target)
                raise CsiError(
                    ErrorKind.PRECONDITION,
                    f"{target} cannot be unmounted: {result.output}. In use by: {holders or 'unknown'}. "
                    "It stays mounted; end what uses it.",
                )
        raise CsiError(ErrorKind.PRECONDITION, f"{target} has more than {_MAX_LAYERS} mounts on top of each other")

    def damage(self, path: Path) -> str:
        """Say why the mount at `path` is dead (disk gone, I/O errors, stale), or "" when it answers (blocking)."""
        try:
            self._kernel.path_device(path)
            self._kernel.usage(path)
        except OSError as error:
            return os.strerror(error.errno) if error.errno in DEAD else ""
        return ""

    async def _mounted(
        self, commands: tuple[tuple[str, ...], ...], target: Path, *, read_only: bool, deadline: float
    ) -> MountEntry:
        before = await _in_thread(lambda: self.at(target), deadline, target)
        try:
            for argv in commands:
                result = await self._runner.run(argv, deadline=deadline)
                _require_success(result)
            return await self._require_mounted(before, target, read_only=read_only, deadline=deadline)
        except BaseException:
            # Shielded: also a cancelled caller leaves no mount behind.
            await asyncio.shield(asyncio.ensure_future(self._undo(before, target)))
            raise

    async def _require_mounted(
        self, before: MountEntry | None, target: Path, *, read_only: bool, deadline: float
    ) -> MountEntry:
        entry = await _in_thread(lambda: self.at(target), deadline, target)
        if entry is None or (before is not None and entry.mount_id == before.mount_id):
            raise CsiError(ErrorKind.INTERNAL, f"{target}: mount reported success, but nothing is mounted there")
        if read_only and not entry.read_only:
            raise CsiError(ErrorKind.INTERNAL, f"{target}: mounted read-only, but the kernel lists it as writable")
        return entry

    async def _undo(self, before: MountEntry | None, target: Path) -> None:
        deadline = asyncio.get_running_loop().time() + _CLEANUP_S
        try:
            entry = await _in_thread(lambda: self.at(target), deadline, target)
            if entry is not None and (before is None or entry.mount_id != before.mount_id):
                _require_success(await self._runner.run(_umount(entry), deadline=deadline))
        except CsiError as error:
            # The failure that led here is the one to report.
            log.warning("a mount that failed halfway could not be undone: %s", error.message)

    async def _still(self, entry: MountEntry, deadline: float) -> bool:
        table = await _in_thread(lambda: self.table(holding=(f"{entry.mount_id} ",)), deadline, entry.mount_point)
        return any(other.mount_id == entry.mount_id for other in table)

    def _btrfs_device(self, entry: MountEntry) -> DeviceNumber | None:
        """Ask btrfs itself which disk it uses: of two clones, the source in the table may name the wrong one."""
        name = Path(entry.source).name
        for devices in (self._sys_root / "fs/btrfs").glob("*/devices"):
            try:
                members = [member.name for member in devices.iterdir()]
            except OSError:
                continue  # unmounted since the folders were listed
            if name in members:
                return self._number_of(members[0]) if len(members) == 1 else None
        return None

    def _number_of(self, name: str) -> DeviceNumber | None:
        try:
            return DeviceNumber.parse((self._sys_root / "class/block" / name / "dev").read_text())
        except (OSError, ValueError):
            return None


def _umount(entry: MountEntry) -> tuple[str, ...]:
    return ("umount", "-n", "--", str(entry.mount_point))


def _require_success(result: CommandResult) -> None:
    if result.exit_code != 0:
        words = " ".join(result.argv)
        raise CsiError(ErrorKind.INTERNAL, f"{words}: exit code {result.exit_code}: {result.output}")


def _resolve(path: Path) -> Path:
    """Follow links of the parents, as the kernel's table does, and refuse one in the last place."""
    if _is_link(path):
        raise CsiError(
            ErrorKind.PRECONDITION, f"{path} is a symbolic link; a mount is only made or undone on a real path"
        )
    return Path(os.path.realpath(path.parent)) / path.name


def _is_link(path: Path) -> bool:
    # A dead mount answers lstat with an I/O error; it is a mount, so it is no link.
    try:
        return stat.S_ISLNK(os.lstat(path).st_mode)
    except OSError:
        return False


async def _in_thread(look: Callable[[], Answer], deadline: float, path: Path) -> Answer:
    try:
        async with asyncio.timeout_at(deadline):
            return await asyncio.to_thread(look)
    except TimeoutError:
        raise CsiError(ErrorKind.TIMEOUT, f"{path}: the mount table or the disk did not answer in time") from None
    except OSError as error:
        raise CsiError(ErrorKind.INTERNAL, f"{path}: mounts cannot be read: {error.strerror}") from error
