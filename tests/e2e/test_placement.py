"""Where pods and volumes may go: zones, free places of a node, storage left, volumes that were there before."""

import pytest

from csi.driver import DRIVER_NAME, ZONE_KEY
from tests.e2e.cluster import driver, platform
from tests.e2e.cluster.credentials import NAMESPACE
from tests.e2e.objects import ANYWHERE, CLASS, claim, deployment, pod, storage_class
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
    capacities = await world.kube.items("csistoragecapacities", "-n", NAMESPACE)
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
                    "claimRef": world.reserve("data"),
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
        await world.drop(made["id"])


@pytest.mark.disruptive
async def test_a_full_node_is_passed_over(world: World) -> None:
    """The scheduler knows nothing of disks that others attach; a refused attach makes Kubernetes ask and look again."""
    full, other = world.site.workers[:2]
    before = (await driver.registered(world.kube))[full]
    await world.start(claim("first"), pod("first", ["first"], node=full))
    instance = (await platform.call(world.site, "GET", f"/instances/{full}"))["id"]
    fillers: list[str] = []
    try:
        for _ in range(world.site.max_volumes - 1):
            fillers.append(await _fill(world, instance, len(fillers)))
        await world.apply(claim("data"), deployment("user", ["data"], rather=full))
        (first,) = await world.until(lambda: world.pods_of("user"), "a pod of the deployment")
        name = first["metadata"]["name"]
        assert f"already has its {world.site.max_volumes} volumes" in await world.event(
            "Pod", name, "FailedAttachVolume"
        )
        # In use they are certainly not volumes on their way to a pod, so the node plugin counts them.
        for volume in fillers:
            await _use(world, full, volume)

        async def counted() -> bool:
            return (await driver.registered(world.kube))[full] == before - len(fillers)

        await world.until(counted, f"the count of {full} to be without the places of the {len(fillers)} disks")
        running = await world.until(lambda: world.running_on("user", other), f"a pod on {other}", timeout_s=300)
        await world.write(running, "written")
        refused = await world.get("pod", name)
        assert refused["status"]["reason"] == "VolumeAttachmentLimitExceeded"
    finally:
        for volume in fillers:
            await platform.run(world.site, full, "sh", "-c", f"umount /mnt/{volume}; rmdir /mnt/{volume}; true")
            await world.drop(volume, instance=instance)


async def _fill(world: World, instance: str, number: int) -> str:
    """Attach a volume that Kubernetes knows nothing of, and give its id."""
    wanted = {"name": f"{world.namespace}-filler-{number}", "size_gb": 1, "zone": platform.ZONES[0]}
    made = await platform.call(world.site, "POST", "/volumes", **wanted)
    await platform.call(world.site, "POST", f"/volumes/{made['id']}/attach", instance_id=instance)
    return str(made["id"])


async def _use(world: World, node: str, volume: str) -> None:
    """Make a file system on an attached volume and mount it, as an administrator of the machine would."""
    serial = (await platform.call(world.site, "GET", f"/volumes/{volume}"))["serial"]
    device = await platform.device_of(world.site, node, serial)
    script = 'mkfs.ext4 -q "$1" && mkdir /mnt/"$2" && mount "$1" /mnt/"$2"'
    await platform.run(world.site, node, "sh", "-c", script, "sh", device, volume)
