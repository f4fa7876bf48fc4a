"""The node controllers as they run: with the real reflector, queue, events and client against an API server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from ccm.controllers.lifecycle import LifecycleController, LifecycleSettings
from ccm.controllers.node import NodeController, NodeSettings
from ccm.kube.events import EventRecorder
from ccm.kube.kinds import NODES
from ccm.kube.model import Node
from ccm.kube.queue import WorkQueue
from ccm.kube.reflector import Reflector
from ccm.kube.store import Store
from ccm.model import InstanceState
from ccm.names import SHUTDOWN_TAINT, UNINITIALIZED_TAINT
from tests.support.fake_cloud import FakeCloud
from tests.unit.ccm.controllers.rig import NEW, Rig, iid, in_time, instance, wire_node


class Seen:
    """Waits until the cached nodes are as they should be."""

    def __init__(self, store: Store[Node]) -> None:
        self._store = store
        self._changed = asyncio.Event()
        store.subscribe(lambda old, new: self._changed.set())

    async def until(self, holds: Callable[[Node], bool], count: int) -> None:
        async with asyncio.timeout(30):
            while sum(map(holds, self._store.values())) != count:
                self._changed.clear()
                await self._changed.wait()


def has(key: str) -> Callable[[Node], bool]:
    return lambda node: any(taint.key == key for taint in node.taints)


def is_done(node: Node) -> bool:
    return bool(node.spec.provider_id) and not has(UNINITIALIZED_TAINT)(node)


@asynccontextmanager
async def running(rig: Rig, cloud: FakeCloud) -> AsyncIterator[tuple[Seen, EventRecorder]]:
    store: Store[Node] = Store()
    events = EventRecorder(rig.kube, component="cloud-node-controller")
    node = NodeController(
        store,
        rig.kube,
        cloud.instances,
        events,
        WorkQueue("node", min_delay_s=0.05),
        settings=NodeSettings(workers=16),
    )
    lifecycle = LifecycleController(
        store, rig.kube, cloud.instances, events, settings=LifecycleSettings(period_s=0.02, steady_s=0.02)
    )
    reflector = Reflector(rig.kube, NODES, store)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one.run()) for one in (reflector, events, node, lifecycle)]
        await reflector.synced(in_time())
        yield Seen(store), events
        for task in tasks:
            task.cancel()


async def test_many_nodes_join_and_each_is_written_to_twice(rig: Rig) -> None:
    cloud = FakeCloud()
    cloud.instances.put(*(instance(number) for number in range(100)))
    for number in range(50):
        rig.api.put(wire_node(number, provider_id="", taints=[NEW]))
    async with running(rig, cloud) as (seen, events):
        for number in range(50, 100):
            rig.api.put(wire_node(number, provider_id="", taints=[NEW]))
        await seen.until(is_done, 100)
        await events.flush(in_time())
    assert all(wire["spec"]["providerID"] == f"thecloud://{_id(wire)}" for wire in rig.api.all_of("nodes"))
    assert len(rig.writes) == 200
    assert [event["reason"] for event in rig.api.events] == ["Synced"] * 100


async def test_a_stopped_and_started_instance_is_followed(rig: Rig) -> None:
    cloud = FakeCloud()
    cloud.instances.put(instance(1), instance(2))
    rig.api.put(wire_node(1))
    rig.api.put(wire_node(2))
    async with running(rig, cloud) as (seen, _):
        cloud.instances.turn(iid(1), InstanceState.STOPPED)
        rig.api.put(wire_node(1, ready="Unknown"))
        await seen.until(has(SHUTDOWN_TAINT), 1)
        wire = rig.wire(1)
        assert wire is not None
        wire["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
        rig.api.put(wire)
        await seen.until(has(SHUTDOWN_TAINT), 0)


async def test_a_cancelled_controller_leaves_at_once(rig: Rig) -> None:
    cloud = FakeCloud()
    rig.api.put(wire_node(1, provider_id="", taints=[NEW]))
    with cloud.faults.held("fleet") as gate:
        async with running(rig, cloud):
            await gate.reached.wait()
    assert rig.writes == []


def _id(wire: dict[str, dict[str, str]]) -> str:
    return iid(int(wire["metadata"]["name"][1:]))
