"""A platform of each tier, with machines that are rows, and a driver on it; on a socket where it is asked for."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from devcloud.errors import BackendError
from devcloud.faults import Fault, Kind
from devcloud.machines import Machine, NoMachines
from devcloud.rows import Row, Table
from kaas.domain import names
from kaas.domain.firewall import rules_of
from kaas.domain.model import Access
from kaas.domain.ports import (
    CredentialWish,
    EndpointWish,
    External,
    KeyPairWish,
    MachineWish,
    SecurityGroupWish,
)
from kaas.domain.ports import Kind as Thing
from kaas.drivers.thecloud.driver import TheCloudDriver
from kaas.drivers.thecloud.options import DriverOptions
from tests.support.devcloud import RunningCloud, ServedCloud, devcloud_app, devcloud_server
from thecloud.client import Client
from thecloud.settings import PlatformSettings

CLUSTER = "5d3a6c1e-0b7f-4c55-9a58-3c8c8f0a1b2c"
OTHER = "9f0e1d2c-3b4a-4958-8776-655443322110"
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB5QkC4b0Wj4mQmV6r9y0V7mXq3Zt1o2n9d8c7b6a5E4 somebody@somewhere"
OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB"
NAME = "dev"
GROUP = names.security_group(NAME)
KEY_PAIR = names.key_pair(NAME, CLUSTER)
ENDPOINT = names.endpoint(NAME, CLUSTER)
CREDENTIAL = names.credential(NAME, CLUSTER)
TIERS = ("strict", "extended")


class Machines(NoMachines):
    """Machines that come up when they may; those that are named in `broken` never do."""

    def __init__(self) -> None:
        super().__init__()
        self.may_boot = asyncio.Event()
        self.may_boot.set()
        self.broken: set[str] = set()

    async def boot(self, machine: Machine) -> None:
        if machine.name in self.broken:
            raise BackendError("no such host")
        await self.may_boot.wait()


@dataclass(frozen=True)
class Site:
    """A running platform, its client and a driver."""

    served: RunningCloud | ServedCloud
    client: Client
    machines: Machines
    driver: TheCloudDriver
    tier: str

    @property
    def is_strict(self) -> bool:
        return self.tier == "strict"

    def trouble(self, kind: Kind, route: str, method: str = "POST", **more: Any) -> None:
        assert self.served.cloud is not None
        self.served.cloud.faults.add(Fault(kind, method=method, route=route, **{"seconds": 0.01, **more}))

    def calm(self) -> None:
        assert self.served.cloud is not None
        self.served.cloud.faults.clear()

    async def rows(self, table: Table[Any]) -> list[Any]:
        """Give what the platform really has, the oldest first."""
        assert self.served.cloud is not None
        found: list[Row] = await self.served.cloud.store.read(table.all)
        return found[::-1]

    async def call(self, method: str, path: str, **body: Any) -> Any:
        """Speak to the platform as somebody else would."""
        async with self.served.client() as http:
            answer = await http.request(method, path, json=body or None)
            answer.raise_for_status()
            return answer.json()["data"] if answer.content else None

    async def vpc_id(self) -> str:
        return (await self.client.vpcs.list(deadline=soon()))[-1].id

    async def until(self, look: Callable[[], Awaitable[Any]]) -> Any:
        async with asyncio.timeout(20):
            while not (found := await look()):
                pass
            return found

    async def ready(self, kind: Thing, name: str) -> External:
        """Give what becomes ready."""

        async def look() -> External | None:
            found = await self.driver.find(kind, CLUSTER, name=name, deadline=soon())
            return next((one for one in found if one.condition == "ready"), None)

        found: External = await self.until(look)
        return found

    async def launch(self, name: str, **more: Any) -> External:
        """Give a machine that runs."""
        await self.driver.create(CLUSTER, machine(name, **more), deadline=soon())
        return await self.ready(Thing.MACHINE, name)


def soon(seconds: float = 20.0) -> float:
    return asyncio.get_running_loop().time() + seconds


def machine(name: str = "dev-default-pool-0", **more: Any) -> MachineWish:
    fields: dict[str, Any] = {
        "name": name,
        "image": "kubernetes-v1.36.3",
        "instance_type": "basic-1",
        "vpc_id": "",
        "zone": "",
        "key_pair_id": "",
        "security_group_id": "",
        "user_data": (),
        "labels": {"kaas-role": "worker"},
    }
    return MachineWish(**{**fields, **more})


def security_group(vpc_id: str = "", **access: Any) -> SecurityGroupWish:
    return SecurityGroupWish(name=GROUP, vpc_id=vpc_id, rules=rules_of(Access(**access)))


def key_pair(public_key: str = PUBLIC_KEY) -> KeyPairWish:
    return KeyPairWish(name=KEY_PAIR, public_key=public_key)


def endpoint(**more: Any) -> EndpointWish:
    return EndpointWish(**{"name": ENDPOINT, "vpc_id": "", "port": 6443, **more})


def credential() -> CredentialWish:
    return CredentialWish(name=CREDENTIAL)


@contextlib.asynccontextmanager
async def running(
    tmp_path: Path, tier: str, options: DriverOptions | None = None, *, on_socket: bool = False, **more: Any
) -> AsyncIterator[Site]:
    """Run a platform of a tier with a driver on it."""
    machines = Machines()
    wanted: dict[str, Any] = {
        "tier": tier,
        "backend": "none",
        "nodes": ("node-a",),
        "machines": machines,
        "lb_tick_s": 3600.0,
        **more,
    }
    async with contextlib.AsyncExitStack() as stack:
        served: RunningCloud | ServedCloud
        transport = None
        if on_socket:
            served = await stack.enter_async_context(devcloud_server(tmp_path / "cloud", **wanted))
        else:
            served = await stack.enter_async_context(devcloud_app(tmp_path / "cloud", **wanted))
            transport = served.transport
        settings = PlatformSettings(
            base_url=served.base_url,
            api_key=served.api_key,
            requests_per_s=10_000.0,
            burst=10_000,
            listing_window_s=0.0,
        )
        client = await stack.enter_async_context(Client(settings, transport=transport, jitter=lambda: 0.0))
        yield Site(served, client, machines, TheCloudDriver(client, options), tier)


@pytest.fixture(params=TIERS)
async def both(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    async with running(tmp_path, request.param) as site:
        yield site


@pytest.fixture
async def strict(tmp_path: Path) -> AsyncIterator[Site]:
    async with running(tmp_path, "strict") as site:
        yield site


@pytest.fixture
async def extended(tmp_path: Path) -> AsyncIterator[Site]:
    async with running(tmp_path, "extended") as site:
        yield site
