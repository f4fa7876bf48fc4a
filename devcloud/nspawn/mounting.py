"""The mounts of machines on this host: overlays, and taking away everything below a folder."""

import asyncio
from pathlib import Path

from devcloud import commands, mounts
from devcloud.errors import BackendError
from devcloud.nspawn.records import MachineFolder

_TABLE = Path("/proc/self/mountinfo")
_COMMAND_S = 20.0
_UNMOUNT_S = 10.0
_LOOK_S = 0.05


async def mount_overlay(lower: Path, folder: MachineFolder) -> None:
    """Mount the root of a machine, which changes only its own layer; one that is mounted stays. Raises BackendError."""
    if folder.root in await asyncio.to_thread(points_below, folder.path):
        return
    options = f"lowerdir={lower},upperdir={folder.upper},workdir={folder.work}"
    await commands.check(["mount", "-t", "overlay", "devcloud", "-o", options, str(folder.root)], timeout_s=_COMMAND_S)


async def unmount_below(folder: Path) -> None:
    """Unmount everything below a folder, the newest first; raises BackendError naming what stays busy."""
    give_up_at = asyncio.get_running_loop().time() + _UNMOUNT_S
    while points := await asyncio.to_thread(points_below, folder):
        done = await commands.run(["umount", str(points[-1])], timeout_s=_COMMAND_S)
        # The mounts of a machine that was killed go a moment after it.
        if done.exit_code and asyncio.get_running_loop().time() > give_up_at:
            raise BackendError(f"cannot unmount {points[-1]}: {done.complaint}")
        if done.exit_code:
            await asyncio.sleep(_LOOK_S)


def points_below(folder: Path, table: Path = _TABLE) -> list[Path]:
    """Give the mount points below a folder, the oldest first."""
    below = folder.resolve()
    found = (Path(mounts.unescape(line.split()[4])) for line in table.read_text().splitlines())
    return [point for point in found if point.is_relative_to(below)]
