"""Nodes say of their instance what the platform says, and go only when it is gone."""

import asyncio
import contextlib
import datetime as dt
import itertools
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from ccm.names import MANAGER, REGION_LABEL, SHUTDOWN_TAINT, TYPE_LABEL, UNINITIALIZED_TAINT, ZONE_LABEL
from ccm.provider_id import format_provider_id
from tests.e2e.cluster import bringup, manager, platform
from tests.e2e.cluster.credentials import MANAGER_NAMESPACE
from tests.e2e.cluster.errors import ClusterError
from tests.e2e.test_disruption import is_ready, kill_in
from tests.e2e.world import World

NOT_READY_S = 180.0
"""Kubernetes takes the better part of a minute to call a node unready, and a busy machine makes it longer."""
DELETED_S = 300.0
DOUBTED_S = 45.0
"""Longer than the answers that prove an instance gone have to last (30 s)."""
TAKEN_OVER_S = 20.0
LEASE_S = 15.0
"""After so long without a renewal another one takes the lease; a lease that was given back is taken at once."""

Node = Mapping[str, Any]


async def test_every_kubelet_leaves_its_node_to_the_cloud_controller_manager(world: World) -> None:
    for name in world.site.nodes:
        script = 'tr "\\0" "\\n" < "/proc/$(pgrep --oldest --exact kubelet)/cmdline"'
        words = (await platform.run(world.site, name, "sh", "-c", script)).splitlines()
        assert "--cloud-provider=external" in words


async def test_every_node_says_what_the_platform_says_of_its_instance(world: World) -> None:
    instances = {one["name"]: one for one in await platform.call(world.site, "GET", "/instances")}
    for name in world.site.nodes:
        node, instance = await world.kube.get("node", name), instances[name]
        assert node["spec"]["providerID"] == format_provider_id(instance["id"]) == f"thecloud://{instance['id']}"
        assert UNINITIALIZED_TAINT not in _taints(node)
        address = instance["private_ip"].partition("/")[0]
        told = {(one["type"], one["address"]) for one in node["status"]["addresses"]}
        assert told == {("InternalIP", address), ("Hostname", name)}
        wanted = {ZONE_LABEL: instance["zone"], REGION_LABEL: platform.REGION, TYPE_LABEL: platform.INSTANCE_TYPE}
        assert wanted.items() <= node["metadata"]["labels"].items()


@pytest.mark.disruptive
async def test_a_stopped_instance_taints_its_node_and_a_started_one_clears_it(world: World) -> None:
    name = world.site.workers[1]
    before = await _uids(world)
    await platform.call(world.site, "POST", f"/instances/{name}/stop", force=True)
    try:

        async def shut_down() -> bool:
            return SHUTDOWN_TAINT in _taints(await world.kube.get("node", name))

        await world.until(shut_down, f"{name} to have the shutdown taint", timeout_s=NOT_READY_S)
        assert await _told(world, name, "NodeShutdown")
    finally:
        await platform.call(world.site, "POST", f"/instances/{name}/start")

        async def back() -> bool:
            node = await world.kube.get("node", name)
            return is_ready(node) and SHUTDOWN_TAINT not in _taints(node)

        await world.until(back, f"{name} to be Ready without the taint", timeout_s=NOT_READY_S)
    assert await _uids(world) == before


@pytest.mark.disruptive
async def test_the_node_of_a_destroyed_instance_goes_and_the_others_stay(world: World) -> None:
    # A new leader: the brake counts what the one before deleted within ten minutes, and a small cluster may lose one.
    await _restart(world)
    before = await _uids(world)
    name = f"extra-{uuid.uuid4().hex[:5]}"
    try:
        await bringup.join(world.site, name, zone=platform.ZONES[0])
        instance = await platform.call(world.site, "GET", f"/instances/{name}")
        node = await world.kube.get("node", name)
        assert node["spec"]["providerID"] == format_provider_id(instance["id"])
        assert UNINITIALIZED_TAINT not in _taints(node)
        await platform.call(world.site, "DELETE", f"/instances/{instance['id']}")

        async def gone() -> bool:
            return name not in await _uids(world)

        await world.until(gone, f"Node {name} to be deleted", timeout_s=DELETED_S)
        assert await _told(world, name, "DeletingNode")
        assert await _uids(world) == before
    finally:
        with contextlib.suppress(ClusterError):
            await platform.call(world.site, "DELETE", f"/instances/{name}")
        await world.kube.run("delete", "node", name, "--ignore-not-found")


@pytest.mark.disruptive
async def test_no_node_goes_while_the_platform_cannot_be_believed(world: World) -> None:
    """A node is not Ready, so that its instance is asked for, and the platform says everything but the truth."""
    before = await _uids(world)
    async with _silent_kubelet(world, world.site.workers[1]):
        for kind in ("not_found_plain", "unauthorized", "empty_500", "truncated_body"):
            async with platform.faulty(world.site, kind):
                await asyncio.sleep(DOUBTED_S)
                (fault,) = await platform.call(world.site, "GET", "/_devcloud/faults")
                assert fault["fired"], f"nobody asked the platform while it answered {kind}"
                assert await _uids(world) == before
        async with platform.away(world.site):
            await asyncio.sleep(DOUBTED_S)
            assert await _uids(world) == before
    assert await _uids(world) == before


@pytest.mark.disruptive
async def test_another_manager_leads_when_the_leader_is_killed(world: World) -> None:
    await manager.ready(world.site)
    node = str(await world.until(lambda: _leading_node(world), "a manager to lead"))
    assert await kill_in(world, node, "tc-ccm")

    async def another() -> bool:
        return await _leading_node(world) not in {"", node}

    await world.until(another, "the manager on another node to lead", timeout_s=TAKEN_OVER_S)
    await manager.ready(world.site)


@pytest.mark.disruptive
async def test_the_lead_is_handed_over_at_once_in_a_rolling_restart(world: World) -> None:
    await manager.ready(world.site)
    await world.until(lambda: _leading_node(world), "a manager to lead")
    leads = [await _lease(world)]
    watching = asyncio.create_task(_watch(world, leads))
    try:
        await _restart(world)

        async def led() -> bool:
            return bool(leads[-1]["holderIdentity"]) and len({one["holderIdentity"] for one in leads} - {""}) > 1

        await world.until(led, "one of the new managers to lead")
    finally:
        watching.cancel()
        await asyncio.wait((watching,))
    for former, next_one in itertools.pairwise(leads):
        if next_one["holderIdentity"] not in {"", former["holderIdentity"]}:
            gap_s = (_time(next_one["acquireTime"]) - _time(former["renewTime"])).total_seconds()
            print(f"lead taken {gap_s:.1f} s after the last sign of the former leader")  # noqa: T201
            assert gap_s < LEASE_S, "the lease ran out: it was not given back"


async def _watch(world: World, leads: list[Mapping[str, str]]) -> None:
    """Note how the lease looks, again and again."""
    while True:
        with contextlib.suppress(ClusterError):
            leads.append(await _lease(world))
        await asyncio.sleep(0.2)


async def _lease(world: World) -> Mapping[str, str]:
    spec: Mapping[str, str] = (await world.kube.get("lease", MANAGER, "-n", "kube-system"))["spec"]
    return {"holderIdentity": "", **spec}


async def _leading_node(world: World) -> str:
    # The managers use the network of their node, and so its host name.
    return (await _lease(world))["holderIdentity"].partition("_")[0]


async def _restart(world: World) -> None:
    await world.kube.run("rollout", "restart", f"deployment/{manager.NAME}", "-n", MANAGER_NAMESPACE)
    await manager.ready(world.site)


@contextlib.asynccontextmanager
async def _silent_kubelet(world: World, name: str) -> AsyncIterator[None]:
    """Stop a kubelet until its node is not Ready, and start it again in the end; the instance runs on."""
    await platform.run(world.site, name, "systemctl", "stop", "kubelet")
    try:

        async def unready() -> bool:
            return not is_ready(await world.kube.get("node", name))

        await world.until(unready, f"{name} to be seen as not ready", timeout_s=NOT_READY_S)
        yield
    finally:
        await platform.run(world.site, name, "systemctl", "start", "kubelet")

        async def ready() -> bool:
            return is_ready(await world.kube.get("node", name))

        await world.until(ready, f"{name} to be Ready again", timeout_s=NOT_READY_S)


async def _uids(world: World) -> dict[str, str]:
    """Give the uids of all nodes by name: a node that was deleted and came again has another."""
    return {one["metadata"]["name"]: one["metadata"]["uid"] for one in await world.kube.items("nodes")}


async def _told(world: World, name: str, reason: str) -> str:
    """Wait for an event about a node; events of what has no namespace are in `default`."""

    async def look() -> str:
        selector = f"involvedObject.kind=Node,involvedObject.name={name},reason={reason}"
        found = await world.kube.items("events", "-n", "default", f"--field-selector={selector}")
        return str(found[-1]["message"]) if found else ""

    return str(await world.until(look, f"an event {reason} about node {name}"))


def _taints(node: Node) -> set[str]:
    return {taint["key"] for taint in node["spec"].get("taints", ())}


def _time(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)
