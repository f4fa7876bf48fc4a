"""A platform and a store in memory behind the bridge's ports, whose answers can be lost."""

import asyncio
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ccm.autoscaler.fleet import Fleet
from ccm.autoscaler.groups import Groups
from ccm.autoscaler.ledger import Ledger
from ccm.autoscaler.model import (
    CLUSTER_LABEL,
    GROUP_LABEL,
    SLOT_LABEL,
    Launch,
    Machine,
    MachineType,
    NodeGroup,
    Template,
)
from ccm.autoscaler.ports import StoreConflict, Stored, StoreUnavailable
from ccm.autoscaler.reconcile import Pace, Reconciler
from ccm.autoscaler.record import GroupRecord, decode
from ccm.model import InstanceState
from ccm.ports import Cause, CloudError

CLUSTER = "cluster-1"
START = datetime(2026, 1, 1, tzinfo=UTC)
NO_PAUSE = Pace(idle_s=60.0, busy_s=0.01, gather_s=0.0, retry_s=0.0, retry_max_s=0.0, no_room_s=0.0, no_room_max_s=0.0)


def group(name: str = "pool-a", least: int = 0, most: int = 10, **template: Any) -> NodeGroup:
    plain = Template(instance_type="standard-2", image="k8s", capacity={"cpu": "2", "memory": "4Gi"})
    return NodeGroup(name=name, min_size=least, max_size=most, template=replace(plain, **template))


def write_groups(path: Path, *groups: NodeGroup) -> Path:
    described = [
        {
            "name": one.name,
            "minSize": one.min_size,
            "maxSize": one.max_size,
            "template": {
                "instanceType": one.template.instance_type,
                "image": one.template.image,
                "zone": one.template.zone,
                "region": one.template.region,
                "labels": dict(one.template.labels),
                "taints": [{"key": t.key, "value": t.value, "effect": t.effect} for t in one.template.taints],
                "capacity": dict(one.template.capacity),
                "allocatable": dict(one.template.allocatable),
            },
        }
        for one in groups
    ]
    path.write_text(json.dumps({"groups": described}))
    return path


@dataclass
class Described:
    """Groups without a file."""

    groups: Mapping[str, NodeGroup]

    async def load(self) -> Mapping[str, NodeGroup]:
        return self.groups


@dataclass
class Faults:
    """Failures to come, by point: before the work, or after it (the answer is lost)."""

    to_come: list[tuple[str, bool, Exception]] = field(default_factory=list)

    def add(self, point: str, error: Exception, *, after: bool = False, times: int = 1) -> None:
        self.to_come += [(point, after, error)] * times

    def hit(self, point: str, *, after: bool) -> None:
        for index, (name, is_after, error) in enumerate(self.to_come):
            if name == point and is_after is after:
                del self.to_come[index]
                raise error


@dataclass
class FakeMachines:
    """Instances of a tenant: this cluster's and others."""

    faults: Faults = field(default_factory=Faults)
    all: dict[str, Machine] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    """Left out of listings."""
    terminated: list[Machine] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    made: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever there is an instance more or less."""
    sold: tuple[MachineType, ...] = ()
    state_of_new: InstanceState = InstanceState.RUNNING

    def put(self, *, group: str = "", slot: str = "", cluster: str = CLUSTER, **fields: Any) -> Machine:
        labels = {CLUSTER_LABEL: cluster, GROUP_LABEL: group, SLOT_LABEL: slot}
        return self._add("given", {key: value for key, value in labels.items() if value}, **fields)

    async def list(self, *, deadline: float) -> tuple[Machine, ...]:
        await self._before("list", deadline)
        self.faults.hit("list", after=True)
        return tuple(
            one for one in self.all.values() if one.labels.get(CLUSTER_LABEL) == CLUSTER and one.id not in self.hidden
        )

    async def look_up(self, machine_id: str, *, deadline: float) -> Machine | None:
        await self._before("look_up", deadline)
        return self.all.get(machine_id)

    async def launch(self, launch: Launch, *, deadline: float) -> Machine:
        await self._before("launch", deadline)
        machine = self._add(launch.name, launch.labels, state=self.state_of_new)
        self.faults.hit("launch", after=True)
        return machine

    async def terminate(self, machine_id: str, *, group: str, deadline: float) -> None:
        await self._before("terminate", deadline)
        machine = self.all.get(machine_id)
        if machine is None:
            return
        if machine.labels.get(CLUSTER_LABEL) != CLUSTER or machine.group != group:
            raise CloudError(Cause.GUARD, "the instance carries other labels")
        self.terminated.append(self.all.pop(machine_id))
        self.changed.set()
        self.faults.hit("terminate", after=True)

    async def types(self, *, deadline: float) -> tuple[MachineType, ...]:
        await self._before("types", deadline)
        return self.sold

    async def _before(self, point: str, deadline: float) -> None:
        assert deadline > asyncio.get_running_loop().time()
        self.calls.append(point)
        await asyncio.sleep(0)
        self.faults.hit(point, after=False)

    def _add(self, name: str, labels: Mapping[str, str], **fields: Any) -> Machine:
        number = self.made = self.made + 1
        plain = Machine(
            id=str(uuid.UUID(int=number, version=4)),
            name=name,
            state=InstanceState.RUNNING,
            labels=dict(labels),
            created_at=START + timedelta(seconds=number),
        )
        machine = replace(plain, **fields)
        self.all[machine.id] = machine
        self.changed.set()
        return machine


@dataclass
class MemoryStore:
    """A store with compare and set."""

    faults: Faults = field(default_factory=Faults)
    text: str = ""
    version: int = 0
    puts: int = 0
    written: asyncio.Event = field(default_factory=asyncio.Event)

    async def get(self, *, deadline: float) -> Stored:
        await asyncio.sleep(0)
        self.faults.hit("get", after=False)
        return Stored(self.text, str(self.version) if self.version else "")

    async def put(self, text: str, *, version: str, deadline: float) -> Stored:
        await asyncio.sleep(0)
        self.faults.hit("put", after=False)
        if version != (str(self.version) if self.version else ""):
            raise StoreConflict("another version")
        self.text, self.version, self.puts = text, self.version + 1, self.puts + 1
        self.written.set()
        await asyncio.sleep(0)
        self.faults.hit("put", after=True)
        return Stored(text, str(self.version))

    def record(self, name: str = "pool-a") -> GroupRecord:
        return decode(self.text).groups[name]


def store_away() -> StoreUnavailable:
    return StoreUnavailable("no answer")


def unknown() -> CloudError:
    return CloudError(Cause.UNKNOWN, "the platform answered 503")


def quota() -> CloudError:
    return CloudError(Cause.QUOTA, "quota exceeded", reason="QUOTA_EXCEEDED")


class Rig:
    """A bridge without gRPC, on a platform and a store that outlive it."""

    def __init__(
        self,
        *groups: NodeGroup,
        machines: FakeMachines | None = None,
        store: MemoryStore | None = None,
        pace: Pace = NO_PAUSE,
    ) -> None:
        self.machines = machines or FakeMachines()
        self.store = store or MemoryStore()
        self.definitions = Described({one.name: one for one in groups or (group(),)})
        self.work = asyncio.Event()
        self.fleet = Fleet()
        ledger = Ledger(self.store, new_id=lambda: uuid.uuid4().hex)
        self.groups = Groups(
            cluster_id=CLUSTER,
            definitions=self.definitions,
            ledger=ledger,
            machines=self.machines,
            fleet=self.fleet,
            wake=self.work.set,
            provision_limit_s=900.0,
            now=lambda: START + timedelta(seconds=60),
        )
        self.reconciler = Reconciler(
            cluster_id=CLUSTER,
            name_prefix="c1",
            groups=self.groups,
            ledger=ledger,
            machines=self.machines,
            fleet=self.fleet,
            new_id=lambda: uuid.uuid4().hex,
            work=self.work,
            pace=pace,
        )

    @property
    def deadline(self) -> float:
        return asyncio.get_running_loop().time() + 30

    async def refresh(self) -> None:
        await self.groups.refresh(deadline=self.deadline)

    async def step(self) -> float:
        return await self.reconciler.step(deadline=self.deadline)

    async def settle(self) -> None:
        """Make passes until one finds nothing to do."""
        for _ in range(50):
            if await self.step() == self.reconciler._pace.idle_s:
                return
        raise AssertionError("there is still something to do after 50 passes")

    def live(self, name: str = "pool-a") -> list[Machine]:
        return [one for one in self.machines.all.values() if one.group == name and one.labels[CLUSTER_LABEL] == CLUSTER]

    async def shown(self, name: str = "pool-a") -> list[tuple[str, str, str]]:
        members = await self.groups.members(name, deadline=self.deadline)
        return [(one.id, one.state, one.error_code) for one in members]

    async def target(self, name: str = "pool-a") -> int:
        return await self.groups.target_size(name, deadline=self.deadline)

    async def increase(self, delta: int, name: str = "pool-a") -> None:
        await self.groups.increase(name, delta, deadline=self.deadline)

    async def decrease(self, delta: int, name: str = "pool-a") -> None:
        await self.groups.decrease(name, delta, deadline=self.deadline)

    async def delete(self, *node_ids: str, name: str = "pool-a") -> None:
        await self.groups.delete(name, node_ids, deadline=self.deadline)
