"""Two calls at one time: the second is refused at once, and nothing is made twice."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc import StatusCode

from csi.pb import csi_pb2 as pb
from tests.unit.controller.rig import GIB, Hold, Rig, capability, from_snapshot, from_volume, refused, until_ok


async def second_is_refused(held: Hold, first: Awaitable[Any], second: Awaitable[Any]) -> Any:
    """Send the second while the platform has the first; gives what the first came to."""
    running = asyncio.ensure_future(first)
    await held.arrived()
    await refused(second, StatusCode.ABORTED)
    held.let_go()
    return await running


async def test_a_second_create_of_the_same_name_is_aborted(rig: Rig):
    async with rig.gate.holding("POST", "/volumes") as held:
        volume = await second_is_refused(held, rig.create(), rig.create())
    assert await rig.create() == volume
    assert len(await rig.volumes()) == 1


async def test_other_names_go_on_meanwhile(rig: Rig):
    async with rig.gate.holding("POST", "/volumes") as held:
        running = asyncio.ensure_future(rig.create("one"))
        await held.arrived()
        await rig.create("two")
        assert not running.done()
        held.let_go()
        await running


async def test_attach_detach_and_delete_of_one_volume_exclude_each_other(rig: Rig):
    volume = await rig.create()
    async with rig.gate.holding("POST", "/attach") as held:
        await second_is_refused(held, rig.publish(volume.volume_id), rig.unpublish(volume.volume_id))
    async with rig.gate.holding("POST", "/detach") as held:
        await second_is_refused(held, rig.unpublish(volume.volume_id), rig.delete(volume.volume_id))
    async with rig.gate.holding("DELETE", volume.volume_id) as held:
        await second_is_refused(held, rig.delete(volume.volume_id), rig.publish(volume.volume_id.upper()))


async def test_a_source_is_not_deleted_while_it_is_copied_but_copied_twice(extended: Rig):
    source = await extended.create("source")
    snapshot = await extended.snapshot(source.volume_id)
    contents = [
        (from_volume(source.volume_id), extended.delete(source.volume_id)),
        (from_snapshot(snapshot.snapshot_id), extended.delete_snapshot(snapshot.snapshot_id)),
    ]
    for number, (content, delete) in enumerate(contents):
        async with extended.gate.holding("POST", "/volumes") as held:
            copy = extended.create(f"copy-{number}", volume_content_source=content)
            running = asyncio.ensure_future(copy)
            await held.arrived()
            await extended.create(f"twin-{number}", volume_content_source=content)
            await refused(delete, StatusCode.ABORTED)
            held.let_go()
            await running
    assert len(await extended.volumes()) == 5


async def test_a_second_snapshot_of_the_same_name_is_aborted(extended: Rig):
    volume = await extended.create()
    async with extended.gate.holding("POST", "/snapshots") as held:
        await second_is_refused(held, extended.snapshot(volume.volume_id), extended.snapshot(volume.volume_id))
    assert len(await extended.snapshots()) == 1


async def test_a_caller_that_leaves_takes_its_lock_along(rig: Rig):
    async with rig.gate.holding("POST", "/volumes") as held:
        request = pb.CreateVolumeRequest(
            name="pvc-left",
            capacity_range=pb.CapacityRange(required_bytes=GIB),
            volume_capabilities=[capability()],
        )
        call = rig.controller.CreateVolume(request)
        running = asyncio.ensure_future(_finish(call))
        await held.arrived()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    volume = await until_ok(lambda: rig.create("pvc-left"))
    assert [row["id"] for row in await rig.volumes()] == [volume.volume_id]


async def _finish(call: Awaitable[Any]) -> Any:
    return await call


async def test_a_storm_of_equal_requests_makes_one_volume(rig: Rig):
    async def attempt() -> str:
        for _ in range(200):
            try:
                return (await rig.create("pvc-storm")).volume_id
            except grpc.aio.AioRpcError as error:
                if error.code() is not StatusCode.ABORTED:
                    raise
        pytest.fail("aborted without end")

    made = await asyncio.gather(*(attempt() for _ in range(8)))
    assert len(set(made)) == 1
    assert len(await rig.volumes()) == 1


async def test_fifty_lives_at_once_leave_nothing(rig: Rig):
    async def live(number: int) -> None:
        volume = await rig.create(f"pvc-{number}")
        await rig.publish(volume.volume_id, "node-a" if number % 2 else "node-b")
        await rig.unpublish(volume.volume_id, "node-a" if number % 2 else "node-b")
        await rig.delete(volume.volume_id)

    await asyncio.gather(*(live(number) for number in range(50)))
    assert await rig.volumes() == []
