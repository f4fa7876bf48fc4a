"""The one place of the cluster's parts that starts processes of this host.

Here belongs how a command is started, bounded and killed. Not here: which command, or what its output means.
"""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from tests.e2e.cluster.errors import AssetError, MissingToolError

SHOWN_LINES = 20
STOP_S = 10.0
"""How long a program that was asked to end may take before it is killed."""
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# The kernel kills the command when this process dies, however it dies: an orphan would go on writing.
_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
PRIVATE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--")
"""Before a command that mounts: its mounts and its children end with it, and this host never sees them."""

Word = str | Path


async def run(
    argv: Sequence[Word], *, timeout_s: float, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> str:
    """Run a command to its end and give its standard output; `environment` is added to this process's own.

    Raises AssetError with the end of what it wrote, when it fails or takes longer; nothing of it runs on then.
    """
    process = await _start(argv, cwd=cwd, environment=environment, output=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(timeout_s):
            output, errors = await process.communicate()
    except TimeoutError:
        raise AssetError(f"{shown(argv)}: not finished after {timeout_s:.0f} s; it was stopped") from None
    finally:
        await _kill(process)
    if process.returncode != 0:
        said = tail((errors.strip() or output.strip()).decode(errors="replace"))
        raise AssetError(f"{shown(argv)}: ended with {process.returncode}:\n{said}")
    return output.decode(errors="replace")


@contextlib.asynccontextmanager
async def running(argv: Sequence[Word], *, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Keep a program running; at the end it is asked to end, then killed. What it writes goes to `log`."""
    with log.open("ab") as output:
        process = await _start(argv, cwd=None, environment=None, output=output.fileno())
    try:
        yield process
        if process.returncode is None:
            process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), STOP_S)
    finally:
        await _kill(process)


def require(packages: Mapping[str, str], purpose: str) -> None:
    """Raise MissingToolError unless every program is here; `packages` gives the Debian package of each."""
    missing = {name: package for name, package in packages.items() if find(name) is None}
    if missing:
        listed = ", ".join(f"{name} (package {package})" for name, package in sorted(missing.items()))
        raise MissingToolError(f"{purpose} needs {listed}; `scripts/prepare cluster` installs what is missing")


def find(name: str) -> str | None:
    """Look for a program in PATH and in the folders of system programs, which a user's PATH may lack."""
    return shutil.which(name) or shutil.which(name, path=SYSTEM_PATH)


def shown(argv: Sequence[Word]) -> str:
    """Give a command as an error text names it."""
    return " ".join(str(word) for word in argv)[:300]


def tail(text: str) -> str:
    """Give the last lines of an output, where the reason of a failure is."""
    return "\n".join(text.splitlines()[-SHOWN_LINES:]) or "(it wrote nothing)"


async def _start(
    argv: Sequence[Word], *, cwd: Path | None, environment: Mapping[str, str] | None, output: int
) -> asyncio.subprocess.Process:
    if find(str(argv[0])) is None:
        raise MissingToolError(f"{argv[0]} is not installed on this host")
    path = f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}"
    return await asyncio.create_subprocess_exec(
        *_WITH_US,
        *(str(word) for word in argv),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=asyncio.subprocess.PIPE if output == asyncio.subprocess.PIPE else asyncio.subprocess.STDOUT,
        cwd=cwd,
        env={**os.environ, "LC_ALL": "C", "PATH": path, **(environment or {})},
        start_new_session=True,
    )


async def _kill(process: asyncio.subprocess.Process) -> None:
    """Kill what is left of a command's process group and see the command gone, also when this task is cancelled."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.returncode is None:
        await asyncio.shield(process.wait())
