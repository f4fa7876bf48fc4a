"""A platform of each tier, without devices, and a short way to call it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from devcloud.faults import Fault, Kind
from tests.support.devcloud import RunningCloud, devcloud_app


@dataclass(frozen=True)
class Site:
    """A running platform with an open client."""

    inside: RunningCloud
    client: httpx.AsyncClient

    @property
    def node_a(self) -> str:
        return self.inside.instances["node-a"]

    @property
    def node_b(self) -> str:
        return self.inside.instances["node-b"]

    async def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        return await self.client.request(method, path, **options)

    async def data(self, method: str, path: str, **options: Any) -> Any:
        answer = await self.call(method, path, **options)
        assert answer.is_success, answer.text
        return answer.json()["data"]

    async def error(self, status: int, method: str, path: str, **options: Any) -> dict[str, Any]:
        answer = await self.call(method, path, **options)
        assert answer.status_code == status, answer.text
        error: dict[str, Any] = answer.json()["error"]
        return error

    async def make_volume(self, name: str = "vol-one", size_gb: int = 1, **more: Any) -> Any:
        return await self.data("POST", "/volumes", json={"name": name, "size_gb": size_gb, **more})

    async def attach(self, volume: Any, instance_id: str) -> httpx.Response:
        body = {"instance_id": instance_id, "mount_path": "/data"}
        return await self.call("POST", f"/volumes/{volume['id']}/attach", json=body)

    def trouble(self, kind: Kind, route: str = "*", method: str = "*", **more: Any) -> None:
        self.inside.faults.add(Fault(kind=kind, method=method, route=route, **more))


@pytest.fixture(params=["strict", "extended"])
async def both(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    async with devcloud_app(tmp_path, tier=request.param) as inside, inside.client() as client:
        yield Site(inside, client)


@pytest.fixture
async def strict(tmp_path: Path) -> AsyncIterator[Site]:
    async with devcloud_app(tmp_path, tier="strict") as inside, inside.client() as client:
        yield Site(inside, client)


@pytest.fixture
async def extended(tmp_path: Path) -> AsyncIterator[Site]:
    async with devcloud_app(tmp_path, tier="extended") as inside, inside.client() as client:
        yield Site(inside, client)
