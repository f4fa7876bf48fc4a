"""The simulated world as one thing: its faces for conductors, and its levers for tests."""

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kaas.domain.ports import KubeAccess
from kaas.drivers.simulator.faults import Faults
from kaas.drivers.simulator.ground import Call, Ground
from kaas.drivers.simulator.kubernetes import SimulatedKube
from kaas.drivers.simulator.life import Life, Phone
from kaas.drivers.simulator.platform import SimulatedPlatform
from kaas.drivers.simulator.records import Balancer, Brain, Machine, Record, Volume
from kaas.drivers.simulator.remote import SimulatedRemote
from kaas.drivers.simulator.world import Offer, Timing, World


class Simulator:
    """A platform, its machines and the clusters on them.

    `path`: a SQLite file that is the world; it outlives this process, and several may share it. `phone` carries what
    machines tell at their first boot (`life.to_store`, `life.over_https`). `refused` is told which access a cluster
    does not take.
    """

    def __init__(
        self,
        phone: Phone,
        *,
        path: Path | None = None,
        timing: Timing | None = None,
        offer: Offer | None = None,
        faults: Faults | None = None,
        clock: Callable[[], float] = time.time,
        refused: Callable[[KubeAccess], None] = lambda _: None,
    ) -> None:
        self.world = World(
            Ground(path), timing or Timing(), offer or Offer(), faults if faults is not None else Faults(), clock
        )
        self._life = Life(self.world, phone)
        self.driver = SimulatedPlatform(self.world, machine_made=self._life.machine_made)
        self.remote = SimulatedRemote(self.world)
        self.kube = SimulatedKube(self.world, refused=refused)

    @property
    def faults(self) -> Faults:
        """The rules by which calls go wrong; those of this process alone."""
        return self.world.faults

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Simulator"]:
        """Let machines boot inside of the block, and close the world after it."""
        try:
            async with self._life.running():
                yield self
        finally:
            self.world.ground.close()

    def calls(self, *, method: str = "", cluster: str = "") -> list[Call]:
        """Give the audit log: every call of every process, oldest first."""
        return self.world.ground.calls(method=method, cluster=cluster)

    def machine(self, name: str) -> Machine:
        """Give the machine of a node that is there."""
        found = [one for one in self.world.machines() if one.name == name and one.dead_at is None]
        if not found:
            raise LookupError(f"there is no machine {name}")
        return found[-1]

    def kill(self, name: str) -> Machine:
        """Let a machine die; it stays listed as one that has stopped."""
        return self._change(name, lambda machine: setattr(machine, "dead_at", self.world.clock()))

    def vanish(self, name: str) -> Machine:
        """Let a machine disappear, as somebody with another console may."""
        return self._change(name, lambda machine: setattr(machine, "gone_at", self.world.clock()))

    def stop_kubelet(self, name: str) -> Machine:
        """Let a node not answer, while its machine runs on."""
        return self._change(name, lambda machine: setattr(machine, "kubelet_stopped_at", self.world.clock()))

    def stop_api(self, name: str) -> Machine:
        """Let the API server of a control plane hang until its services are started again."""
        return self._change(name, lambda machine: setattr(machine, "api_stopped", True))

    def add_service(self, cluster: str, name: str) -> None:
        """Let somebody make a Service of type LoadBalancer in a cluster."""
        with self.world.ground.change():
            brain = self.brain(cluster)
            brain.services.append(name)
            self.world.ground.put(brain)
            self._put(Balancer(cluster=cluster, name=name))

    def add_claim(self, cluster: str, name: str, *, retained: bool = False) -> None:
        """Let somebody claim a volume in a cluster; `retained`: of a class that keeps volumes."""
        with self.world.ground.change():
            brain = self.brain(cluster)
            brain.claims.append(name)
            if retained:
                brain.retained.append(name)
            self.world.ground.put(brain)
            self._put(Volume(cluster=cluster, name=name))

    def stick(self, cluster: str, node: str) -> None:
        """Let a pod on a node refuse its eviction for ever."""
        with self.world.ground.change():
            brain = self.brain(cluster)
            brain.stuck_pods.append(node)
            self.world.ground.put(brain)

    def brain(self, cluster: str) -> Brain:
        """Give what a cluster's etcd knows."""
        found = self.world.ground.all(Brain, cluster=cluster)
        if not found:
            raise LookupError(f"cluster {cluster} has no etcd")
        return found[-1]

    def _put(self, thing: Record) -> None:
        thing.id = f"{thing.kind}-{self.world.ground.next('thing'):07d}"
        self.world.ground.put(thing)

    def _change(self, name: str, change: Callable[[Machine], None]) -> Machine:
        with self.world.ground.change():
            machine = self.machine(name)
            change(machine)
            self.world.ground.put(machine)
        return machine


if TYPE_CHECKING:
    from kaas.domain.ports import Driver, Kube, Remote

    def _conforms(simulator: Simulator) -> tuple[Driver, Remote, Kube]:
        return simulator.driver, simulator.remote, simulator.kube
