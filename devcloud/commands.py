"""The one place of the embedded platform that starts processes.

Belongs here: how a command is started, bounded, ended with its children, and its output kept. Does not: which command.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devcloud.errors import BackendError

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT: Mapping[str, str] = {"PATH": SEARCH_PATH, "LC_ALL": "C", "HOME": "/root"}
_KILL_WAIT_S = 5.0
_SHOWN_CHARACTERS = 300


class CommandTimeoutError(BackendError):
    """A command did not end in its time and was killed."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that ended."""

    exit_code: int
    """Negative: the number of the signal that ended it."""
    stdout: bytes
    stderr: bytes

    @property
    def output(self) -> str:
        """Standard output as text."""
        return self.stdout.decode(errors="replace")

    @property
    def complaint(self) -> str:
        """The last line of what it complained about, for an error text."""
        said = self.stderr.decode(errors="replace").strip() or self.output.strip() or "no output"
        return said.splitlines()[-1]


async def run(
    argv: Sequence[str],
    *,
    timeout_s: float,
    stdin: bytes | None = None,
    environment: Mapping[str, str] = ENVIRONMENT,
) -> Finished:
    """Run one command to its end; raises CommandTimeoutError, BackendError when it cannot be started."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,
        )
    except OSError as error:
        raise BackendError(f"{argv[0]} could not be started: {error.strerror}") from error
    try:
        async with asyncio.timeout(timeout_s):
            stdout, stderr = await process.communicate(stdin)
    except TimeoutError:
        await _end(process)
        raise CommandTimeoutError(f"{_shown(argv)}: not finished after {timeout_s:g} s; it was killed") from None
    except BaseException:
        await _end(process)
        raise
    return Finished(process.returncode or 0, stdout, stderr)


async def check(argv: Sequence[str], *, timeout_s: float, stdin: bytes | None = None) -> str:
    """Run one command that has to succeed and give its output; raises BackendError that says what it complained of."""
    done = await run(argv, timeout_s=timeout_s, stdin=stdin)
    if done.exit_code:
        raise BackendError(f"{_shown(argv)} ended with {done.exit_code}: {done.complaint}")
    return done.output


def spawn_detached(argv: Sequence[str], *, stdin: int, output: Path, environment: Mapping[str, str]) -> int:
    """Start a process in a session of its own that outlives this one, and give its id; raises OSError.

    `stdin` is a descriptor for it, `output` the file that its output is appended to. The caller reaps it.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_DUP2, stdin, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(output), flags, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    return os.posix_spawn(argv[0], list(argv), dict(environment), file_actions=actions, setsid=True)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill the command with its children and see it gone, whatever else is cancelled meanwhile."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        await asyncio.shield(asyncio.wait_for(process.wait(), _KILL_WAIT_S))


def _shown(argv: Sequence[str]) -> str:
    return " ".join(argv)[:_SHOWN_CHARACTERS]
