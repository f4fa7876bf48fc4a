"""Processes of this host, told apart for certain: a number alone may belong to somebody else by now.

Belongs here: reading /proc, waiting for an end, signalling only what is proved. Does not: what a process is for.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec

PROC = Path("/proc")
_STATE = 0
_STARTED = 19
"""Places of state and start time in /proc/PID/stat, counted from the word after the command's name."""
_DEAD = frozenset("ZX")


class Process(msgspec.Struct, frozen=True):
    """A process: its number and when it started, in ticks since this host did."""

    pid: int
    started: int


def boot_id(proc: Path = PROC) -> str:
    """Give what tells one run of this host from the next; process numbers and start times mean nothing across it."""
    return (proc / "sys/kernel/random/boot_id").read_text().strip()


def identify(pid: int, proc: Path = PROC) -> Process | None:
    """Give the process that has a number now; None for none, and for one that only waits to be reaped."""
    words = _stat(pid, proc)
    if words is None or words[_STATE] in _DEAD:
        return None
    return Process(pid, int(words[_STARTED]))


def is_alive(process: Process, proc: Path = PROC) -> bool:
    """Tell whether this very process runs."""
    return identify(process.pid, proc) == process


def children(pid: int, proc: Path = PROC) -> list[int]:
    """Give the numbers of a process's children."""
    try:
        return [int(word) for word in (proc / f"{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def is_first_of_container(pid: int, proc: Path = PROC) -> bool:
    """Tell whether a process is the first one of a process namespace of its own, and has become its program."""
    try:
        status = (proc / f"{pid}/status").read_text()
        program = (proc / f"{pid}/exe").readlink().name
    except OSError:
        return False
    numbers = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
    return len(numbers) > 1 and numbers[-1] == "1" and program != "systemd-nspawn"


@contextlib.contextmanager
def open_process(pid: int) -> Iterator[int | None]:
    """Have a descriptor of the process with a number, which keeps meaning that one; None when there is none."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)


def send(process: Process, number: int) -> bool:
    """Signal this very process; False when it is not there any more."""
    with open_process(process.pid) as handle:
        if handle is None or not is_alive(process):
            return False
        try:
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        return True


async def wait_end(process: Process) -> None:
    """Return when this very process has ended, reaping it if it is a child of ours."""
    with open_process(process.pid) as handle:
        if handle is None:
            return
        if is_alive(process):
            loop = asyncio.get_running_loop()
            ended = loop.create_future()
            loop.add_reader(handle, _set, ended)
            try:
                await ended
            finally:
                loop.remove_reader(handle)
        elif identify(process.pid) is not None:
            return
        _reap(handle)


def _reap(handle: int) -> None:
    # A child of an earlier platform is not ours to reap; this host's first process does it.
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, handle, os.WEXITED | os.WNOHANG)


def _set(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _stat(pid: int, proc: Path) -> list[str] | None:
    try:
        text = (proc / f"{pid}/stat").read_text()
    except OSError:
        return None
    # The command's name stands in brackets and may have brackets and blanks itself.
    return text.rpartition(")")[2].split()
