"""A PersistentVolume of the platform's older driver of the same name, with its data (docs/upgrade.md)."""

from typing import Any

from tests.e2e.cluster import platform
from tests.e2e.objects import claim, pod
from tests.e2e.world import World
from tests.support.old_driver import SIZE_GIB, persistent_volume


async def test_its_volume_is_used_with_its_data_and_deleted_only_when_told_so(world: World) -> None:
    """Its volumes bear no mark of a cluster, so nothing says whose they are: deleting one is refused."""
    zone, (first, second) = platform.ZONES[0], world.site.workers[:2]
    wanted = {"name": f"pvc-{world.namespace}", "size_gb": SIZE_GIB, "zone": zone}
    volume = await platform.call(world.site, "POST", "/volumes", **wanted)
    await _fill(world, volume, first)
    old = persistent_volume(volume["id"])
    name = old["metadata"]["name"] = f"pvc-{world.namespace}"
    old["spec"]["claimRef"] = world.reserve("data")
    try:
        await world.kube.apply(old)
        await world.start(claim("data", volume=name, size=f"{SIZE_GIB}Gi"), pod("user", ["data"], node=second))
        assert await world.read("user") == "from before"
        await world.write("user", "and from now")
        await world.delete("pod", "user")
        await world.start(pod("next", ["data"], node=first))
        assert await world.read("next") == "and from now"
        await world.delete("pod", "next")
        await world.delete("pvc", "data")
        await world.until(lambda: _refused(world, name), "the deletion to be refused")
        assert (await platform.call(world.site, "GET", f"/volumes/{volume['id']}"))["id"] == volume["id"]
    finally:
        world.handles.discard(volume["id"])
        retain = '{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}'
        await world.kube.try_run("patch", "pv", name, "-p", retain)
        await world.kube.run("delete", "pv", name, "--ignore-not-found")
        await world.drop(volume["id"])


async def _fill(world: World, volume: Any, node: str) -> None:
    """Make ext4 and a file as the old driver's pods left them."""
    instance = (await platform.call(world.site, "GET", f"/instances/{node}"))["id"]
    await platform.call(world.site, "POST", f"/volumes/{volume['id']}/attach", instance_id=instance)
    device = await platform.device_of(world.site, node, volume["serial"])
    script = 'mkfs.ext4 -q "$1" && mount "$1" /mnt && printf "from before" >/mnt/file && umount /mnt'
    await platform.run(world.site, node, "sh", "-c", script, "sh", device)
    await platform.call(world.site, "POST", f"/volumes/{volume['id']}/detach", instance_id=instance)


async def _refused(world: World, name: str) -> bool:
    words = ("-n", "default", f"--field-selector=involvedObject.kind=PersistentVolume,involvedObject.name={name}")
    events = await world.kube.items("events", *words)
    return any(one.get("reason") == "VolumeFailedDelete" and "adopt-name-prefix" in one["message"] for one in events)
