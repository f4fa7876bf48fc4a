"""The one place of the node plugin that starts processes.

Here belongs how a command is started, bounded, killed and its output kept. Not here: which command, or what its exit
code means.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from csi.errors import CsiError, ErrorKind
from node.model import CommandResult
from node.ports import Observer, SilentObserver

log = logging.getLogger(__name__)

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OUTPUT_LIMIT_BYTES = 64 * 1024
"""Kept of each stream; the rest is read and dropped, so that a chatty command neither blocks nor fills memory."""
KILL_WAIT_S = 5.0
"""How long a killed command may take to go. One that hangs in the kernel on a dead disk cannot be waited for longer."""
WORK_FOLDER = "/proc/self/fdinfo"
"""Where commands run: nothing can be made in it, and no relative name leads to a device or to a file of the host."""


class HostRunner:
    """Runs commands of this host."""

    def __init__(self, *, search_path: str = DEFAULT_PATH, observer: Observer | None = None) -> None:
        """`search_path` is the PATH that programs are looked for in, and the one that they see."""
        self._observer = observer or SilentObserver()
        self._environment = {"PATH": search_path, "LC_ALL": "C", "HOME": "/"}
        self._going_through: dict[asyncio.Future[int], str] = {}

    async def run(self, argv: Sequence[str], *, deadline: float, pass_fds: Sequence[int] = ()) -> CommandResult:
        """Run one command to its end; see `ports.Runner.run`."""
        _require_time(argv, deadline)
        try:
            with self._timed(argv):
                async with asyncio.timeout_at(deadline):
                    return await self._run(argv, pass_fds)
        except TimeoutError:
            raise CsiError(
                ErrorKind.TIMEOUT, f"{_shown(argv)}: not finished in the time that the caller gave; it was stopped"
            ) from None

    async def run_through(self, argv: Sequence[str], *, deadline: float, pass_fds: Sequence[int] = ()) -> CommandResult:
        """Run one command that nothing but `deadline` stops; see `ports.Runner.run_through`."""
        _require_time(argv, deadline)
        with self._timed(argv), _kept_output() as stdout, _kept_output() as stderr:
            process = self._launch(argv, stdout, stderr, pass_fds)
            ended = _end_of(process)
            self._going_through[ended] = _shown(argv)
            ended.add_done_callback(self._going_through.pop)
            try:
                async with asyncio.timeout_at(deadline):
                    # Shielded: `drain` waits for the end also when the caller does not any more.
                    exit_code = await asyncio.shield(ended)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise CsiError(ErrorKind.TIMEOUT, f"{_shown(argv)}: did not come to an end and was stopped") from None
            return CommandResult(tuple(argv), exit_code, _written(stdout), _written(stderr))

    async def drain(self) -> None:
        """Wait for the commands of `run_through`, at most as long as their own limits.

        To be called before this process ends: where it is the first one of a container, the kernel kills the others
        with it. Whoever stops the process decides how long it may take.
        """
        while self._going_through:
            log.warning("waiting for commands that must not be cut off: %s", "; ".join(self._going_through.values()))
            await asyncio.wait(tuple(self._going_through))

    def _launch(
        self, argv: Sequence[str], stdout: int, stderr: int, pass_fds: Sequence[int]
    ) -> "subprocess.Popen[bytes]":
        """Start a process that no event loop owns: asyncio kills its own when it closes."""
        with self._named(argv):
            return subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                # No pipes: the end of this process would break them, and the command with them.
                stdout=stdout,
                stderr=stderr,
                env=self._environment,
                cwd=WORK_FOLDER,
                start_new_session=True,
                pass_fds=tuple(pass_fds),
            )

    async def _run(self, argv: Sequence[str], pass_fds: Sequence[int]) -> CommandResult:
        starting = asyncio.ensure_future(self._start(argv, pass_fds))
        try:
            # A cancelled start could leave a process that nobody knows, so the start itself is never interrupted.
            process = await asyncio.shield(starting)
        except asyncio.CancelledError:
            await _finish(starting)
            if starting.exception() is None:
                await _end(starting.result(), argv)
            raise
        try:
            stdout, stderr, _ = await asyncio.gather(_read(process.stdout), _read(process.stderr), process.wait())
        except BaseException:
            await _end(process, argv)
            raise
        exit_code = process.returncode
        if exit_code is None:
            raise CsiError(ErrorKind.INTERNAL, f"{_shown(argv)}: ended without an exit code")
        return CommandResult(tuple(argv), exit_code, stdout, stderr)

    async def _start(self, argv: Sequence[str], pass_fds: Sequence[int]) -> asyncio.subprocess.Process:
        with self._named(argv):
            return await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._environment,
                cwd=WORK_FOLDER,
                start_new_session=True,
                pass_fds=tuple(pass_fds),
            )

    @contextlib.contextmanager
    def _timed(self, argv: Sequence[str]) -> Iterator[None]:
        """Tell the observer how long a command took, whatever came of it."""
        started_at = time.perf_counter()
        try:
            yield
        finally:
            self._observer.command_ended(Path(argv[0]).name, time.perf_counter() - started_at)

    @contextlib.contextmanager
    def _named(self, argv: Sequence[str]) -> Iterator[None]:
        """Make a failed start an error that names the command."""
        try:
            yield
        except FileNotFoundError:
            raise CsiError(
                ErrorKind.INTERNAL, f"{argv[0]} is not installed on this node (searched {self._environment['PATH']})"
            ) from None
        except OSError as error:
            raise CsiError(ErrorKind.INTERNAL, f"{_shown(argv)}: could not be started: {error.strerror}") from error


def _require_time(argv: Sequence[str], deadline: float) -> None:
    if asyncio.get_running_loop().time() >= deadline:
        raise CsiError(ErrorKind.TIMEOUT, f"{_shown(argv)}: not started, because the caller's time is over; ask again")


@contextlib.contextmanager
def _kept_output() -> Iterator[int]:
    """Give a file in memory for a command's output; what does not fit is refused to the command and lost."""
    fd = os.memfd_create("output", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.truncate(fd, OUTPUT_LIMIT_BYTES)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
        yield fd
    finally:
        os.close(fd)


def _written(fd: int) -> str:
    # The command shares the file's position with us.
    return os.pread(fd, os.lseek(fd, 0, os.SEEK_CUR), 0).decode(errors="replace")


def _end_of(process: "subprocess.Popen[bytes]") -> asyncio.Future[int]:
    """Give the process's exit code when it ends.

    It is waited for in a thread that holds up neither the end of the event loop nor that of this process.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def tell(exit_code: int) -> None:
        if not ended.done():
            ended.set_result(exit_code)

    def wait() -> None:
        exit_code = process.wait()
        # The loop may have closed meanwhile; then nobody asks.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(tell, exit_code)

    threading.Thread(target=wait, name=f"end of {process.pid}", daemon=True).start()
    return ended


async def _read(stream: asyncio.StreamReader | None) -> str:
    if stream is None:
        return ""
    kept = bytearray()
    while chunk := await stream.read(16 * 1024):
        kept += chunk[: OUTPUT_LIMIT_BYTES - len(kept)]
    return kept.decode(errors="replace")


async def _end(process: asyncio.subprocess.Process, argv: Sequence[str]) -> None:
    """Kill the command's whole process group and see it gone, whatever else is cancelled meanwhile."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    waiting = asyncio.ensure_future(asyncio.wait_for(process.wait(), KILL_WAIT_S))
    await _finish(waiting)
    if waiting.cancelled() or waiting.exception() is not None:
        log.error("killed command does not end; it probably hangs on a dead disk", extra={"argv": _shown(argv)})


async def _finish(future: asyncio.Future[Any]) -> None:
    """Wait until the future is done, however often the caller is cancelled; the caller re-raises its own cancel."""
    while not future.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait((future,))


def _shown(argv: Sequence[str]) -> str:
    return " ".join(argv)[:300]
