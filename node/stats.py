"""Figures of published volumes: bytes and inodes of file systems, size of block devices."""

from pathlib import Path

from node.model import Usage
from node.ports import Kernel


async def file_system_usage(kernel: Kernel, path: Path, *, deadline: float) -> Usage:
    """Give the figures of the file system mounted at `path`. Raises CsiError INTERNAL or TIMEOUT."""
    raise NotImplementedError


async def block_size_bytes(kernel: Kernel, path: Path, *, deadline: float) -> int:
    """Give the size of the block device node at `path`. Raises CsiError INTERNAL or TIMEOUT."""
    raise NotImplementedError
