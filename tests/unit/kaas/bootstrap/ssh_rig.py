"""What the tests of commands, connections and files by SSH have in common."""

import asyncio
import contextlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from kaas.bootstrap.ssh import Ssh
from kaas.domain.ports import Output, SshTarget
from tests.unit.kaas.bootstrap.sshd import Sshd


@dataclass
class Rig:
    sshd: Sshd
    ssh: Ssh
    folder: Path

    @property
    def target(self) -> SshTarget:
        return self.sshd.target

    async def run(self, *argv: str, stdin: bytes = b"", within_s: float = 30.0) -> Output:
        return await self.ssh.run(self.target, argv, stdin=stdin, deadline=within(within_s))


def within(seconds: float) -> float:
    """Give a deadline."""
    return asyncio.get_running_loop().time() + seconds


def new_mark() -> str:
    """Give a time to sleep for that nobody else sleeps for, so that a process is known by it."""
    return f"1000.{secrets.randbelow(10**15)}"


def alive(mark: str) -> list[int]:
    """Give the processes of this machine that have a mark in their arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if mark.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found
