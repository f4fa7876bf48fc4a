"""A platform whose instances are this machine: real loop devices, taken away after every test."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from devcloud import loop
from tests.support.devcloud import RunningCloud, devcloud_app


async def run(*words: str) -> str:
    """Run a command of this machine; its output is part of the failure."""
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0, f"{words}: {output}"
    return output


@contextlib.asynccontextmanager
async def mounted(device: str, target: Path, *words: str) -> AsyncIterator[Path]:
    """Have a device mounted."""
    await asyncio.to_thread(target.mkdir, exist_ok=True)
    await run("mount", *words, device, str(target))
    try:
        yield target
    finally:
        await run("umount", str(target))


@contextlib.contextmanager
def opened(device: str, flags: int = os.O_RDONLY) -> Iterator[int]:
    """Have a device open."""
    file = os.open(device, flags)
    try:
        yield file
    finally:
        os.close(file)


def loops_in(folder: Path) -> dict[str, loop.Loop]:
    """Give the loop devices whose backing file lies below a folder, by file name."""
    return {
        found.backing_file.name: found
        for found in loop.attached_loops()
        if found.backing_file.is_relative_to(folder.resolve())
    }


class Host:
    """A running platform with a client, and short words for what tests do."""

    def __init__(self, inside: RunningCloud, client: httpx.AsyncClient) -> None:
        self.inside = inside
        self.client = client
        self.node_a, self.node_b = (inside.instances[name] for name in ("node-a", "node-b"))

    async def data(self, method: str, path: str, **options: Any) -> Any:
        answer = await self.client.request(method, path, **options)
        assert answer.is_success, answer.text
        return answer.json()["data"]

    async def make_volume(self, name: str = "vol-one", size_gb: int = 1, **more: Any) -> Any:
        return await self.data("POST", "/volumes", json={"name": name, "size_gb": size_gb, **more})

    async def attach(self, volume: Any, node: str | None = None, **more: Any) -> str:
        body = {"instance_id": node or self.node_a, "mount_path": "/data", **more}
        await self.data("POST", f"/volumes/{volume['id']}/attach", json=body)
        return str(self.loop_of(volume).device)

    async def detach(self, volume: Any, node: str | None = None, wait_s: float = 5.0) -> httpx.Response:
        body = {"instance_id": node or self.node_a, "wait_s": wait_s}
        return await self.client.post(f"/volumes/{volume['id']}/detach", json=body)

    def loop_of(self, volume: Any) -> loop.Loop:
        return loops_in(self.inside.disks_dir)[f"{volume['id'].replace('-', '')[:20]}.img"]


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    async with devcloud_app(tmp_path / "data", backend="host") as inside, inside.client() as client:
        yield Host(inside, client)
    assert not loops_in(tmp_path)


@pytest.fixture
async def strict_host(tmp_path: Path) -> AsyncIterator[Host]:
    async with devcloud_app(tmp_path / "data", backend="host", tier="strict") as inside, inside.client() as client:
        yield Host(inside, client)
    assert not loops_in(tmp_path)
