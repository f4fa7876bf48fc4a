"""Where pods and volumes may go: zones, free places of a node, storage left, volumes that were there before."""

import asyncio

from csi.driver import DRIVER_NAME, ZONE_KEY
from tests.e2e.cluster import driver, platform
from tests.e2e.objects import ANYWHERE, CLASS, claim, pod, storage_class
from tests.e2e.world import World


async def test_a_volume_is_made_in_the_zone_of_its_pod(world: World) -> None:
    for number, zone in enumerate(platform.ZONES):
        await world.start(
            claim(f"data-{number}"), pod(f"user-{number}", [f"data-{number}"], zone=zone, tolerations=ANYWHERE)
        )
        volume = await world.volume_of(f"data-{number}")
        terms = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
        zones = [value for term in terms for one in term["matchExpressions"] for value in one["values"]]
        assert zones == [zone]
        handle = volume["spec"]["csi"]["volumeHandle"]
        assert (await platform.call(world.site, "GET", f"/volumes/{handle}"))["zone"] == zone


async def test_a_pod_stays_in_the_zone_of_its_volume(world: World) -> None:
    first, second = platform.ZONES
    await world.start(claim("data"), pod("user", ["data"], zone=first))
    await world.delete("pod", "user")
    await world.apply(pod("elsewhere", ["data"], zone=second, tolerations=ANYWHERE))
    await world.event("Pod", "elsewhere", "FailedScheduling", "PersistentVolume's node affinity")


async def test_a_class_for_one_zone_makes_volumes_there(world: World) -> None:
    zone = platform.ZONES[1]
    name = f"{world.namespace}-one-zone"
    terms = [{"matchLabelExpressions": [{"key": ZONE_KEY, "values": [zone]}]}]
    await world.kube.apply(storage_class(name, allowedTopologies=terms))
    try:
        await world.start(claim("data", storage_class=name), pod("user", ["data"], tolerations=ANYWHERE))
        node = await world.kube.get("node", await world.node_of("user"))
        assert node["metadata"]["labels"][ZONE_KEY] == zone
    finally:
        await world.kube.run("delete", "storageclass", name, "--ignore-not-found")


async def test_every_node_tells_how_many_volumes_it_takes(world: World) -> None:
    counts = await driver.registered(world.kube)
    assert set(world.site.nodes) <= set(counts)
    assert all(count >= 1 for count in counts.values())


async def test_the_scheduler_knows_what_storage_is_left(world: World) -> None:
    capacities = await world.kube.items("csistoragecapacities", "-n", driver.NAMESPACE)
    mine = [one for one in capacities if one["storageClassName"] == CLASS]
    assert mine
    assert all(one.get("capacity", "0") != "0" for one in mine)
    # More than the platform has: no node fits, and the scheduler says so before anything is made.
    await world.apply(claim("huge", size="15000Gi"), pod("user", ["huge"]))
    await world.event("Pod", "user", "FailedScheduling", "did not have enough free storage")


async def test_a_volume_that_was_there_before_is_used_and_kept(world: World) -> None:
    zone = platform.ZONES[0]
    made = await platform.call(world.site, "POST", "/volumes", name=f"{world.namespace}-old", size_gb=1, zone=zone)
    name = f"{world.namespace}-old"
    try:
        await world.kube.apply(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": name},
                "spec": {
                    "capacity": {"storage": "1Gi"},
                    "accessModes": ["ReadWriteOnce"],
                    "persistentVolumeReclaimPolicy": "Retain",
                    "storageClassName": CLASS,
                    "csi": {"driver": DRIVER_NAME, "volumeHandle": made["id"], "fsType": "ext4"},
                    "nodeAffinity": {
                        "required": {
                            "nodeSelectorTerms": [
                                {"matchExpressions": [{"key": ZONE_KEY, "operator": "In", "values": [zone]}]}
                            ]
                        }
                    },
                },
            }
        )
        await world.start(claim("data", volume=name), pod("user", ["data"]))
        await world.write("user", "brought along")
        await world.delete("pod", "user")
        await world.start(pod("reader", ["data"]))
        assert await world.read("reader") == "brought along"
        await world.delete("pod", "reader")
        await world.delete("pvc", "data")
        assert (await platform.call(world.site, "GET", f"/volumes/{made['id']}"))["id"] == made["id"]
    finally:
        world.handles.discard(made["id"])
        await world.kube.run("delete", "pv", name, "--ignore-not-found")

        async def deleted() -> bool:
            try:
                await platform.call(world.site, "DELETE", f"/volumes/{made['id']}")
            except Exception:  # noqa: BLE001 - still attached: asked again until it is free
                return False
            return True

        await world.until(deleted, "the volume to be free")


async def test_a_full_node_is_passed_over(world: World) -> None:
    """Volumes that the scheduler does not know of fill the node's places; the refusal makes Kubernetes look again."""
    node = world.site.workers[0]
    zone = platform.ZONES[0]
    instance = next(one for one in await platform.call(world.site, "GET", "/instances") if one["name"] == node)
    extra = []
    try:
        for number in range(platform.MAX_VOLUMES):
            made = await platform.call(
                world.site, "POST", "/volumes", name=f"{world.namespace}-filler-{number}", size_gb=1, zone=zone
            )
            extra.append(made["id"])
            await platform.call(world.site, "POST", f"/volumes/{made['id']}/attach", instance_id=instance["id"])
        await world.apply(claim("data"), pod("user", ["data"], node=node))
        text = await world.event("Pod", "user", "FailedAttachVolume")
        assert "volumes" in text
    finally:
        for volume in extra:
            await _drop(world, volume, instance["id"])
    await world.wait("condition=Ready", "pod/user")
    await world.remember()


async def _drop(world: World, volume: str, instance: str) -> None:
    async def gone() -> bool:
        try:
            await platform.call(world.site, "POST", f"/volumes/{volume}/detach", instance_id=instance)
        except Exception:  # noqa: BLE001 - it may not be attached
            await asyncio.sleep(0)
        try:
            await platform.call(world.site, "DELETE", f"/volumes/{volume}")
        except Exception:  # noqa: BLE001 - asked again until it is free
            return False
        return True

    await world.until(gone, f"volume {volume} to go")
