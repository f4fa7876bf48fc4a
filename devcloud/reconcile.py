"""Bringing files and devices in line with the rows after a start, and taking everything away for a reset."""

import asyncio
import logging

from devcloud import power
from devcloud.cloud import Cloud
from devcloud.errors import BackendError, DiskBusyError
from devcloud.machines import Disk
from devcloud.rows import AVAILABLE, CREATING, IN_USE, SNAPSHOTS, VOLUMES, Volume
from devcloud.snapshots import set_status

_log = logging.getLogger(__name__)


async def reconcile(cloud: Cloud) -> None:
    """Do what a crash left undone: every attached row has its disk, nothing else has one, no image without a row."""
    volumes = await cloud.store.read(VOLUMES.all)
    snapshots = await cloud.store.read(SNAPSHOTS.all)
    attached = {volume.serial: volume for volume in volumes if volume.status == IN_USE and volume.instance_id}
    await _withdraw_strays(cloud, attached)
    for volume in attached.values():
        await _present_again(cloud, volume)
    await _remove_orphans(cloud, {volume.serial for volume in volumes}, {snapshot.id for snapshot in snapshots})
    if not cloud.is_strict:
        # The image of such a snapshot is complete; only the delay was cut short.
        for snapshot in snapshots:
            if snapshot.status == CREATING:
                await cloud.store.write(lambda db, row=snapshot: set_status(db, row.id, AVAILABLE))  # type: ignore[misc]
    await power.catch_up(cloud)


async def take_down(cloud: Cloud) -> list[str]:
    """Remove machines and disks from this host, also what a crash left of them; gives a text for each that is in use.

    Raises BackendError.
    """
    # The proxies run in the network that goes with the machines.
    await cloud.path.clear()
    await cloud.machines.clear()
    refused = await withdraw_all(cloud)
    if not refused:
        await cloud.machines.forget()
    return refused


async def withdraw_all(cloud: Cloud) -> list[str]:
    """Take every disk of this platform out of the machine; gives a text for each that is still in use."""
    refused = []
    await cloud.machines.thaw()
    for serial in await cloud.machines.disks():
        try:
            await cloud.machines.withdraw(serial)
        except (DiskBusyError, BackendError) as error:
            refused.append(str(error))
    return refused


async def _withdraw_strays(cloud: Cloud, attached: dict[str, Volume]) -> None:
    await cloud.machines.thaw()
    for serial, disk in (await cloud.machines.disks()).items():
        volume = attached.get(serial)
        if volume is not None and volume.read_only == disk.read_only:
            continue
        try:
            await cloud.machines.withdraw(serial)
        except (DiskBusyError, BackendError) as error:
            _log.warning("disk %s at %s has no attachment and stays: %s", serial, disk.device_path, error)


async def _present_again(cloud: Cloud, volume: Volume) -> None:
    image = cloud.volumes.path(volume.serial)
    try:
        await cloud.machines.present(Disk(volume.serial, image, str(volume.instance_id), volume.read_only))
    except (BackendError, DiskBusyError) as error:
        _log.error("attached volume %s could not be presented again: %s", volume.id, error)


async def _remove_orphans(cloud: Cloud, serials: set[str], snapshot_ids: set[str]) -> None:
    presented = set(await cloud.machines.disks())
    for images, known in ((cloud.volumes, serials), (cloud.snapshots, snapshot_ids)):
        await asyncio.to_thread(images.remove_parts)
        for name in await asyncio.to_thread(images.names) - known - presented:
            _log.info("removing %s: nothing refers to it", images.path(name))
            await asyncio.to_thread(images.remove, name)
