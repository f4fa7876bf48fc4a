"""Decides what may happen to a disk's content, then makes, checks or grows its file system.

Here belong the rules of formatting. Not here: reading the disk (`probe`), the record of a format in progress
(`format_record`), argument lists of the tools (`tools`), mounting (`mounts`).
"""

from pathlib import Path

from csi.errors import CsiError
from node.devices import Devices
from node.model import Device, FsRequest, FsState, FsType, GrowResult
from node.ports import Kernel, Observer, Runner


class OfflineGrowthNeededError(CsiError):
    """The kernel refuses to grow this file system while it is mounted; unmounted it will grow (at the next stage)."""


def parse_fs_type(name: str) -> FsType:
    """Give the file system type; the empty name means ext4. Raises CsiError INVALID naming those supported."""
    raise NotImplementedError


def mount_options(
    fs_type: FsType, *, read_only: bool, device_read_only: bool, flags: tuple[str, ...]
) -> tuple[str, ...]:
    """Give the options to mount a volume with: the caller's flags, plus what the file system needs.

    xfs gets `nouuid`, because a clone carries the UUID of its source. A disk that cannot be written gets the option
    that mounts without replaying the journal.
    """
    raise NotImplementedError


class FileSystems:
    """File systems on volumes of this host."""

    def __init__(
        self,
        kernel: Kernel,
        runner: Runner,
        devices: Devices,
        *,
        sys_root: Path = Path("/sys"),
        observer: Observer,
        format_limit: int = 2,
    ) -> None:
        """`format_limit`: so many mkfs and e2fsck at once, because each takes memory and disk bandwidth."""
        raise NotImplementedError

    async def ensure(self, device: Device, request: FsRequest, *, deadline: float) -> FsState:
        """Make sure that the (unmounted) disk has the file system asked for, formatting it only if proved blank.

        Idempotent. An existing ext file system is checked unless read-only; a btrfs clone gets a UUID of its own.
        Raises CsiError: INVALID (unknown type), ALREADY_EXISTS (another file system), PRECONDITION (foreign content,
        partition table, disk in use or changed, blank but read-only), DATA_LOSS (blank although written or restored; damage that
        the check may not repair), EXHAUSTED (too small for the file system), INTERNAL (a tool failed), TIMEOUT.
        """
        raise NotImplementedError

    def can_grow_mounted(self, fs_type: FsType) -> bool:
        """Whether this process may grow a mounted file system of this type."""
        raise NotImplementedError

    async def grow(self, device: Device, fs_type: FsType, *, mount_path: Path | None, deadline: float) -> GrowResult:
        """Grow the file system to the disk when that is larger by more than 16 MiB; else change nothing.

        `mount_path` is where it is mounted read-write, None when it is not mounted; xfs and btrfs can only
        grow mounted. Raises OfflineGrowthNeededError, CsiError INTERNAL with the tool's words, TIMEOUT.
        """
        raise NotImplementedError
