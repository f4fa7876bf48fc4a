"""Mounts, bind mounts and unmounts, judged by the kernel's mount table and nothing else.

Not here: which path or option a volume gets (`stage`, `publish`), and parsing (`mountinfo`).
"""

from pathlib import Path

from node.model import DeviceNumber, MountEntry
from node.ports import Kernel, Runner


class Mounts:
    """The mount table of this process's namespace."""

    def __init__(
        self, kernel: Kernel, runner: Runner, *, proc_root: Path = Path("/proc"), sys_root: Path = Path("/sys")
    ) -> None:
        raise NotImplementedError

    def table(self) -> tuple[MountEntry, ...]:
        """Give all mounts in the order of the kernel's table (blocking)."""
        raise NotImplementedError

    def at(self, path: Path) -> MountEntry | None:
        """Give the topmost mount on exactly this path, None when nothing is mounted there (blocking).

        Links in the parent folders are followed; a path that is itself a link is refused with CsiError PRECONDITION.
        """
        raise NotImplementedError

    def backed_by(self, entry: MountEntry) -> DeviceNumber | None:
        """Give the block device under a mount, btrfs included; None when it has none or several (blocking)."""
        raise NotImplementedError

    def entries_of(self, number: DeviceNumber) -> tuple[MountEntry, ...]:
        """Give every mount whose file system lives on this block device (blocking)."""
        raise NotImplementedError

    async def mount(
        self, source: Path, target: Path, *, fs_type: str, options: tuple[str, ...], deadline: float
    ) -> MountEntry:
        """Mount a device on an existing folder and give the new entry. Not idempotent: look with `at` first.

        Raises CsiError INTERNAL with mount's words, TIMEOUT. Nothing is left mounted when it raises.
        """
        raise NotImplementedError

    async def bind(
        self, source: Path, target: Path, *, read_only: bool, options: tuple[str, ...] = (), deadline: float
    ) -> MountEntry:
        """Bind a folder or a device node on an existing target of the same kind; read-only is verified afterwards.

        Raises as `mount`; nothing is left mounted when it raises.
        """
        raise NotImplementedError

    async def unmount(self, target: Path, *, deadline: float) -> bool:
        """Unmount everything on exactly this path; False when nothing was mounted. Never lazily, never by force.

        Raises CsiError PRECONDITION when it is busy, naming who holds it where that is known; TIMEOUT.
        """
        raise NotImplementedError

    async def damage(self, path: Path) -> str:
        """Say why the mount at `path` is dead (disk gone, I/O errors, stale), or "" when it answers."""
        raise NotImplementedError
