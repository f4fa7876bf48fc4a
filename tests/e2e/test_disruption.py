"""Everything that dies under a running cluster comes back to the right state: no data lost, nothing left over.

One at a time: these tests take parts away that others would use.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from tests.e2e.cluster import driver, platform
from tests.e2e.cluster.credentials import NAMESPACE
from tests.e2e.cluster.errors import ClusterError
from tests.e2e.objects import claim, pod
from tests.e2e.world import World, attached_disks, csi_mounts

pytestmark = pytest.mark.disruptive
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


async def kill_in(world: World, node: str, pattern: str) -> int:
    """Kill -9 the processes of a machine whose command line holds the pattern, and tell how many."""
    # In brackets, the pattern does not find the shell that it is given to.
    itself_not = f"[{pattern[0]}]{pattern[1:]}"
    return int(await platform.run(world.site, node, "sh", "-c", 'pkill -9 -c -f -- "$1"; true', "sh", itself_not))


async def leader(world: World, lease: str) -> str:
    """Give the pod that holds a sidecar's lease."""
    found = await world.kube.get("lease", lease, "-n", NAMESPACE)
    return str(found["spec"]["holderIdentity"])


async def controller_nodes(world: World) -> dict[str, str]:
    """Give the node of every controller pod."""
    words = ("-n", NAMESPACE, "-l", "app.kubernetes.io/component=controller")
    return {one["metadata"]["name"]: one["spec"]["nodeName"] for one in await world.kube.items("pods", *words)}


async def nothing_mounted(world: World) -> None:
    """See that no machine has a mount or a disk of this driver, once the last pod of the test is gone."""

    async def clean() -> bool:
        for node in world.site.nodes:
            if await csi_mounts(world.site, node) or await attached_disks(world.site, node):
                return False
        return True

    await world.until(clean, "every machine to be without mounts and disks of the driver")


def is_ready(node: Mapping[str, Any]) -> bool:
    """Tell whether a Node says that it is Ready."""
    return any(one["type"] == "Ready" and one["status"] == "True" for one in node["status"]["conditions"])


async def reads_again(world: World, pod_name: str, text: str) -> None:
    """See that a pod reads this text, once its node is there to be asked."""

    async def reads() -> bool:
        with contextlib.suppress(ClusterError):
            return await world.read(pod_name) == text
        return False

    await world.until(reads, f"pod {pod_name} to read {text!r}", timeout_s=180)


@contextlib.asynccontextmanager
async def nothing_left(world: World) -> AsyncIterator[None]:
    """Delete what the test has and see the machines clean."""
    yield
    await world.remember()
    await world.delete("pod", "--all")
    await nothing_mounted(world)


async def test_the_node_plugin_dies_during_a_stage(world: World) -> None:
    """It is killed as soon as its mkfs runs, and mkfs with it: the container's first process is gone."""
    node = world.site.workers[0]
    async with nothing_left(world):
        before = await _restarts(world)
        script = "until pidof mkfs.ext4 >/dev/null; do :; done; pkill -9 -c -f -- [t]c-csi-node"
        killing = platform.run(world.site, node, "timeout", "60", "sh", "-c", script, timeout_s=70)
        killed, _ = await asyncio.gather(killing, world.apply(claim("data"), pod("user", ["data"], node=node)))
        assert int(killed) >= 1
        await world.wait("condition=Ready", "pod/user")
        await world.write("user", "written")
        assert await world.read("user") == "written"
        assert sum((await _restarts(world)).values()) > sum(before.values())


@pytest.mark.parametrize("what", ["create and attach", "detach and delete"])
async def test_the_controller_dies_in_the_middle_of_everything(world: World, what: str) -> None:
    names = [f"data-{number}" for number in range(4)]
    async with nothing_left(world):
        await world.apply(*(claim(name) for name in names), *(pod(f"user-{name}", [name]) for name in names))
        if what.startswith("create"):
            await _kill_controllers(world, rounds=4)
        await world.wait("condition=Ready", *(f"pod/user-{name}" for name in names))
        await world.remember()
        volumes = await platform.call(world.site, "GET", "/volumes")
        uids = [(await world.get("pvc", name))["metadata"]["uid"] for name in names]
        assert [sum(uid in one["name"] for one in volumes) for uid in uids] == [1] * len(names)
        if what.startswith("detach"):
            words = ("-n", world.namespace, "--wait=false", "--all")
            await world.kube.run("delete", "pod", *words)
            await world.kube.run("delete", "pvc", *words)
            await _kill_controllers(world, rounds=4)


async def _kill_controllers(world: World, *, rounds: int) -> None:
    killed = 0
    for _ in range(rounds):
        for node in set((await controller_nodes(world)).values()):
            killed += await kill_in(world, node, "tc-csi-controller")
        await asyncio.sleep(1.0)
    assert killed


@pytest.mark.parametrize("sidecar", ["csi-provisioner", "csi-attacher", "csi-resizer", "csi-snapshotter"])
async def test_a_sidecar_dies(world: World, sidecar: str) -> None:
    async with nothing_left(world):
        await world.apply(claim("data"), pod("user", ["data"]))
        nodes = set((await controller_nodes(world)).values())
        assert sum([await kill_in(world, node, f"/{sidecar} ") for node in nodes])
        await world.wait("condition=Ready", "pod/user", timeout_s=180)
        await world.write("user", "x")


async def test_an_instance_reboots_with_volumes_mounted(world: World) -> None:
    node = world.site.workers[1]
    async with nothing_left(world):
        user = pod("user", ["data"], node=node)
        user["spec"]["restartPolicy"] = "Always"
        await world.start(claim("data"), user)
        await world.write("user", "before the reboot")
        before = (await world.kube.get("node", node))["status"]["nodeInfo"]["bootID"]
        await platform.call(world.site, "POST", f"/instances/{node}/reboot")

        async def again() -> bool:
            seen = await world.kube.get("node", node)
            return bool(seen["status"]["nodeInfo"]["bootID"] != before) and is_ready(seen)

        await world.until(again, f"{node} to be back")
        await reads_again(world, "user", "before the reboot")


async def test_an_instance_is_destroyed_and_its_pod_runs_elsewhere_with_its_data(world: World) -> None:
    """The power is cut; the out-of-service taint then says that the machine is gone, and the volume may leave it."""
    other, node = world.site.workers[:2]
    async with nothing_left(world):
        await world.start(claim("data"), pod("user", ["data"], node=node))
        await world.write("user", "survives")
        await platform.call(world.site, "POST", f"/instances/{node}/stop", force=True)
        try:

            async def not_ready() -> bool:
                return not await _ready(world, node)

            await world.until(not_ready, f"{node} to be seen as not ready")
            await world.kube.run("taint", "node", node, f"{OUT_OF_SERVICE}=nodeshutdown:NoExecute", "--overwrite")
            tainted_at = time.monotonic()
            await world.kube.run("delete", "pod", "user", "-n", world.namespace, "--wait=false")
            await world.start(pod("next", ["data"], node=other))
            print(f"runs elsewhere {time.monotonic() - tainted_at:.1f} s after the taint")  # noqa: T201
            assert await world.read("next") == "survives"
        finally:
            await platform.call(world.site, "POST", f"/instances/{node}/start")
            await world.until(lambda: _ready(world, node), f"{node} to be back")
            await world.kube.run("taint", "node", node, f"{OUT_OF_SERVICE}-", timeout_s=30)


async def _ready(world: World, node: str) -> bool:
    return is_ready(await world.kube.get("node", node))


async def test_the_kubelet_restarts_under_a_mounted_volume(world: World) -> None:
    node = world.site.workers[0]
    async with nothing_left(world):
        await world.start(claim("data"), pod("user", ["data"], node=node))
        await world.write("user", "kept")
        await platform.run(world.site, node, "systemctl", "restart", "kubelet")
        await reads_again(world, "user", "kept")

        async def registered() -> bool:
            return bool((await driver.registered(world.kube)).get(node))

        await world.until(registered, "the driver to be registered again")
        await world.start(claim("more"), pod("next", ["more"], node=node))


async def test_the_platform_is_away_for_a_while(world: World) -> None:
    async with nothing_left(world):
        await world.start(claim("data"), pod("user", ["data"]))
        restarts = await _restarts(world)
        async with platform.away(world.site):
            await world.apply(claim("later"), pod("waiting", ["later"]))
            await world.event("PersistentVolumeClaim", "later", "ProvisioningFailed", "platform cannot be reached")
            await world.write("user", "works meanwhile")
            await asyncio.sleep(60)
        await world.wait("condition=Ready", "pod/waiting", timeout_s=180)
        assert await world.read("user") == "works meanwhile"
        assert await _restarts(world) == restarts, "a platform that is away must not get the driver restarted"


async def _restarts(world: World) -> dict[str, int]:
    pods = await world.kube.items("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=thecloud-csi")
    return {
        f"{one['metadata']['name']}/{status['name']}": status["restartCount"]
        for one in pods
        for status in one["status"].get("containerStatuses", [])
        if status["name"] == "csi-driver"
    }
