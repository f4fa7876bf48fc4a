"""The power of instances: start, stop, reboot, kill, pause; and what becomes of a machine that ends by itself.

Belongs here: which status an instance has when its machine comes or goes. Does not: making and removing instances.
The published platform has no start and no reboot (platform contract 4.2). A machine that dies is ERROR: it exists, the
platform wants it to run, and nobody stopped it (25.2); one that powered itself off is STOPPED.
"""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable

import msgspec

from devcloud import boots
from devcloud.cloud import Actor, Cloud, Scope
from devcloud.errors import CloudError, ConflictError, NotRunningError
from devcloud.instances import find, get
from devcloud.machines import End, Ended
from devcloud.rows import ERROR, INSTANCES, PAUSED, RUNNING, STARTING, STOPPED, Instance, now

_log = logging.getLogger(__name__)
_ALIVE = frozenset({RUNNING, PAUSED})


async def start(cloud: Cloud, actor: Actor, ref: str) -> None:
    """Start an instance that is STOPPED or in ERROR; it is STARTING in the answer. One that runs is fine.

    Raises MissingError, ConflictError for a paused one.
    """
    instance = await get(cloud, Scope(actor), ref)
    async with cloud.locks.hold(boots.lock_of(instance.id)):
        is_new = await cloud.store.write(lambda db: _want_running(db, find(db, actor, instance.id)))
    if is_new:
        _spawn_boot(cloud, instance.id)


async def stop(cloud: Cloud, actor: Actor, ref: str, *, force: bool = False) -> None:
    """Power an instance off and wait for it, with `force` without asking its system; a stopped one is fine.

    Raises MissingError, BackendError.
    """
    instance = await get(cloud, Scope(actor), ref)
    await cloud.tasks.cancel(boots.task_of(instance.id))
    async with cloud.locks.hold(boots.lock_of(instance.id)):
        if (await get(cloud, Scope(actor), instance.id)).status == STOPPED:
            return
        await cloud.machines.halt(instance.id, force=force)
        await cloud.store.write(lambda db: _move(db, find(db, actor, instance.id), STOPPED))


async def reboot(cloud: Cloud, actor: Actor, ref: str, *, force: bool = False) -> None:
    """Stop and start a running instance; it is STARTING in the answer. Raises MissingError, NotRunningError."""
    instance = await get(cloud, Scope(actor), ref)
    async with cloud.locks.hold(boots.lock_of(instance.id)):
        row = await get(cloud, Scope(actor), instance.id)
        if row.status != RUNNING:
            raise NotRunningError(row.id, row.status)
        await cloud.store.write(lambda db: _move(db, find(db, actor, row.id), STARTING))
        try:
            await cloud.machines.halt(row.id, force=force)
        except CloudError as error:
            await boots.fail(cloud, row.id, str(error))
            raise
    _spawn_boot(cloud, instance.id)


async def kill(cloud: Cloud, actor: Actor, ref: str) -> None:
    """Let an instance die as if its power were cut; it is in ERROR then. Raises MissingError, BackendError."""
    instance = await get(cloud, Scope(actor), ref)
    await cloud.tasks.cancel(boots.task_of(instance.id))
    async with cloud.locks.hold(boots.lock_of(instance.id)):
        await cloud.machines.halt(instance.id, force=True)
        await boots.fail(cloud, instance.id, "killed by an order to devcloud")


async def pause(cloud: Cloud, actor: Actor, ref: str) -> None:
    """Let a running instance stand still; raises MissingError, ConflictError, BackendError."""
    await _hold(cloud, actor, ref, held=True)


async def resume(cloud: Cloud, actor: Actor, ref: str) -> None:
    """Let a paused instance run on; raises MissingError, ConflictError, BackendError."""
    await _hold(cloud, actor, ref, held=False)


async def catch_up(cloud: Cloud) -> None:
    """Bring machines and rows in line after a start; what a killed platform began goes on in the background."""
    rows = {row.id: row for row in await cloud.store.read(INSTANCES.all)}
    made = await cloud.machines.made()
    for instance_id in made - rows.keys():
        _log.info("removing the machine of instance %s: there is no such instance", instance_id)
        await _try(cloud.machines.remove(instance_id))
    for row in rows.values():
        if row.status == STARTING:
            _spawn_boot(cloud, row.id)
        elif row.status in _ALIVE and row.id not in made and not await cloud.machines.is_running(row.id):
            await boots.fail(cloud, row.id, "its machine is gone")
        elif row.status not in _ALIVE and row.id in made:
            await _try(cloud.machines.halt(row.id, force=True))


async def _try(work: Awaitable[None]) -> None:
    """Do what is not worth not starting for."""
    try:
        await work
    except CloudError as error:
        _log.error("%s", error)


@contextlib.asynccontextmanager
async def following(cloud: Cloud) -> AsyncIterator[None]:
    """Keep the rows in line with machines that end by themselves."""
    task = asyncio.create_task(_follow(cloud), name="ends of machines")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _follow(cloud: Cloud) -> None:
    async for ended in cloud.machines.ended():
        cloud.tasks.spawn(_take_note(cloud, ended), boots.task_of(ended.instance_id))


async def _take_note(cloud: Cloud, ended: Ended) -> None:
    """Write what became of a machine, or boot it again; the news may be old when the lock is had."""
    instance_id = ended.instance_id
    async with cloud.locks.hold(boots.lock_of(instance_id)):
        row = await cloud.store.read(lambda db: INSTANCES.get(db, instance_id))
        if row is None or row.status not in _ALIVE or await cloud.machines.is_running(instance_id):
            return
        if ended.end is End.REBOOTED:
            await boots.boot(cloud, row)
        elif ended.end is End.POWERED_OFF:
            await cloud.store.write(lambda db: boots.record_status(db, instance_id, STOPPED, ended.seen))
            cloud.hub.wake()
        else:
            await boots.fail(cloud, instance_id, ended.seen)


def _spawn_boot(cloud: Cloud, instance_id: str) -> None:
    cloud.tasks.spawn(boots.bring_up(cloud, instance_id), boots.task_of(instance_id))


async def _hold(cloud: Cloud, actor: Actor, ref: str, *, held: bool) -> None:
    only_from, to = (RUNNING, PAUSED) if held else (PAUSED, RUNNING)
    instance = await get(cloud, Scope(actor), ref)
    async with cloud.locks.hold(boots.lock_of(instance.id)):
        row = await get(cloud, Scope(actor), instance.id)
        if row.status != only_from:
            raise ConflictError(f"instance {row.id} is {row.status}, not {only_from}")
        await cloud.machines.hold(row.id, held=held)
        await cloud.store.write(lambda db: _move(db, find(db, actor, row.id), to))


def _want_running(db: sqlite3.Connection, found: Instance) -> bool:
    """Let an instance that is off be STARTING; False when it is so already, or runs."""
    if found.status == PAUSED:
        raise ConflictError(f"instance {found.id} is {PAUSED}; resume it")
    if found.status not in {STOPPED, ERROR}:
        return False
    _move(db, found, STARTING)
    return True


def _move(db: sqlite3.Connection, found: Instance, status: str) -> Instance:
    if found.status == status:
        return found
    return INSTANCES.update(
        db, msgspec.structs.replace(found, status=status, version=found.version + 1, updated_at=now())
    )
