"""The node plugin on the simulated host: its domain and its gRPC service, wired as the program wires them.

Crashes are part of the simulation: once the host is dead, no record is written any more, as in a killed process.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc.aio

from csi.endpoint import UnixEndpoint, claimed
from csi.interceptor import Interceptor
from csi.metrics import Metrics
from csi.pb import csi_pb2 as pb
from csi.pb import csi_pb2_grpc as rpc
from csi.server import RpcServer
from csi.volume_context import ALLOCATED_BYTES_KEY, SERIAL_KEY, SIZE_BYTES_KEY, SOURCE_KEY
from node.app import Assembly, Host, assemble
from node.model import MIB
from node.servicer import NodeServicer
from node.settings import NodeSettings
from node.state import StagedVolume, VolumeRecords, read_boot_id
from tests.support.fake_disks import CrashError, FakeDisk
from tests.support.fake_host import FakeHost
from tests.support.fake_tools import FakeRunner

VOLUME = "0b5e2f9c-6a51-4c0e-9d0e-5d3c1f7a2b10"
SERIAL = "0b5e2f9c6a514c0e9d0e"
SIZE = 512 * MIB
Mode = pb.VolumeCapability.AccessMode


class FragileRecords(VolumeRecords):
    """Records whose writes are side effects at which the simulated process can be killed."""

    def __init__(self, folder: Path, host: FakeHost) -> None:
        super().__init__(folder, boot_id=read_boot_id(host.proc_root))
        self._host = host

    def _write(self, record: StagedVolume) -> None:
        self._host.point(f"record {record.phase.value} {len(record.publications)}")
        super()._write(record)

    def _remove(self, path: Path) -> None:
        self._host.point("forget")
        super()._remove(path)


class NodeRunner(FakeRunner):
    """The simulated tools, which can be told to answer for their version."""

    def answer_versions(self) -> None:
        """Let tools tell their version, which the plugin itself asks of few."""
        self._with_versions = True

    def _answer(self, program: str, argv: list[str]) -> tuple[int, str, str]:
        if getattr(self, "_with_versions", False) and argv[1:] in (["-V"], ["--version"]):
            return 0, f"{program} 1.0", ""
        return super()._answer(program, argv)


class Plugin:
    """One node plugin on a simulated host. `start` again is a restart of its process."""

    def __init__(self, folder: Path, host: FakeHost | None = None, *, name: str = "node", **settings: Any) -> None:
        self.host = host or FakeHost(folder)
        self.host.runner = NodeRunner(self.host)
        self.folder = folder.resolve() / name
        self.folder.mkdir()
        boot_id = self.host.proc_root / "sys/kernel/random/boot_id"
        boot_id.parent.mkdir(parents=True, exist_ok=True)
        boot_id.write_text("first boot\n")
        self.settings = replace(
            NodeSettings(
                endpoint=UnixEndpoint(self.folder / "csi.sock"),
                state_dir=self.folder / "state",
                kubelet_dir=self.folder / "kubelet",
                loop_disk_dir=self.host.loop_disk_dir,
                node_id="node-1",
                device_wait_s=0.05,
                grace_s=1.0,
            ),
            **settings,
        )
        self.hears_events = True
        self.assembly: Assembly | None = None

    @property
    def parts(self):
        assert self.assembly is not None
        return self.assembly.parts

    @property
    def records(self) -> VolumeRecords:
        return self.parts.records

    async def start(self):
        """Start the process: put everything together anew and reconcile; gives what became of the records."""
        self.host.restart_process()
        self.host.__dict__.pop("point", None)
        if self.assembly is not None:
            self.records.release()
        self.assembly = assemble(
            self.settings,
            Host(
                kernel=self.host.kernel,
                runner=self.host.runner,
                events=self.host.events,
                hears_events=lambda: self.hears_events,
                find_program=lambda name: None if name in self.host.missing else f"/usr/sbin/{name}",
                root=self.host.root,
                sys_root=self.host.sys_root,
                dev_root=self.host.dev_root,
                proc_root=self.host.proc_root,
            ),
            self.host.observer,
            records=FragileRecords(self.settings.state_folder, self.host),
        )
        return await self.assembly.recovery.reconcile()

    def kill_at(self, count: int) -> None:
        """Kill the process before its `count`-th side effect from now on; `start` brings it back."""
        left = count

        def counting(name: str) -> None:
            nonlocal left
            left -= 1
            if left <= 0:
                self.host.dead = True
            type(self.host).point(self.host, name)

        self.host.point = counting  # type: ignore[method-assign]

    def reboot(self) -> None:
        """Cut the power and boot again; `start` has to follow."""
        self.host.power_cut()
        (self.host.proc_root / "sys/kernel/random/boot_id").write_text("second boot\n")

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[rpc.NodeStub]:
        """Serve over a socket with the shell's interceptor."""
        interceptor = Interceptor(metrics=Metrics(), default_limit_s=20.0)
        servicer = NodeServicer(self.parts)
        endpoint = self.settings.endpoint
        services = [lambda server: rpc.add_NodeServicer_to_server(servicer, server)]
        options = [("grpc.default_authority", "localhost")]
        async with (
            claimed(endpoint, wait_s=0.0) as place,
            RpcServer(place, services, interceptor, grace_s=1.0),
            grpc.aio.insecure_channel(str(endpoint), options=options) as channel,
        ):
            yield rpc.NodeStub(channel)

    # Paths, as the kubelet makes them

    def staging(self, name: str = "volume") -> str:
        folder = self.folder / "kubelet/plugins/kubernetes.io/csi/csi.thecloud.io" / name / "globalmount"
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)

    def target(self, pod: str = "pod-1") -> str:
        folder = self.folder / "kubelet/pods" / pod
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder / "mount")

    # The domain without the wire

    async def stage(self, request: pb.NodeStageVolumeRequest | None = None, **changes: Any) -> None:
        from node.requests import read_stage

        await self.parts.staging.stage(
            read_stage(request or self.stage_request(**changes)), deadline=self.host.soon(changes.pop("limit_s", 5.0))
        )

    async def unstage(self, volume_id: str = VOLUME, staging: str = "") -> None:
        await self.parts.unstaging.unstage(volume_id, staging or self.staging(), deadline=self.host.soon())

    async def publish(self, **changes: Any) -> None:
        from node.requests import read_publish

        await self.parts.publishing.publish(read_publish(self.publish_request(**changes)), deadline=self.host.soon())

    async def unpublish(self, volume_id: str = VOLUME, target: str = "") -> None:
        await self.parts.publishing.unpublish(volume_id, target or self.target(), deadline=self.host.soon())

    # Requests

    def stage_request(self, **changes: Any) -> pb.NodeStageVolumeRequest:
        request = pb.NodeStageVolumeRequest(
            volume_id=changes.get("volume_id", VOLUME),
            staging_target_path=changes.get("staging") or self.staging(),
            volume_capability=capability(**changes),
            publish_context={
                SERIAL_KEY: changes.get("serial", SERIAL),
                SIZE_BYTES_KEY: str(changes.get("size_bytes", SIZE)),
            },
        )
        if "source" in changes:
            request.volume_context[SOURCE_KEY] = changes["source"]
        if "allocated_bytes" in changes:
            request.publish_context[ALLOCATED_BYTES_KEY] = str(changes["allocated_bytes"])
        return request

    def publish_request(self, **changes: Any) -> pb.NodePublishVolumeRequest:
        return pb.NodePublishVolumeRequest(
            volume_id=changes.get("volume_id", VOLUME),
            staging_target_path=changes.get("staging") or self.staging(),
            target_path=changes.get("target") or self.target(),
            volume_capability=capability(**changes),
            readonly=changes.get("readonly", False),
        )

    # What a test looks at

    def mounted(self, path: str) -> list[str]:
        """Sources mounted at a path, the lowest first."""
        return [entry.source for entry in self.host.mounts if entry.mount_point == Path(path)]

    def leaks(self) -> list[str]:
        """Mounts below this plugin's kubelet folder."""
        return [str(e.mount_point) for e in self.host.mounts if e.mount_point.is_relative_to(self.folder)]

    def plug(self, serial: str = SERIAL, **changes: Any) -> FakeDisk:
        return self.host.plug(serial, **{"size_bytes": SIZE, **changes})


async def until(condition: Callable[[], Any]) -> None:
    """Let other tasks run until the condition holds; the test's own time limit bounds it."""
    while not condition():  # noqa: ASYNC110 - the simulated host tells of nothing
        await asyncio.sleep(0)


def capability(**changes: Any) -> pb.VolumeCapability:
    """A VolumeCapability: ext4, one writer, unless told otherwise."""
    mode = pb.VolumeCapability.AccessMode(mode=changes.get("mode", Mode.SINGLE_NODE_WRITER))
    if changes.get("block"):
        return pb.VolumeCapability(block=pb.VolumeCapability.BlockVolume(), access_mode=mode)
    mount = pb.VolumeCapability.MountVolume(
        fs_type=changes.get("fs_type", "ext4"), mount_flags=changes.get("flags", ())
    )
    return pb.VolumeCapability(mount=mount, access_mode=mode)


__all__ = ["SERIAL", "SIZE", "VOLUME", "CrashError", "Mode", "Plugin", "capability", "until"]
