"""Making one machine's files and starting it: overlay, data folders, systemd-nspawn, and what it lacks right after.

Belongs here: what is done to this host for one machine. Does not: when, and what becomes of it (`supervisor.py`).
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from devcloud import commands, loop
from devcloud.errors import BackendError
from devcloud.machines import Machine
from devcloud.nspawn import files, mounting, processes
from devcloud.nspawn.cgroups import Cgroups
from devcloud.nspawn.enter import enter_command
from devcloud.nspawn.files import Surroundings
from devcloud.nspawn.image import MachineImage, load_image
from devcloud.nspawn.network import BRIDGE, Network
from devcloud.nspawn.processes import Process
from devcloud.nspawn.records import MachineFolder, Run, find_leader

_COPY_S = 300.0
_COMMAND_S = 20.0
_LOOK_S = 0.01
_UP_LOOK_S = 0.05
_SWEEP_LOOK_S = 0.02
_UP = frozenset({"running", "degraded"})
_RUNTIME = Path("/run/systemd/nspawn")
_DMI_UUID = Path("/sys/class/dmi/id/product_uuid")
_POWER_OFF = signal.SIGRTMIN + 4
"""What the service manager takes as an order to power off (systemd(1), Signals)."""
_KEEPER = """
cd / && read -r go || exit 125
exec </dev/null
group=$1
shift
(
    [ -z "$group" ] || echo 0 >"$group/cgroup.procs" || exit 126
    exec "$@"
)
status=$?
echo "$status" >"$0.part" && mv "$0.part" "$0"
"""
"""Waits for the word to go, which comes when it is noted and in its control groups; then for the machine's end."""


_BOOT = """
init=$1
shift
for mount; do
    mount -o remount,rw,bind "$mount" || exit 1
done
exec "$init"
"""
"""The machine's first process, until it becomes systemd.

systemd-nspawn gives a machine its control groups of version 1 read-only, and systemd looks once, at its start, which of
them it can use: with only some it manages half of a pair (cpu and cpuacct) and removes what the kubelet makes there.
"""


@dataclass(frozen=True, slots=True)
class Site:
    """What the machines of one platform share."""

    path: Path
    network: Network
    cgroups: Cgroups
    images: Mapping[str, Path]

    @property
    def hosts(self) -> Path:
        """The hosts file that all machines have."""
        return self.path / "hosts"

    @property
    def namespace(self) -> Path:
        """A link to where the network namespace can be entered, for whoever knows only the data folder."""
        return self.path / "namespace"

    def folder(self, instance_id: str) -> MachineFolder:
        """Give the folder of a machine, there or not."""
        return MachineFolder(self.path / "machines" / instance_id)


def nspawn_command(machine: Machine, folder: MachineFolder, image: MachineImage, site: Site) -> list[str]:
    """Give the command that is the machine's container; it stays in the caller's control groups."""
    return [
        *("nsenter", f"--net={site.network.path}", "systemd-nspawn", "--quiet"),
        # No service manager has to be on this host.
        *("--register=no", "--keep-unit"),
        f"--directory={folder.root}",
        f"--machine={machine_name(machine.instance_id)}",
        f"--hostname={machine.hostname}",
        f"--uuid={machine.instance_id}",
        f"--network-bridge={BRIDGE}",
        *("--capability=all", "--system-call-filter=@known"),
        *("--link-journal=no", "--resolv-conf=off", "--timezone=off", "--console=pipe"),
        f"--bind-ro={site.hosts}:/etc/hosts",
        f"--bind-ro={folder.instance_data}:{files.INSTANCE_DATA}",
        f"--bind-ro={folder.product_uuid}:{files.PRODUCT_UUID}",
        *(f"--bind={folder.data(path)}:{path}" for path in image.data),
        *("/bin/sh", "-c", _BOOT, "boot", image.init, *site.cgroups.read_only_in_machine),
    ]


def machine_name(instance_id: str) -> str:
    """Give a name that no other machine of this host has."""
    return f"i-{instance_id}"


class Launcher:
    """Does to this host what a machine needs; the `Host` of the supervisor. One call per machine at a time."""

    def __init__(self, site: Site, foreign: Callable[[str], Collection[int]]) -> None:
        """Take what machines share; `foreign` gives the numbers of the loop devices that a machine must not open."""
        self._site = site
        self._foreign = foreign
        self.api_url = ""
        """Where machines that are started from now on are told to reach the platform."""

    async def start(self, machine: Machine) -> Run:
        """Make the machine where it is new, and start it; raises BackendError.

        When this is cut short, the record has what was started.
        """
        folder = self._site.folder(machine.instance_id)
        image = await asyncio.to_thread(self._image_of, machine)
        await self._make(machine, folder, image)
        return await asyncio.to_thread(self._start_keeper, machine, folder, image)

    async def settle(self, instance_id: str, run: Run) -> Run:
        """Wait for the first process of a machine that was started, and give it what systemd-nspawn does not.

        Gives the run with that process; repeating it changes nothing. Raises BackendError.
        """
        folder = self._site.folder(instance_id)
        leader = await _await_leader(run)
        settled = Run(run.boot, run.keeper, leader)
        if settled != run:
            await asyncio.to_thread(folder.write_run, settled)
        dmi_uuid = await asyncio.to_thread(_DMI_UUID.resolve)
        if await asyncio.to_thread(dmi_uuid.exists):
            # The firmware's UUID is this host's, the same in all machines; a machine of a platform shows its own.
            await _mount_inside(leader, "--bind", files.PRODUCT_UUID, str(dmi_uuid))
        return settled

    async def wait_up(self, run: Run) -> None:
        """Return when the machine's systemd says that it is up; waits as long as the caller does."""
        while True:
            leader = await asyncio.to_thread(find_leader, run)
            if leader is not None:
                command = enter_command(leader.pid, ["systemctl", "is-system-running", "--wait"])
                with contextlib.suppress(commands.CommandTimeoutError):
                    if (await commands.run(command, timeout_s=_COMMAND_S)).output.strip() in _UP:
                        return
            # The machine's bus comes up a moment after its first process.
            await asyncio.sleep(_UP_LOOK_S)

    async def wait_end(self, run: Run) -> None:
        """Return when the machine's container has ended."""
        await processes.wait_end(run.keeper)

    def power_off(self, run: Run) -> bool:
        """Ask the machine to power off; False when there is nobody to ask."""
        leader = find_leader(run)
        return leader is not None and processes.send(leader, _POWER_OFF)

    def kill(self, run: Run) -> bool:
        """Kill the machine's first process, and so all of it; False when it is not there."""
        leader = find_leader(run)
        return leader is not None and processes.send(leader, signal.SIGKILL)

    async def hold(self, instance_id: str, *, held: bool) -> None:
        """Let a machine stand still or run on; raises BackendError."""
        await asyncio.to_thread(self._site.cgroups.freeze, instance_id, frozen=held)

    async def sweep(self, instance_id: str, *, timeout_s: float) -> None:
        """Kill whatever is left of a machine whose container has ended; raises BackendError when something stays."""
        groups = self._site.cgroups
        try:
            async with asyncio.timeout(timeout_s):
                await _until_emptied(groups, instance_id)
        except TimeoutError:
            left = ", ".join(map(str, sorted(groups.processes(instance_id)))) or "none, but its control groups are busy"
            raise BackendError(f"processes of machine {instance_id} do not end: {left}") from None
        # What systemd-nspawn leaves when it is killed.
        with contextlib.suppress(OSError):
            (_RUNTIME / "propagate" / machine_name(instance_id)).rmdir()

    async def unmake(self, instance_id: str) -> None:
        """Remove the files of a machine that does not run; raises BackendError."""
        folder = self._site.folder(instance_id)
        if not folder.path.exists():
            return
        with contextlib.suppress(OSError):
            place = folder.root.stat()
            (_RUNTIME / "locks" / f"inode-{place.st_dev}:{place.st_ino}").unlink()
        await mounting.unmount_below(folder.path)
        await asyncio.to_thread(folder.remove)

    def _image_of(self, machine: Machine) -> MachineImage:
        folder = self._site.images.get(machine.image)
        if folder is None:
            known = ", ".join(sorted(self._site.images)) or "none"
            raise BackendError(f"there is no machine image {machine.image!r}; known: {known}")
        return load_image(machine.image, folder)

    async def _make(self, machine: Machine, folder: MachineFolder, image: MachineImage) -> None:
        """Make the machine's files unless they are there; one whose making was cut short is made afresh."""
        if await asyncio.to_thread(folder.read_machine) is not None:
            await mounting.mount_overlay(image.root, folder)
            return
        await self.unmake(machine.instance_id)
        for path in (folder.upper, folder.work, folder.root):
            path.mkdir(parents=True)
        for place, source in image.data.items():
            target = folder.data(place)
            target.parent.mkdir(exist_ok=True)
            await commands.check(["cp", "-a", "--reflink=auto", str(source), str(target)], timeout_s=_COPY_S)
        await mounting.mount_overlay(image.root, folder)
        around = self._around()
        await asyncio.to_thread(files.write_files, folder.root, files.files_of(machine, around))
        await asyncio.to_thread(folder.write_machine, machine)

    def _around(self) -> Surroundings:
        return Surroundings(self._site.network.range, self._site.network.pods, self.api_url)

    def _start_keeper(self, machine: Machine, folder: MachineFolder, image: MachineImage) -> Run:
        """Start the process that starts the machine: noted first, then in its control groups, then let go."""
        files.overwrite(folder.instance_data, files.instance_data(machine, self._around()))
        files.overwrite(folder.product_uuid, f"{machine.instance_id}\n")
        folder.exit_status.unlink(missing_ok=True)
        self._site.cgroups.create(machine.instance_id, machine.memory_bytes)
        for number in self._foreign(machine.instance_id):
            self._site.cgroups.deny_disk(machine.instance_id, loop.MAJOR, number)
        environment = {**commands.ENVIRONMENT, "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "1"}
        group = self._site.cgroups.container_group(machine.instance_id)
        container = nspawn_command(machine, folder, image, self._site)
        argv = ["/bin/sh", "-c", _KEEPER, str(folder.exit_status), group, *container]
        reading, writing = os.pipe()
        # Closing the pipe without the word ends the process.
        with os.fdopen(writing, "wb") as word:
            try:
                pid = commands.spawn_detached(argv, stdin=reading, output=folder.console, environment=environment)
            except OSError as error:
                raise BackendError(f"{argv[0]} could not be started: {error.strerror}") from error
            finally:
                os.close(reading)
            keeper = processes.identify(pid)
            if keeper is None:
                raise BackendError(f"the process that starts machine {machine.instance_id} is gone")
            run = Run(processes.boot_id(), keeper)
            folder.write_run(run)
            self._site.cgroups.join(machine.instance_id, pid)
            word.write(b"go\n")
        return run


def _emptied(groups: Cgroups, instance_id: str) -> bool:
    """Kill what is in a machine's groups, and remove them; False while something is left."""
    if groups.kill(instance_id):
        return False
    try:
        groups.remove(instance_id)
    except BackendError:
        # The kernel lets go of a group a moment after the last process in it.
        return False
    return True


async def _until_emptied(groups: Cgroups, instance_id: str) -> None:
    while True:
        if await asyncio.to_thread(_emptied, groups, instance_id):
            return
        await asyncio.sleep(_SWEEP_LOOK_S)


async def _await_leader(run: Run) -> Process:
    while True:
        leader = await asyncio.to_thread(find_leader, run)
        if leader is not None:
            return leader
        await asyncio.sleep(_LOOK_S)


async def _mount_inside(leader: Process, *words: str) -> None:
    inside = ("nsenter", "--target", str(leader.pid), "--mount", "--root", "--wd", "--")
    await commands.check([*inside, "mount", *words], timeout_s=_COMMAND_S)
