"""Addresses that a program serves on, and the safe making of a socket file.

A socket file is bound under a private name and moved to its place when the server already listens, so that a client
never meets a path that nobody answers, and an old file is replaced in one step.
"""

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import re
import socket
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from process.address import TcpEndpoint, parse_host_port

LOG = logging.getLogger("csi.endpoint")

CLAIM_PAUSE_S = 0.1
"""Pause between two looks whether another instance has ended."""
_PRIVATE_SUFFIX = ".new"
MAX_PATH_BYTES = 107 - len("." + _PRIVATE_SUFFIX)
"""sockaddr_un of Linux without the final zero byte, less what the private name adds."""
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./+@:=,~-]+")


class EndpointError(Exception):
    """The address cannot be served on; the text says why and what to do."""


class EndpointBusyError(EndpointError):
    """Another instance holds the address, but does not serve on it: it is starting or ending."""


@dataclass(frozen=True, slots=True)
class UnixEndpoint:
    """A socket file."""

    path: Path

    def __str__(self) -> str:
        return f"unix://{self.path}"


Endpoint = UnixEndpoint | TcpEndpoint


def parse_endpoint(text: str) -> Endpoint:
    """Read `unix:///path`, `unix:/path` or `tcp://host:port`. Raises ValueError saying what is wrong."""
    scheme, colon, rest = text.partition(":")
    if scheme == "unix" and colon:
        return _parse_unix(rest.removeprefix("//"))
    if scheme == "tcp" and rest.startswith("//"):
        return parse_host_port(rest.removeprefix("//"))
    raise ValueError("unix:///path/of/socket or tcp://host:port is needed")


def _parse_unix(text: str) -> UnixEndpoint:
    if not text.startswith("/") or text.endswith("/"):
        raise ValueError("the socket needs an absolute path, such as unix:///csi/csi.sock")
    path = Path(text)
    if not _PLAIN_PATH.fullmatch(text):
        raise ValueError("the socket's path may hold letters, digits and `_./+@:=,~-`; gRPC reads others as marks")
    if len(text) > MAX_PATH_BYTES:
        raise ValueError(f"the path is too long; {MAX_PATH_BYTES} bytes are allowed")
    return UnixEndpoint(path)


class SocketFile:
    """One socket path, from the claim to its removal.

    `claim`, then let a server listen on `private_path`, then `publish`; at the end `hide`, and `release` when all work
    has ended. All of it is quick local file work and is done without a thread.
    """

    def __init__(self, path: Path, *, mode: int = 0o600) -> None:
        self.path = path
        self.private_path = path.with_name(f".{path.name}{_PRIVATE_SUFFIX}")
        self._mode = mode
        self._lock_fd = -1
        self._identity: tuple[int, int] | None = None

    def claim(self) -> Self:
        """Make sure that no other instance works here, and none starts to until `release`.

        Raises EndpointError when one serves, when the path holds something else than a socket, or when the directory is
        missing or closed to us, and EndpointBusyError while one is starting or ending.
        """
        if len(os.fsencode(self.path)) > MAX_PATH_BYTES:
            # The registration's path is made of a folder and a name, and has not been read as an endpoint.
            raise EndpointError(f"{self.path}: the path is too long; {MAX_PATH_BYTES} bytes are allowed")
        lock = self._lock_path
        try:
            self._lock_fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            self._refuse_foreign()
            raise EndpointBusyError(
                f"{self.path}: another instance of this program is starting or ending here; its process holds {lock}"
            ) from None
        except FileNotFoundError:
            raise EndpointError(f"{self.path}: the directory does not exist; create it with mode 0700") from None
        except OSError as error:
            self.release()
            raise EndpointError(f"{self.path}: cannot lock {lock}: {error.strerror}") from error
        try:
            self._refuse_foreign()
        except BaseException:
            self.release()
            raise
        return self

    def publish(self) -> None:
        """Move the listening socket to its place, over a stale one. Raises EndpointError when the kernel refuses."""
        try:
            self.private_path.chmod(self._mode)
            status = self.private_path.lstat()
            self._identity = (status.st_dev, status.st_ino)
            self.private_path.rename(self.path)
        except OSError as error:
            raise EndpointError(f"{self.path}: cannot put the socket there: {error.strerror}") from error

    def is_present(self) -> bool:
        """Say whether our socket, and not another file, is at its path."""
        try:
            status = self.path.lstat()
        except OSError:
            return False
        return self._identity == (status.st_dev, status.st_ino)

    def publish_again(self) -> None:
        """Take our socket away and put it there again, for those who look for sockets that appear.

        The server goes on listening, and connections stay. Raises EndpointError when the kernel refuses.
        """
        try:
            self.path.rename(self.private_path)
            self.private_path.rename(self.path)
        except OSError as error:
            raise EndpointError(f"{self.path}: cannot put the socket there again: {error.strerror}") from error

    def hide(self) -> None:
        """Remove our socket, and only ours: a file that somebody put in its place stays. May be called twice.

        Nobody finds the way to this instance any more, and no other one may work here yet.
        """
        with contextlib.suppress(FileNotFoundError):
            self.private_path.unlink()
        with contextlib.suppress(FileNotFoundError):
            status = self.path.lstat()
            if self._identity == (status.st_dev, status.st_ino):
                self.path.unlink()
        self._identity = None

    def release(self) -> None:
        """Let another instance work here. May be called twice."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def keep(self) -> None:
        """Let no other instance work here as long as this process lives, whatever is released later."""
        self._lock_fd = -1

    @property
    def _lock_path(self) -> Path:
        return self.path.with_name(f".{self.path.name}.lock")

    def _refuse_foreign(self) -> None:
        try:
            mode = self.path.lstat().st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise EndpointError(f"{self.path} exists and is no socket; remove it or choose another endpoint")
        if _is_served(self.path):
            raise EndpointError(f"{self.path}: another process is serving on this socket; stop it first")


@contextlib.asynccontextmanager
async def claimed(endpoint: Endpoint, *, wait_s: float, mode: int = 0o600) -> AsyncIterator["SocketFile | TcpEndpoint"]:
    """Give the place to serve on, which no other instance works behind while the block runs.

    Waits up to `wait_s` for an instance that is ending: work that it has begun must not meet ours. Raises EndpointError
    at once for one that serves, since that is no change of instances but a mistake, and for one that does not end in
    time. A TCP port cannot be claimed before a server listens on it.
    """
    if isinstance(endpoint, TcpEndpoint):
        yield endpoint
        return
    place = SocketFile(endpoint.path, mode=mode)
    await _wait_claimed(place, wait_s)
    try:
        yield place
    finally:
        place.hide()
        place.release()


async def _wait_claimed(place: SocketFile, wait_s: float) -> None:
    deadline = asyncio.get_running_loop().time() + wait_s
    is_told = False
    while True:
        try:
            place.claim()
        except EndpointBusyError as error:
            if asyncio.get_running_loop().time() >= deadline:
                raise EndpointError(
                    f"{error}. It has not ended within {wait_s:g} s; end it, then start again"
                ) from error
            if not is_told:
                LOG.warning(
                    "waiting for another instance to end", extra={"fields": {"seen": str(error), "limit_s": wait_s}}
                )
                is_told = True
            await asyncio.sleep(CLAIM_PAUSE_S)
        else:
            return


def _is_served(path: Path) -> bool:
    """Whether somebody listens; anything but a definite no counts as yes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # noqa: FBT003 - the standard library takes it so
        return probe.connect_ex(str(path)) not in {errno.ECONNREFUSED, errno.ENOENT}
