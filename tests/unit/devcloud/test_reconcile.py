"""What a start makes of what a crash left."""

from pathlib import Path

from devcloud.errors import DiskBusyError
from devcloud.machines import Disk, NoMachines
from devcloud.reconcile import withdraw_all
from tests.support.devcloud import devcloud_app
from tests.unit.devcloud.conftest import Site


class StubbornMachines(NoMachines):
    """Never lets go of disks in `held`."""

    held: frozenset[str] = frozenset()

    async def withdraw(self, serial: str) -> None:
        if serial in self.held:
            raise DiskBusyError(serial, "mounted on /data")
        await super().withdraw(serial)


async def test_attached_volume_gets_its_disk_back_in_its_mode(tmp_path: Path) -> None:
    async with devcloud_app(tmp_path) as inside, inside.client() as client:
        site = Site(inside, client)
        volume = await site.make_volume()
        body = {"instance_id": site.node_a, "read_only": True}
        await site.data("POST", f"/volumes/{volume['id']}/attach", json=body)
    machines = NoMachines()
    # What a killed platform left: the disk is there, but writable.
    await machines.present(Disk(volume["serial"], tmp_path, "x", read_only=False))
    async with devcloud_app(tmp_path, machines=machines):
        assert machines.presented[volume["serial"]].read_only


async def test_disk_without_attachment_is_taken_away_unless_in_use(tmp_path: Path) -> None:
    machines = StubbornMachines()
    for serial in ("free", "held"):
        await machines.present(Disk(serial, tmp_path, "x"))
    machines.held = frozenset({"held"})
    async with devcloud_app(tmp_path, machines=machines) as inside:
        assert set(machines.presented) == {"held"}
        assert await withdraw_all(inside.cloud) == ["disk held is in use in the instance: mounted on /data"]


async def test_images_without_rows_are_removed_unless_presented(tmp_path: Path) -> None:
    async with devcloud_app(tmp_path) as inside, inside.client() as client:
        site = Site(inside, client)
        volume = await site.make_volume()
        snapshot = await site.data("POST", "/snapshots", json={"volume_id": volume["id"]})
        for images in (inside.cloud.volumes, inside.cloud.snapshots):
            images.create("orphan", 1)
            images.path("half").with_suffix(".part").touch()
        inside.cloud.volumes.create("held", 1)
    machines = StubbornMachines()
    await machines.present(Disk("held", tmp_path, "x"))
    machines.held = frozenset({"held"})
    async with devcloud_app(tmp_path, machines=machines) as inside:
        assert inside.cloud.volumes.names() == {volume["serial"], "held"}
        assert inside.cloud.snapshots.names() == {snapshot["id"]}
        assert not (inside.disks_dir / "half.part").exists()


async def test_answered_writes_are_there_after_a_restart(tmp_path: Path) -> None:
    async with devcloud_app(tmp_path) as inside, inside.client() as client:
        site = Site(inside, client)
        volume = await site.make_volume(tags={"a": "1"})
        before = await site.data("GET", "/volumes")
    async with devcloud_app(tmp_path) as inside, inside.client() as client:
        assert await Site(inside, client).data("GET", "/volumes") == before
        assert before[0]["id"] == volume["id"]
