"""Copies of volumes as of one moment, also while an instance writes to them.

Belongs here: making sure that nothing was written between the first and the last byte copied. Does not: rows.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from devcloud.cloud import Cloud
from devcloud.disks import Images
from devcloud.errors import BackendError

_QUIET_TRIES = 2


@dataclass(frozen=True, slots=True)
class Cut:
    """One copy to be made: of the volume with this serial, into `images` under `name`."""

    serial: str
    images: Images
    name: str
    size_bytes: int


async def take(cloud: Cloud, cuts: Sequence[Cut]) -> None:
    """Make all copies as of one moment, or none; the caller holds the volumes' locks.

    What is on its way to the disks is written out first. When something writes during the copy (a file system that
    cannot share blocks takes a while), the file systems on the disks are frozen for one more try. Raises BackendError.
    """
    serials = [cut.serial for cut in cuts]
    await cloud.machines.flush(serials)
    for _ in range(_QUIET_TRIES):
        if await _copy_quietly(cloud, cuts):
            return
    async with cloud.machines.frozen(serials):
        if await _copy_quietly(cloud, cuts):
            return
    raise BackendError(f"volumes {', '.join(serials)} are written without pause; no copy of one moment could be made")


async def _copy_quietly(cloud: Cloud, cuts: Sequence[Cut]) -> bool:
    """Make the copies; when a write came between, remove them and give False."""
    before = [await cloud.machines.writes(cut.serial) for cut in cuts]
    complete = False
    try:
        for cut in cuts:
            await asyncio.to_thread(cut.images.copy, cloud.volumes.path(cut.serial), cut.name, cut.size_bytes)
        after = [await cloud.machines.writes(cut.serial) for cut in cuts]
        complete = None not in before and before == after
    finally:
        if not complete:
            for cut in cuts:
                cut.images.remove(cut.name)
    return complete
