"""First process of the guest: prepares it and runs what the tests ask for over a forwarded loopback port.

Standard library only: it runs on the guest's own Python. One connection carries one request and one answer, each a line
of JSON. There is deliberately no udev here: the driver has to work from what the kernel itself says.
"""

import asyncio
import contextlib
import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

AGENT_PORT = 7000
READY = "guest: ready"
MODULES = ("virtio_net", "virtio_scsi", "sd_mod", "nvme")
STATE_SERIAL = "guest-state"
_LINE_LIMIT = 16 << 20
_GRACE_S = 20.0


class Daemon:
    """A long-running program and the lines that it has written so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self.ended = False
        self.changed = asyncio.Condition()
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            async with self.changed:
                self.lines.append(line.decode(errors="replace").rstrip("\n"))
                self.changed.notify_all()
        await self.process.wait()
        async with self.changed:
            self.ended = True
            self.changed.notify_all()

    async def line_with(self, words: list[str], start: int) -> dict[str, Any]:
        """Give the first line from `start` on that holds all words, as soon as there is one."""
        async with self.changed:
            position = start
            while True:
                for number in range(position, len(self.lines)):
                    if all(word in self.lines[number] for word in words):
                        return {"line": self.lines[number], "number": number}
                position = len(self.lines)
                if self.ended:
                    return {"error": f"ended with {self.process.returncode}: " + " | ".join(self.lines[-5:])}
                await self.changed.wait()


class Agent:
    """Answers the requests of the tests."""

    def __init__(self) -> None:
        self._daemons: dict[str, Daemon] = {}

    async def serve(self) -> None:
        """Answer until the machine ends."""
        server = await asyncio.start_server(self._connected, "0.0.0.0", AGENT_PORT, limit=_LINE_LIMIT)
        say(READY)
        await server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            line = await reader.readline()
            if line:
                try:
                    answer = await self._answer(json.loads(line))
                except (OSError, LookupError, ValueError, TimeoutError) as error:
                    answer = {"error": f"{type(error).__name__}: {error}"}
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        writer.close()

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request["op"]:
            case "run":
                return await run(request["argv"], request["input"], request["limit_s"])
            case "start":
                return await self._start(request["name"], request["argv"], request["environment"])
            case "line":
                return await self._daemons[request["name"]].line_with(request["words"], request["start"])
            case "lines":
                return {"lines": self._daemons[request["name"]].lines}
            case "stop":
                return await self._stop(request["name"], request["signal"])
            case other:
                return {"error": f"unknown request {other!r}"}

    async def _start(self, name: str, argv: list[str], environment: dict[str, str]) -> dict[str, Any]:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
            limit=_LINE_LIMIT,
        )
        self._daemons[name] = Daemon(process)
        return {"pid": process.pid}

    async def _stop(self, name: str, number: int) -> dict[str, Any]:
        daemon = self._daemons.pop(name)
        with contextlib.suppress(ProcessLookupError):
            daemon.process.send_signal(number)
        async with asyncio.timeout(_GRACE_S):
            await daemon.reading
        return {"status": daemon.process.returncode, "lines": daemon.lines}


async def run(argv: list[str], text: str, limit_s: float) -> dict[str, Any]:
    """Run a program to its end and give what it wrote."""
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        async with asyncio.timeout(limit_s):
            output, errors = await process.communicate(text.encode())
    except TimeoutError:
        process.kill()
        await process.wait()
        return {"error": f"{argv[0]} took longer than {limit_s} s"}
    return {
        "status": process.returncode,
        "output": output.decode(errors="replace"),
        "errors": errors.decode(errors="replace"),
    }


def prepare() -> None:
    """Bring up what a booted machine has: file systems, drivers, network, the disk that outlives a power cut."""
    os.environ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    for target in ("/run", "/tmp"):
        command("mount", "-t", "tmpfs", "tmpfs", target)
    for name in MODULES:
        command("modprobe", "-q", name)
    # As the list of static nodes of kmod makes it on a real machine; opening it loads the module.
    os.mknod("/dev/btrfs-control", 0o660 | stat.S_IFCHR, os.makedev(10, 234))
    state = disk_with_serial(STATE_SERIAL)
    if state is not None:
        command("mount", "-t", "ext4", state, "/var/lib/kubelet")
        command("mount", "--make-rshared", "/var/lib/kubelet")
    command("busybox", "ifconfig", "lo", "up")
    command("busybox", "ifconfig", "eth0", "10.0.2.15", "netmask", "255.255.255.0", "up")
    socket.sethostname("guest-" + argument("guest.name"))


def disk_with_serial(serial: str) -> str | None:
    """Give the device of the disk that reports this serial."""
    for file in Path("/sys/block").glob("*/serial"):
        if file.read_text().strip() == serial:
            return f"/dev/{file.parent.name}"
    return None


def argument(name: str) -> str:
    """Give a value from the kernel's command line."""
    for word in Path("/proc/cmdline").read_text().split():
        key, _, value = word.partition("=")
        if key == name:
            return value
    return "unnamed"


def command(*argv: str) -> None:
    """Run one step of the preparation; a failure is shown on the console and is fatal where it matters, later."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        say(f"guest: {' '.join(argv)}: {done.stderr.strip()}")


def say(text: str) -> None:
    """Write a line to the console, which the tests read."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    prepare()
    asyncio.run(Agent().serve())
