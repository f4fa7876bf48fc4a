"""The one place of the node plugin that starts processes.

Here belongs how a command is started, bounded, killed and its output kept. Not here: which command, or what its exit
code means.
"""

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Sequence
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


class HostRunner:
    """Runs commands of this host."""

    def __init__(self, *, search_path: str = DEFAULT_PATH, observer: Observer | None = None) -> None:
        """`search_path` is the PATH that programs are looked for in, and the one that they see."""
        self._observer = observer or SilentObserver()
        self._environment = {"PATH": search_path, "LC_ALL": "C", "HOME": "/"}

    async def run(self, argv: Sequence[str], *, deadline: float, pass_fds: Sequence[int] = ()) -> CommandResult:
        """Run one command to its end; see `ports.Runner.run`."""
        started_at = time.perf_counter()
        try:
            async with asyncio.timeout_at(deadline):
                return await self._run(argv, pass_fds)
        except TimeoutError:
            raise CsiError(
                ErrorKind.TIMEOUT, f"{_shown(argv)}: not finished in the time that the caller gave; it was stopped"
            ) from None
        finally:
            self._observer.command_ended(Path(argv[0]).name, time.perf_counter() - started_at)

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
        try:
            return await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._environment,
                cwd="/",
                start_new_session=True,
                pass_fds=tuple(pass_fds),
            )
        except FileNotFoundError:
            raise CsiError(
                ErrorKind.INTERNAL, f"{argv[0]} is not installed on this node (searched {self._environment['PATH']})"
            ) from None
        except OSError as error:
            raise CsiError(ErrorKind.INTERNAL, f"{_shown(argv)}: could not be started: {error.strerror}") from error


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
