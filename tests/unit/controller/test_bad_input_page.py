"""Every row of docs/bad-input.md: done to a running controller on a running platform, told as the page says."""

import asyncio
import contextlib
import re
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from controller.app import build
from controller.settings import ControllerSettings
from csi.pb import csi_pb2 as pb
from csi.pb import csi_pb2_grpc as rpc
from csi.program import serve
from process.life import Stop
from process.settings import read_settings
from scripts.bad_input import BAD_INPUT, BadInput
from tests.support.certificates import MISSING_OPENSSL, make_loopback_certificate
from tests.support.devcloud import ServedCloud, devcloud_server
from tests.unit.controller.rig import GIB, MODES, capability, from_snapshot

LIMIT_S = 30.0
ZONE_KEY = "topology.csi.thecloud.io/zone"
Ask = Callable[["Scene"], Awaitable[Any]]


@dataclass
class Scene:
    """A platform, and how a controller is told to reach it."""

    cloud: ServedCloud
    folder: Path
    environment: dict[str, str]
    controller: Any = None

    async def create(self, name: str = "claim", **fields: Any) -> pb.Volume:
        request = pb.CreateVolumeRequest(
            **{
                "name": name,
                "capacity_range": pb.CapacityRange(required_bytes=GIB),
                "volume_capabilities": [capability()],
            }
            | fields
        )
        return (await self.controller.CreateVolume(request, timeout=LIMIT_S)).volume

    async def publish(self, volume: pb.Volume, node: str) -> None:
        request = pb.ControllerPublishVolumeRequest(
            volume_id=volume.volume_id, node_id=node, volume_capability=capability()
        )
        await self.controller.ControllerPublishVolume(request, timeout=LIMIT_S)


Change = Callable[[Scene], contextlib.AbstractAsyncContextManager[None]]


def told(**variables: str) -> Change:
    """Tell the controller something wrong."""

    @contextlib.asynccontextmanager
    async def change(scene: Scene) -> AsyncIterator[None]:
        scene.environment |= variables
        yield

    return change


@contextlib.asynccontextmanager
async def behind_tls(scene: Scene) -> AsyncIterator[None]:
    """Put the platform behind a certificate that somebody else than the controller's authority signed."""
    if MISSING_OPENSSL:
        pytest.skip(MISSING_OPENSSL)
    for name in ("platform", "other"):
        (scene.folder / name).mkdir()
        make_loopback_certificate(scene.folder / name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(scene.folder / "platform/ca.crt", scene.folder / "platform/key")

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0, ssl=context) as server:
        scene.environment["TC_PLATFORM_URL"] = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        scene.environment["TC_CA_FILE"] = str(scene.folder / "other/ca.crt")
        yield


def claim(**fields: Any) -> Ask:
    return lambda scene: scene.create(**fields)


def gib(size: int) -> pb.CapacityRange:
    return pb.CapacityRange(required_bytes=size * GIB)


def reachable_from(key: str, zone: str) -> pb.TopologyRequirement:
    return pb.TopologyRequirement(requisite=[pb.Topology(segments={key: zone})])


async def restore_into_less(scene: Scene) -> None:
    source = await scene.create("source", capacity_range=gib(2))
    request = pb.CreateSnapshotRequest(name="snapshot", source_volume_id=source.volume_id)
    taken = (await scene.controller.CreateSnapshot(request)).snapshot
    await scene.create(volume_content_source=from_snapshot(taken.snapshot_id))


async def snapshot_of_another_driver(scene: Scene) -> None:
    await scene.controller.CreateSnapshot(pb.CreateSnapshotRequest(name="s", source_volume_id="vol-0abc12345"))


async def change_attribute(scene: Scene) -> None:
    volume = await scene.create()
    request = pb.ControllerModifyVolumeRequest(volume_id=volume.volume_id, mutable_parameters={"iops": "3000"})
    await scene.controller.ControllerModifyVolume(request)


async def grow_too_far(scene: Scene) -> None:
    volume = await scene.create()
    await scene.controller.ControllerExpandVolume(
        pb.ControllerExpandVolumeRequest(volume_id=volume.volume_id, capacity_range=gib(16_001))
    )


async def attach_to_nobody(scene: Scene) -> None:
    await scene.publish(await scene.create(), "worker-9")


async def fill_a_node(scene: Scene) -> None:
    for name in ("first", "second"):
        await scene.publish(await scene.create(name), "node-a")


CASES: dict[str, tuple[Ask, Change, dict[str, Any]]] = {
    "wrong key": (claim(), told(TC_API_KEY="thecloud_wrong"), {}),
    "unreachable": (claim(), told(TC_PLATFORM_URL="http://127.0.0.1:1"), {}),
    "wrong CA": (claim(), behind_tls, {}),
    "unknown parameter": (claim(parameters={"tpye": "ssd"}), told(), {}),
    "unknown file system": (claim(volume_capabilities=[capability(fs_type="zfs")]), told(), {}),
    "forbidden mkfs option": (claim(parameters={"mkfsOptions": "-F 1"}), told(), {}),
    "unknown performance class": (claim(parameters={"performanceClass": "gold"}), told(), {}),
    "not offered": (claim(parameters={"zone": "zone-1"}), told(), {"tier": "strict"}),
    "too large": (claim(capacity_range=gib(20_000)), told(), {}),
    "quota": (claim(capacity_range=gib(200)), told(), {"capacity_gb": 100}),
    "no such zone": (claim(parameters={"zone": "zone-9"}), told(), {}),
    "no such topology": (claim(accessibility_requirements=reachable_from(ZONE_KEY, "zone-9")), told(), {}),
    "zone apart from the pod": (
        claim(parameters={"zone": "zone-2"}, accessibility_requirements=reachable_from(ZONE_KEY, "zone-1")),
        told(),
        {},
    ),
    "foreign topology key": (
        claim(accessibility_requirements=reachable_from("topology.kubernetes.io/zone", "zone-1")),
        told(),
        {},
    ),
    "several nodes": (claim(volume_capabilities=[capability(MODES.MULTI_NODE_MULTI_WRITER)]), told(), {}),
    "restore into less": (restore_into_less, told(), {}),
    "snapshot class of another driver": (snapshot_of_another_driver, told(), {}),
    "unknown attribute": (change_attribute, told(), {}),
    "growth beyond the largest": (grow_too_far, told(), {}),
    "node without instance": (attach_to_nobody, told(), {}),
    "full node": (fill_a_node, told(), {"max_volumes": 1}),
}


@contextlib.asynccontextmanager
async def controller(environment: dict[str, str]) -> AsyncIterator[Any]:
    """Run the whole program in this process, on real sockets."""
    with tempfile.TemporaryDirectory(prefix="controller-") as folder:
        socket = Path(folder) / "csi.sock"
        variables = {"TC_ENDPOINT": f"unix://{socket}", "TC_HTTP_ENDPOINT": "off", "TC_CLUSTER_ID": "bad-input"}
        settings = read_settings(ControllerSettings, ["--grace-s", "1"], variables | environment)
        stop = Stop()
        running = asyncio.create_task(serve(settings, build, stop=stop))
        options = [("grpc.default_authority", "localhost"), ("grpc.initial_reconnect_backoff_ms", 100)]
        async with grpc.aio.insecure_channel(f"unix:{socket}", options=options) as channel:
            ready = await rpc.IdentityStub(channel).Probe(pb.ProbeRequest(), wait_for_ready=True, timeout=LIMIT_S)
            assert ready.ready.value
            yield rpc.ControllerStub(channel)
        stop()
        await running


def pattern(row: BadInput) -> str:
    return ".*".join(re.escape(part) for part in row.text.split("…"))


def test_every_row_is_proved() -> None:
    assert [row.name for row in BAD_INPUT] == list(CASES)


@pytest.mark.parametrize("row", BAD_INPUT, ids=lambda row: row.name.replace(" ", "-"))
async def test_what_a_user_gets_wrong_is_told_as_the_page_says(row: BadInput, tmp_path: Path) -> None:
    ask, change, options = CASES[row.name]
    async with devcloud_server(tmp_path / "cloud", **({"zones": ("zone-1", "zone-2")} | options)) as cloud:
        scene = Scene(cloud, tmp_path, {"TC_PLATFORM_URL": cloud.base_url, "TC_API_KEY": cloud.api_key})
        async with change(scene), controller(scene.environment) as scene.controller:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ask(scene)
    said = str(caught.value.details())
    assert caught.value.code() is grpc.StatusCode[row.code], said
    assert re.fullmatch(pattern(row), said), said
    assert cloud.api_key not in said


async def test_what_did_not_reach_the_platform_is_told_in_the_same_words_each_time(tmp_path: Path) -> None:
    """So that the repetitions of a sidecar become one event that counts, and not many."""
    said = set()
    async with devcloud_server(tmp_path / "cloud") as cloud:
        environment = {"TC_PLATFORM_URL": "http://127.0.0.1:1", "TC_API_KEY": cloud.api_key}
        async with controller(environment) as stub:
            scene = Scene(cloud, tmp_path, environment, stub)
            for _ in range(2):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await scene.create()
                said.add(caught.value.details())
    assert len(said) == 1


async def test_a_platform_that_never_answered_keeps_no_pod_from_being_tried(tmp_path: Path) -> None:
    """Its claim's event could not come otherwise: the scheduler waits for a capacity."""
    async with devcloud_server(tmp_path / "cloud") as cloud:
        environment = {"TC_PLATFORM_URL": "http://127.0.0.1:1", "TC_API_KEY": cloud.api_key}
        async with controller(environment) as stub:
            answer = await stub.GetCapacity(pb.GetCapacityRequest(), timeout=LIMIT_S)
            assert answer.available_capacity == answer.maximum_volume_size.value > 0


async def test_a_key_that_is_revoked_later_is_told_in_the_same_way(tmp_path: Path) -> None:
    row = next(row for row in BAD_INPUT if row.name == "wrong key")
    key_file = tmp_path / "key"
    async with devcloud_server(tmp_path / "cloud") as cloud:
        await asyncio.to_thread(key_file.write_text, cloud.api_key)
        environment = {"TC_PLATFORM_URL": cloud.base_url, "TC_API_KEY_FILE": str(key_file)}
        async with controller(environment) as stub:
            scene = Scene(cloud, tmp_path, environment, stub)
            await scene.create("before")
            await asyncio.to_thread(key_file.write_text, "thecloud_revoked")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await scene.create("after")
            assert re.fullmatch(pattern(row), str(caught.value.details()))
            await asyncio.to_thread(key_file.write_text, cloud.api_key)
            await scene.create("after")


async def test_a_wrong_key_that_is_put_right_needs_no_restart(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    async with devcloud_server(tmp_path / "cloud") as cloud:
        await asyncio.to_thread(key_file.write_text, "thecloud_wrong")
        environment = {"TC_PLATFORM_URL": cloud.base_url, "TC_API_KEY_FILE": str(key_file)}
        async with controller(environment) as stub:
            scene = Scene(cloud, tmp_path, environment, stub)
            with pytest.raises(grpc.aio.AioRpcError):
                await scene.create()
            await asyncio.to_thread(key_file.write_text, cloud.api_key)
            assert (await scene.create()).capacity_bytes == GIB
