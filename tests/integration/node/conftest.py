"""Node plugins as processes on this machine, against real loop devices, mounts and tools."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from csi.pb import csi_pb2 as pb
from csi.pb import csi_pb2_grpc as rpc
from csi.volume_context import SERIAL_KEY, SIZE_BYTES_KEY, SOURCE_KEY
from tests.support.loops import Loops, missing_for_loops
from tests.support.node_plugin import capability

OPTIONS = [("grpc.default_authority", "localhost")]
REPOSITORY = Path(__file__).parents[3]
LIMIT_S = 60.0


class NodeProcess:
    """One node plugin with its own state folder and kubelet folder."""

    def __init__(self, loops: Loops, name: str) -> None:
        self.loops = loops
        self.folder = loops.folder / name
        self.process: asyncio.subprocess.Process | None = None
        self._channel: grpc.aio.Channel | None = None

    @property
    def node(self) -> rpc.NodeStub:
        assert self._channel is not None
        return rpc.NodeStub(self._channel)

    async def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        socket = self.folder / "csi.sock"
        with (self.folder / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(
                    sys.executable,
                    "-m",
                    "node.app",
                    "serve",
                    "--endpoint",
                    f"unix://{socket}",
                    "--http-endpoint",
                    "off",
                ),
                *("--state-dir", str(self.folder / "state"), "--kubelet-dir", str(self.folder)),
                *("--loop-disk-dir", str(self.loops.disk_dir), "--node-id", self.folder.name, "--device-wait-s", "2"),
                stdout=log,
                stderr=log,
                cwd=REPOSITORY,
            )
        self._channel = grpc.aio.insecure_channel(f"unix:{socket}", options=OPTIONS)
        await self.node.NodeGetCapabilities(pb.NodeGetCapabilitiesRequest(), wait_for_ready=True, timeout=LIMIT_S)

    async def end(self, number: int = signal.SIGTERM) -> int:
        if self._channel is not None:
            await self._channel.close()
            self._channel = None
        if self.process is None:
            return 0
        if self.process.returncode is None:
            self.process.send_signal(number)
        code = await asyncio.wait_for(self.process.wait(), LIMIT_S)
        self.process = None
        return code

    async def restart(self, number: int = signal.SIGKILL) -> None:
        await self.end(number)
        await self.start()

    # Paths

    def staging(self, volume: str) -> Path:
        folder = self.folder / "plugins/kubernetes.io/csi/csi.thecloud.io" / volume / "globalmount"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def target(self, volume: str, pod: str = "pod") -> Path:
        folder = self.folder / "pods" / pod / volume
        folder.mkdir(parents=True, exist_ok=True)
        return folder / "mount"

    def records(self) -> list[Path]:
        return sorted((self.folder / "state").glob("*/*.json"))

    def mounts(self) -> list[str]:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [line for line in lines if f" {self.folder}/" in line]

    # Calls

    async def stage(self, volume: str, *, timeout: float = LIMIT_S, **way: Any) -> None:
        context = {SERIAL_KEY: way.pop("serial", volume), SIZE_BYTES_KEY: str(way.pop("size_bytes", 1))}
        request = pb.NodeStageVolumeRequest(
            volume_id=volume,
            staging_target_path=str(self.staging(volume)),
            volume_capability=capability(**way),
            publish_context=context,
        )
        if "source" in way:
            request.volume_context[SOURCE_KEY] = way["source"]
        await self.node.NodeStageVolume(request, timeout=timeout)

    async def publish(self, volume: str, pod: str = "pod", *, readonly: bool = False, **way: Any) -> Path:
        target = self.target(volume, pod)
        request = pb.NodePublishVolumeRequest(
            volume_id=volume,
            staging_target_path=str(self.staging(volume)),
            target_path=str(target),
            volume_capability=capability(**way),
            readonly=readonly,
        )
        await self.node.NodePublishVolume(request, timeout=LIMIT_S)
        return target

    async def unpublish(self, volume: str, pod: str = "pod") -> None:
        request = pb.NodeUnpublishVolumeRequest(volume_id=volume, target_path=str(self.target(volume, pod)))
        await self.node.NodeUnpublishVolume(request, timeout=LIMIT_S)

    async def unstage(self, volume: str, *, timeout: float = LIMIT_S) -> None:
        request = pb.NodeUnstageVolumeRequest(volume_id=volume, staging_target_path=str(self.staging(volume)))
        await self.node.NodeUnstageVolume(request, timeout=timeout)

    async def expand(self, volume: str, size_bytes: int) -> int:
        request = pb.NodeExpandVolumeRequest(
            volume_id=volume,
            volume_path=str(self.target(volume)),
            capacity_range=pb.CapacityRange(required_bytes=size_bytes),
        )
        return (await self.node.NodeExpandVolume(request, timeout=LIMIT_S)).capacity_bytes

    async def health(self, volume: str) -> list[str]:
        answer = await self.node.NodeGetVolumeHealth(pb.NodeGetVolumeHealthRequest(volume_id=volume), timeout=LIMIT_S)
        return [finding.reason for finding in answer.volume_health.health_statuses]


@pytest.fixture
def loops(tmp_path: Path) -> Iterator[Loops]:
    if missing := missing_for_loops():
        pytest.skip(missing)
    made = Loops(tmp_path)
    yield made
    made.clean()


@contextlib.asynccontextmanager
async def running(*nodes: NodeProcess) -> AsyncIterator[None]:
    try:
        for node in nodes:
            await node.start()
        yield
    finally:
        for node in nodes:
            await node.end(signal.SIGKILL)


@pytest.fixture
async def first(loops: Loops) -> AsyncIterator[NodeProcess]:
    node = NodeProcess(loops, "first")
    async with running(node):
        yield node


@pytest.fixture
async def second(loops: Loops) -> AsyncIterator[NodeProcess]:
    node = NodeProcess(loops, "second")
    async with running(node):
        yield node
