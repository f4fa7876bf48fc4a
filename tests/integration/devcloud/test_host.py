"""The back end `host` on real loop devices: present, withdraw, busy, grow, copy."""

import asyncio
import os
from pathlib import Path

import pytest

from devcloud import loop
from devcloud.host import HostMachines
from devcloud.machines import Disk
from devcloud.settings import GIB
from tests.integration.devcloud.conftest import Host, loops_in, mounted, opened, run

pytestmark = pytest.mark.root


def size_bytes(device: str) -> int:
    with opened(device) as file:
        return os.lseek(file, 0, os.SEEK_END)


def marked_for_later(device: str) -> bool:
    return Path("/sys/block", Path(device).name, "loop", "autoclear").read_text().strip() == "1"


WRITER = """\
n=0
while [ ! -e "$3" ]; do
    n=$((n+1))
    for folder in "$1" "$2"; do
        echo $n > "$folder/new" && sync "$folder/new" && mv "$folder/new" "$folder/n" && sync "$folder"
    done
    [ $n = 1 ] && echo ready
done
"""


async def test_attach_presents_the_image_and_detach_takes_it_away(host: Host) -> None:
    volume = await host.make_volume(size_gb=2)

    device = await host.attach(volume)
    again = await host.attach(volume)
    with opened(device, os.O_RDWR) as file:
        os.pwrite(file, b"content", GIB)
        os.fsync(file)
    assert (await host.detach(volume)).status_code == 200

    assert device == again
    assert not loops_in(host.inside.disks_dir)
    with (host.inside.disks_dir / f"{volume['serial']}.img").open("rb") as image:
        image.seek(GIB)
        assert image.read(7) == b"content"
    assert (await host.data("GET", f"/volumes/{volume['id']}"))["allocated_bytes"] > 0


async def test_data_follows_the_volume_to_the_other_instance(host: Host, tmp_path: Path) -> None:
    volume = await host.make_volume()
    device = await host.attach(volume, host.node_a)
    await run("mkfs.ext4", "-q", device)
    async with mounted(device, tmp_path / "mnt") as target:
        (target / "file").write_text("content")
    assert (await host.detach(volume, host.node_a)).status_code == 200

    device = await host.attach(volume, host.node_b)

    async with mounted(device, tmp_path / "mnt") as target:
        assert (target / "file").read_text() == "content"
    assert (await host.detach(volume, host.node_b)).status_code == 200


async def test_strict_tier_presents_too_and_refuses_a_busy_detach_with_500(strict_host: Host) -> None:
    volume = await strict_host.make_volume()
    device = await strict_host.attach(volume)

    with opened(device):
        answer = await strict_host.detach(volume)
        assert (answer.status_code, answer.json()["error"]["type"]) == (500, "INTERNAL")
        seen = await strict_host.data("GET", f"/volumes/{volume['id']}")
        assert seen["status"] == "IN-USE"
    assert (await strict_host.detach(volume)).status_code == 200
    assert not loops_in(strict_host.inside.disks_dir)


async def test_mounted_disk_is_busy_and_stays_usable(host: Host, tmp_path: Path) -> None:
    volume = await host.make_volume()
    device = await host.attach(volume)
    await run("mkfs.ext4", "-q", device)
    async with mounted(device, tmp_path / "mnt") as target:
        answer = await host.detach(volume, wait_s=0)
        (target / "file").write_text("still writable")

        assert answer.status_code == 409
        assert answer.json()["error"]["details"]["reason"] == "busy"
        assert f"mounted on {target}" in answer.json()["error"]["message"]
        assert (await host.data("GET", f"/volumes/{volume['id']}"))["instance_id"] == host.node_a
    assert (await host.detach(volume)).status_code == 200


async def test_disk_mounted_in_another_mount_namespace_is_busy(host: Host, tmp_path: Path) -> None:
    volume = await host.make_volume()
    device = await host.attach(volume)
    await run("mkfs.ext4", "-q", device)
    (tmp_path / "mnt").mkdir()
    script = f"mount {device} {tmp_path / 'mnt'} && echo ready && read line"
    other = await asyncio.create_subprocess_exec(
        *("unshare", "--mount", "--propagation", "private", "sh", "-c", script),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert other.stdin is not None
    assert other.stdout is not None
    try:
        assert await other.stdout.readline() == b"ready\n"
        answer = await host.detach(volume, wait_s=0)
        assert answer.status_code == 409
        assert "another mount namespace" in answer.json()["error"]["message"]
    finally:
        other.stdin.close()
        await other.wait()
    assert (await host.detach(volume)).status_code == 200


async def test_open_disk_is_busy_without_being_marked_for_later(host: Host) -> None:
    volume = await host.make_volume()
    device = await host.attach(volume)
    with opened(device):
        assert (await host.detach(volume, wait_s=0)).status_code == 409
    # Were the mark left, the last close would have taken the disk away.
    assert host.loop_of(volume).device == Path(device)
    assert not marked_for_later(device)
    assert (await host.detach(volume)).status_code == 200


async def test_detach_waits_until_the_disk_is_let_go(host: Host) -> None:
    volume = await host.make_volume()
    device = await host.attach(volume)
    with opened(device):
        detaching = asyncio.create_task(host.detach(volume, wait_s=30))
        await asyncio.wait({detaching}, timeout=0.1)
        assert not detaching.done()
    assert (await detaching).status_code == 200


async def test_read_only_attachment_cannot_be_written(host: Host) -> None:
    volume = await host.make_volume()

    device = await host.attach(volume, read_only=True)

    with opened(device, os.O_WRONLY) as file, pytest.raises(PermissionError):
        os.pwrite(file, b"x", 0)
    assert host.loop_of(volume).read_only
    assert (await host.detach(volume)).status_code == 200
    with opened(await host.attach(volume), os.O_WRONLY) as file:
        assert os.pwrite(file, b"x", 0) == 1
    assert (await host.detach(volume)).status_code == 200


async def test_attached_disk_grows_in_place(host: Host) -> None:
    volume = await host.make_volume()
    device = await host.attach(volume)
    with opened(device):
        await host.data("POST", f"/volumes/{volume['id']}/resize", json={"size_gb": 3})
        assert size_bytes(device) == 3 * GIB
    assert (await host.detach(volume)).status_code == 200


async def test_many_attaches_at_once_get_a_disk_each(host: Host) -> None:
    volumes = [await host.make_volume(f"vol-{number}") for number in range(12)]

    devices = await asyncio.gather(*(host.attach(volume) for volume in volumes))

    assert len(set(devices)) == len(volumes)
    assert len(loops_in(host.inside.disks_dir)) == len(volumes)
    for answer in await asyncio.gather(*(host.detach(volume) for volume in volumes)):
        assert answer.status_code == 200


async def test_somebody_elses_loop_devices_are_never_touched(host: Host, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.img"
    foreign.touch()
    os.truncate(foreign, 1 << 20)
    deeper = host.inside.disks_dir / "deeper"
    deeper.mkdir()
    (deeper / "nested.img").touch()
    os.truncate(deeper / "nested.img", 1 << 20)
    numbers = [loop.attach(path, read_only=False) for path in (foreign, deeper / "nested.img")]
    try:
        machines = HostMachines(host.inside.disks_dir)
        assert await machines.disks() == {}
        await machines.withdraw("foreign")
        await machines.withdraw("nested")
        assert {"foreign.img", "nested.img"} == set(loops_in(tmp_path))
    finally:
        for number in numbers:
            loop.detach(number)


async def test_snapshot_of_a_mounted_volume_has_what_was_written_before(host: Host, tmp_path: Path) -> None:
    volume = await host.make_volume()
    device = await host.attach(volume)
    await run("mkfs.ext4", "-q", device)
    async with mounted(device, tmp_path / "mnt") as target:
        # Not synced: the platform writes it out before it copies.
        (target / "before").write_text("then")
        snapshot = await host.data("POST", "/snapshots", json={"volume_id": volume["id"]})
        (target / "after").write_text("now")
        copy = await host.make_volume("vol-two", 2, snapshot_id=snapshot["id"])
    restored = await host.attach(copy, host.node_b)
    await run("e2fsck", "-p", restored)
    async with mounted(restored, tmp_path / "copy") as target:
        assert [path.name for path in target.iterdir() if path.is_file()] == ["before"]
        assert (target / "before").read_text() == "then"
    assert size_bytes(restored) == 2 * GIB
    assert (await host.detach(copy, host.node_b)).status_code == 200
    assert (await host.detach(volume)).status_code == 200


async def test_group_snapshot_of_volumes_under_writes_is_of_one_moment(host: Host, tmp_path: Path) -> None:
    """A writer puts the same number into both volumes, first into a; so no group may have a newer b than a."""
    volumes = [await host.make_volume(f"vol-{name}") for name in ("a", "b")]
    devices = [await host.attach(volume) for volume in volumes]
    for device in devices:
        await run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0", device)
    async with mounted(devices[0], tmp_path / "a") as a, mounted(devices[1], tmp_path / "b") as b:
        writer = await asyncio.create_subprocess_exec(
            *("sh", "-c", WRITER, "writer", str(a), str(b), str(tmp_path / "end")), stdout=asyncio.subprocess.PIPE
        )
        assert writer.stdout is not None
        try:
            assert await writer.stdout.readline() == b"ready\n"
            ids = [volume["id"] for volume in volumes]
            group = await host.data("POST", "/snapshot-groups", json={"name": "g1", "volume_ids": ids})
        finally:
            (tmp_path / "end").touch()
            await writer.wait()
    seen = []
    for volume in volumes:
        member = next(item for item in group["snapshots"] if item["volume_id"] == volume["id"])
        copy = await host.make_volume(f"copy-{volume['name']}", 1, snapshot_id=member["id"])
        device = await host.attach(copy)
        await run("e2fsck", "-p", device)
        async with mounted(device, tmp_path / "copy") as target:
            seen.append(int((target / "n").read_text()))
        assert (await host.detach(copy)).status_code == 200
    assert seen[0] - 1 <= seen[1] <= seen[0]
    for volume in volumes:
        assert (await host.detach(volume)).status_code == 200


async def test_frozen_file_systems_are_thawed(host: Host, tmp_path: Path) -> None:
    volume = await host.make_volume()
    device = await host.attach(volume)
    await run("mkfs.ext4", "-q", device)
    machines = HostMachines(host.inside.disks_dir)
    disk = Disk(volume["serial"], host.inside.cloud.volumes.path(volume["serial"]), host.node_a)
    await machines.disks()
    async with mounted(device, tmp_path / "mnt") as target:
        async with machines.frozen([disk.serial]):
            writing = asyncio.create_task(asyncio.to_thread((target / "file").write_text, "x"))
            await asyncio.wait({writing}, timeout=0.1)
            assert not writing.done()
        await writing
        # A killed platform leaves the file system frozen; the next start lets it go.
        await run("fsfreeze", "--freeze", str(target))
        await machines.thaw()
        (target / "file").write_text("y")
    assert (await host.detach(volume)).status_code == 200


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
async def test_copies_share_blocks_where_the_file_system_can(tmp_path: Path, kind: str) -> None:
    from tests.support.devcloud import devcloud_app

    image = tmp_path / "fs.img"
    image.touch()
    os.truncate(image, GIB)
    number = loop.attach(image, read_only=False)
    try:
        await run(f"mkfs.{kind}", "-q", str(loop.device_of(number)))
        async with mounted(str(loop.device_of(number)), tmp_path / "fs") as folder:
            async with devcloud_app(folder / "data") as inside, inside.client() as client:
                volume = (await client.post("/volumes", json={"name": "vol-one", "size_gb": 1})).json()["data"]
                path = inside.cloud.volumes.path(volume["serial"])
                path.write_bytes(os.urandom(64 << 20))
                os.truncate(path, GIB)
                os.sync()
                before = os.statvfs(folder)
                body = {"name": "vol-two", "size_gb": 2, "source_volume_id": volume["id"]}
                clone = (await client.post("/volumes", json=body)).json()["data"]
                os.sync()
                after = os.statvfs(folder)
                assert inside.cloud.volumes.path(clone["serial"]).stat().st_size == 2 * GIB
                with path.open("rb") as first, inside.cloud.volumes.path(clone["serial"]).open("rb") as second:
                    assert first.read(64 << 20) == second.read(64 << 20)
            assert (before.f_bfree - after.f_bfree) * before.f_frsize < 16 << 20
    finally:
        loop.detach(number)
