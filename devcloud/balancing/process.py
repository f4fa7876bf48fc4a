"""The processes of proxies: started in the platform's namespace, told of a new configuration, found again, ended.

Belongs here: the life of a process, whatever program it is. Does not: configurations.

A process is ours when it runs one of our programs in the platform's network namespace, where nobody else does. So none
has to be written down, and what a killed platform or a killed proxy leaves is found.
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from devcloud import commands
from devcloud.errors import BackendError
from devcloud.nspawn import processes
from devcloud.nspawn.network import Network
from devcloud.nspawn.processes import PROC, Process

PROGRAMS = ("haproxy", "nginx")
_LOOK_S = 0.02
_TAKE_S = 15.0
_CHECK_S = 20.0
_END_S = 5.0
_SAID_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Program:
    """How one proxy is run; every command is a whole one, to be run in the namespace."""

    name: str
    start: Sequence[str]
    check: Sequence[str]
    """Checks the configuration that `candidate` names."""
    config: Path
    candidate: Path
    log: Path
    reload_signal: int
    gives_up: str
    """What it writes when it goes on with its old configuration, though it checked the new one."""
    read_mark: Callable[[], Awaitable[str]]


class Proxy:
    """One proxy of one load balancer."""

    def __init__(self, network: Network, program: Program) -> None:
        self._network = network
        self._program = program
        self._process: Process | None = None

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and processes.is_alive(self._process)

    def take_over(self) -> None:
        """Go on with the process that an earlier platform started, if there is one; blocking."""
        for process in self._all():
            # The children of nginx say what they are; those of HAProxy end with their parent.
            if not _is_child(process) and "worker process" not in _words(process.pid):
                self._process = process

    async def run(self, config: str, mark: str) -> None:
        """Let it run on a configuration that has this mark; raises BackendError, and what ran before goes on."""
        program = self._program
        await asyncio.to_thread(write_private, program.candidate, config)
        done = await commands.run([*self._inside, *program.check], timeout_s=_CHECK_S)
        if done.exit_code:
            said = (done.stderr or done.stdout).decode(errors="replace")
            raise BackendError(f"{program.name} refuses its configuration: {_shown(said)}")
        await asyncio.to_thread(program.candidate.replace, program.config)
        said_at = await asyncio.to_thread(_size, program.log)
        if self._process is None or not processes.send(self._process, program.reload_signal):
            _reap(self._process)
            # Children that outlived their parent would keep the ports.
            await end(await asyncio.to_thread(self._all))
            self._process = await asyncio.to_thread(self._start)
        await self._wait(mark, said_at)

    async def stop(self) -> None:
        """End it with everything that it started."""
        if self._process is not None:
            await end([self._process])
            self._process = None
        # What a killed one left has no parent that would end it.
        await end(await asyncio.to_thread(self._all))

    def _all(self) -> list[Process]:
        """Give the processes of this program that have files of this load balancer open."""
        folder = self._program.config.parent
        return [
            process
            for process in find_ours(self._network)
            if _program_of(process.pid) == self._program.name and _has_open(process.pid, folder)
        ]

    @property
    def _inside(self) -> tuple[str, ...]:
        return ("/usr/bin/nsenter", f"--net={self._network.path}", "--")

    def _start(self) -> Process:
        with Path("/dev/null").open("rb") as nothing:
            try:
                pid = commands.spawn_detached(
                    [*self._inside, *self._program.start],
                    stdin=nothing.fileno(),
                    output=self._program.log,
                    environment=commands.ENVIRONMENT,
                )
            except OSError as error:
                raise BackendError(f"{self._program.name} could not be started: {error.strerror}") from error
        process = processes.identify(pid)
        if process is None:
            raise BackendError(f"{self._program.name} ended at once: {_said(self._program.log, 0)}")
        return process

    async def _wait(self, mark: str, said_at: int) -> None:
        give_up_at = time.monotonic() + _TAKE_S
        while await self._program.read_mark() != mark:
            if not self.is_alive:
                _reap(self._process)
                self._process = None
                raise BackendError(f"{self._program.name} ended: {_said(self._program.log, said_at)}")
            if time.monotonic() > give_up_at or _gave_up(self._program, said_at):
                said = _said(self._program.log, said_at) or "it says nothing"
                raise BackendError(f"{self._program.name} did not take its configuration: {said}")
            await asyncio.sleep(_LOOK_S)


def _gave_up(program: Program, said_at: int) -> bool:
    """Tell whether a program has written, behind a place in its log, that it does not take a configuration."""
    return program.gives_up in _read(program.log, said_at)


def find_ours(network: Network) -> list[Process]:
    """Give all processes of proxies in the namespace; blocking."""
    try:
        inode = network.path.stat().st_ino
    except OSError:
        return []
    return list(_find(inode))


async def end(wanted: Sequence[Process]) -> None:
    """Ask processes to end, and kill those that do not; their children are others of `find_ours`."""
    for process in wanted:
        processes.send(process, signal.SIGTERM)
    if await _gone(wanted):
        return
    for process in wanted:
        processes.send(process, signal.SIGKILL)
    if not await _gone(wanted):
        raise BackendError(f"processes {', '.join(str(process.pid) for process in wanted)} do not end")


async def _gone(wanted: Sequence[Process]) -> bool:
    give_up_at = time.monotonic() + _END_S
    while any(processes.is_alive(process) for process in wanted):
        if time.monotonic() > give_up_at:
            return False
        await asyncio.sleep(_LOOK_S)
    for process in wanted:
        _reap(process)
    return True


def _find(inode: int) -> Iterator[Process]:
    for folder in PROC.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            is_ours = (folder / "exe").readlink().name in PROGRAMS and (folder / "ns/net").stat().st_ino == inode
        except OSError:
            continue
        process = processes.identify(int(folder.name)) if is_ours else None
        if process is not None:
            yield process


def _program_of(pid: int) -> str:
    try:
        return (PROC / f"{pid}/exe").readlink().name
    except OSError:
        return ""


def _has_open(pid: int, folder: Path) -> bool:
    try:
        return any(link.readlink().is_relative_to(folder) for link in (PROC / f"{pid}/fd").iterdir())
    except OSError:
        return False


def _is_child(process: Process) -> bool:
    """Tell whether a process was started by one of ours."""
    try:
        parent = (PROC / f"{process.pid}/stat").read_text().rpartition(")")[2].split()[1]
    except OSError:
        return False
    return _program_of(int(parent)) in PROGRAMS


def _words(pid: int) -> str:
    try:
        return (PROC / f"{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _reap(process: Process | None) -> None:
    # A child of an earlier platform is not ours to reap; this host's first process does it.
    if process is not None:
        try:
            os.waitpid(process.pid, os.WNOHANG)
        except ChildProcessError:
            return


def write_private(path: Path, text: str) -> None:
    """Write a file that may name secrets, for its owner only."""
    path.unlink(missing_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "w") as opened:
        opened.write(text)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _said(log: Path, since: int) -> str:
    return _shown(_read(log, since))


def _read(log: Path, since: int) -> str:
    try:
        with log.open("rb") as file:
            file.seek(since)
            return file.read(_SAID_BYTES).decode(errors="replace")
    except OSError:
        return ""


def _shown(said: str) -> str:
    """Give the lines of a complaint that say what is wrong."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    wrong = [line for line in lines if "ALERT" in line or "emerg" in line] or lines[-1:]
    return "; ".join(wrong[:2])[:500]
