"""Disks inside of machines: the device node that only one machine gets.

Belongs here: nodes, and keeping other machines from a disk. Does not: the loop devices behind them
(`devcloud/loop_disks.py`). All functions block for microseconds; callers run them in a thread.
"""

import contextlib
import os
import stat
from pathlib import Path

from devcloud import loop
from devcloud.errors import BackendError
from devcloud.mounts import MountView
from devcloud.nspawn.processes import PROC, Process, is_alive

_MODE = 0o660


def view_of(leader: Process, owner: str) -> MountView:
    """Give a machine's mounts, through its first process."""
    return MountView(PROC / f"{leader.pid}/root", PROC / f"{leader.pid}/mountinfo", owner)


def give_node(leader: Process, number: int) -> None:
    """Let a machine have the node of a loop device; raises BackendError."""
    node, device = _node(leader, number), os.makedev(loop.MAJOR, number)
    try:
        with contextlib.suppress(FileNotFoundError):
            seen = node.lstat()
            if stat.S_ISBLK(seen.st_mode) and seen.st_rdev == device:
                return
            node.unlink()
        os.mknod(node, stat.S_IFBLK | _MODE, device)
        node.chmod(_MODE)
    except OSError as error:
        # A machine that ended meanwhile gets its nodes when it boots.
        if is_alive(leader):
            raise BackendError(f"cannot make {node.name} in the machine: {error.strerror}") from error


def take_node(leader: Process, number: int) -> None:
    """Take the node of a loop device from a machine; none is no error, nor is a machine that ended."""
    with contextlib.suppress(OSError, BackendError):
        node = _node(leader, number)
        seen = node.lstat()
        if stat.S_ISBLK(seen.st_mode) and seen.st_rdev == os.makedev(loop.MAJOR, number):
            node.unlink()


def _node(leader: Process, number: int) -> Path:
    """Give a node's path in the machine; raises BackendError when the process has this host's own root."""
    root = PROC / f"{leader.pid}/root"
    try:
        here, there = Path("/").stat(), root.stat()
    except OSError as error:
        raise BackendError(f"the machine ended: {error.strerror}") from error
    if not is_alive(leader) or (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
        raise BackendError("the machine ended")
    return root / "dev" / f"loop{number}"
