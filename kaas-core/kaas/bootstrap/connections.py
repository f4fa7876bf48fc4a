"""SSH connections to machines: one for each, kept while it is used and a little longer, to pinned host keys only."""

import asyncio
import contextlib
import hashlib
import os
import re
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import asyncssh

from kaas.domain.errors import Code, KaasError, OtherHostError, StepError
from kaas.domain.ports import SshTarget

_KEEPALIVE_S = 5
_KEEPALIVES = 3
_CLOSE_S = 2.0
_MAX_REASON = 200
_HOST_KEY = re.compile(r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp[0-9]{3}) [A-Za-z0-9+/]+=*")


@dataclass(frozen=True, slots=True)
class Login:
    """How machines are logged in to, and what is kept of it."""

    user: str = "root"
    port: int = 22
    connect_s: float = 15.0
    """For a connection, from the first packet to being logged in."""
    idle_s: float = 60.0
    """An unused connection stays so long."""
    max_connections: int = 100
    """Unused ones above that are closed, the longest unused first."""
    max_sessions: int = 5
    """Commands at once on one connection: half of what OpenSSH's servers allow, since ending one takes another."""


@dataclass(slots=True)
class _Host:
    slots: asyncio.Semaphore
    connecting: asyncio.Lock = field(default_factory=asyncio.Lock)
    connection: asyncssh.SSHClientConnection | None = None
    users: int = 0
    end: asyncio.TimerHandle | None = None


class Connections:
    """Connections by machine. What goes wrong is StepError (NODE_UNREACHABLE) with the address and the reason."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._hosts: OrderedDict[str, _Host] = OrderedDict()

    @property
    def open_count(self) -> int:
        """How many connections there are."""
        return sum(host.connection is not None for host in self._hosts.values())

    @contextlib.asynccontextmanager
    async def use(self, target: SshTarget, *, deadline: float) -> AsyncIterator[asyncssh.SSHClientConnection]:
        """Have a connection, for one session of it, from before or a new one."""
        name = _name(target)
        host = self._hosts.setdefault(name, _Host(asyncio.Semaphore(self._login.max_sessions)))
        self._hosts.move_to_end(name)
        host.users += 1
        if host.end is not None:
            host.end.cancel()
            host.end = None
        try:
            await self._slot(host, target, deadline)
            try:
                yield await self._connected(host, target, deadline)
            finally:
                host.slots.release()
        finally:
            host.users -= 1
            # Nobody looks after one that was closed with all others meanwhile.
            if host.users == 0 and self._hosts.get(name) is host:
                host.end = asyncio.get_running_loop().call_later(self._login.idle_s, self._drop, name)
                self._trim()

    async def aclose(self) -> None:
        """Close all of them."""
        hosts = list(self._hosts.values())
        self._hosts.clear()
        for host in hosts:
            if host.end is not None:
                host.end.cancel()
        await asyncio.gather(*(_closed(host.connection) for host in hosts if host.connection is not None))

    async def _slot(self, host: _Host, target: SshTarget, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await host.slots.acquire()
        except TimeoutError:
            raise unreachable(target, "too many commands run on it at once, and none ended in time") from None

    async def _connected(self, host: _Host, target: SshTarget, deadline: float) -> asyncssh.SSHClientConnection:
        latest = min(deadline, asyncio.get_running_loop().time() + self._login.connect_s)
        try:
            async with asyncio.timeout_at(latest), host.connecting:
                if host.connection is None or host.connection.is_closed():
                    host.connection = await self._connect(target)
                return host.connection
        except TimeoutError:
            raise unreachable(target, "it does not answer in time") from None
        except asyncssh.HostKeyNotVerifiable:
            raise OtherHostError(
                f"{target.address}: its SSH host key is not the one that it reported at its first boot; something else "
                "answers there, and nothing was sent to it"
            ) from None
        except asyncssh.PermissionDenied:
            raise unreachable(target, "it does not let the cluster's SSH key in") from None
        except (OSError, asyncssh.Error) as error:
            raise unreachable(target, reason_of(error)) from error

    async def _connect(self, target: SshTarget) -> asyncssh.SSHClientConnection:
        host_key, private_key = _keys(target)
        return await asyncssh.connect(
            target.address,
            self._login.port,
            username=self._login.user,
            client_keys=[private_key],
            known_hosts=([host_key], [], []),
            preferred_auth=("publickey",),
            # Nothing of whoever runs this service: neither configuration nor agent.
            config=None,
            agent_path=None,
            keepalive_interval=_KEEPALIVE_S,
            keepalive_count_max=_KEEPALIVES,
        )

    def _trim(self) -> None:
        unused = [name for name, host in self._hosts.items() if host.users == 0]
        for name in unused[: max(len(self._hosts) - self._login.max_connections, 0)]:
            self._drop(name)

    def _drop(self, name: str) -> None:
        host = self._hosts.get(name)
        if host is None or host.users:
            return
        del self._hosts[name]
        if host.end is not None:
            host.end.cancel()
        if host.connection is not None:
            host.connection.close()


def unreachable(target: SshTarget, reason: str) -> StepError:
    """Make the error of a machine that does not do what it is told by SSH."""
    return StepError(Code.NODE_UNREACHABLE, f"{target.address}: {reason}")


def reason_of(error: Exception) -> str:
    """Say in a few printable words what a library or the kernel reports."""
    # The event loop puts words of its own in the place of the kernel's.
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        text = os.strerror(error.errno)
    else:
        text = str(error) or type(error).__name__
    return "".join(one if one.isprintable() else " " for one in text)[:_MAX_REASON]


def _name(target: SshTarget) -> str:
    parts = (target.address.encode(), target.host_key.encode(), target.private_key)
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _keys(target: SshTarget) -> tuple[asyncssh.SSHKey, asyncssh.SSHKey]:
    # An empty one would mean to trust nobody, a wrong one to trust something else: neither is left to chance.
    if not _HOST_KEY.fullmatch(target.host_key):
        raise unreachable(target, "it has not reported its SSH host key; without it nothing is sent there")
    try:
        return asyncssh.import_public_key(target.host_key), asyncssh.import_private_key(target.private_key)
    except asyncssh.KeyImportError:
        raise KaasError(Code.BUG, f"{target.address}: the stored SSH keys for it cannot be read") from None


async def _closed(connection: asyncssh.SSHClientConnection) -> None:
    connection.close()
    try:
        async with asyncio.timeout(_CLOSE_S):
            await connection.wait_closed()
    except TimeoutError:
        connection.abort()
