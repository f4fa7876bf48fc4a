"""A simulated world without anything of kaas around it, and short words for what a conductor would do there."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from kaas.bootstrap import commands
from kaas.bootstrap.kubeadm import ClusterConfig, NodeConfig, init_config, join_config
from kaas.bootstrap.tokens import new_join_token
from kaas.bootstrap.userdata import FirstBoot, first_boot_commands
from kaas.crypto.certificates import issue_client, new_authority
from kaas.crypto.kubeconfig import CONDUCTORS_GROUP, conductor_access
from kaas.crypto.pki import Pki, new_pki
from kaas.crypto.sshkeys import SshKeyPair, new_ssh_key_pair
from kaas.domain.ports import (
    SELF,
    EndpointWish,
    External,
    KeyPairWish,
    KubeAccess,
    MachineWish,
    Output,
    Rule,
    SecurityGroupWish,
    SshTarget,
)
from kaas.drivers.simulator.life import Report
from kaas.drivers.simulator.records import Endpoint
from kaas.drivers.simulator.simulator import Simulator
from kaas.drivers.simulator.world import Offer, Timing

C = "cluster-1"
TOKEN = "A" * 43
PHONE_CA = new_authority("phone home").cert_pem.decode()
RULES = (Rule("tcp", 6443, 6443, "0.0.0.0/0"), Rule("tcp", 10250, 10250, SELF))


def soon(seconds: float = 5.0) -> float:
    return asyncio.get_running_loop().time() + seconds


def user_data(token: str = TOKEN) -> tuple[str, ...]:
    return first_boot_commands(FirstBoot(url="https://kaas.test", ca_pem=PHONE_CA, token=token))


@dataclass
class Place:
    """The world and what a conductor has of it."""

    sim: Simulator
    pki: Pki
    ssh: SshKeyPair
    reports: list[Report] = field(default_factory=list)
    group: External = field(init=False)
    pair: External = field(init=False)
    endpoint: External = field(init=False)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def prepare(self) -> None:
        make = self.sim.driver.create
        self.group = await make(C, SecurityGroupWish("sg", "vpc", RULES), deadline=soon())
        self.pair = await make(C, KeyPairWish("key", self.ssh.public_key), deadline=soon())
        if self.sim.world.offer.endpoints:
            self.endpoint = await make(C, EndpointWish("api", "vpc", 6443), deadline=soon())

    def wish(self, name: str) -> MachineWish:
        return MachineWish(name, "image", "small", "vpc", "", self.pair.id, self.group.id, user_data())

    async def machine(self, name: str) -> External:
        """Make a machine and wait until it has booted."""
        made = await self.sim.driver.create(C, self.wish(name), deadline=soon())
        await self.booted(name)
        await self.sim.driver.update(self.group, SecurityGroupWish("sg", "vpc", RULES), deadline=soon())
        return made

    async def booted(self, name: str) -> None:
        while not any(one.name == name and one.reported for one in self.sim.world.machines()):
            await self.arrived.wait()
            self.arrived.clear()
            await asyncio.sleep(0)

    def target(self, name: str) -> SshTarget:
        machine = self.sim.machine(name)
        return SshTarget(machine.address, machine.host_key, self.ssh.private_key)

    async def run(self, name: str, *argv: str) -> Output:
        return await self.sim.remote.run(self.target(name), argv, deadline=soon())

    async def aim(self, *names: str) -> None:
        targets = tuple(self.sim.machine(name).id for name in names)
        await self.sim.driver.update(self.endpoint, EndpointWish("api", "vpc", 6443, targets), deadline=soon())

    def config(self) -> ClusterConfig:
        (endpoint,) = self.sim.world.ground.all(Endpoint, cluster=C)
        return ClusterConfig("dev", "v1.36.3", f"{endpoint.address}:6443", "192.168.0.0/16", "10.96.0.0/12")

    async def init(self, name: str, *, within_s: float = 5.0) -> Output:
        node = NodeConfig(name, self.sim.machine(name).address, control_plane=True)
        config = init_config(self.config(), node, join_token=new_join_token())
        await self.sim.remote.put(self.target(name), commands.init_files(self.pki, config), deadline=soon())
        return await self.sim.remote.run(self.target(name), commands.INIT, deadline=soon(within_s))

    async def join(
        self, name: str, token: str, *, plane: bool = False, pki: Pki | None = None, ca_hash: str = ""
    ) -> Output:
        node = NodeConfig(name, self.sim.machine(name).address, control_plane=plane)
        hash_ = ca_hash or self.pki.ca_cert_hash
        config = join_config(self.config(), node, join_token=token, ca_cert_hash=hash_)
        files = commands.join_files(config, pki=(pki or self.pki) if plane else None)
        await self.sim.remote.put(self.target(name), files, deadline=soon())
        return await self.run(name, *commands.JOIN)

    async def access(self) -> KubeAccess:
        return await conductor_access(self.pki, self.config().endpoint)

    async def is_up(self) -> bool:
        return await self.sim.kube.is_ready(await self.access(), deadline=soon())

    async def token(self, ttl_s: float = 60.0) -> str:
        token = new_join_token()
        await self.sim.kube.create_bootstrap_token(await self.access(), token, ttl_s=ttl_s, deadline=soon())
        return token

    async def apply(self, *names: str) -> None:
        objects = [{"kind": "DaemonSet", "metadata": {"name": name, "namespace": "kube-system"}} for name in names]
        await self.sim.kube.apply(await self.access(), objects, deadline=soon())

    async def ready(self) -> dict[str, bool]:
        nodes = await self.sim.kube.nodes(await self.access(), deadline=soon())
        return {node.name: node.ready for node in nodes}

    async def up(self, *workers: str) -> None:
        """Bring up a cluster with a network: control plane `cp`, and workers."""
        await self.machine("cp")
        await self.aim("cp")
        assert (await self.init("cp")).exit_code == 0
        await self.apply("flannel")
        for name in workers:
            await self.machine(name)
            assert (await self.join(name, await self.token())).exit_code == 0


def foreign_access(place: Place, pki: Pki, *, group: str = CONDUCTORS_GROUP, minutes: float = 60) -> KubeAccess:
    """Give access with a certificate of another authority, another group or another time."""
    pair = issue_client(pki.cluster, "somebody", organizations=(group,), lifetime=timedelta(minutes=minutes))
    server = f"https://{place.config().endpoint}"
    return KubeAccess(server, place.pki.cluster.cert_pem, pair.cert_pem, pair.key_pem)


@asynccontextmanager
async def place(
    *,
    path: Path | None = None,
    timing: Timing | None = None,
    offer: Offer | None = None,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Place]:
    """Give a world, in memory or in a file."""
    made: list[Place] = []

    async def phone(report: Report) -> bool:
        made[0].reports.append(report)
        asyncio.get_running_loop().call_soon(made[0].arrived.set)
        return True

    sim = Simulator(phone, path=path, timing=timing, offer=offer, clock=clock)
    made.append(Place(sim, await new_pki(C), await new_ssh_key_pair("test")))
    async with sim.running():
        await made[0].prepare()
        yield made[0]
