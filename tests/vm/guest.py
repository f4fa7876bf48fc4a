"""A running virtual machine: boot it, plug disks, run programs in it, cut its power. It knows nothing of CSI.

The guest has no network but forwarded loopback ports (QEMU's user network with `restrict=on`). Its root disk is shared
and read-only; what a node has to remember over a power cut lies on a disk of its own, the `state` of `MachineParts`.
"""

import asyncio
import contextlib
import json
import re
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.vm import disks
from tests.vm.disks import Disk
from tests.vm.image import GuestImage
from tests.vm.inside.init import AGENT_PORT, READY, STATE_SERIAL
from tests.vm.qmp import Qmp
from tests.vm.tools import program

BOOT_LIMIT_S = 90.0
COMMAND_LIMIT_S = 60.0
_STATE_BYTES = 64 << 20
_LINE_LIMIT = 16 << 20


class GuestError(Exception):
    """The machine or a program in it did not do what was asked; the text has what it wrote."""


@dataclass(frozen=True, slots=True)
class MachineParts:
    """What one machine is made of, besides the disks of the test."""

    image: GuestImage
    code: Path
    state: Path
    """Survives the machine: the node's own file system for /var/lib/kubelet."""
    name: str = "node"
    ports: tuple[int, ...] = ()
    """Ports of the guest that the tests connect to."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A program of the guest that ended."""

    status: int
    output: str
    errors: str


def create_state(path: Path) -> Path:
    """Make the disk that a machine keeps over its power cuts."""
    arguments = ["-q", "-t", "ext4", "-m", "0", str(path), f"{_STATE_BYTES >> 10}k"]
    subprocess.run([program("mke2fs"), *arguments], check=True, capture_output=True)
    return path


@contextlib.asynccontextmanager
async def boot(parts: MachineParts, plugged: Sequence[Disk] = (), late: Sequence[Disk] = ()) -> AsyncIterator["Guest"]:
    """Run a machine until the end of the block, with disks before and after its own on the bus.

    Raises GuestError with the end of the console when it does not come up in BOOT_LIMIT_S.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        # A test run that is killed must not leave a machine behind.
        process = await asyncio.create_subprocess_exec(
            "setpriv", "--pdeathsig", "KILL", "--", program("qemu-system-x86_64"),
            *_arguments(parts, theirs.fileno(), plugged, late),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            pass_fds=[theirs.fileno()], limit=_LINE_LIMIT,
        )  # fmt: skip
    console = _Console(process)
    deadline = asyncio.get_running_loop().time() + BOOT_LIMIT_S
    qmp = None
    try:
        qmp = await Qmp.connect(ours, deadline=deadline)
        await console.line_with(READY, deadline=deadline)
        yield Guest(process, console, qmp, await _forwarded(qmp, deadline=deadline))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await console.close()
        if qmp is not None:
            await qmp.close()
        ours.close()


class Guest:
    """A machine that is up. Its disks are named by `Disk.name`, its programs by their arguments."""

    def __init__(
        self, process: asyncio.subprocess.Process, console: "_Console", qmp: Qmp, ports: dict[int, int]
    ) -> None:
        self._process = process
        self._console = console
        self._ports = ports
        self.qmp = qmp

    def port(self, inside: int) -> int:
        """Give the loopback port of this host that leads to a port of the guest."""
        return self._ports[inside]

    @property
    def running(self) -> bool:
        """Whether the machine has power."""
        return self._process.returncode is None

    async def plug(self, disk: Disk) -> None:
        """Plug a disk into the running machine."""
        await self._qmp("blockdev-add", disks.backend(disk))
        await self._qmp("device_add", disks.device(disk))

    async def unplug(self, disk: Disk, *, limit_s: float = COMMAND_LIMIT_S) -> None:
        """Ask the guest to let the disk go, and wait until it has."""
        await self._qmp("device_del", {"id": f"dev-{disk.name}"})
        deadline = asyncio.get_running_loop().time() + limit_s
        await self.qmp.event("DEVICE_DELETED", deadline=deadline, device=f"dev-{disk.name}")
        await self._qmp("blockdev-del", {"node-name": disk.name})

    async def resize(self, disk: Disk, size_bytes: int) -> None:
        """Grow a disk that is plugged in; the guest is told."""
        await self._qmp("block_resize", {"node-name": disk.name, "size": size_bytes})

    async def run(self, *argv: str, text: str = "", limit_s: float = COMMAND_LIMIT_S, check: bool = True) -> Finished:
        """Run a program in the guest to its end. Raises GuestError when it fails and `check` is set."""
        answer = await self._ask({"op": "run", "argv": argv, "input": text, "limit_s": limit_s}, limit_s + 5)
        finished = Finished(answer["status"], answer["output"], answer["errors"])
        if check and finished.status != 0:
            raise GuestError(f"{' '.join(argv)} ended with {finished.status}: {finished.errors or finished.output}")
        return finished

    async def start(self, name: str, *argv: str, environment: dict[str, str] | None = None) -> int:
        """Start a program that goes on; gives its process id in the guest."""
        request = {"op": "start", "name": name, "argv": argv, "environment": environment or {}}
        return int((await self._ask(request, COMMAND_LIMIT_S))["pid"])

    async def line(self, name: str, *words: str, start: int = 0, limit_s: float = COMMAND_LIMIT_S) -> tuple[int, str]:
        """Wait for a line of a started program that holds all words; gives its number and text."""
        answer = await self._ask({"op": "line", "name": name, "words": words, "start": start}, limit_s)
        return answer["number"], answer["line"]

    async def lines(self, name: str) -> list[str]:
        """Give everything that a started program has written so far."""
        return list((await self._ask({"op": "lines", "name": name}, COMMAND_LIMIT_S))["lines"])

    async def stop(self, name: str, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal to a started program and give the status that it ends with."""
        return int((await self._ask({"op": "stop", "name": name, "signal": int(number)}, COMMAND_LIMIT_S))["status"])

    @contextlib.asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Hold the machine still, with every request to its disks completed and recorded."""
        await self._qmp("stop", {})
        await self.qmp.event("STOP", deadline=asyncio.get_running_loop().time() + COMMAND_LIMIT_S)
        yield
        await self._qmp("cont", {})

    async def frozen(self, *, limit_s: float = COMMAND_LIMIT_S) -> None:
        """Wait until a disk with `stop_at_write` has frozen the machine."""
        await self.qmp.event("STOP", deadline=asyncio.get_running_loop().time() + limit_s)

    async def cut_power(self) -> None:
        """Kill the machine; nothing in it gets to write anything more.

        It is held still first, so that the record of a disk does not end inside an entry.
        """
        if self.running:
            await self._qmp("stop", {})
            self._process.kill()
        await self._process.wait()

    def console(self) -> str:
        """Give what the guest's kernel and first process have said."""
        return self._console.text()

    async def _qmp(self, command: str, arguments: dict[str, Any]) -> Any:
        deadline = asyncio.get_running_loop().time() + COMMAND_LIMIT_S
        return await self.qmp.execute(command, arguments, deadline=deadline)

    async def _ask(self, request: dict[str, Any], limit_s: float) -> dict[str, Any]:
        async with asyncio.timeout(limit_s):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._ports[AGENT_PORT], limit=_LINE_LIMIT)
            try:
                writer.write(json.dumps(request).encode() + b"\n")
                line = await reader.readline()
            finally:
                writer.close()
        if not line:
            raise GuestError(f"the guest gave no answer to {request}; its console:\n{self.console()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise GuestError(f"{request}: {answer['error']}")
        return answer


class _Console:
    """What the machine says on its serial port."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._lines: list[str] = []
        self._ended = False
        self._changed = asyncio.Condition()
        self._reading = asyncio.create_task(self._read(process))

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            async with self._changed:
                self._lines.append(line.decode(errors="replace").rstrip())
                self._changed.notify_all()
        async with self._changed:
            self._ended = True
            self._changed.notify_all()

    def text(self) -> str:
        return "\n".join(self._lines[-60:])

    async def line_with(self, text: str, *, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline), self._changed:
                while not any(text in line for line in self._lines):
                    if self._ended:
                        raise GuestError(f"the machine ended while it was starting:\n{self.text()}")
                    await self._changed.wait()
        except TimeoutError:
            raise GuestError(f"the machine did not come up in {BOOT_LIMIT_S} s:\n{self.text()}") from None

    async def close(self) -> None:
        await self._reading


def _arguments(parts: MachineParts, control: int, plugged: Sequence[Disk], late: Sequence[Disk]) -> list[str]:
    own = [
        Disk("guest-root", parts.image.root, "guest-root", read_only=True),
        Disk("guest-code", parts.code, "guest-code", read_only=True),
        Disk("guest-state", parts.state, STATE_SERIAL),
    ]
    forwards = ",".join(f"hostfwd=tcp:127.0.0.1:0-:{port}" for port in (AGENT_PORT, *parts.ports))
    arguments = [
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-machine", "pc", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1", "-m", "768",
        "-kernel", str(parts.image.kernel), "-initrd", str(parts.image.early),
        "-append", f"console=ttyS0 loglevel=4 mitigations=off panic=-1 guest.name={parts.name}",
        "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
        "-chardev", f"socket,id=control,fd={control}", "-mon", "chardev=control,mode=control",
        "-netdev", f"user,id=net,restrict=on,ipv6=off,{forwards}",
        "-device", "virtio-net-pci,netdev=net,romfile=",
        "-device", f"virtio-scsi-pci,id={disks.SCSI_CONTROLLER}",
    ]  # fmt: skip
    for disk in (*plugged, *own, *late):
        arguments += ["-blockdev", json.dumps(disks.backend(disk)), "-device", json.dumps(disks.device(disk))]
    return arguments


async def _forwarded(qmp: Qmp, *, deadline: float) -> dict[int, int]:
    """Ask QEMU which free loopback ports it chose."""
    table = await qmp.execute("human-monitor-command", {"command-line": "info usernet"}, deadline=deadline)
    lines = re.findall(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s+\S+\s+(\d+)", table)
    return {int(inside): int(outside) for outside, inside in lines}
