"""A platform with real load balancers and without machines: network namespaces play instances and clients.

Sockets are made inside of the namespaces and used from this process, so servers and clients are plain asyncio.
"""

import asyncio
import contextlib
import itertools
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import httpx

from devcloud import commands
from devcloud.balancing.process import find_ours
from devcloud.balancing.proxies import Proxies
from devcloud.machines import NoMachines
from devcloud.nspawn.backend import network_of
from devcloud.nspawn.network import BRIDGE, Network, in_namespace
from tests.support.devcloud import devcloud_app, make_settings

NETWORK = IPv4Network("10.78.0.0/24")
CLIENT, CLIENT_SIDE = "198.51.100.2", "198.51.100.1"
_COMMAND_S = 20.0
_WAIT_S = 20.0
_LOOK_S = 0.02
_numbers = itertools.count()


async def ip(*words: str) -> None:
    """Run ip(8)."""
    await commands.check(["ip", *words], timeout_s=_COMMAND_S)


@dataclass
class Instance:
    """A namespace that plays an instance, with what its servers have seen."""

    id: str
    name: str
    address: str
    namespace: Path
    seen: list[dict[str, Any]] = field(default_factory=list)
    servers: dict[tuple[str, int], Any] = field(default_factory=dict)

    def bind(self, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
        """Give a socket at a port of the instance."""

        def work() -> socket.socket:
            made = socket.socket(socket.AF_INET, kind)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((self.address, port))
            return made

        made = in_namespace(self.namespace, work)
        made.setblocking(False)
        return made

    async def serve_tcp(self, port: int) -> None:
        """Answer every line with the instance's name and the line."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peer = writer.get_extra_info("peername")[0]
            try:
                while line := await reader.readline():
                    self.seen.append({"peer": peer, "line": line})
                    writer.write(f"{self.name} ".encode() + line)
                    await writer.drain()
            except OSError:
                return
            finally:
                writer.close()

        self.servers["tcp", port] = await asyncio.start_server(answer, sock=self.bind(port))

    async def serve_http(self, port: int, *, status: int = 200) -> None:
        """Answer every request with what was seen of it, in JSON."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                request, *lines = head.strip().splitlines()
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                seen = {"name": self.name, "request": request, "headers": headers}
                self.seen.append(seen)
                body = json.dumps(seen).encode()
                writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n".encode())
                writer.write(b"Connection: close\r\n\r\n" + body)
                await writer.drain()
            except (OSError, asyncio.IncompleteReadError):
                return
            finally:
                writer.close()

        self.servers["tcp", port] = await asyncio.start_server(answer, sock=self.bind(port))

    async def serve_udp(self, port: int) -> None:
        """Answer every datagram with the instance's name and the datagram."""
        instance = self

        class Echo(asyncio.DatagramProtocol):
            def connection_made(self, transport: Any) -> None:
                self.transport = transport

            def datagram_received(self, data: bytes, addr: Any) -> None:
                instance.seen.append({"peer": addr[0], "datagram": data})
                self.transport.sendto(f"{instance.name} ".encode() + data, addr)

        made = self.bind(port, socket.SOCK_DGRAM)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Echo, sock=made)
        self.servers["udp", port] = transport

    async def stop(self, port: int) -> None:
        """Serve a port no more; open connections go on."""
        self.servers.pop(("tcp", port)).close()
        await asyncio.sleep(0)

    def close(self) -> None:
        """Serve nothing any more."""
        for server in self.servers.values():
            server.close()
        self.servers.clear()
        self.seen.clear()


class World:
    """The platform, its instances, and a client that is routed to it."""

    def __init__(self, client: httpx.AsyncClient, site: Network, balancers_dir: Path | str) -> None:
        self.client = client
        self.site = site
        self.balancers_dir = Path(balancers_dir)
        self.prefix = prefix = site.name[-8:]
        self.instances: list[Instance] = []
        self.client_space = Path("/run/netns") / f"{prefix}c"

    async def data(self, method: str, path: str, **options: Any) -> Any:
        answer = await self.client.request(method, path, **options)
        assert answer.is_success, answer.text
        return answer.json()["data"]

    async def add_instance(
        self, name: str, *, image: str = "any", status: str = "RUNNING", vpc_id: str = ""
    ) -> Instance:
        """Launch an instance, wait for a status, and give it a namespace on the bridge."""
        row = await self.data("POST", "/instances", json={"name": name, "image": image, "vpc_id": vpc_id})
        rows = [row]

        async def running() -> bool:
            rows[0] = await self.data("GET", f"/instances/{row['id']}")
            return bool(rows[0]["status"] == status)

        await until(running)
        address = rows[0]["private_ip"].partition("/")[0]
        space = await self._attach(f"{self.prefix}{name}", f"{address}/{NETWORK.prefixlen}", bridge=True)
        instance = Instance(row["id"], name, address, space)
        self.instances.append(instance)
        return instance

    async def add_client(self) -> None:
        """Make the client's namespace, on a link of its own."""
        await self._attach(self.client_space.name, f"{CLIENT}/30", bridge=False)

    async def _attach(self, name: str, address: str, *, bridge: bool) -> Path:
        inner, outer = f"v{next(_numbers)}i", f"v{next(_numbers)}o"
        await ip("netns", "add", name)
        await ip("-n", self.site.name, "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", name)
        if bridge:
            await ip("-n", self.site.name, "link", "set", outer, "master", BRIDGE)
        else:
            await ip("-n", self.site.name, "addr", "add", f"{CLIENT_SIDE}/30", "dev", outer)
        await ip("-n", self.site.name, "link", "set", outer, "up")
        await ip("-n", name, "addr", "add", address, "dev", inner)
        await ip("-n", name, "link", "set", inner, "up")
        await ip("-n", name, "link", "set", "lo", "up")
        gateway = self.site.gateway if bridge else CLIENT_SIDE
        await ip("-n", name, "route", "add", "default", "via", gateway)
        return Path("/run/netns") / name

    def socket(self, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
        """Give a socket of the client."""
        made = in_namespace(self.client_space, lambda: socket.socket(socket.AF_INET, kind))
        made.setblocking(False)
        return made

    async def connect(self, address: str, port: int, **options: Any) -> tuple[Any, Any]:
        """Connect as the client."""
        made = self.socket()
        try:
            async with asyncio.timeout(5):
                await asyncio.get_running_loop().sock_connect(made, (address, port))
                return await asyncio.open_connection(sock=made, **options)
        except BaseException:
            made.close()
            raise

    async def ask(self, address: str, port: int, line: bytes = b"hello\n", **options: Any) -> bytes:
        """Send a line and give the answer; empty when the connection is closed instead."""
        try:
            reader, writer = await self.connect(address, port, **options)
        except (ConnectionError, TimeoutError):
            return b""
        try:
            async with asyncio.timeout(5):
                writer.write(line)
                return bytes(await reader.readline())
        except ConnectionError:
            return b""
        finally:
            writer.close()

    async def ask_udp(
        self, address: str, port: int, text: bytes = b"hello", timeout_s: float = 1.0, source_port: int = 0
    ) -> bytes:
        """Send a datagram and give the answer; empty for none."""
        made = self.socket(socket.SOCK_DGRAM)
        made.bind(("", source_port))
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                await loop.sock_connect(made, (address, port))
                await loop.sock_sendall(made, text)
                return await loop.sock_recv(made, 2048)
        except (TimeoutError, ConnectionError):
            return b""
        finally:
            made.close()

    async def get(self, address: str, port: int, *, host: str = "", path: str = "/", **options: Any) -> Any:
        """Ask with HTTP; gives status, headers and body."""
        try:
            reader, writer = await self.connect(address, port, **options)
        except ConnectionError:
            return 0, {}, b""
        try:
            async with asyncio.timeout(5):
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {host or address}\r\nConnection: close\r\n\r\n".encode())
                head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        except ConnectionError:
            return 0, {}, b""
        finally:
            writer.close()
        if not head:
            return 0, {}, b""
        first, *lines = head.decode().splitlines()
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return int(first.split()[1]), headers, body

    async def balance(self, listeners: list[dict[str, Any]], *targets: Instance, **more: Any) -> Any:
        """Make a load balancer with one group and wait until it is ACTIVE."""
        group = {"name": "g", "listeners": listeners, "targets": [{"instance_id": one.id} for one in targets]}
        made = await self.data("POST", "/lb", json={"name": "lb", "groups": [group], **more})
        return await self.settle(made["id"])

    async def put(self, balancer: Any, **body: Any) -> Any:
        """Change the group of a load balancer."""
        return await self.data("PUT", f"/lb/{balancer['id']}/groups/g", json=body)

    async def settle(self, balancer_id: str, status: str = "ACTIVE") -> Any:
        """Wait for a status."""
        rows: list[Any] = []

        async def has_status() -> bool:
            rows[:] = [await self.data("GET", f"/lb/{balancer_id}")]
            return bool(rows[0]["status"] == status)

        await until(has_status)
        return rows[0]

    async def settle_health(self, balancer: Any, wanted: dict[str, str], listener: str = "l") -> None:
        """Wait until targets have a health, by the names of their instances."""
        ids = {one.id: one.name for one in self.instances}

        async def look() -> bool:
            group = (await self.data("GET", f"/lb/{balancer['id']}"))["groups"][0]
            return wanted == {ids[one["instance_id"]]: one["health"][listener] for one in group["targets"]}

        await until(look)

    async def remove_spaces(self) -> None:
        """Take the instances and the client away."""
        for instance in self.instances:
            instance.close()
        for name in _spaces(self.site):
            await ip("netns", "del", name)

    async def forget(self) -> None:
        """Delete all load balancers and stop all servers."""
        for row in await self.data("GET", "/lb"):
            await self.data("DELETE", f"/lb/{row['id']}")
        for instance in self.instances:
            instance.close()

        async def ended() -> bool:
            return not await asyncio.to_thread(find_ours, self.site)

        await until(ended)


def _spaces(site: Network) -> list[str]:
    return [path.name for path in Path("/run/netns").glob(f"{site.name[-8:]}*")]


def leftovers(site: Network) -> list[str]:
    """Say what a platform with load balancers has left on this host."""
    found = [str(path) for path in (site.path, Path("/run", site.name)) if path.exists()]
    return [*found, *_spaces(site), *(f"process {process.pid}" for process in find_ours(site))]


async def until(looks_right: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something to become so."""
    async with asyncio.timeout(_WAIT_S):
        while True:
            if await looks_right():
                return
            await asyncio.sleep(_LOOK_S)


@contextlib.asynccontextmanager
async def platform(data_dir: Path, **options: Any) -> AsyncIterator[World]:
    """Run a platform with load balancers on an existing network, and take everything but the network away."""
    site = network_of(make_settings(data_dir, network=NETWORK, nodes=(), **options))
    proxies = Proxies(site, data_dir / "nspawn/balancers")
    running = devcloud_app(data_dir, nodes=(), network=NETWORK, machines=NoMachines(), path=proxies, **options)
    async with running as inside, inside.client() as client:
        yield World(client, site, inside.cloud.settings.balancers_dir)


@contextlib.asynccontextmanager
async def world(data_dir: Path, *names: str, **options: Any) -> AsyncIterator[World]:
    """Give a platform with instances and a client; whatever is left of it in the end is a failure."""
    site = network_of(make_settings(data_dir, network=NETWORK, nodes=()))
    await site.ensure()
    try:
        async with platform(data_dir, **options) as made:
            await made.add_client()
            for name in names:
                await made.add_instance(name)
            yield made
            await made.remove_spaces()
        assert await asyncio.to_thread(find_ours, site) == []
    finally:
        for name in _spaces(site):
            await ip("netns", "del", name)
        await site.remove()
    assert leftovers(site) == []


def trusting(*certificates: str) -> ssl.SSLContext:
    """Give a client's TLS that trusts these certificates."""
    context = ssl.create_default_context(cadata="\n".join(certificates))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def can_run() -> str:
    """Say why load balancers cannot run here; empty when they can."""
    from devcloud.balancing.proxies import missing_packages

    if os.geteuid() != 0:
        return "load balancers need root"
    missing = missing_packages()
    return f"load balancers need the packages {', '.join(missing)}" if missing else ""
