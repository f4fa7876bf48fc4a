"""A real OpenSSH server on the loopback, for the current user, with everything of its own in one folder."""

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kaas.crypto.sshkeys import SshKeyPair, new_ssh_key_pair
from kaas.domain.ports import SshTarget

ADDRESS = "127.0.0.1"


@dataclass(frozen=True)
class Sshd:
    port: int
    user: str
    target: SshTarget
    pid: int
    folder: Path

    def sessions(self) -> list[int]:
        """Give the processes that serve one connection each."""
        return [pid for pid in _children(self.pid) if b"sshd" in _command(pid)]

    def kill_connections(self) -> None:
        self._signal(signal.SIGKILL)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Let what serves the connections stand still, as a machine that hangs does."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.sessions():
            for one in (*(child for child in _children(pid) if b"sshd" in _command(child)), pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one, number)


def program() -> str:
    """Give the server's path, or skip the test."""
    found = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("no sshd here; Debian's package openssh-server has it")
    return found


def free_port() -> int:
    with socket.socket() as one:
        one.bind((ADDRESS, 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def running_sshd(folder: Path) -> Iterator[Sshd]:
    """Run a server, with one key that may log in."""
    binary = program()
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    host, user = asyncio.run(new_ssh_key_pair("host")), asyncio.run(new_ssh_key_pair("user"))
    _write(folder / "host_key", host.private_key)
    _write(folder / "authorized_keys", f"{user.public_key}\n".encode())
    port = free_port()
    (folder / "sshd_config").write_text(
        f"ListenAddress {ADDRESS}:{port}\nHostKey {folder}/host_key\nAuthorizedKeysFile {folder}/authorized_keys\n"
        f"PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
        # A home of its own: what the user's shell does at its start is not the matter of these tests.
        f"MaxStartups 100\nSubsystem sftp internal-sftp\nSetEnv HOME={folder}\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([binary, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    try:
        while b"Server listening" not in (folder / "log").read_bytes():
            assert process.poll() is None, (folder / "log").read_text()
        yield Sshd(port, pwd.getpwuid(os.geteuid()).pw_name, _target(host, user), process.pid, folder)
    finally:
        process.kill()
        process.wait()


def _target(host: SshKeyPair, user: SshKeyPair) -> SshTarget:
    return SshTarget(ADDRESS, " ".join(host.public_key.split()[:2]), user.private_key)


def _write(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


def _children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                    found.append(int(entry.name))
    return found


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
