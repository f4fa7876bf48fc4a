"""Disks of machines: each is in one machine only, refuses to go while it is used, and outlives its machine."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from devcloud import loop
from devcloud.errors import DiskBusyError
from devcloud.machines import Disk
from devcloud.nspawn.processes import identify
from tests.integration.nspawn.conftest import Machines, idle_loops

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]


async def test_disk_is_in_its_machine_only(pair: Machines) -> None:
    one, two = [(await pair.row(name))["id"] for name in ("w1", "w2")]
    volume = await pair.make_volume("vol-only")
    device = await pair.attach(volume, one)
    number = int(Path(device).name.removeprefix("loop"))

    assert number >= 1000
    await pair.shell("w1", f"mkfs.ext4 -q {device} && mount {device} /mnt && echo data > /mnt/file")
    assert (await pair.run("w2", "test", "-e", device)).exit_code == 1

    refused = await pair.detach(volume, one, wait_s=0)
    assert refused.status_code == 409
    assert f"mounted on /mnt in instance {one}" in refused.json()["error"]["message"]
    assert await pair.shell("w1", "cat /mnt/file") == "data"

    await pair.shell("w1", "umount /mnt")
    assert (await pair.detach(volume, one)).status_code == 200
    assert (await pair.run("w1", "test", "-e", device)).exit_code == 1
    assert not idle_loops({number})

    device = await pair.attach(volume, two)
    assert await pair.shell("w2", f"mount {device} /mnt && cat /mnt/file && umount /mnt") == "data"
    assert (await pair.detach(volume, two)).status_code == 200


AS_A_CONTAINER = """\
#!/bin/sh -eu
# What a container runtime does: a group of its own, the rules of that container, then the container.
group=/sys/fs/cgroup/devices/pod
mkdir -p $group
echo a > $group/devices.deny
echo "$1" > $group/devices.allow
echo $$ > $group/cgroup.procs
exec dd if=/root/disk count=1 status=none
"""


@pytest.mark.skipif(
    not Path("/sys/fs/cgroup/devices").is_dir(), reason="only control groups of version 1 keep a machine from a device"
)
async def test_node_made_by_hand_does_not_open_the_disk_of_another(pair: Machines) -> None:
    one = (await pair.row("w1"))["id"]
    volume = await pair.make_volume("vol-guarded")
    number = Path(await pair.attach(volume, one)).name.removeprefix("loop")
    for name in ("w1", "w2"):
        script = f"cat > /root/container <<'END'\n{AS_A_CONTAINER}END\nchmod 700 /root/container"
        await pair.shell(name, f"{script}\nmknod /root/disk b 7 {number}")

    async def read(name: str, *words: str) -> tuple[int, int, str]:
        # As a unit, which is in the machine's groups; a command from outside is not.
        done = await pair.run(name, "systemd-run", "-q", "--pipe", "--wait", *words)
        return done.exit_code, len(done.stdout), done.complaint.rpartition(": ")[2]

    plain = ("dd", "if=/root/disk", "count=1", "status=none")
    refused = (1, 0, "Operation not permitted")
    assert (await read("w1", *plain))[:2] == (0, 512)
    assert await read("w2", *plain) == refused
    # Also one that was started since, and groups with the rules of a privileged container.
    await pair.data("POST", "/instances/w2/reboot", json={"force": True})
    await pair.settle("w2", "RUNNING")
    assert (await read("w1", "/root/container", "a"))[:2] == (0, 512)
    assert await read("w2", "/root/container", "a") == refused
    # Every other container may make any node, which does not let it read: were that rule refused, none would start.
    for name in ("w1", "w2"):
        assert await read(name, "/root/container", "b *:* m") == refused
    assert (await pair.detach(volume, one)).status_code == 200


async def test_disk_that_is_open_is_busy(pair: Machines) -> None:
    one = (await pair.row("w1"))["id"]
    volume = await pair.make_volume("vol-open")
    device = await pair.attach(volume, one)
    await pair.shell("w1", f"systemd-run -q --unit=holder sh -c 'exec 3<{device}; touch /run/open; sleep 600'")
    await pair.shell("w1", "until [ -e /run/open ]; do sleep 0.1; done")

    assert (await pair.detach(volume, one, wait_s=0)).status_code == 409
    await pair.shell("w1", "systemctl stop holder")
    assert (await pair.detach(volume, one)).status_code == 200


async def test_disk_that_is_left_in_a_machine_is_not_given_to_another(pair: Machines) -> None:
    assert pair.served.cloud is not None
    cloud = pair.served.cloud
    one, two = [(await pair.row(name))["id"] for name in ("w1", "w2")]
    volume = await pair.make_volume("vol-left")
    before = await pair.attach(volume, one)
    await pair.shell("w1", f"mkfs.ext4 -q {before} && mount {before} /mnt")
    # As if the row had been freed without the machine, which a terminate that meets a busy disk does.
    disk = Disk(volume["serial"], cloud.volumes.path(volume["serial"]), two)
    with pytest.raises(DiskBusyError, match="mounted on /mnt"):
        await cloud.machines.present(disk)
    await pair.shell("w1", "umount /mnt")

    after = await cloud.machines.present(disk)

    assert after != before
    assert (await pair.run("w1", "ls", before, after)).output == ""
    await pair.shell("w2", f"systemd-run -q --pipe --wait dd if={after} of=/dev/null count=1")
    await cloud.machines.present(Disk(disk.serial, disk.image, one))
    assert (await pair.detach(volume, one)).status_code == 200


async def test_disk_is_there_again_after_a_reboot(pair: Machines) -> None:
    two = (await pair.row("w2"))["id"]
    volume = await pair.make_volume("vol-reboot")
    device = await pair.attach(volume, two)
    await pair.shell("w2", f"mkfs.ext4 -q {device} && mount {device} /mnt && echo data > /mnt/file && sync")
    old = identify(pair.leader("w2"))
    assert old is not None
    await pair.run("w2", "systemctl", "reboot")
    await pair.settle_run("w2", after=old)

    assert await pair.shell("w2", f"mount {device} /mnt && cat /mnt/file && umount /mnt") == "data"
    assert (await pair.detach(volume, two)).status_code == 200


async def test_disk_of_a_dead_machine_can_be_detached(pair: Machines) -> None:
    two = (await pair.row("w2"))["id"]
    volume = await pair.make_volume("vol-dead")
    device = await pair.attach(volume, two)
    await pair.shell("w2", f"mkfs.ext4 -q {device} && mount {device} /mnt")
    os.kill(pair.leader("w2"), signal.SIGKILL)
    await pair.settle("w2", "ERROR")

    assert (await pair.detach(volume, two, wait_s=0)).status_code == 200
    await pair.data("POST", "/instances/w2/start")
    await pair.settle("w2", "RUNNING")
    assert (await pair.run("w2", "test", "-e", device)).exit_code == 1


async def test_terminating_a_machine_frees_its_mounted_disk(pair: Machines) -> None:
    three = await pair.launch("w3")
    await pair.settle("w3", "RUNNING")
    volume = await pair.make_volume("vol-terminated")
    device = await pair.attach(volume, three)
    number = int(Path(device).name.removeprefix("loop"))
    await pair.shell("w3", f"mkfs.ext4 -q {device} && mount {device} /mnt && echo data > /mnt/file && sync")
    await pair.data("DELETE", "/instances/w3")

    assert (await pair.data("GET", f"/volumes/{volume['id']}"))["status"] == "AVAILABLE"
    assert not idle_loops({number})
    one = (await pair.row("w1"))["id"]
    device = await pair.attach(volume, one)
    assert await pair.shell("w1", f"mount {device} /mnt && cat /mnt/file && umount /mnt") == "data"
    assert (await pair.detach(volume, one)).status_code == 200


async def test_snapshot_of_a_disk_that_a_machine_has_mounted(pair: Machines) -> None:
    one = (await pair.row("w1"))["id"]
    volume = await pair.make_volume("vol-snapped")
    device = await pair.attach(volume, one)
    # Not synced: the platform writes it out before it copies.
    await pair.shell("w1", f"mkfs.ext4 -q {device} && mount {device} /mnt && echo then > /mnt/before")
    snapshot = await pair.data("POST", "/snapshots", json={"volume_id": volume["id"]})
    await pair.shell("w1", "echo now > /mnt/after; umount /mnt")
    body = {"name": "vol-copy", "size_gb": 1, "snapshot_id": snapshot["id"]}
    copy = await pair.data("POST", "/volumes", json=body)
    device = await pair.attach(copy, one)

    assert await pair.shell("w1", f"mount {device} /mnt; ls /mnt; cat /mnt/before; umount /mnt") == (
        "before\nlost+found\nthen"
    )
    for item in (volume, copy):
        assert (await pair.detach(item, one)).status_code == 200


async def test_file_system_in_a_machine_is_frozen_and_let_go(pair: Machines) -> None:
    assert pair.served.cloud is not None
    machines = pair.served.cloud.machines
    one = (await pair.row("w1"))["id"]
    volume = await pair.make_volume("vol-frozen")
    device = await pair.attach(volume, one)
    await pair.shell("w1", f"mkfs.ext4 -q {device} && mount {device} /mnt")
    async with machines.frozen([volume["serial"]]):
        writing = asyncio.create_task(pair.shell("w1", "echo x > /mnt/file"))
        await asyncio.wait({writing}, timeout=0.3)
        assert not writing.done()
    await writing
    # A killed platform leaves the file system frozen; the next start lets it go.
    await pair.shell("w1", "fsfreeze --freeze /mnt")
    await machines.thaw()
    await pair.shell("w1", "echo y > /mnt/file; umount /mnt")
    assert (await pair.detach(volume, one)).status_code == 200


async def test_disk_grows_in_the_machine_and_read_only_is_read_only(pair: Machines) -> None:
    one = (await pair.row("w1"))["id"]
    volume = await pair.make_volume("vol-grown")
    device = await pair.attach(volume, one)
    await pair.data("POST", f"/volumes/{volume['id']}/resize", json={"size_gb": 2})
    assert await pair.shell("w1", f"blockdev --getsize64 {device}") == str(2 << 30)
    assert (await pair.detach(volume, one)).status_code == 200

    body = {"instance_id": one, "read_only": True}
    device = (await pair.data("POST", f"/volumes/{volume['id']}/attach", json=body))["device_path"]
    assert (await pair.run("w1", "dd", "if=/dev/zero", f"of={device}", "count=1")).exit_code != 0
    assert (await pair.detach(volume, one)).status_code == 200


async def test_loop_devices_inside_a_machine_do_not_meet_the_platforms(pair: Machines) -> None:
    one = (await pair.row("w1"))["id"]
    volume = await pair.make_volume("vol-raw")
    device = await pair.attach(volume, one)
    # What a kubelet does for a raw block volume; the low number is the machine's own affair.
    inner = await pair.shell("w1", f"losetup -f --show {device}")

    assert int(Path(inner).name.removeprefix("loop")) < 1000
    assert (await pair.detach(volume, one, wait_s=0)).status_code == 409
    await pair.shell("w1", f"losetup -d {inner}")
    assert (await pair.detach(volume, one)).status_code == 200
    assert not [item for item in loop.attached_loops() if str(item.backing_file).startswith(device)]
