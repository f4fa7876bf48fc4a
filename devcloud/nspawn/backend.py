"""The back end `nspawn` put together: machines, their network, and their disks, behind the port of `machines.py`."""

import asyncio
import hashlib
import logging
import shutil
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from devcloud import commands, loop, mounts
from devcloud.errors import BackendError
from devcloud.loop_disks import LoopDisks, OnLoopDisks
from devcloud.machines import Disk, Ended, Machine
from devcloud.mounts import MountView
from devcloud.nspawn import disks, files, mounting
from devcloud.nspawn.cgroups import Cgroups, find_hierarchies
from devcloud.nspawn.holders import Holders
from devcloud.nspawn.image import UNUSABLE, load_image
from devcloud.nspawn.launcher import Launcher, Site
from devcloud.nspawn.limits import raise_limits
from devcloud.nspawn.network import Network
from devcloud.nspawn.numbers import HighNumbers
from devcloud.nspawn.records import Run, folders, look_at
from devcloud.nspawn.supervisor import Supervisor
from devcloud.settings import Settings

_log = logging.getLogger(__name__)
_CONSOLE_BYTES = 256 << 10
_HOST_ID = Path("/etc/machine-id")
NEEDED = {
    "systemd-nspawn": "systemd-container",
    "nsenter": "util-linux",
    "mount": "mount",
    "umount": "mount",
    "ip": "iproute2",
    "cp": "coreutils",
}
"""Programs of this host, with the Debian package of each."""


def make_nspawn_machines(settings: Settings) -> "NspawnMachines":
    """Put the back end together; nothing is touched yet."""
    name = site_name(settings.data_dir)
    site = Site(
        path=settings.machines_dir.resolve(),
        network=network_of(settings),
        cgroups=Cgroups(name, find_hierarchies(Path("/proc/self/mountinfo").read_text())),
        images={image.name: image.folder for image in settings.machine_images},
    )
    return NspawnMachines(
        site,
        settings.disks_dir,
        boot_timeout_s=settings.boot_timeout_s,
        stop_timeout_s=settings.stop_timeout_s,
    )


def network_of(settings: Settings) -> Network:
    """Give the network of a platform's machines, made or not."""
    return Network(site_name(settings.data_dir), settings.network, settings.pod_network, settings.lb_range)


def site_name(data_dir: Path) -> str:
    """Give the name of what a platform makes on this host, which no platform of another data folder has."""
    return f"devcloud-{hashlib.sha256(bytes(data_dir.resolve())).hexdigest()[:8]}"


class NspawnMachines(OnLoopDisks):
    """Instances as machines of their own; needs root, systemd-nspawn and the loop driver."""

    def __init__(self, site: Site, disks_dir: Path, *, boot_timeout_s: float, stop_timeout_s: float) -> None:
        self._site = site
        self._launcher = Launcher(site, self._foreign)
        self._runs = Supervisor(
            self._launcher, self._equip, boot_timeout_s=boot_timeout_s, stop_timeout_s=stop_timeout_s
        )
        self._numbers = HighNumbers(site.path / "loops.json")
        self._disks = LoopDisks(disks_dir, self._numbers, self._views)
        self._holders = Holders(site.path / "holders.json")
        self._known: dict[str, Machine] = {}
        """The machines that every other machine finds by name."""

    async def open(self) -> None:
        """Make the network and take over the machines that run; raises BackendError."""
        await asyncio.to_thread(self._require)
        await asyncio.to_thread(raise_limits)
        await asyncio.to_thread(self._site.path.mkdir, parents=True, exist_ok=True, mode=0o700)
        await self._site.network.ensure()
        await asyncio.to_thread(_link, self._site.namespace, self._site.network.path)
        await asyncio.to_thread(self._numbers.clean)
        # Looked at once: from here on every disk of ours is found by its serial.
        await self._disks.disks()
        await self._take_over()
        made = await asyncio.to_thread(_machines, self._site.path)
        self._known = {machine.instance_id: machine for machine in made}
        self._write_hosts()

    async def close(self) -> None:
        """Let go of the machines; they run on."""
        await self._runs.close()

    async def listen(self, port: int) -> Sequence[socket.socket]:
        """Listen at the platform's address in the network of the machines."""
        listening = await asyncio.to_thread(self._site.network.listen, port)
        self._launcher.api_url = f"http://{self._site.network.gateway}:{listening.getsockname()[1]}"
        return (listening,)

    async def boot(self, machine: Machine) -> None:
        """Start a machine unless it runs, and return when it is up."""
        self._known[machine.instance_id] = machine
        self._write_hosts()
        await self._runs.boot(machine, self._site.folder(machine.instance_id))

    async def halt(self, instance_id: str, *, force: bool) -> None:
        """Power a machine off, or kill it."""
        await self._runs.halt(instance_id, force=force)

    async def remove(self, instance_id: str) -> None:
        """Kill a machine and remove its files."""
        await self._runs.halt(instance_id, force=True)
        await self._launcher.unmake(instance_id)
        self._known.pop(instance_id, None)
        self._write_hosts()

    async def hold(self, instance_id: str, *, held: bool) -> None:
        """Let a machine stand still or run on."""
        await self._launcher.hold(instance_id, held=held)

    async def is_running(self, instance_id: str) -> bool:
        """Tell whether a machine runs."""
        return instance_id in self._runs.running

    async def made(self) -> frozenset[str]:
        """Give the machines that have files."""
        return frozenset(folder.instance_id for folder in await asyncio.to_thread(folders, self._site.path))

    async def console(self, instance_id: str) -> str:
        """Give the end of what a machine wrote to its console."""
        return await asyncio.to_thread(self._site.folder(instance_id).read_console, _CONSOLE_BYTES)

    def ended(self) -> AsyncIterator[Ended]:
        """Tell of machines that ended by themselves."""
        return self._runs.ended()

    async def clear(self) -> None:
        """Remove all machines, their network, and everything else of theirs; also what a crash left of them."""
        if not await asyncio.to_thread(self._site.path.exists):
            return
        await self._take_over()
        # Nobody can be killed who waits for a file system to thaw.
        await self.thaw()
        for instance_id in await self.made() | await asyncio.to_thread(self._site.cgroups.machines):
            await self.remove(instance_id)
        await self._runs.close()
        await mounting.unmount_below(self._site.path)
        await asyncio.to_thread(self._site.cgroups.remove_all)
        await self._site.network.remove()

    async def forget(self) -> None:
        """Remove the records."""
        if not await asyncio.to_thread(self._site.path.exists):
            return
        left = await asyncio.to_thread(self._numbers.clean)
        if left:
            names = ", ".join(f"loop{number}" for number in sorted(left))
            raise BackendError(f"{names} cannot be removed yet, somebody has it open; try again")
        await asyncio.to_thread(shutil.rmtree, self._site.path)

    async def present(self, disk: Disk) -> str:
        """Attach a loop device, and give its node to the instance's machine and to no other.

        One that another instance had is detached first, as on paper it is: somebody may still write to it, and groups
        of processes may be kept from its number.
        """
        if await asyncio.to_thread(self._holders.get, disk.serial) != disk.instance_id:
            await self.withdraw(disk.serial)
        await asyncio.to_thread(self._holders.note, disk.serial, disk.instance_id)
        found = await self._disks.attach(disk)
        for other in await asyncio.to_thread(self._site.cgroups.machines) - {disk.instance_id}:
            await asyncio.to_thread(self._site.cgroups.deny_disk, other, loop.MAJOR, found.number)
        run = self._runs.running.get(disk.instance_id)
        if run is not None and run.leader is not None:
            await asyncio.to_thread(disks.give_node, run.leader, found.number)
        return str(found.device)

    async def withdraw(self, serial: str) -> None:
        """Detach the loop device and take its node away."""
        number = await self._disks.detach(serial)
        await asyncio.to_thread(self._holders.forget, serial)
        if number is None:
            return
        # Before the number goes: opening a node without a device would make the kernel invent one.
        for run in self._runs.running.values():
            if run.leader is not None:
                await asyncio.to_thread(disks.take_node, run.leader, number)
        await self._disks.release(number)

    async def _equip(self, instance_id: str, run: Run) -> None:
        """Give a machine that starts the nodes of its disks."""
        for serial in await asyncio.to_thread(list, self._holders.of(instance_id)):
            found = await asyncio.to_thread(self._disks.find, serial)
            if found is not None and run.leader is not None:
                await asyncio.to_thread(disks.give_node, run.leader, found.number)

    def _foreign(self, instance_id: str) -> list[int]:
        """Give the loop devices of the other instances' disks."""
        others = map(self._disks.find, self._holders.of_others(instance_id))
        return [found.number for found in others if found is not None]

    async def _take_over(self) -> None:
        for folder in await asyncio.to_thread(folders, self._site.path):
            if folder.instance_id not in self._runs.running:
                run = await asyncio.to_thread(folder.read_run)
                await self._runs.take_over(folder, None if run is None else look_at(run))

    def _views(self) -> list[MountView]:
        machines = [
            disks.view_of(run.leader, f"instance {instance_id}")
            for instance_id, run in self._runs.running.items()
            if run.leader is not None
        ]
        return [mounts.HERE, *machines]

    def _write_hosts(self) -> None:
        # Not on a thread: two that write at once would leave a mix.
        files.overwrite(self._site.hosts, files.hosts(self._known.values()))

    def _require(self) -> None:
        found = {program: shutil.which(program, path=commands.SEARCH_PATH) for program in NEEDED}
        missing = sorted({NEEDED[program] for program, path in found.items() if path is None})
        if missing:
            raise BackendError(f"the back end `nspawn` needs these packages: {', '.join(missing)}")
        if not _HOST_ID.exists() or not _HOST_ID.read_text().strip():
            raise BackendError(
                f"systemd-nspawn needs {_HOST_ID}, and there is none; `systemd-machine-id-setup` makes one"
            )
        if set(UNUSABLE) & set(str(self._site.path)):
            raise BackendError(f"{self._site.path} may have none of the characters {' '.join(UNUSABLE)} in it")
        self._site.cgroups.require()
        for name, folder in self._site.images.items():
            load_image(name, folder)
        if not self._site.cgroups.guard_disks:
            _log.warning(
                "control groups of this host (version 2 only) cannot keep a machine from opening the disk of another "
                "by a device node that its root makes; machines still get no node but their own"
            )


def _link(path: Path, target: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def _machines(site: Path) -> list[Machine]:
    return [machine for folder in folders(site) if (machine := folder.read_machine()) is not None]
