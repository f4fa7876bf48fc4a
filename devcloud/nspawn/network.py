"""The network of the instances: a network namespace with a bridge, and nothing that leads out of it.

Belongs here: making and removing it, and sockets inside. Does not: which address is whose (`devcloud/addresses.py`).
"""

import asyncio
import contextlib
import ctypes
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import TypeVar

import msgspec

from devcloud import commands
from devcloud.addresses import gateway_of, pod_range
from devcloud.errors import BackendError

BRIDGE = "br0"
_NAMESPACES = Path("/run/netns")
_SYSCTLS = Path("/proc/sys/net/ipv4")
_CLONE_NEWNET = 0x40000000
_COMMAND_S = 20.0
_BACKLOG = 1024

T = TypeVar("T")


class _Address(msgspec.Struct, frozen=True):
    local: str
    prefixlen: int
    family: str


class _Link(msgspec.Struct, frozen=True):
    ifname: str = ""
    addr_info: list[_Address] = []


@dataclass(frozen=True, slots=True)
class Network:
    """The namespace of one platform."""

    name: str
    range: IPv4Network
    pods: IPv4Network | None = None
    reserved: IPv4Network | None = None
    """Addresses that no instance has, and so no pods behind them."""

    @property
    def path(self) -> Path:
        """Where the namespace can be entered."""
        return _NAMESPACES / self.name

    @property
    def gateway(self) -> str:
        """The platform's address in it."""
        return gateway_of(self.range)

    async def ensure(self) -> None:
        """Make what is missing of the namespace; raises BackendError, also when it is there with another range."""
        if not is_namespace(self.path):
            # What a crash between making the file and mounting the namespace left.
            self.path.unlink(missing_ok=True)
            await commands.check(["ip", "netns", "add", self.name], timeout_s=_COMMAND_S)
        found = await self._bridge_address()
        wanted = f"{self.gateway}/{self.range.prefixlen}"
        if found not in {None, "", wanted}:
            raise BackendError(
                f"network namespace {self.name} has {found} and {wanted} is wanted; give the --network of the first "
                "start, or run `devcloud reset`"
            )
        if found is None:
            await commands.check(["ip", "-n", self.name, "link", "add", BRIDGE, "type", "bridge"], timeout_s=_COMMAND_S)
        await commands.check(["ip", "-n", self.name, "-batch", "-"], timeout_s=_COMMAND_S, stdin=self.plan().encode())
        await asyncio.to_thread(in_namespace, self.path, _forward)

    def plan(self) -> str:
        """Give the commands for ip(8) that bring the bridge into the wanted state from any other."""
        lines = [
            "link set lo up",
            f"addr replace {self.gateway}/{self.range.prefixlen} dev {BRIDGE}",
            f"link set {BRIDGE} up",
            # What is for nobody here is refused at once, and never waited for.
            "route replace unreachable default",
        ]
        if self.pods is not None:
            kept = self.reserved
            usable = (host for host in self.range.hosts() if kept is None or host not in kept)
            hosts = [str(host) for host in usable if str(host) != self.gateway]
            lines += [f"route replace {pod_range(host, self.range, self.pods)} via {host}" for host in hosts]
        return "\n".join(lines) + "\n"

    def listen(self, port: int) -> socket.socket:
        """Give a socket that listens at the platform's address in the namespace (blocking); raises BackendError."""

        def work() -> socket.socket:
            # With the protocol named, asyncio switches Nagle's algorithm off on accepted connections.
            listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            try:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listening.bind((self.gateway, port))
                listening.listen(_BACKLOG)
            except OSError:
                listening.close()
                raise
            return listening

        try:
            return in_namespace(self.path, work)
        except OSError as error:
            raise BackendError(f"cannot listen on {self.gateway}:{port} in namespace {self.name}: {error}") from error

    async def remove(self) -> None:
        """Remove the namespace with everything in it; none is no error. Raises BackendError."""
        if is_namespace(self.path):
            await commands.check(["ip", "netns", "del", self.name], timeout_s=_COMMAND_S)
        self.path.unlink(missing_ok=True)

    async def _bridge_address(self) -> str | None:
        """Give the bridge's address with its prefix length, empty for none; None when there is no bridge."""
        text = await commands.check(["ip", "-n", self.name, "-j", "addr"], timeout_s=_COMMAND_S)
        links = msgspec.json.decode(text, type=list[_Link])
        bridge = next((link for link in links if link.ifname == BRIDGE), None)
        if bridge is None:
            return None
        # Addresses of load balancers lie on the bridge as well, each with its whole length for a prefix.
        found = [one for one in bridge.addr_info if one.family == "inet" and one.prefixlen < self.range.max_prefixlen]
        return next((f"{one.local}/{one.prefixlen}" for one in found), "")


def is_namespace(path: Path) -> bool:
    """Tell whether a file leads to a network namespace."""
    table = Path("/proc/self/mountinfo").read_text()
    return any(words[4] == str(path) for words in map(str.split, table.splitlines()))


def in_namespace(path: Path, work: Callable[[], T]) -> T:
    """Run blocking work in a network namespace, on a thread of its own; what it opens stays usable everywhere."""

    def entered() -> T:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(file, _CLONE_NEWNET):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), str(path))
        finally:
            os.close(file)
        return work()

    # The thread ends with the pool, so nothing else ever runs in the namespace.
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="namespace") as pool:
        return pool.submit(entered).result()


def _forward() -> None:
    """Let the bridge's namespace pass packets on between instances and pods, without telling senders a better way."""
    (_SYSCTLS / "ip_forward").write_text("1")
    for name in ("all", BRIDGE):
        with contextlib.suppress(FileNotFoundError):
            (_SYSCTLS / "conf" / name / "send_redirects").write_text("0")
