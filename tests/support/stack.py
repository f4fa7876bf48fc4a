"""The three programs as processes on this machine: devcloud, the controller and one node plugin per instance.

What a demonstration, the benchmarks, csi-sanity and the fault tests run against. Every file, mount and loop device lies
under one folder, and leaving the context takes all of it away again.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc.aio
import httpx

from tests.support.ports import free_port

START_TIMEOUT_S = 30.0
CLUSTER_ID = "stack"
_CHANNEL_OPTIONS = [("grpc.default_authority", "localhost")]


class StackError(Exception):
    """A program did not start or ended by itself; the text carries the end of its log."""


@dataclass(slots=True)
class Program:
    """One running process and where it writes."""

    name: str
    argv: list[str]
    log: Path
    process: asyncio.subprocess.Process

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether the process is still there."""
        return self.process.returncode is None

    def log_tail(self, lines: int = 20) -> str:
        """Give the last lines that the program wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    async def stop(self, sig: signal.Signals = signal.SIGTERM, *, timeout_s: float = 20.0) -> int:
        """Signal the process and wait for its end; a process that does not end is killed."""
        if self.running:
            self.process.send_signal(sig)
            try:
                await asyncio.wait_for(self.process.wait(), timeout_s)
            except TimeoutError:
                self.process.kill()
        return await self.process.wait()


@dataclass(slots=True)
class Stack:
    """devcloud, a controller and node plugins below `root`."""

    root: Path
    tier: str = "extended"
    nodes: tuple[str, ...] = ("node-a", "node-b")
    max_volumes: int = 64
    devcloud_args: tuple[str, ...] = ()
    controller_args: tuple[str, ...] = ()
    node_args: tuple[str, ...] = ()
    programs: dict[str, Program] = field(default_factory=dict)
    _exits: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    _port: int = 0
    _http_ports: dict[str, int] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            await self.start_devcloud()
            await asyncio.gather(self.start_controller(), *(self.start_node(name) for name in self.nodes))
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop all programs, unmount what lies below the root, and give the loop devices back."""
        await self._exits.aclose()
        for program in reversed(list(self.programs.values())):
            await program.stop(timeout_s=5.0)
        await unmount_below(self.root)
        await self._run_devcloud("reset", "--data-dir", str(self.data_dir))

    @property
    def data_dir(self) -> Path:
        """devcloud's data folder."""
        return self.root / "cloud"

    @property
    def base_url(self) -> str:
        """Where devcloud answers."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def api_key(self) -> str:
        """The key that devcloud made."""
        return (self.data_dir / "api-key").read_text().strip()

    def socket_of(self, name: str) -> Path:
        """The CSI socket of `controller` or of a node."""
        return self.root / name / "csi.sock"

    def http_of(self, name: str) -> str:
        """Where a program serves health and metrics, kept over restarts."""
        return f"127.0.0.1:{self._http_ports.setdefault(name, free_port())}"

    def staging_path(self, node: str, volume_id: str) -> Path:
        """A staging path as the kubelet would choose it."""
        return self.root / node / "kubelet" / "staging" / volume_id / "globalmount"

    def target_path(self, node: str, volume_id: str, pod: str = "pod-1") -> Path:
        """A target path as the kubelet would choose it."""
        return self.root / node / "kubelet" / "pods" / pod / "volumes" / volume_id / "mount"

    async def start_devcloud(self) -> Program:
        """Start devcloud; the port is kept over restarts."""
        self._port = self._port or free_port()
        hosts = [part for name in self.nodes for part in ("--host-instance", name)]
        argv = [
            *("--tier", self.tier, "--listen", f"127.0.0.1:{self._port}", "--data-dir", str(self.data_dir)),
            *("--backend", "host", "--max-volumes", str(self.max_volumes), "--rate-limit", "0"),
            *hosts,
            *self.devcloud_args,
        ]
        program = await self.spawn("devcloud", ["-m", "devcloud.app", "serve", *argv])
        await self._until(program, self._devcloud_answers)
        return program

    async def start_controller(self, *, launcher: Sequence[str] = ("-m", "controller.app")) -> Program:
        """Start the controller; `launcher` replaces the module for tests that end it at a named point."""
        socket = self.socket_of("controller")
        socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        argv = [
            *("--endpoint", f"unix://{socket}", "--platform-url", self.base_url),
            *("--api-key-file", str(self.data_dir / "api-key"), "--cluster-id", CLUSTER_ID),
            *("--requests-per-s", "1000", "--http-endpoint", self.http_of("controller"), *self.controller_args),
        ]
        program = await self.spawn("controller", [*launcher, "serve", *argv])
        await self._until(program, lambda: self._socket_answers(socket))
        return program

    async def start_node(self, name: str, *, launcher: Sequence[str] = ("-m", "node.app")) -> Program:
        """Start the node plugin of an instance."""
        socket = self.socket_of(name)
        socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # What cloud-init or the node's labels tell on a real platform.
        offered = ("--zone", "zone-1") if self.tier == "extended" else ("--plugin-capabilities", "CONTROLLER_SERVICE")
        argv = [
            *offered,
            *("--endpoint", f"unix://{socket}", "--node-id", name, "--state-dir", str(self.root / name / "state")),
            *("--kubelet-dir", str(self.root / name / "kubelet"), "--loop-disk-dir", str(self.data_dir / "disks")),
            *("--max-volumes", str(self.max_volumes), "--http-endpoint", self.http_of(name), *self.node_args),
        ]
        program = await self.spawn(name, [*launcher, "serve", *argv])
        await self._until(program, lambda: self._socket_answers(socket))
        return program

    async def spawn(self, name: str, argv: Sequence[str]) -> Program:
        """Start one Python program with its output in `<root>/<name>.log`."""
        log = self.root / f"{name}.log"
        with log.open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *argv, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out, env=_environment()
            )
        self.programs[name] = Program(name, list(argv), log, process)
        return self.programs[name]

    async def kill(self, name: str) -> None:
        """End a program with SIGKILL and wait until it is gone."""
        await self.programs[name].stop(signal.SIGKILL)

    @contextlib.asynccontextmanager
    async def channel(self, name: str) -> AsyncIterator[grpc.aio.Channel]:
        """A gRPC channel to the controller or a node."""
        async with grpc.aio.insecure_channel(f"unix://{self.socket_of(name)}", options=_CHANNEL_OPTIONS) as channel:
            yield channel

    async def platform(self, method: str, path: str, **kwargs: Any) -> Any:
        """Call devcloud as an administrator; gives the decoded `data`, and raises for an error status."""
        async with httpx.AsyncClient(base_url=self.base_url, headers={"X-API-Key": self.api_key}) as client:
            answer = await client.request(method, path, timeout=30.0, **kwargs)
        answer.raise_for_status()
        return json.loads(answer.text).get("data") if answer.text else None

    async def metrics(self, name: str) -> dict[str, float]:
        """Give a program's metrics as `name{label="value",…}` → value."""
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"http://{self.http_of(name)}/metrics", timeout=10.0)).text
        rows = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
        return {series: float(value) for series, _, value in rows}

    async def _run_devcloud(self, *argv: str) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "devcloud.app",
            *argv,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        if process.returncode:
            raise StackError(f"devcloud {argv[0]} ended with {process.returncode}: {output.decode()}")

    async def _devcloud_answers(self) -> bool:
        try:
            async with httpx.AsyncClient(base_url=self.base_url) as client:
                answer = await client.get("/health/live", timeout=1.0)
        except httpx.TransportError:
            return False
        return answer.status_code == httpx.codes.OK

    async def _socket_answers(self, socket: Path) -> bool:
        try:
            _, writer = await asyncio.open_unix_connection(str(socket))
        except OSError:
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True

    async def _until(self, program: Program, ready: Any) -> None:
        async with asyncio.timeout(START_TIMEOUT_S):
            while not await ready():
                if not program.running:
                    raise StackError(f"{program.name} ended with {program.process.returncode}:\n{program.log_tail()}")
                await asyncio.sleep(0.02)


def mounts_below(root: Path) -> list[str]:
    """Name the mount points below a folder, deepest first."""
    rows = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return sorted((row for row in rows if row.startswith(f"{root}/")), key=len, reverse=True)


def loops_below(root: Path) -> list[str]:
    """Name the loop devices whose backing file lies below a folder."""
    found = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            if backing.read_text().startswith(f"{root}/"):
                found.append(backing.parent.parent.name)
    return found


async def unmount_below(root: Path) -> None:
    """Unmount everything below a folder, deepest first."""
    for mount_point in mounts_below(root):
        process = await asyncio.create_subprocess_exec("umount", mount_point)
        await process.wait()


def _environment() -> dict[str, str]:
    # As in the image: byte code at hand, one arena.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, "PYTHONUNBUFFERED": "1", "MALLOC_ARENA_MAX": "1"}
