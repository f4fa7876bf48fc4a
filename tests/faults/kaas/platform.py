"""Whole clusters through the `thecloud` driver on a devcloud whose answers go wrong.

The machines of this devcloud are those of the simulated world, which knows SSH, kubeadm and the cluster's API.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from devcloud.cloud import Cloud
from devcloud.faults import Fault, Kind
from devcloud.machines import Machine, NoMachines
from devcloud.network_rows import BALANCERS, GROUP_MEMBERS, SECURITY_GROUPS, SECURITY_RULES
from devcloud.rows import API_KEYS, INSTANCES, SSH_KEYS
from kaas.domain.ports import EndpointFacts, EndpointWish, External, Wish
from kaas.drivers.simulator import records
from kaas.drivers.simulator.platform import _host_key as host_key_of
from kaas.drivers.simulator.world import World
from kaas.drivers.thecloud.driver import TheCloudDriver
from kaas.drivers.thecloud.options import DriverOptions
from tests.faults.kaas.scenes import PATIENT
from tests.support.devcloud import RunningCloud, ServedCloud, devcloud_app, devcloud_server
from tests.support.kaas_flow import Rig, rig_on, spec_of
from thecloud.client import Client
from thecloud.settings import PlatformSettings

GROUP = "the-group"
TABLES = (INSTANCES, SSH_KEYS, SECURITY_GROUPS, SECURITY_RULES, GROUP_MEMBERS, BALANCERS, API_KEYS)
CHANGE_S = 0.4
"""How long one change may take."""
Trouble = Callable[[int, str, str], Kind | None]
"""Says what goes wrong with the n-th call, by its method and route."""


class LivingMachines(NoMachines):
    """Machines that boot in a simulated world as well."""

    world: World

    async def boot(self, machine: Machine) -> None:
        if self.world.ground.get(records.Machine, machine.instance_id) is not None:
            return
        pair = f"key of {machine.instance_id}"
        for line in (*machine.authorized_keys, *_trusted(machine.commands)):
            key = records.KeyPair(public_key=line)
            key.id, key.name = pair, pair
            self.world.ground.put(key)
        made = records.Machine(
            image=machine.image,
            instance_type="",
            vpc_id="",
            zone=machine.zone,
            key_pair_id=pair,
            security_group_id=GROUP,
            user_data=list(machine.commands),
            labels={},
            host_key=host_key_of(machine.instance_id),
            ready_at=0.0,
            boots_at=0.0,
        )
        made.id, made.name, made.address = machine.instance_id, machine.name, machine.address
        self.world.ground.put(made)

    async def remove(self, instance_id: str) -> None:
        if (there := self.world.ground.get(records.Machine, instance_id)) is not None:
            self.world.ground.remove(there)


def _trusted(commands: tuple[str, ...]) -> list[str]:
    """Give the keys that first commands let in."""
    found = [command.partition("printf '%s\\n' '")[2].partition("'")[0] for command in commands]
    return [line for line in found if line.startswith("ssh-")]


class Balanced(TheCloudDriver):
    """The driver; a load balancer that leads somewhere does so in the simulated world too."""

    world: World

    async def update(self, external: External, wish: Wish, *, deadline: float) -> External:
        changed = await super().update(external, wish, deadline=deadline)
        if isinstance(wish, EndpointWish) and isinstance(changed.facts, EndpointFacts):
            there = records.Endpoint(vpc_id="", port=wish.port, targets=list(wish.targets), sources=[], ready_at=0.0)
            there.id, there.name, there.address = changed.id, changed.name, changed.facts.host
            self.world.ground.put(there)
        return changed


@dataclass
class Ground:
    """A platform with a conductor on it."""

    cloud: Cloud
    client: Client
    rig: Rig
    calls: list[tuple[str, str]] = field(default_factory=list)
    """Method and route of every call that reached the platform."""
    hit: list[str] = field(default_factory=list)
    """Those that went wrong."""
    trouble: Trouble = lambda *_: None

    def fire(self, method: str, route: str, values: Mapping[str, str]) -> list[Fault]:
        """Be the platform's faults."""
        self.calls.append((method, route))
        kind = self.trouble(len(self.calls), method, route)
        if kind is None:
            return []
        self.hit.append(f"{kind} {method} {route}")
        return [Fault(kind, seconds=2 * CHANGE_S if kind in {Kind.SLOW, Kind.SLOW_AFTER} else 0.01)]

    async def there(self) -> dict[str, list[str]]:
        """Give what the platform really has, by name."""
        found = {table.name: await self.cloud.store.read(cast(Any, table).all) for table in TABLES}
        return {name: sorted(str(getattr(row, "name", "")) for row in rows) for name, rows in found.items()}

    async def create(self) -> str:
        vpc = (await self.client.vpcs.list(deadline=asyncio.get_running_loop().time() + 20))[-1]
        return await self.rig.create("dev", spec=spec_of(workers=1, vpc_id=vpc.id))


@asynccontextmanager
async def platform(folder: Path, tier: str, *, on_socket: bool = False) -> AsyncIterator[Ground]:
    """Run one."""
    machines = LivingMachines()
    async with AsyncExitStack() as stack:
        rig = await stack.enter_async_context(rig_on(folder, recipe=PATIENT))
        machines.world = rig.sim.world
        group = records.SecurityGroup(vpc_id="", rules=[])
        group.id = group.name = GROUP
        rig.sim.world.ground.put(group)
        cloud = await stack.enter_async_context(_served(folder / "cloud", tier, machines, on_socket=on_socket))
        settings = PlatformSettings(
            base_url=cloud.base_url,
            api_key=cloud.api_key,
            requests_per_s=10_000.0,
            burst=10_000,
            listing_window_s=0.0,
            read_attempt_s=CHANGE_S,
        )
        transport = None if on_socket else cast(RunningCloud, cloud).transport
        client = await stack.enter_async_context(Client(settings, transport=transport, jitter=lambda: 0.0))
        driver = Balanced(client, DriverOptions(change_s=CHANGE_S))
        driver.world = rig.sim.world
        rig.tools = replace(rig.tools, driver=driver)
        assert cloud.cloud is not None
        ground = Ground(cloud.cloud, client, rig)
        # While there is none, no call is looked at.
        cloud.cloud.faults.add(Fault(Kind.EMPTY_500, method="none"))
        cast(Any, cloud.cloud.faults).fire = ground.fire
        yield ground


def _served(
    folder: Path, tier: str, machines: LivingMachines, *, on_socket: bool
) -> AbstractAsyncContextManager[RunningCloud | ServedCloud]:
    options: dict[str, Any] = {"tier": tier, "nodes": ("node-a",), "machines": machines, "lb_tick_s": 3600.0}
    return devcloud_server(folder, **options) if on_socket else devcloud_app(folder, **options)
