"""What an administrator does to a cluster in use: drains a node, rolls a new version out, changes the key."""

import asyncio
import base64
import time

import pytest

from tests.e2e.cluster import driver
from tests.e2e.cluster.credentials import NAMESPACE, SECRET
from tests.e2e.objects import claim, deployment, pod
from tests.e2e.world import World

pytestmark = pytest.mark.disruptive
SYSTEM = ("-n", NAMESPACE)


async def test_a_drained_node_keeps_nobody_waiting(world: World) -> None:
    """Its plugin is told to go while volumes are still mounted, as by a node that shuts down; it stays for them.

    The next pod exists before the old one is gone, so an event of Multi-Attach may come; the wait of six minutes that
    follows it without the plugin is longer than this test waits.
    """
    node, other = world.site.workers[:2]
    await world.apply(claim("data"), deployment("user", ["data"], rather=node))
    before = await world.until(lambda: world.running_on("user", node), f"the pod to run on {node}")
    await world.write(before, "goes along")
    (plugin,) = await _plugins_on(world, node)
    try:
        words = ("--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=120s")
        draining = asyncio.create_task(world.kube.run("drain", node, *words, timeout_s=130))
        await world.until(lambda: _is_cordoned(world, node), f"{node} to be cordoned")
        await world.kube.run("delete", "pod", plugin, *SYSTEM, "--wait=false")
        told_at = time.monotonic()
        after = await world.until(lambda: world.running_on("user", other), f"the pod to run on {other}")
        print(f"runs elsewhere {time.monotonic() - told_at:.1f} s after the plugin was told to go")  # noqa: T201
        await draining
        assert await world.read(after) == "goes along"
    finally:
        await world.kube.run("uncordon", node)
    await driver.ready(world.site)


async def test_a_new_version_leaves_mounted_volumes_alone(world: World) -> None:
    """Every program of the driver is replaced while a pod writes; the pod notices nothing."""
    await world.start(claim("data"), pod("user", ["data"]))
    script = "while date +%s%N >>/data/log && sync /data/log; do sleep 0.2; done; echo failed >>/data/log"
    await world.run("user", "sh", "-c", f"({script}) >/dev/null 2>&1 &")
    for what in ("daemonset/thecloud-csi-node", "deployment/thecloud-csi-controller"):
        await world.kube.run("rollout", "restart", what, *SYSTEM)
    await driver.ready(world.site)
    lines = (await world.read("user", name="log")).splitlines()
    assert len(lines) > 10
    assert "failed" not in lines
    await world.delete("pod", "user")
    await world.start(pod("reader", ["data"]))
    assert (await world.read("reader", name="log")).splitlines()[: len(lines)] == lines


async def test_a_wrong_key_is_named_on_the_claim_and_a_new_one_needs_no_restart(world: World) -> None:
    await _set_key(world, "not-the-key")
    try:
        await world.apply(claim("data"), pod("user", ["data"]))
        text = await world.event("PersistentVolumeClaim", "data", "ProvisioningFailed", "refuses the API key")
        assert SECRET in text
        assert "not-the-key" not in text
    finally:
        await _set_key(world, world.site.api_key())
    await world.wait("condition=Ready", "pod/user", timeout_s=180)
    await world.remember()


async def _set_key(world: World, key: str) -> None:
    """Change the Secret, and wait until the kubelets have given it to the controllers."""
    encoded = base64.b64encode(key.encode()).decode()
    await world.kube.run("patch", "secret", SECRET, *SYSTEM, "-p", f'{{"data":{{"api-key":"{encoded}"}}}}')
    words = (*SYSTEM, "-l", "app.kubernetes.io/component=controller")
    pods = [one["metadata"]["name"] for one in await world.kube.items("pods", *words)]

    async def given() -> bool:
        for name in pods:
            look = ("exec", *SYSTEM, name, "-c", "csi-driver", "--", "cat", "/etc/thecloud/api-key")
            if (await world.kube.run(*look)).strip() != key:
                return False
        return True

    await world.until(given, "the controllers to have the key", timeout_s=180)


async def _plugins_on(world: World, node: str) -> list[str]:
    words = (*SYSTEM, "-l", "app.kubernetes.io/component=node", f"--field-selector=spec.nodeName={node}")
    return [one["metadata"]["name"] for one in await world.kube.items("pods", *words)]


async def _is_cordoned(world: World, node: str) -> bool:
    return bool((await world.kube.get("node", node))["spec"].get("unschedulable"))
