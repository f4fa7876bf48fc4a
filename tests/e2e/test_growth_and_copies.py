"""Growing, snapshots, restores, clones, group snapshots and changed attributes, as users ask for them."""

import pytest

from tests.e2e.cluster import platform
from tests.e2e.objects import claim, from_claim, from_snapshot, pod, snapshot, storage_class
from tests.e2e.world import World

GIB = 1 << 30
SPARE = 0.9
"""Of its disk, a file system shows this much at least."""


@pytest.fixture
async def xfs(world: World):
    """A StorageClass for xfs, which grows mounted also where ext4 may not."""
    name = f"{world.namespace}-xfs"
    await world.kube.apply(storage_class(name, {"csi.storage.k8s.io/fstype": "xfs"}))
    yield name
    await world.kube.run("delete", "storageclass", name, "--ignore-not-found")


async def grow(world: World, name: str, size: str) -> None:
    patch = f'{{"spec":{{"resources":{{"requests":{{"storage":"{size}"}}}}}}}}'
    await world.kube.run("patch", "pvc", name, "-n", world.namespace, "-p", patch)


async def test_a_mounted_volume_grows_under_its_pod(world: World, xfs: str) -> None:
    await world.start(claim("data", storage_class=xfs), pod("user", ["data"]))
    await world.write("user", "before")
    await grow(world, "data", "3Gi")

    async def larger() -> bool:
        return await world.size_bytes("user") > 3 * GIB * SPARE

    await world.until(larger, "the file system to grow in the pod")
    assert await world.read("user") == "before"
    await world.wait("jsonpath={.status.capacity.storage}=3Gi", "pvc/data")


@pytest.mark.parametrize("fs_type", ["ext4", "xfs"])
async def test_an_unused_volume_has_grown_when_the_next_pod_comes(world: World, fs_type: str, xfs: str) -> None:
    name = xfs if fs_type == "xfs" else "thecloud-block"
    await world.start(claim("data", storage_class=name), pod("writer", ["data"]))
    await world.write("writer", "before")
    await world.delete("pod", "writer")
    await grow(world, "data", "2Gi")
    await world.start(pod("reader", ["data"]))
    assert await world.read("reader") == "before"
    assert await world.size_bytes("reader") > 2 * GIB * SPARE
    await world.wait("jsonpath={.status.capacity.storage}=2Gi", "pvc/data")


async def test_a_raw_block_volume_grows(world: World) -> None:
    await world.start(claim("raw", block=True), pod("user", ["raw"], block=True))
    await grow(world, "raw", "2Gi")

    async def larger() -> bool:
        return int(await world.run("user", "blockdev", "--getsize64", "/dev/volume")) == 2 * GIB

    await world.until(larger, "the device to grow in the pod")


async def test_a_snapshot_keeps_what_was_and_is_restored_into_a_larger_volume(world: World) -> None:
    await world.start(claim("data"), pod("user", ["data"]))
    await world.write("user", "at the snapshot")
    await world.apply(snapshot("kept", "data"))
    await world.wait("jsonpath={.status.readyToUse}=true", "volumesnapshot/kept")
    await world.write("user", "after the snapshot")
    await world.start(claim("restored", size="2Gi", source=from_snapshot("kept")), pod("reader", ["restored"]))
    assert await world.read("reader") == "at the snapshot"
    assert await world.size_bytes("reader") > 2 * GIB * SPARE
    assert await world.read("user") == "after the snapshot"
    await world.delete("volumesnapshot", "kept")


@pytest.mark.parametrize("fs_type", ["ext4", "xfs"])
async def test_a_clone_lives_beside_its_source_on_the_same_node(world: World, fs_type: str, xfs: str) -> None:
    name = xfs if fs_type == "xfs" else "thecloud-block"
    node = world.site.workers[0]
    await world.start(claim("data", storage_class=name), pod("user", ["data"], node=node))
    await world.write("user", "shared past")
    await world.start(claim("copy", storage_class=name, source=from_claim("data")), pod("other", ["copy"], node=node))
    await world.write("other", "own future")
    assert await world.read("user") == "shared past"
    assert await world.read("other") == "own future"


async def test_a_group_snapshot_takes_all_claims_with_the_label_at_once(world: World) -> None:
    claims = [claim(name) | {"metadata": {"name": name, "labels": {"app": "db"}}} for name in ("log", "table")]
    await world.start(*claims, pod("db", ["log", "table"]))
    await world.write("db", "log 1", root="/data")
    await world.write("db", "table 1", root="/data1")
    await world.apply(
        {
            "apiVersion": "groupsnapshot.storage.k8s.io/v1",
            "kind": "VolumeGroupSnapshot",
            "metadata": {"name": "both"},
            "spec": {
                "volumeGroupSnapshotClassName": "thecloud-block",
                "source": {"selector": {"matchLabels": {"app": "db"}}},
            },
        }
    )
    await world.wait("jsonpath={.status.readyToUse}=true", "volumegroupsnapshot/both")

    async def members() -> list[str]:
        found = await world.kube.items("volumesnapshots", "-n", world.namespace)
        return [one["metadata"]["name"] for one in found if one.get("status", {}).get("readyToUse")]

    async def two() -> bool:
        return len(await members()) == 2

    await world.until(two, "both snapshots of the group to be ready")
    for number, name in enumerate(await members()):
        await world.start(
            claim(f"restored-{number}", source=from_snapshot(name)), pod(f"reader-{number}", [f"restored-{number}"])
        )
    assert sorted([await world.read(f"reader-{number}") for number in range(2)]) == ["log 1", "table 1"]
    await world.delete("volumegroupsnapshot", "both")


async def test_a_volume_changes_its_class_while_it_is_used(world: World) -> None:
    classes = [
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "VolumeAttributesClass",
            "metadata": {"name": f"{world.namespace}-{kind}"},
            "driverName": "csi.thecloud.io",
            "parameters": {"performanceClass": kind},
        }
        for kind in ("standard", "fast")
    ]
    await world.kube.apply(*classes)
    slow, fast = (f"{world.namespace}-{kind}" for kind in ("standard", "fast"))
    try:
        await world.start(claim("data", attributes=slow), pod("user", ["data"]))
        await world.write("user", "kept")
        patch = f'{{"spec":{{"volumeAttributesClassName":"{fast}"}}}}'
        await world.kube.run("patch", "pvc", "data", "-n", world.namespace, "-p", patch)
        await world.wait(f"jsonpath={{.status.currentVolumeAttributesClassName}}={fast}", "pvc/data")
        handle = (await world.volume_of("data"))["spec"]["csi"]["volumeHandle"]
        assert (await platform.call(world.site, "GET", f"/volumes/{handle}"))["performance_class"] == "fast"
        assert await world.read("user") == "kept"
    finally:
        await world.delete("pod", "user")
        await world.delete("pvc", "data")
        await world.kube.run("delete", "volumeattributesclass", slow, fast, "--ignore-not-found")
