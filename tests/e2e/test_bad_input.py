"""What a user sees when something is wrong: the event names it in words that he can act on, and nothing is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from csi.driver import ZONE_KEY
from tests.e2e.cluster import platform
from tests.e2e.objects import claim, pod, storage_class
from tests.e2e.world import World


@dataclass(frozen=True, slots=True)
class BadClass:
    """A StorageClass that cannot work, and the words that the claim's event has to hold."""

    words: tuple[str, ...]
    parameters: Mapping[str, str] = field(default_factory=dict)
    size: str = "1Gi"
    zone: str = ""


BAD = {
    "unknown parameter": BadClass(("perfromance", "parameters"), {"perfromance": "fast"}),
    "unknown file system": BadClass(("zfs", "ext4"), {"csi.storage.k8s.io/fstype": "zfs"}),
    "unknown performance class": BadClass(("warp", "performanceClass"), {"performanceClass": "warp"}),
    "option that mkfs may not have": BadClass(("-n", "mkfsOptions"), {"mkfsOptions": "-n 1"}),
    "larger than the platform makes volumes": BadClass(("20000", "16000"), size="20000Gi"),
    "zone that does not exist": BadClass(("zone-9",), zone="zone-9"),
}


@pytest.mark.parametrize("what", list(BAD))
async def test_a_class_that_cannot_work_says_why_on_the_claim(world: World, what: str) -> None:
    bad = BAD[what]
    name = f"{world.namespace}-bad"
    fields: dict[str, object] = {"volumeBindingMode": "Immediate"}
    if bad.zone:
        fields["allowedTopologies"] = [{"matchLabelExpressions": [{"key": ZONE_KEY, "values": [bad.zone]}]}]
    await world.kube.apply(storage_class(name, bad.parameters, **fields))
    try:
        before = {one["id"] for one in await platform.call(world.site, "GET", "/volumes") or []}
        await world.apply(claim("data", storage_class=name, size=bad.size))
        text = await world.event("PersistentVolumeClaim", "data", "ProvisioningFailed", *bad.words)
        assert "Traceback" not in text
        made = {one["id"]: one for one in await platform.call(world.site, "GET", "/volumes") or []}
        uid = (await world.get("pvc", "data"))["metadata"]["uid"]
        assert not [one for key, one in made.items() if key not in before and uid in one["name"]]
    finally:
        await world.delete("pvc", "data")
        await world.kube.run("delete", "storageclass", name, "--ignore-not-found")


async def test_a_foreign_file_system_is_not_overwritten_and_the_pod_says_so(world: World) -> None:
    """Data that this driver did not put there: the volume is refused as it is, and named in the pod's event."""
    await world.start(claim("raw", block=True), pod("writer", ["raw"], block=True))
    await world.run(
        "writer", "sh", "-c", "printf 'somebody has this' | dd of=/dev/volume bs=512 seek=9 conv=sync,fsync"
    )
    await world.delete("pod", "writer")
    volume = await world.volume_of("raw")
    name = volume["metadata"]["name"]
    retain = '{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}'
    await world.kube.run("patch", "pv", name, "-p", retain)
    await world.delete("pvc", "raw")
    again = f"{name}-again"
    copy = {key: volume["spec"][key] for key in ("capacity", "accessModes", "nodeAffinity", "storageClassName")}
    csi = {"driver": volume["spec"]["csi"]["driver"], "volumeHandle": volume["spec"]["csi"]["volumeHandle"]}
    await world.kube.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": again},
            "spec": {
                **copy,
                "claimRef": world.reserve("data"),
                "csi": {**csi, "fsType": "ext4"},
                "persistentVolumeReclaimPolicy": "Delete",
            },
        }
    )
    try:
        await world.apply(claim("data", volume=again), pod("user", ["data"]))
        await world.event("Pod", "user", "FailedMount", "is left as it is")
    finally:
        await world.delete("pod", "user")
        await world.delete("pvc", "data")
        await world.kube.run("delete", "pv", name, "--ignore-not-found")
