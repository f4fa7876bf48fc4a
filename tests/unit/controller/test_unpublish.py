"""Whose volume an unpublish may take: the node's own, or that of a holder that is definitely gone with the node."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from tests.unit.controller.rig import Rig, refused, restarted, running_rig
from tests.unit.controller.test_attachments import holder, launch
from thecloud.presence import Gone

BOTH = pytest.mark.parametrize("tier", ["extended", "strict"])


@pytest.fixture
def lists(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make a rig's listing of instances leave out what is named (all when nothing is), or show everything again."""

    def leave_out(rig: Rig, *names: str) -> None:
        original = type(rig.client.instances).list

        async def shortened(**fields: Any) -> tuple[Any, ...]:
            rows = await original(rig.client.instances, **fields)
            return tuple(row for row in rows if names and row.name not in names)

        monkeypatch.setattr(rig.client.instances, "list", shortened)

    return leave_out


@pytest.fixture
def misses(monkeypatch: pytest.MonkeyPatch) -> Callable[[Rig, int], None]:
    """Make a rig's next looks for an instance end in "not found"."""

    def miss(rig: Rig, times: int) -> None:
        original = rig.client.instances.get
        left = [times]

        async def sometimes(instance_id: str, **fields: Any) -> Any:
            left[0] -= 1
            return Gone("instance", instance_id) if left[0] >= 0 else await original(instance_id, **fields)

        monkeypatch.setattr(rig.client.instances, "get", sometimes)

    return miss


@BOTH
@pytest.mark.parametrize("left_out", [(), ("node-a",)])
async def test_a_listing_that_lacks_the_holder_is_no_proof_that_it_is_another_node(
    tmp_path: Path, tier: str, left_out: tuple[str, ...], lists: Callable[..., None]
):
    async with running_rig(tmp_path, tier=tier) as rig:
        volume = await rig.create()
        await rig.publish(volume.volume_id, "node-a")
        async with restarted(rig.cloud) as fresh:
            lists(fresh, *left_out)
            message = await refused(fresh.unpublish(volume.volume_id, "node-a"), StatusCode.UNAVAILABLE)
            assert rig.cloud.instances["node-a"] in message
            assert await holder(rig, volume.volume_id) == rig.cloud.instances["node-a"]
        async with restarted(rig.cloud) as fresh:
            await fresh.unpublish(volume.volume_id, "node-a")
        assert await holder(rig, volume.volume_id) is None


async def test_a_pair_that_this_controller_published_needs_no_listing(rig: Rig, lists: Callable[..., None]):
    volume = await rig.create()
    await rig.publish(volume.volume_id, "node-a")
    lists(rig)
    rig.reset_calls()
    await rig.unpublish(volume.volume_id, "node-a")
    assert "GET /instances" not in rig.calls()
    assert await holder(rig, volume.volume_id) is None


@BOTH
async def test_a_holder_is_not_gone_by_one_answer(
    tmp_path: Path, tier: str, lists: Callable[..., None], misses: Callable[[Rig, int], None]
):
    async with running_rig(tmp_path, tier=tier) as rig:
        volume = await rig.create()
        await rig.publish(volume.volume_id, "node-a")
        async with restarted(rig.cloud) as fresh:
            lists(fresh, "node-a")
            misses(fresh, 1)
            await refused(fresh.unpublish(volume.volume_id, "gone"), StatusCode.UNAVAILABLE)
        async with restarted(rig.cloud) as fresh:
            misses(fresh, 2)
            await refused(fresh.unpublish(volume.volume_id, "gone"), StatusCode.UNAVAILABLE)
        assert await holder(rig, volume.volume_id) == rig.cloud.instances["node-a"]


@BOTH
async def test_a_holder_that_is_gone_twice_and_not_listed_gives_its_volume_free(
    tmp_path: Path, tier: str, lists: Callable[..., None], misses: Callable[[Rig, int], None]
):
    async with running_rig(tmp_path, tier=tier) as rig:
        volume = await rig.create()
        await rig.publish(volume.volume_id, "node-a")
        async with restarted(rig.cloud) as fresh:
            lists(fresh, "node-a")
            misses(fresh, 2)
            await fresh.unpublish(volume.volume_id, "gone")
        assert await holder(rig, volume.volume_id) is None


@BOTH
async def test_a_cached_listing_is_no_proof_that_the_holder_is_another_node(tmp_path: Path, tier: str):
    """The name went over to a new instance, and another controller attached the volume to that one."""
    async with running_rig(tmp_path, tier=tier) as rig:
        host = {} if tier == "strict" else {"hostname": "reborn"}
        old = await launch(rig, "reborn", **host)
        first, second = await rig.create("first"), await rig.create("second")
        await rig.publish(first.volume_id, "reborn")
        await rig.unpublish(first.volume_id, "reborn")
        await rig.platform("DELETE", f"/instances/{old}")
        new = await launch(rig, "reborn", **host)
        async with restarted(rig.cloud) as other:
            await other.publish(second.volume_id, "reborn")
        assert await holder(rig, second.volume_id) == new
        await rig.unpublish(second.volume_id, "reborn")
        assert await holder(rig, second.volume_id) is None


async def test_nodes_that_do_not_exist_are_not_remembered(rig: Rig):
    volume = await rig.create()
    for number in range(3):
        await refused(rig.publish(volume.volume_id, f"{number:08d}-aaaa-4aaa-8aaa-aaaaaaaaaaaa"), StatusCode.NOT_FOUND)
    assert not rig.rules.nodes._published
    await rig.publish(volume.volume_id, "node-a")
    assert list(rig.rules.nodes._published) == ["node-a"]
