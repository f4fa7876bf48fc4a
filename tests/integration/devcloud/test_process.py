"""devcloud as a process of its own: killed at any time, started again, reset."""

import asyncio
import contextlib
from pathlib import Path

import httpx
import pytest

from devcloud import loop
from devcloud.command import run
from tests.integration.devcloud.conftest import loops_in, mounted
from tests.integration.devcloud.conftest import run as run_tool
from tests.support.devcloud import devcloud_server

pytestmark = pytest.mark.root


async def test_killed_platform_finds_its_disks_again(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with devcloud_server(data_dir, backend="host", subprocess=True) as served, served.client() as client:
        node = served.instances["node-a"]
        ids = []
        for name in ("kept", "lost", "stray"):
            volume = (await client.post("/volumes", json={"name": f"vol-{name}", "size_gb": 1})).json()["data"]
            ids.append(volume["id"])
            await client.post(f"/volumes/{volume['id']}/attach", json={"instance_id": node})
        await client.post(f"/volumes/{ids[2]}/detach", json={"instance_id": node})
        before = (await client.get("/volumes")).json()["data"]
        await served.kill()
        names = [f"{volume_id.replace('-', '')[:20]}.img" for volume_id in ids]
        # What dying between two steps leaves: a row without its disk, a disk without its row.
        loop.detach(loops_in(data_dir)[names[1]].number)
        loop.attach(data_dir / "disks" / names[2], read_only=False)
        kept = loops_in(data_dir)[names[0]].number

        await served.restart()

        after = (await client.get("/volumes", headers={"X-API-Key": served.api_key})).json()["data"]
        assert after == before
        assert set(loops_in(data_dir)) == {names[0], names[1]}
        assert loops_in(data_dir)[names[0]].number == kept
    assert not loops_in(tmp_path)


async def test_what_was_answered_survives_kill_at_any_time(tmp_path: Path) -> None:
    """Whatever call the kill meets, answered volumes are there and every image has its row."""
    data_dir = tmp_path / "data"
    answered: list[str] = []

    async def create_many(client: httpx.AsyncClient, prefix: str, wanted: int, reached: asyncio.Event) -> None:
        with contextlib.suppress(httpx.TransportError):
            for number in range(1000):
                answer = await client.post("/volumes", json={"name": f"{prefix}-{number}", "size_gb": 1})
                answered.append(answer.json()["data"]["id"])
                if len(answered) >= wanted:
                    reached.set()

    async with devcloud_server(data_dir, subprocess=True) as served:
        for turn in range(3):
            async with served.client() as client:
                wanted, reached = len(answered) + 10 + 7 * turn, asyncio.Event()
                writers = [
                    asyncio.create_task(create_many(client, f"vol-{turn}-{one}", wanted, reached)) for one in range(4)
                ]
                await reached.wait()
                await served.kill()
                await asyncio.gather(*writers)
            await served.restart()
        async with served.client() as client:
            found = {volume["id"]: volume for volume in (await client.get("/volumes")).json()["data"]}

    assert set(answered) <= set(found)
    images = {path.name for path in (data_dir / "disks").iterdir()}
    assert images == {f"{volume['serial']}.img" for volume in found.values()}


async def test_reset_refuses_while_a_disk_is_mounted_and_then_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data_dir = tmp_path / "data"
    async with devcloud_server(data_dir, backend="host", subprocess=True) as served, served.client() as client:
        for name in ("vol-one", "vol-two"):
            volume = (await client.post("/volumes", json={"name": name, "size_gb": 1})).json()["data"]
            body = {"instance_id": served.instances["node-a"]}
            path = (await client.post(f"/volumes/{volume['id']}/attach", json=body)).json()["data"]["device_path"]
        await run_tool("mkfs.ext4", "-q", path)
        await served.kill()
        async with mounted(path, tmp_path / "mnt"):
            assert await asyncio.to_thread(run, ["reset", "--data-dir", str(data_dir)]) == 1
            assert f"mounted on {tmp_path / 'mnt'}" in capsys.readouterr().err
            assert (data_dir / "state.db").exists()
        assert await asyncio.to_thread(run, ["reset", "--data-dir", str(data_dir)]) == 0
        assert not data_dir.exists()
        assert not loops_in(tmp_path)
