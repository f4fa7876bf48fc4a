"""Bringing machines up: from a row that is STARTING to one that is RUNNING, or to ERROR with the reason.

Belongs here: the order of row and machine at a boot. Does not: who asked for it (`instances.py`, `power.py`).
"""

import logging
import sqlite3

import msgspec

from devcloud import events
from devcloud.addresses import next_address
from devcloud.cloud import Cloud
from devcloud.errors import CloudError
from devcloud.instance_types import INSTANCE_TYPES
from devcloud.machines import Machine
from devcloud.rows import ERROR, INSTANCES, RUNNING, SSH_KEYS, STARTING, Instance, now

_log = logging.getLogger(__name__)


def lock_of(instance_id: str) -> str:
    """Name the lock that whoever changes a machine holds."""
    return f"instance:{instance_id}"


def task_of(instance_id: str) -> str:
    """Name the task that works on a machine after an answer; whoever wants the machine otherwise cancels it."""
    return f"machine of instance {instance_id}"


async def bring_up(cloud: Cloud, instance_id: str) -> bool:
    """Boot the machine of a STARTING instance; False when it did not come up or the instance is not STARTING."""
    async with cloud.locks.hold(lock_of(instance_id)):
        try:
            row = await cloud.store.write(lambda db: _prepare(db, cloud, instance_id))
        except CloudError as error:
            await fail(cloud, instance_id, str(error))
            return False
        return row is not None and await boot(cloud, row)


async def boot(cloud: Cloud, row: Instance) -> bool:
    """Boot an instance's machine and let the row run, or end in ERROR; the caller holds the instance's lock."""
    try:
        machine = await cloud.store.read(lambda db: describe(db, row))
        await cloud.machines.boot(machine)
    except CloudError as error:
        await fail(cloud, row.id, str(error))
        return False
    await cloud.store.write(lambda db: _finish(db, row.id))
    # Load balancers that send to it learn its address.
    cloud.hub.wake()
    return True


async def fail(cloud: Cloud, instance_id: str, reason: str) -> None:
    """Leave an instance in ERROR, with its machine off; the caller holds the instance's lock."""
    _log.error("instance %s: %s", instance_id, reason)
    try:
        await cloud.machines.halt(instance_id, force=True)
    except CloudError as error:
        _log.error("instance %s is in ERROR and its machine may still run: %s", instance_id, error)
    await cloud.store.write(lambda db: record_status(db, instance_id, ERROR, reason))
    cloud.hub.wake()


def record_status(db: sqlite3.Connection, instance_id: str, status: str, reason: str) -> None:
    """Write a status that nobody asked for, with an event that says why; a row that is gone stays gone."""
    found = INSTANCES.get(db, instance_id)
    if found is None:
        return
    INSTANCES.update(db, msgspec.structs.replace(found, status=status, version=found.version + 1, updated_at=now()))
    events.record(
        db,
        user_id=found.user_id,
        tenant_id=found.tenant_id,
        resource_id=found.id,
        resource_type="instance",
        action=f"INSTANCE_{status}",
        kind=f"instance.{status.lower()}",
        name=found.name,
        reason=reason,
    )


def describe(db: sqlite3.Connection, row: Instance) -> Machine:
    """Give what the back end has to know of an instance."""
    key = SSH_KEYS.get(db, row.ssh_key_id) if row.ssh_key_id else None
    return Machine(
        instance_id=row.id,
        name=row.name,
        hostname=row.hostname,
        image=row.image,
        address=row.private_ip,
        zone=row.zone,
        memory_bytes=row.memory_limit or INSTANCE_TYPES[row.instance_type].memory_mb << 20,
        authorized_keys=() if key is None else (key.public_key,),
        environment=tuple(row.env),
        commands=tuple(row.cmd),
    )


def _prepare(db: sqlite3.Connection, cloud: Cloud, instance_id: str) -> Instance | None:
    """Give the row of an instance that is to be booted, with an address; None when it is gone or not STARTING."""
    found = INSTANCES.get(db, instance_id)
    if found is None or found.status != STARTING:
        return None
    if found.private_ip:
        return found
    address = next_address(db, cloud.settings.network, cloud.settings.lb_range)
    return INSTANCES.update(db, msgspec.structs.replace(found, private_ip=address))


def _finish(db: sqlite3.Connection, instance_id: str) -> None:
    """Let an instance run whose machine is up."""
    found = INSTANCES.get(db, instance_id)
    if found is None or found.status != STARTING:
        return
    INSTANCES.update(
        db,
        msgspec.structs.replace(
            found,
            status=RUNNING,
            container_id=f"thecloud-{found.id[:8]}",
            version=found.version + 1,
            updated_at=now(),
        ),
    )
