"""The controller as it runs: real watches, its queue, its own tasks; and an API server that fails."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ccm.controllers.progress import Patience
from ccm.controllers.service import ServiceController, ServiceRules
from ccm.desired.wanted import Cluster
from ccm.kube.client import open_client
from ccm.kube.errors import ApiError, Unreachable
from ccm.kube.events import EventRecorder
from ccm.kube.kinds import NODES, SECRETS, SERVICES
from ccm.kube.model import Node, Secret, Service
from ccm.kube.queue import WorkQueue
from ccm.kube.reflector import Reflector
from ccm.kube.store import Store
from ccm.names import FINALIZER
from tests.support.fake_api import FakeApi, fake_api
from tests.support.fake_api_faults import Trouble
from tests.support.fake_cloud import CLUSTER_ID, FakeCloud, server_error
from tests.unit.ccm.controllers.rig import in_time, instance, wire_node
from tests.unit.ccm.controllers.service_rig import WEB, ServiceRig, running_service_rig, wire_service

RULES = ServiceRules(
    cluster=Cluster(id=CLUSTER_ID),
    nodes_quiet_s=0.05,
    nodes_longest_s=0.1,
    patience=Patience(first_pause_s=0.01, longest_pause_s=0.05),
)


@asynccontextmanager
async def running(api: FakeApi, cloud: FakeCloud, **changed: Any) -> AsyncIterator[ServiceController]:
    """The whole of it, until the block ends."""
    async with await open_client(master=api.url) as kube:
        services, nodes = Store[Service](), Store[Node]()
        recorder = EventRecorder(kube, component="service-controller")
        of_services, of_nodes = Reflector(kube, SERVICES, services), Reflector(kube, NODES, nodes)
        loops = [asyncio.create_task(one) for one in (of_services.run(), of_nodes.run(), recorder.run())]
        await of_services.synced(in_time())
        await of_nodes.synced(in_time())

        async def read_secret(namespace: str, name: str, deadline: float) -> Secret | None:
            return await kube.get(SECRETS, name, namespace, deadline=deadline)

        controller = ServiceController(
            services=services,
            nodes=nodes,
            client=kube,
            read_secret=read_secret,
            cloud=cloud.ports,
            recorder=recorder,
            rules=RULES,
            queue=WorkQueue("service", min_delay_s=0.02, max_delay_s=0.2),
            **changed,
        )
        loops.append(asyncio.create_task(controller.run()))
        try:
            yield controller
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.wait(loops)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110 - what is waited for is in a server that tells nobody
            await asyncio.sleep(0.01)


def ingress(api: FakeApi, name: str = "web") -> list[dict[str, Any]]:
    wire = api.get("services", name) or {}
    return list(wire.get("status", {}).get("loadBalancer", {}).get("ingress") or [])


async def test_the_life_of_a_service() -> None:
    cloud = FakeCloud()
    async with fake_api() as api, running(api, cloud):
        cloud.instances.put(*(instance(number) for number in range(1, 40)))
        api.put(wire_node(1))
        api.put(wire_service())
        await until(lambda: bool(ingress(api)))
        for number in range(2, 40):
            api.put(wire_node(number))
        await until(lambda: all(len(one.groups[0].targets) == 39 for one in cloud.balancers.all.values()))
        assert cloud.faults.count("put_group") <= 3
        await until(lambda: any(one["reason"] == "UpdatedLoadBalancer" for one in api.events))
        api.going("services", "web")
        await until(lambda: api.get("services", "web") is None)
        assert cloud.balancers.all == {}


async def test_many_services_while_the_platform_fails() -> None:
    cloud = FakeCloud()
    async with fake_api() as api, running(api, cloud):
        for point in ("create", "balancers", "put_group"):
            cloud.faults.fail(point, server_error(), times=8)
        names = [f"s{number}" for number in range(40)]
        for name in names:
            api.put(wire_service(name))
        await until(lambda: all(ingress(api, name) for name in names))
        assert len(cloud.balancers.all) == 40


async def test_it_stops_when_it_is_told_to() -> None:
    cloud = FakeCloud()
    async with fake_api() as api:
        api.put(wire_service())
        with cloud.faults.held("create"):
            async with running(api, cloud):
                await until(lambda: cloud.faults.count("create") == 1)
        assert FINALIZER in (api.get("services", "web") or {})["metadata"]["finalizers"]


@pytest.fixture
async def rig() -> AsyncIterator[ServiceRig]:
    async with running_service_rig() as started:
        started.add_nodes(1)
        yield started


@pytest.mark.parametrize("trouble", [Trouble.DROP, Trouble.LOST, Trouble.HALF, Trouble.GARBAGE])
@pytest.mark.parametrize("skipped", [0, 1], ids=["finalizer", "status"])
async def test_a_write_to_kubernetes_without_an_answer(rig: ServiceRig, trouble: Trouble, skipped: int) -> None:
    rig.put(wire_service())
    for _ in range(skipped):
        await rig.sync()
    rig.api.fail("PATCH", trouble=trouble)
    with pytest.raises(Unreachable):
        await rig.sync()
    rig.restart()
    await rig.settle(WEB)
    assert len(rig.balancers()) == 1
    assert rig.ingress() == [{"ip": rig.only.addresses[0].address, "ipMode": "VIP"}]


async def test_no_write_to_the_platform_without_the_finalizer(rig: ServiceRig) -> None:
    rig.put(wire_service())
    rig.api.fail("PATCH", status=403, times=None)
    for _ in range(3):
        with pytest.raises(ApiError):
            await rig.sync()
    assert (rig.balancers(), rig.cloud.writes) == ([], [])
    assert rig.events.reasons().count("SyncLoadBalancerFailed") == 1


async def test_one_that_is_edited_all_the_time_is_published_in_the_end(rig: ServiceRig) -> None:
    rig.put(wire_service())
    edits = iter(range(2))

    def edit(request: Any) -> None:
        if request.method == "PATCH" and (turn := next(edits, None)) is not None:
            rig.api.patch("services", "web", {"metadata": {"labels": {"turn": str(turn)}}})

    rig.api.before = edit
    await rig.settle(WEB)
    assert rig.ingress() != []
    assert rig.wire()["metadata"]["labels"] == {"turn": "1"}


async def test_conditions_of_others_stay(rig: ServiceRig) -> None:
    wire = wire_service()
    other = {"type": "example.com/X", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "t"}
    wire["status"]["conditions"] = [other]
    rig.put(wire)
    await rig.settle(WEB)
    assert [one["type"] for one in rig.wire()["status"]["conditions"]] == [
        "example.com/X",
        "thecloud.dev/LoadBalancerReady",
    ]
    rig.edit("web", {"spec": {"type": "ClusterIP"}})
    await rig.settle(WEB)
    assert rig.wire()["status"]["conditions"] == [other]


async def test_a_service_that_was_made_anew_is_not_given_the_address_of_the_old_one(rig: ServiceRig) -> None:
    rig.put(wire_service())

    def swap(request: Any) -> None:
        if request.method == "PATCH" and "status" in request.body:
            rig.api.before = lambda _: None
            rig.api.delete("services", "web")
            rig.api.put(wire_service())

    rig.api.before = swap
    await rig.controller.reconcile(WEB)
    assert rig.ingress() == []
    rig.watch()
    await rig.settle(WEB)
    assert rig.only.tags["kubernetes.io/service-uid"] == rig.uid()
    assert rig.ingress() == [{"ip": rig.only.addresses[0].address, "ipMode": "VIP"}]
