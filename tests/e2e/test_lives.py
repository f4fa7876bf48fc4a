"""A claim becomes a disk in a pod, moves with it, and is gone with it."""

import pytest

from tests.e2e.objects import DEVICE, claim, pod, pod_spec, storage_class
from tests.e2e.world import World, attached_disks

GIB = 1 << 30


async def test_a_claim_becomes_a_disk_that_moves_with_its_pod(world: World) -> None:
    first, second = world.site.workers[:2]
    await world.start(claim("data"), pod("writer", ["data"], node=first))
    await world.write("writer", "only copy")
    assert len(await attached_disks(world.site, first)) >= 1
    await world.delete("pod", "writer")
    await world.start(pod("reader", ["data"], node=second))
    assert await world.read("reader") == "only copy"
    assert await world.node_of("reader") == second


@pytest.mark.parametrize("fs_type", ["ext4", "xfs", "btrfs"])
async def test_each_file_system_keeps_its_data_over_a_new_pod(world: World, fs_type: str) -> None:
    name = f"{world.namespace}-{fs_type}"
    await world.kube.apply(storage_class(name, {"csi.storage.k8s.io/fstype": fs_type}))
    try:
        await world.start(claim("data", storage_class=name), pod("writer", ["data"]))
        kind = (await world.run("writer", "sh", "-c", "grep ' /data ' /proc/mounts")).split()[2]
        assert kind == fs_type
        await world.write("writer", fs_type)
        await world.delete("pod", "writer")
        await world.start(pod("reader", ["data"]))
        assert await world.read("reader") == fs_type
    finally:
        await world.kube.run("delete", "storageclass", name, "--ignore-not-found")


async def test_a_raw_block_volume_moves_with_its_pod(world: World) -> None:
    first, second = world.site.workers[:2]
    await world.start(claim("raw", block=True), pod("writer", ["raw"], node=first, block=True))
    await world.run("writer", "sh", "-c", f"printf 'raw bytes' | dd of={DEVICE} bs=512 conv=sync,fsync")
    await world.delete("pod", "writer")
    await world.start(pod("reader", ["raw"], node=second, block=True))
    assert (await world.run("reader", "dd", f"if={DEVICE}", "bs=9", "count=1")) == "raw bytes"
    size = await world.run("reader", "blockdev", "--getsize64", DEVICE)
    assert int(size) == GIB


async def test_a_single_pod_volume_refuses_a_second_pod(world: World) -> None:
    await world.start(claim("data", access="ReadWriteOncePod"), pod("holder", ["data"]))
    await world.apply(pod("second", ["data"]))
    text = await world.event("Pod", "second", "ReadWriteOncePod")
    assert "FailedScheduling" in text
    assert (await world.get("pod", "second"))["status"]["phase"] == "Pending"


async def test_two_pods_of_one_node_share_a_volume(world: World) -> None:
    node = world.site.workers[0]
    await world.start(claim("data"), pod("one", ["data"], node=node), pod("two", ["data"], node=node))
    await world.write("one", "shared")
    assert await world.read("two") == "shared"
    await world.delete("pod", "one")
    assert await world.read("two") == "shared"


async def test_a_pod_that_may_only_read_cannot_write(world: World) -> None:
    node = world.site.workers[0]
    await world.start(claim("data"), pod("writer", ["data"], node=node))
    await world.write("writer", "kept")
    await world.start(pod("reader", ["data"], node=node, read_only=True))
    assert await world.read("reader") == "kept"
    said = await world.run("reader", "sh", "-c", "touch /data/new 2>&1 || true")
    assert "Read-only file system" in said


async def test_a_generic_ephemeral_volume_lives_and_dies_with_its_pod(world: World) -> None:
    template = {"spec": claim("unused")["spec"]}
    scratch = {"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}
    await world.start(pod("scratcher", volumes=[scratch]))
    await world.write("scratcher", "for a while")
    await world.delete("pod", "scratcher")

    async def gone() -> bool:
        return not await world.kube.items("pvc", "-n", world.namespace)

    await world.until(gone, "the claim of the ephemeral volume to go")


async def test_a_stateful_set_rolls_without_losing_a_byte(world: World) -> None:
    labels = {"app": "store"}
    template = {"metadata": {"name": "data"}, "spec": claim("unused")["spec"]}
    spec = pod_spec(volumes=[])
    spec["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    stateful = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "store"},
        "spec": {
            "serviceName": "store",
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
            "volumeClaimTemplates": [template],
        },
    }
    words = ("-n", world.namespace, "--timeout=120s")
    await world.apply(stateful)
    await world.kube.run("rollout", "status", "statefulset/store", *words, timeout_s=130)
    await world.remember()
    for number in range(2):
        await world.write(f"store-{number}", f"shard {number}")
    await world.kube.run("rollout", "restart", "statefulset/store", "-n", world.namespace)
    await world.kube.run("rollout", "status", "statefulset/store", *words, timeout_s=130)
    assert [await world.read(f"store-{number}") for number in range(2)] == ["shard 0", "shard 1"]


@pytest.mark.parametrize("order", [("pod", "pvc"), ("pvc", "pod"), ("pvc", "pv", "pod"), ("namespace",)], ids="-".join)
async def test_deletion_in_any_order_leaves_nothing(world: World, order: tuple[str, ...]) -> None:
    await world.start(claim("data"), pod("holder", ["data"]))
    volume = (await world.volume_of("data"))["metadata"]["name"]
    names = {"pod": "holder", "pvc": "data", "pv": volume}
    for kind in order:
        if kind != "namespace":
            await world.kube.run("delete", kind, names[kind], "-n", world.namespace, "--wait=false")
    # The end of the test deletes the namespace, and looks for the volume in Kubernetes and on the platform.
