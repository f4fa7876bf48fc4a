"""Two controllers at once on one platform, as after a change of leaders: one object each, and right answers.

Each is a process of its own, so that no lock of this driver stands between them: docs/replicas.md says what does.
"""

import asyncio
import contextlib
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from csi.pb import csi_pb2 as pb
from csi.pb import csi_pb2_grpc as rpc
from tests.support.devcloud import ServedCloud, devcloud_server
from tests.unit.controller.rig import GIB, TIERS, capability

ROOT = Path(__file__).resolve().parents[3]
LIMIT_S = 30.0
VOLUMES = 8
ASKED_AGAIN = {grpc.StatusCode.ABORTED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
"""What sidecars repeat; every other code is an answer."""


@dataclass(frozen=True)
class Pair:
    """Stubs of both controllers, and the platform under them."""

    stubs: tuple[Any, ...]
    cloud: ServedCloud

    async def both(self, call: Callable[[Any], Awaitable[Any]]) -> list[Any]:
        """Make a call of both at the same moment, each repeated as a sidecar does; gives answers and errors."""
        return await asyncio.gather(*(until_answered(call, stub) for stub in self.stubs), return_exceptions=True)

    async def rows(self) -> list[dict[str, Any]]:
        """What the platform has."""
        async with self.cloud.client() as client:
            return (await client.get("/volumes")).json()["data"] or []


async def until_answered(call: Callable[[Any], Awaitable[Any]], stub: Any) -> Any:
    # On a strict platform each controller believes for ten seconds what it wrote itself, rather than what it reads.
    for _ in range(150):
        try:
            return await call(stub)
        except grpc.aio.AioRpcError as error:
            if error.code() not in ASKED_AGAIN:
                raise
        await asyncio.sleep(0.1)
    raise AssertionError("no answer after many repetitions")


@contextlib.asynccontextmanager
async def controller(cloud: ServedCloud, socket: Path) -> AsyncIterator[Any]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "controller.app", "serve", "--endpoint", f"unix://{socket}", "--http-endpoint", "off"),
        *("--platform-url", cloud.base_url, "--api-key-file", str(cloud.data_dir / "api-key"), "--cluster-id", "two"),
        *("--requests-per-s", "1000", "--burst", "1000", "--absence-confirm-s", "0.05", "--grace-s", "1"),
        stderr=asyncio.subprocess.DEVNULL,
        cwd=ROOT,
    )
    try:
        options = [("grpc.default_authority", "localhost"), ("grpc.initial_reconnect_backoff_ms", 100)]
        async with grpc.aio.insecure_channel(f"unix:{socket}", options=options) as channel:
            await rpc.IdentityStub(channel).Probe(pb.ProbeRequest(), wait_for_ready=True, timeout=LIMIT_S)
            yield rpc.ControllerStub(channel)
    finally:
        process.terminate()
        await process.wait()


@contextlib.asynccontextmanager
async def two_controllers(folder: Path, tier: str) -> AsyncIterator[Pair]:
    with tempfile.TemporaryDirectory(prefix="two-") as sockets:
        async with (
            devcloud_server(folder, tier=tier) as cloud,
            controller(cloud, Path(sockets) / "a.sock") as first,
            controller(cloud, Path(sockets) / "b.sock") as second,
        ):
            yield Pair((first, second), cloud)


def create(name: str, **fields: Any) -> Callable[[Any], Awaitable[pb.CreateVolumeResponse]]:
    request = pb.CreateVolumeRequest(
        name=name,
        capacity_range=pb.CapacityRange(required_bytes=GIB),
        volume_capabilities=[capability()],
        **fields,
    )
    return lambda stub: stub.CreateVolume(request, timeout=LIMIT_S)


def attach(volume_id: str, node: str) -> Callable[[Any], Awaitable[pb.ControllerPublishVolumeResponse]]:
    request = pb.ControllerPublishVolumeRequest(volume_id=volume_id, node_id=node, volume_capability=capability())
    return lambda stub: stub.ControllerPublishVolume(request, timeout=LIMIT_S)


def detach(volume_id: str, node: str) -> Callable[[Any], Awaitable[Any]]:
    request = pb.ControllerUnpublishVolumeRequest(volume_id=volume_id, node_id=node)
    return lambda stub: stub.ControllerUnpublishVolume(request, timeout=LIMIT_S)


def delete(volume_id: str) -> Callable[[Any], Awaitable[Any]]:
    return lambda stub: stub.DeleteVolume(pb.DeleteVolumeRequest(volume_id=volume_id), timeout=LIMIT_S)


@pytest.mark.parametrize("tier", TIERS)
async def test_a_life_that_two_controllers_lead_at_once_is_that_of_one_volume(tier: str, tmp_path: Path) -> None:
    async with two_controllers(tmp_path, tier) as pair:
        names = [f"claim-{number}" for number in range(VOLUMES)]
        made = await asyncio.gather(*(pair.both(create(name)) for name in names))
        ids = [{answer.volume.volume_id for answer in answers} for answers in made]
        assert all(len(both) == 1 for both in ids), made
        volume_ids = [both.pop() for both in ids]
        assert sorted(row["id"] for row in await pair.rows()) == sorted(volume_ids)

        published = await asyncio.gather(*(pair.both(attach(volume, "node-a")) for volume in volume_ids))
        for first, second in published:
            assert first.publish_context["csi.thecloud.io/serial"] == second.publish_context["csi.thecloud.io/serial"]
        holder = pair.cloud.instances["node-a"]
        assert {row["instance_id"] for row in await pair.rows()} == {holder}

        # While it is attached, nobody deletes it.
        for error in await pair.both(delete(volume_ids[0])):
            assert error.code() is grpc.StatusCode.FAILED_PRECONDITION, error

        freed = await asyncio.gather(*(pair.both(detach(volume, "node-a")) for volume in volume_ids))
        assert not [one for both in freed for one in both if isinstance(one, BaseException)]
        gone = await asyncio.gather(*(pair.both(delete(volume)) for volume in volume_ids))
        assert not [one for both in gone for one in both if isinstance(one, BaseException)]
        assert await pair.rows() == []


async def test_two_nodes_that_want_one_volume_at_once_get_it_one_after_the_other(tmp_path: Path) -> None:
    async with two_controllers(tmp_path, "extended") as pair:
        first, second = pair.stubs
        for number in range(VOLUMES):
            volume = (await create(f"claim-{number}")(first)).volume.volume_id
            answers = await asyncio.gather(
                until_answered(attach(volume, "node-a"), first),
                until_answered(attach(volume, "node-b"), second),
                return_exceptions=True,
            )
            outcome = Counter(type(answer) for answer in answers)
            assert outcome[pb.ControllerPublishVolumeResponse] == 1, answers
            winner = "node-a" if isinstance(answers[0], pb.ControllerPublishVolumeResponse) else "node-b"
            (refusal,) = (answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError))
            assert refusal.code() is grpc.StatusCode.FAILED_PRECONDITION
            (row,) = (row for row in await pair.rows() if row["id"] == volume)
            assert row["instance_id"] == pair.cloud.instances[winner]
            # A detach from the node that lost takes nothing from the one that won.
            loser = {"node-a": "node-b", "node-b": "node-a"}[winner]
            await pair.both(detach(volume, loser))
            (row,) = (row for row in await pair.rows() if row["id"] == volume)
            assert row["instance_id"] == pair.cloud.instances[winner]


async def test_an_attach_and_a_delete_at_once_leave_a_volume_that_is_whole_or_none(tmp_path: Path) -> None:
    async with two_controllers(tmp_path, "extended") as pair:
        first, second = pair.stubs
        for number in range(VOLUMES):
            volume = (await create(f"claim-{number}")(first)).volume.volume_id
            attached, deleted = await asyncio.gather(
                until_answered(attach(volume, "node-a"), first),
                until_answered(delete(volume), second),
                return_exceptions=True,
            )
            row = [row for row in await pair.rows() if row["id"] == volume]
            if isinstance(deleted, BaseException):
                assert deleted.code() is grpc.StatusCode.FAILED_PRECONDITION
                assert isinstance(attached, pb.ControllerPublishVolumeResponse)
                assert row[0]["instance_id"] == pair.cloud.instances["node-a"]
            else:
                assert attached.code() is grpc.StatusCode.NOT_FOUND
                assert row == []


async def test_a_size_that_differs_is_told_by_both_whoever_was_first(tmp_path: Path) -> None:
    async with two_controllers(tmp_path, "extended") as pair:
        first, second = pair.stubs
        larger = pb.CreateVolumeRequest(
            name="claim",
            capacity_range=pb.CapacityRange(required_bytes=3 * GIB),
            volume_capabilities=[capability()],
        )
        answers = await asyncio.gather(
            until_answered(create("claim"), first),
            until_answered(lambda stub: stub.CreateVolume(larger, timeout=LIMIT_S), second),
            return_exceptions=True,
        )
        # The larger one satisfies both requests; the smaller one only its own.
        (row,) = await pair.rows()
        refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
        assert len(refused) == (0 if row["size_gb"] == 3 else 1), answers
        assert all(error.code() is grpc.StatusCode.ALREADY_EXISTS for error in refused)
