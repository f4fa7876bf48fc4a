"""Looks at what is on a disk, read-only.

Here belongs the proof that a disk is blank. Whatever cannot be read or understood is never called blank. Not here: what
to do about it (`filesystems`).
"""

from node.model import Content, Device
from node.ports import Kernel, Runner


class Probe:
    """Reads disks and asks blkid."""

    def __init__(self, kernel: Kernel, runner: Runner) -> None:
        raise NotImplementedError

    async def content(self, device: Device, *, serial: str, deadline: float) -> Content:
        """Say what is on the disk.

        Raises CsiError INTERNAL when it cannot be read or blkid cannot be used, PRECONDITION when the node in the
        device folder is another device, TIMEOUT at the deadline. None of these says anything about the content.
        """
        raise NotImplementedError
