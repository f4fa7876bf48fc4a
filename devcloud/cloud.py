"""The platform as one object: what the operations work with, and its life from start to stop."""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from devcloud.balancing.path import DataPath, NoPath
from devcloud.balancing.proxies import Proxies
from devcloud.calls import CallLog
from devcloud.disks import Images
from devcloud.events import Hub
from devcloud.faults import Faults
from devcloud.host import HostMachines
from devcloud.locks import KeyedLocks
from devcloud.machines import Machines, NoMachines
from devcloud.nspawn.backend import make_nspawn_machines, network_of
from devcloud.settings import Backend, Settings
from devcloud.state import FrozenCopy, Store

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who calls: a user acting in a tenant."""

    user_id: str
    tenant_id: str
    role: str = "owner"


@dataclass(frozen=True, slots=True)
class Scope:
    """What an operation of one request needs beside the platform: who, and from which state reads answer."""

    actor: Actor
    copy: FrozenCopy | None = None


class Tasks:
    """Work that goes on after an answer; a failure is logged, an end of the platform cancels it."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start work under a name."""
        task = asyncio.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._finish)
        return task

    async def cancel(self, name: str) -> None:
        """Cancel the work of a name and wait for its end."""
        wanted = [task for task in self._running if task.get_name() == name]
        for task in wanted:
            task.cancel()
        await asyncio.gather(*wanted, return_exceptions=True)

    async def stop(self) -> None:
        """Cancel what runs and wait for its end."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def drain(self) -> None:
        """Wait until nothing runs any more."""
        while self._running:
            await asyncio.gather(*self._running, return_exceptions=True)

    def _finish(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("%s failed: %s", task.get_name(), error)


@dataclass(frozen=True, slots=True)
class Cloud:
    """Everything that the operations use; made by `build`."""

    settings: Settings
    store: Store
    machines: Machines
    path: DataPath
    volumes: Images
    snapshots: Images
    locks: KeyedLocks
    faults: Faults
    hub: Hub = field(default_factory=Hub)
    calls: CallLog = field(default_factory=CallLog)
    tasks: Tasks = field(default_factory=Tasks)

    @property
    def is_strict(self) -> bool:
        """Whether the published platform with its quirks is played."""
        return self.settings.is_strict


def build(settings: Settings, machines: Machines | None = None, path: DataPath | None = None) -> Cloud:
    """Put a platform together; nothing is opened yet.

    `machines` and `path` replace what the settings have behind instances and load balancers.
    """
    store = Store(settings.database_path, durable=settings.durable)
    return Cloud(
        settings=settings,
        store=store,
        machines=machines or _make_machines(settings),
        path=path or _make_path(settings),
        volumes=Images(settings.disks_dir, durable=settings.durable),
        snapshots=Images(settings.snapshots_dir, durable=settings.durable),
        locks=KeyedLocks(settings.lock_wait_s),
        faults=Faults(store.freeze),
    )


def _make_machines(settings: Settings) -> Machines:
    if settings.backend is Backend.HOST:
        return HostMachines(settings.disks_dir)
    if settings.backend is Backend.NSPAWN:
        return make_nspawn_machines(settings)
    return NoMachines()


def _make_path(settings: Settings) -> DataPath:
    if settings.backend is Backend.NSPAWN:
        return Proxies(network_of(settings), settings.balancers_dir)
    return NoPath()
