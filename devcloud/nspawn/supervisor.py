"""The runs of machines: starting, waiting until they are up, stopping, and noticing every end.

Belongs here: what follows on what, with time limits. Does not: how anything is done to this host (`launcher.py`), what
an instance's status is (`devcloud/power.py`).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from devcloud.errors import BackendError
from devcloud.machines import End, Ended, Machine
from devcloud.nspawn.records import Finding, MachineFolder, Run

_log = logging.getLogger(__name__)

REBOOT_STATUS = 133
"""How systemd-nspawn ends when the machine wants to be booted again and no service manager does it."""
_DIE_S = 10.0
_SETTLE_S = 15.0
_COMPLAINT_BYTES = 4096
_SHOWN_LINES = 2
_HARMLESS = (
    "Attempted to remove disk file system",
    "Network interface name ",
    "Using default interface naming scheme ",
)
"""Beginnings of what systemd-nspawn says at every start and end."""


class Host(Protocol):
    """What the supervisor needs from this host; `launcher.Launcher`."""

    async def start(self, machine: Machine) -> Run:
        """Start a machine; raises BackendError."""
        ...

    async def settle(self, instance_id: str, run: Run) -> Run:
        """Make a machine that was started complete; raises BackendError."""
        ...

    async def wait_up(self, run: Run) -> None:
        """Return when the machine is up."""
        ...

    async def wait_end(self, run: Run) -> None:
        """Return when the machine's container has ended."""
        ...

    def power_off(self, run: Run) -> bool:
        """Ask the machine to power off; False when there is nobody to ask."""
        ...

    def kill(self, run: Run) -> bool:
        """Kill the machine; False when it is not there."""
        ...

    async def hold(self, instance_id: str, *, held: bool) -> None:
        """Let a machine stand still or run on; raises BackendError."""
        ...

    async def sweep(self, instance_id: str, *, timeout_s: float) -> None:
        """Kill whatever is left of a machine; raises BackendError when something stays."""
        ...


class Settled(Protocol):
    """Is told of machines whose first process is there, before anything of theirs runs."""

    async def __call__(self, instance_id: str, run: Run) -> None:
        """Give the machine what it had before; raises BackendError."""
        ...


@dataclass(eq=False)
class _Live:
    """A machine that runs."""

    run: Run
    is_wanted: bool = True
    """False once the platform has asked for its end."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    watch: "asyncio.Task[None] | None" = None


class Supervisor:
    """Keeps the machines of one platform; one call per machine at a time."""

    def __init__(self, host: Host, settled: Settled, *, boot_timeout_s: float, stop_timeout_s: float) -> None:
        self._host = host
        self._settled = settled
        self._boot_timeout_s = boot_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._live: dict[str, _Live] = {}
        self._news: asyncio.Queue[Ended] = asyncio.Queue()

    @property
    def running(self) -> Mapping[str, Run]:
        """The machines that run, by instance."""
        return {instance_id: live.run for instance_id, live in self._live.items()}

    async def take_over(self, folder: MachineFolder, finding: Finding | None) -> None:
        """Go on with a machine of an earlier platform, or tell of its end; `finding` None: it never was started."""
        instance_id = folder.instance_id
        run = folder.read_run()
        if run is not None and finding is Finding.GOES_ON:
            live = self._watch(folder, run)
            try:
                async with asyncio.timeout(_SETTLE_S):
                    await self._settle(instance_id, live)
            except (BackendError, TimeoutError) as error:
                _log.warning("machine %s goes on, but could not be looked after: %s", instance_id, error)
            return
        if finding is Finding.LOST:
            ended = Ended(instance_id, End.CRASHED, "this host was started again since it ran")
        else:
            await self._sweep(instance_id)
            ended = Ended(instance_id, *_how(folder))
        self._news.put_nowait(ended)

    async def close(self) -> None:
        """Stop watching; the machines run on."""
        watches = [live.watch for live in self._live.values() if live.watch is not None]
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        self._live.clear()

    async def ended(self) -> AsyncIterator[Ended]:
        """Tell of machines that ended by themselves."""
        while True:
            yield await self._news.get()

    async def boot(self, machine: Machine, folder: MachineFolder) -> None:
        """Start a machine unless it runs, and return when it is up; raises BackendError, and then it does not run."""
        try:
            async with asyncio.timeout(self._boot_timeout_s):
                while not await self._come_up(machine, folder):
                    # It rebooted on its way; that is what it wants, within the same time limit.
                    continue
        except TimeoutError:
            failure = BackendError(
                f"machine of instance {machine.instance_id} was not up after {self._boot_timeout_s:g} s; "
                f"its console ends with: {_last_words(folder)}"
            )
        except BackendError as error:
            failure = error
        else:
            return
        await self.halt(machine.instance_id, force=True)
        raise failure

    async def halt(self, instance_id: str, *, force: bool) -> None:
        """Power a machine off, or kill it; one that does not run is only swept up after. Raises BackendError."""
        live = self._live.get(instance_id)
        if live is None:
            await self._host.sweep(instance_id, timeout_s=_DIE_S)
            return
        live.is_wanted = False
        try:
            await self._end(instance_id, live, force=force)
        except BackendError:
            # It goes on, so its end will be news.
            live.is_wanted = True
            raise

    async def _end(self, instance_id: str, live: _Live, *, force: bool) -> None:
        await self._host.hold(instance_id, held=False)
        if not force and self._host.power_off(live.run):
            if await _happens(live.over, self._stop_timeout_s):
                return
            _log.warning("machine %s does not power off and is killed", instance_id)
        self._host.kill(live.run)
        if await _happens(live.over, _DIE_S):
            return
        # Its first process was not to be found, or systemd-nspawn does not notice; nothing of it may stay.
        await self._host.sweep(instance_id, timeout_s=_DIE_S)
        if not await _happens(live.over, _DIE_S):
            raise BackendError(f"machine of instance {instance_id} does not end")

    async def _come_up(self, machine: Machine, folder: MachineFolder) -> bool:
        """Wait until a machine is up, starting it where it does not run; False when it ended wanting a new start."""
        live = self._live.get(machine.instance_id)
        if live is None:
            live = self._watch(folder, await self._host.start(machine))
        coming = asyncio.create_task(self._make_complete(machine.instance_id, live))
        ending = asyncio.create_task(live.over.wait())
        try:
            await asyncio.wait({coming, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                await coming
                return True
        finally:
            for task in (coming, ending):
                task.cancel()
            await asyncio.gather(coming, ending, return_exceptions=True)
        end, seen = _how(folder)
        if end is End.REBOOTED:
            return False
        raise BackendError(f"machine of instance {machine.instance_id} ended while it came up: {seen}")

    async def _make_complete(self, instance_id: str, live: _Live) -> None:
        await self._settle(instance_id, live)
        await self._host.wait_up(live.run)

    async def _settle(self, instance_id: str, live: _Live) -> None:
        # Known first: a disk that comes meanwhile is then given by whoever brings it.
        live.run = await self._host.settle(instance_id, live.run)
        await self._settled(instance_id, live.run)

    def _watch(self, folder: MachineFolder, run: Run) -> _Live:
        live = _Live(run)
        live.watch = asyncio.create_task(self._follow(folder, live), name=f"end of machine {folder.instance_id}")
        self._live[folder.instance_id] = live
        return live

    async def _follow(self, folder: MachineFolder, live: _Live) -> None:
        await self._host.wait_end(live.run)
        await self._sweep(folder.instance_id)
        del self._live[folder.instance_id]
        live.over.set()
        if live.is_wanted:
            self._news.put_nowait(Ended(folder.instance_id, *_how(folder)))

    async def _sweep(self, instance_id: str) -> None:
        """Sweep up after a machine that ended by itself; what stays is in the way of its next start, not of ours."""
        try:
            await self._host.sweep(instance_id, timeout_s=_DIE_S)
        except BackendError as error:
            _log.error("machine %s ended and something of it stays: %s", instance_id, error)


async def _happens(event: asyncio.Event, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _how(folder: MachineFolder) -> tuple[End, str]:
    """Tell how the last run of a machine ended."""
    status = folder.read_exit_status()
    if status is None:
        return End.CRASHED, "its container was killed, or never started"
    if status == REBOOT_STATUS:
        return End.REBOOTED, "it rebooted"
    if status == 0:
        return End.POWERED_OFF, "it powered itself off"
    return End.CRASHED, f"its container ended with status {status}: {_last_words(folder)}"


def _last_words(folder: MachineFolder) -> str:
    written = folder.read_console(_COMPLAINT_BYTES).splitlines()
    lines = [line.strip() for line in written if line.strip() and not line.startswith(_HARMLESS)]
    return "; ".join(lines[-_SHOWN_LINES:]) or "nothing"
