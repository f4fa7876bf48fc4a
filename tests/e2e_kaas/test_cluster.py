"""Clusters of one control plane, on real machines."""

import pytest

from tests.e2e.cluster.binaries import KUBERNETES_VERSION
from tests.e2e_kaas.person import Cluster, asked, things_left, told, until
from tests.e2e_kaas.place import Place
from tests.e2e_kaas.visit import NAME, TEXT, Terminal, Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")
CONTROL_PLANE = f"{NAME}-control-plane-0"


def workers(*numbers: int) -> list[str]:
    return [f"{NAME}-default-pool-{number}" for number in numbers]


async def test_the_pages_steps(place: Place) -> None:
    """What `make kaas-demo` shows, with a worker that dies and other numbers of workers before the end."""
    visit, cluster = Visit(place, Terminal()), Cluster(place, NAME)
    try:
        await visit.come()
        assert await cluster.nodes() == dict.fromkeys([CONTROL_PLANE, *workers(0, 1)], "True")
        await _a_worker_is_killed(cluster)
        await _scaled(cluster)
        await visit.leave()
    finally:
        await place.cloud("rm", NAME, "--yes", "--delete-volumes", "--wait", timeout_s=120)


async def _a_worker_is_killed(cluster: Cluster) -> None:
    """The one that the pod and its volume are on; nobody tells the service."""
    pods = await cluster.kube.items("pods", "-l", "app=my-app")
    killed = pods[0]["spec"]["nodeName"]
    await cluster.destroy_machine(killed)
    stays = [name for name in workers(0, 1) if name != killed]
    await cluster.settled(CONTROL_PLANE, *stays, *workers(2))
    address = (await cluster.addresses())[0]

    async def serves() -> bool:
        return await cluster.read(address) == TEXT

    await until(serves, "the pod to be on another node with its volume")
    events = await told(cluster.place, "events", cluster.name)
    replaced = [event["message"] for event in events if event["code"] == "NODE_REPLACED"]
    assert len(replaced) == 1
    assert replaced[0].startswith(killed)


async def _scaled(cluster: Cluster) -> None:
    there = sorted(set(await cluster.nodes()) - {CONTROL_PLANE})
    await asked(cluster.place, "scale", cluster.name, "--workers", "3", "--wait", timeout_s=300)
    await cluster.settled(CONTROL_PLANE, *there, *workers(3))
    await asked(cluster.place, "scale", cluster.name, "--workers", "1", "--wait", timeout_s=300)
    nodes = await cluster.nodes()
    assert len(nodes) == 2
    assert set(nodes.values()) == {"True"}


async def test_the_service_is_killed_while_it_makes_a_cluster(place: Place) -> None:
    """With kill -9, twice. At the end a claim's volume, which may be the only copy of something, stays and is named."""
    vpc = (place.folder / "vpc").read_text()
    await asked(place, "create", "-n", "killed", "-v", vpc, "-w", "1", "-V", KUBERNETES_VERSION)
    cluster = Cluster(place, "killed")
    try:
        for step in ("machine/killed-control-plane-0", "init/killed-control-plane-0"):
            await _begun(place, "killed", step)
            await place.kill()
            await place.start()
        await cluster.comes_up()
        await cluster.take_kubeconfig()
        names = ["killed-control-plane-0", "killed-default-pool-0"]
        assert await cluster.nodes() == dict.fromkeys(names, "True")
        assert sorted(one["name"] for one in await place.listed("instances")) == names
        assert len(await place.listed("lb")) == 1
        await cluster.use(TEXT)
        done = await place.cloud("rm", "killed", "--yes", "--wait", timeout_s=300)
        (volume,) = await place.listed("volumes")
        assert volume["id"] in done.output + done.stderr.decode()
        assert len(await things_left(place)) == 1
    finally:
        await place.cloud("rm", "killed", "--yes", "--wait", timeout_s=300)
        for volume in await place.listed("volumes"):
            await place.call("DELETE", f"/volumes/{volume['id']}")
    assert await things_left(place) == []


async def _begun(place: Place, name: str, step: str) -> None:
    """Wait until a step of a cluster's operation has begun."""

    async def has_begun() -> bool:
        operation = (await told(place, "operations", name))[0]
        steps = (await told(place, "operations", operation["id"]))["steps"]
        return any(one["key"] == step and one["state"] in {"running", "waiting", "done"} for one in steps)

    await until(has_begun, f"{step} to have begun")


async def test_deleted_while_it_is_made(place: Place) -> None:
    """Whatever is there at that moment, nothing of it stays."""
    await asked(place, "create", "--name", "soon-gone", "--workers", "1")

    async def has_machines() -> bool:
        return len(await place.listed("instances")) == 2

    await until(has_machines, "machines")
    await asked(place, "rm", "soon-gone", "--yes", "--wait", timeout_s=300)
    assert await things_left(place) == []
