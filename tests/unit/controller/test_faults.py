"""Every fault of the platform at every step: retries end in one object and the right answer."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from csi.pb import csi_pb2 as pb
from devcloud.faults import INNER, Fault, Kind
from tests.unit.controller.rig import FINAL, GIB, TIERS, Clock, Rig, capability, restarted, running_rig, until_ok

OUTER = sorted(set(Kind) - INNER - {Kind.STALE_READ, Kind.SLOW, Kind.SLOW_AFTER})
STEPS: dict[str, tuple[str, str]] = {
    "create": ("POST", "/volumes"),
    "attach": ("POST", "/volumes/{ref}/attach"),
    "detach": ("POST", "/volumes/{ref}/detach"),
    "delete": ("DELETE", "/volumes/{ref}"),
    "look": ("GET", "/volumes/{ref}"),
    "list volumes": ("GET", "/volumes"),
    "list snapshots": ("GET", "/snapshots"),
    "list instances": ("GET", "/instances"),
}


async def live(rig: Rig, name: str, clock: Clock) -> None:
    """One life; every step is repeated until it succeeds, and its result is looked at beside the controller."""
    volume = await until_ok(lambda: rig.create(name), clock=clock)
    assert await ids(rig) == [volume.volume_id]
    await until_ok(lambda: rig.publish(volume.volume_id), clock=clock)
    assert await holders(rig) == [rig.cloud.instances["node-a"]]
    await until_ok(lambda: rig.unpublish(volume.volume_id), clock=clock)
    assert await holders(rig) == [None]
    await until_ok(lambda: rig.delete(volume.volume_id), clock=clock)
    assert await ids(rig) == []


async def rows(rig: Rig) -> list[dict[str, Any]]:
    found = await rig.cloud.cloud.store.read(lambda db: db.execute("SELECT id, instance_id FROM volumes").fetchall())
    return [{"id": row[0], "instance_id": row[1]} for row in found]


async def ids(rig: Rig) -> list[str]:
    return [row["id"] for row in await rows(rig)]


async def holders(rig: Rig) -> list[str | None]:
    return [row["instance_id"] for row in await rows(rig)]


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("kind", OUTER)
async def test_a_life_through_one_fault_at_any_step_converges(tmp_path: Path, tier: str, kind: Kind):
    clock = Clock()
    async with running_rig(tmp_path, tier=tier, clock=clock) as rig:
        for step, (method, route) in STEPS.items():
            rig.cloud.faults.add(Fault(kind, method, route))
            await live(rig, f"fault at {step}", clock)
            rig.cloud.faults.clear()


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("kind", [Kind.LOST_ANSWER, Kind.ERROR_AFTER, Kind.ERROR_BEFORE, Kind.EMPTY_500])
async def test_a_life_through_a_fault_at_every_call_converges(tmp_path: Path, tier: str, kind: Kind):
    clock = Clock()
    async with running_rig(tmp_path, tier=tier, clock=clock) as rig:
        for method, route in STEPS.values():
            for number in range(2):
                rig.cloud.faults.add(Fault(kind, method, route, count=1, after=number))
        await live(rig, "faults everywhere", clock)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("kind", [Kind.LOST_ANSWER, Kind.ERROR_AFTER, Kind.TRUNCATED_BODY, Kind.EMPTY_500_AFTER])
@pytest.mark.parametrize("step", ["create", "attach", "detach", "delete"])
async def test_a_restart_after_a_lost_answer_converges(tmp_path: Path, tier: str, kind: Kind, step: str):
    """The new process remembers nothing of what the old one did."""
    clock = Clock()
    async with running_rig(tmp_path, tier=tier, clock=clock) as rig:
        volume_id = ""
        for name in ("create", "attach", "detach", "delete"):
            call = _step(name, volume_id)
            if name == step:
                method, route = STEPS[step]
                rig.cloud.faults.add(Fault(kind, method, route, count=6))
                await attempted(call(rig))
                rig.cloud.faults.clear()
                async with restarted(rig.cloud, clock=clock) as fresh:
                    answer = await until_ok(partial(call, fresh), clock=clock)
            else:
                answer = await until_ok(partial(call, rig), clock=clock)
            if name == "create":
                volume_id = answer.volume_id
                assert await ids(rig) == [volume_id]
        assert await ids(rig) == []


def _step(name: str, volume_id: str) -> Callable[[Rig], Awaitable[Any]]:
    if name == "create":
        return lambda rig: rig.create("pvc-restart")
    if name == "attach":
        return lambda rig: rig.publish(volume_id)
    if name == "detach":
        return lambda rig: rig.unpublish(volume_id)
    return lambda rig: rig.delete(volume_id)


async def attempted(call: Awaitable[Any]) -> None:
    """Let a call succeed, or fail in a way that the sidecars repeat."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        if error.code() in FINAL:
            raise


@pytest.mark.parametrize("kind", OUTER)
@pytest.mark.parametrize(
    "route", ["POST /snapshots", "DELETE /snapshots/{id}", "GET /snapshots/{id}", "GET /snapshots"]
)
async def test_a_snapshots_life_through_one_fault_converges(tmp_path: Path, kind: Kind, route: str):
    async with running_rig(tmp_path) as rig:
        volume = await rig.create()
        method, path = route.split()
        rig.cloud.faults.add(Fault(kind, method, path))
        snapshot = await until_ok(lambda: rig.snapshot(volume.volume_id))
        rig.cloud.faults.clear()
        assert [row["id"] for row in await rig.snapshots()] == [snapshot.snapshot_id]
        rig.cloud.faults.add(Fault(kind, method, path))
        await until_ok(lambda: rig.delete_snapshot(snapshot.snapshot_id))
        rig.cloud.faults.clear()
        assert await rig.snapshots() == []


@pytest.mark.parametrize("kind", [Kind.LOST_ANSWER, Kind.ERROR_BEFORE, Kind.ERROR_AFTER])
async def test_what_is_not_known_is_never_told_as_final(tmp_path: Path, kind: Kind):
    async with running_rig(tmp_path, tier="strict") as rig:
        rig.cloud.faults.add(Fault(kind, "POST", "/volumes", count=None))
        rig.cloud.faults.add(Fault(Kind.ERROR_BEFORE, "GET", "/volumes", count=None))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rig.create()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "same name" in str(caught.value.details())


async def test_a_refused_key_during_the_look_after_a_lost_answer_is_not_final(strict: Rig):
    strict.cloud.faults.add(Fault(Kind.LOST_ANSWER, "POST", "/volumes"))
    strict.cloud.faults.add(Fault(Kind.UNAUTHORIZED, "GET", "/volumes", count=None))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await strict.create()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    strict.cloud.faults.clear()
    volume = await strict.create()
    assert await ids(strict) == [volume.volume_id]


@pytest.mark.parametrize("tier", TIERS)
async def test_reads_that_are_old_delete_nothing_wrongly_and_lose_nothing(tmp_path: Path, tier: str):
    """Every step of a life while reads still show the state before it; the strict tier waits until they agree."""
    now = 0.0
    async with running_rig(tmp_path, tier=tier, clock=lambda: now) as rig:

        async def stale(call: Callable[[], Awaitable[Any]]) -> Any:
            rig.cloud.faults.add(Fault(Kind.STALE_READ, "GET", seconds=3600))
            await attempted(call())
            rig.cloud.faults.clear()
            return await until_ok(call)

        volume = await stale(rig.create)
        assert await ids(rig) == [volume.volume_id]
        await stale(lambda: rig.publish(volume.volume_id))
        assert await holders(rig) == [rig.cloud.instances["node-a"]]
        await stale(lambda: rig.unpublish(volume.volume_id))
        assert await holders(rig) == [None]
        await stale(lambda: rig.delete(volume.volume_id))
        assert await ids(rig) == []


async def test_a_platform_that_is_slow_beyond_the_callers_time_is_a_deadline_and_leaves_no_lock(rig: Rig):
    rig.cloud.faults.add(Fault(Kind.SLOW_AFTER, "POST", "/volumes", seconds=30.0))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rig.controller.CreateVolume(_small("pvc-slow"), timeout=0.3)
    assert caught.value.code() in {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE}
    rig.cloud.faults.clear()
    volume = await until_ok(lambda: rig.create("pvc-slow"))
    assert await ids(rig) == [volume.volume_id]


def _small(name: str) -> pb.CreateVolumeRequest:
    return pb.CreateVolumeRequest(
        name=name, capacity_range=pb.CapacityRange(required_bytes=GIB), volume_capabilities=[capability()]
    )


async def test_an_unclear_detach_is_not_judged_by_a_read_from_before_the_attach(strict: Rig):
    volume = await strict.create()
    strict.cloud.faults.add(Fault(Kind.STALE_READ, "GET", seconds=3600))
    await attempted(strict.publish(volume.volume_id))
    strict.cloud.faults.add(Fault(Kind.ERROR_BEFORE, "POST", "/volumes/{ref}/detach"))
    # The read still shows the free volume of before; only the platform's answer to a second detach is worth anything.
    await attempted(strict.unpublish(volume.volume_id))
    await attempted(strict.unpublish(volume.volume_id))
    strict.cloud.faults.clear()
    await until_ok(lambda: strict.unpublish(volume.volume_id))
    assert await holders(strict) == [None]
