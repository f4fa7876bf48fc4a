"""A platform that is killed loses nothing, and a reset leaves nothing, whenever either comes."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from devcloud.command import run
from devcloud.nspawn.mounting import points_below
from devcloud.nspawn.processes import identify
from devcloud.nspawn.records import MachineFolder, folders
from tests.integration.nspawn.conftest import IMAGE, leftovers, machines_in, until

pytestmark = pytest.mark.root
_LOOK_S = 0.002


async def test_machines_outlive_the_platform_and_are_taken_over(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data_dir = tmp_path / "data"
    async with machines_in(data_dir, image, subprocess=True) as machines:
        ids = {name: await machines.launch(name) for name in ("stays", "reboots", "leaves", "dies")}
        for name in ids:
            await machines.settle(name, "RUNNING")
        volume = await machines.make_volume("vol-one")
        device = await machines.attach(volume, ids["stays"])
        await machines.shell("stays", f"mkfs.ext4 -q {device} && mount {device} /mnt && echo data > /mnt/file")
        leaders = {name: machines.leader(name) for name in ids}
        await machines.served.kill()

        # Machines neither notice nor need the platform.
        await machines.shell("stays", "ping -c1 -W5 reboots; cat /mnt/file")
        stays, reboots = identify(leaders["stays"]), identify(leaders["reboots"])
        await machines.run("reboots", "systemctl", "reboot")
        await machines.run("leaves", "systemctl", "poweroff")
        os.kill(leaders["dies"], signal.SIGKILL)
        await machines.gone("reboots", "leaves", "dies")
        words = ["--backend", "nspawn", "--machine-image", f"{IMAGE}={image}", "--network", "10.78.0.0/24"]
        serve = ["serve", "--data-dir", str(data_dir), "--listen", "127.0.0.1:0", *words]
        assert await asyncio.to_thread(run, serve) == 1
        assert "has 10.77.0.1/24 and 10.78.0.1/24 is wanted" in capsys.readouterr().err
        await machines.served.restart()
        machines.client.base_url = httpx.URL(machines.served.base_url)

        await machines.settle("leaves", "STOPPED")
        await machines.settle("dies", "ERROR")
        await machines.settle_run("reboots", after=reboots)
        assert (await machines.row("stays"))["status"] == "RUNNING"
        assert identify(machines.leader("stays")) == stays
        assert (await machines.detach(volume, ids["stays"], wait_s=0)).status_code == 409
        await machines.shell("stays", "cat /mnt/file; umount /mnt")
        assert (await machines.detach(volume, ids["stays"])).status_code == 200
        await machines.data("POST", "/instances/stays/stop")
        assert (await machines.row("stays"))["status"] == "STOPPED"


async def test_reset_takes_machines_with_mounted_disks_and_leaves_nothing(image: Path, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with machines_in(data_dir, image, subprocess=True) as machines:
        instance_id = await machines.launch("web")
        await machines.settle("web", "RUNNING")
        device = await machines.attach(await machines.make_volume("vol-one"), instance_id)
        await machines.shell("web", f"mkfs.ext4 -q {device} && mount {device} /mnt")
        await machines.served.kill()

        for _ in range(2):
            assert await asyncio.to_thread(run, ["reset", "--data-dir", str(data_dir)]) == 0
            assert leftovers(data_dir) == []
        assert not data_dir.exists()
        assert not Path("/sys/block", Path(device).name).exists()  # noqa: ASYNC240


def has_folder(data_dir: Path) -> bool:
    return bool(folders(data_dir / "nspawn"))


def has_overlay(data_dir: Path) -> bool:
    return bool(points_below(data_dir))


def has_keeper(data_dir: Path) -> bool:
    return any(folder.read_run() is not None for folder in folders(data_dir / "nspawn"))


def has_leader(data_dir: Path) -> bool:
    return any(_leader_of(folder) for folder in folders(data_dir / "nspawn"))


def _leader_of(folder: MachineFolder) -> bool:
    last = folder.read_run()
    return last is not None and last.leader is not None


@pytest.mark.parametrize("stage", [has_folder, has_overlay, has_keeper, has_leader])
async def test_reset_after_a_kill_in_the_middle_of_a_launch(
    image: Path, tmp_path: Path, stage: Callable[[Path], bool]
) -> None:
    data_dir = tmp_path / "data"
    async with machines_in(data_dir, image, subprocess=True) as machines:
        await machines.launch("web")
        await until(lambda: stage(data_dir), every_s=_LOOK_S)
        await machines.served.kill()

        assert await asyncio.to_thread(run, ["reset", "--data-dir", str(data_dir)]) == 0
        assert leftovers(data_dir) == []
        assert not data_dir.exists()


@pytest.mark.parametrize("stage", [has_folder, has_leader])
async def test_launch_that_a_kill_cut_short_goes_on(image: Path, tmp_path: Path, stage: Callable[[Path], bool]) -> None:
    data_dir = tmp_path / "data"
    async with machines_in(data_dir, image, subprocess=True) as machines:
        await machines.launch("web")
        await until(lambda: stage(data_dir), every_s=_LOOK_S)
        await machines.served.kill()
        await machines.served.restart()
        machines.client.base_url = httpx.URL(machines.served.base_url)

        await machines.settle("web", "RUNNING")
        assert await machines.shell("web", "hostname; cat /var/lib/extra/marker") == "web\nof the image"
