"""The node plugin: puts the parts together and runs them, as `tc-csi-node serve`.

The one place that knows which class stands behind which port. Not here: any behaviour.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc.aio

from csi.driver import DRIVER_NAME
from csi.identity import PLUGIN_CAPABILITIES
from csi.locks import KeyLocks
from csi.metrics import Metrics
from csi.pb import csi_pb2_grpc
from csi.program import Plugin, Task
from csi.program import main as run_program
from csi.registration import Registration
from csi.server import ROLLBACK_S
from node.command import PROGRAM
from node.commands import DEFAULT_PATH, HostRunner
from node.devices import Devices
from node.evidence import Evidence
from node.expand import Expansion
from node.filesystems import FileSystems
from node.health import StorageHealth, VolumeHealth
from node.identity import NodeIdentities
from node.kernel import HostKernel
from node.kube.api import KubeApi, in_cluster
from node.kube.csi_nodes import KubeCsiNodes
from node.kube.nodes import KubeNodes
from node.limits import VolumeLimit
from node.mounts import Mounts
from node.ports import DiskEvents, Kernel, Observer, Runner
from node.protection import WriteProtection
from node.publish import Publishing
from node.recovery import Recovery
from node.release import Release
from node.servicer import NodeParts, NodeServicer
from node.settings import PLUGIN_DIR, STAGING_DIR, NodeSettings
from node.stage import Staging
from node.startup_taint import StartupTaint
from node.state import VolumeRecords, read_boot_id
from node.territory import Territory
from node.uevents import KernelDiskEvents
from node.unstage import Unstaging
from node.zone_watch import ZoneWatch

DISK_THREADS = 64
"""Blocking calls at once. Each that hangs on a dead disk keeps one; threads are only made when they are needed."""
ZONES = "VOLUME_ACCESSIBILITY_CONSTRAINTS"
"""What a driver announces whose volumes cannot be reached from everywhere."""
HANDOVER_S = 5.0
"""Beyond the time that another process of this program takes to end its calls."""
SUMMARY = (
    f"The node plugin of the CSI driver {DRIVER_NAME}. `{PROGRAM} doctor` checks this host and says what to do; "
    f"`{PROGRAM} pre-stop` is for the preStop hook."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The host that the plugin works on; tests put a simulated one in its place."""

    kernel: Kernel
    runner: Runner
    events: DiskEvents
    hears_events: Callable[[], bool]
    find_program: Callable[[str], str | None]
    root: Path = Path("/")
    sys_root: Path = Path("/sys")
    dev_root: Path = Path("/dev")
    proc_root: Path = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """The parts that the program uses by itself."""

    parts: NodeParts
    recovery: Recovery
    locks: KeyLocks


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ground:
    """What all verbs stand on."""

    devices: Devices
    filesystems: FileSystems
    mounts: Mounts
    records: VolumeRecords
    evidence: Evidence
    protection: WriteProtection
    release: Release
    territory: Territory
    locks: KeyLocks


def assemble(
    settings: NodeSettings, host: Host, observer: Observer, *, records: VolumeRecords | None = None
) -> Assembly:
    """Put the parts together. Raises CsiError when the folder of records cannot be used."""
    ground = _lay_ground(settings, host, observer, records or records_of(settings, host.proc_root))
    staging, unstaging, publishing = _verbs(settings, ground)
    kernel, devices, evidence = host.kernel, ground.devices, ground.evidence
    parts = NodeParts(
        staging=staging,
        unstaging=unstaging,
        publishing=publishing,
        expansion=Expansion(
            filesystems=ground.filesystems,
            evidence=evidence,
            records=ground.records,
            locks=ground.locks,
            events=host.events,
            sys_root=host.sys_root,
            device_wait_s=settings.device_wait_s,
        ),
        volume_health=VolumeHealth(
            kernel=kernel, mounts=ground.mounts, evidence=evidence, records=ground.records, sys_root=host.sys_root
        ),
        storage_health=StorageHealth(
            devices=devices, records=ground.records, hears_events=host.hears_events, find_program=host.find_program
        ),
        identities=identities_of(settings, host.root),
        limit=limit_of(settings, host, devices, ground.records),
        records=ground.records,
        evidence=evidence,
        kernel=kernel,
        can_expand=settings.can_expand,
    )
    recovery = Recovery(
        mounts=ground.mounts,
        evidence=evidence,
        records=ground.records,
        release=ground.release,
        staging_root=settings.kubelet_dir / STAGING_DIR,
    )
    return Assembly(parts=parts, recovery=recovery, locks=ground.locks)


def devices_of(settings: NodeSettings, host: Host, observer: Observer) -> Devices:
    """Give the disks of a host."""
    return Devices(
        host.kernel,
        sys_root=host.sys_root,
        dev_root=host.dev_root,
        proc_root=host.proc_root,
        host_proc=settings.host_proc,
        loop_disk_dir=settings.loop_disk_dir,
        events=host.events,
        observer=observer,
    )


def records_of(settings: NodeSettings, proc_root: Path = Path("/proc")) -> VolumeRecords:
    """Give the records of this boot. Raises CsiError when its identity cannot be read."""
    return VolumeRecords(settings.state_folder, boot_id=read_boot_id(proc_root))


def limit_of(settings: NodeSettings, host: Host, devices: Devices, records: VolumeRecords) -> VolumeLimit:
    """Give the counter of places for volumes."""
    return VolumeLimit(
        kernel=host.kernel,
        devices=devices,
        records=records,
        maximum=settings.max_volumes,
        reserved=settings.reserved_volumes,
        system_paths=(host.root, settings.kubelet_dir, settings.state_folder),
        sys_root=host.sys_root,
    )


def _lay_ground(settings: NodeSettings, host: Host, observer: Observer, records: VolumeRecords) -> _Ground:
    devices = devices_of(settings, host, observer)
    mounts = Mounts(
        host.kernel,
        host.runner,
        proc_root=host.proc_root,
        sys_root=host.sys_root,
        host_proc=settings.host_proc,
    )
    records.prepare()
    return _Ground(
        devices=devices,
        filesystems=FileSystems(
            host.kernel,
            host.runner,
            devices,
            sys_root=host.sys_root,
            observer=observer,
            format_limit=settings.format_concurrency,
        ),
        mounts=mounts,
        records=records,
        evidence=Evidence(host.kernel, devices, mounts),
        protection=WriteProtection(runner=host.runner, records=records),
        release=Release(host.kernel),
        territory=Territory(
            kernel=host.kernel,
            mounts=mounts,
            kubelet_dir=settings.kubelet_dir,
            own_folders=(settings.kubelet_dir / PLUGIN_DIR, settings.state_folder),
            root=host.root,
        ),
        locks=KeyLocks(),
    )


def _verbs(settings: NodeSettings, ground: _Ground) -> tuple[Staging, Unstaging, Publishing]:
    mounts, evidence, records, locks = ground.mounts, ground.evidence, ground.records, ground.locks
    staging = Staging(
        devices=ground.devices,
        filesystems=ground.filesystems,
        mounts=mounts,
        evidence=evidence,
        records=records,
        locks=locks,
        release=ground.release,
        territory=ground.territory,
        device_wait_s=settings.device_wait_s,
    )
    unstaging = Unstaging(
        mounts=mounts,
        evidence=evidence,
        records=records,
        locks=locks,
        protection=ground.protection,
        release=ground.release,
        territory=ground.territory,
    )
    publishing = Publishing(
        mounts=mounts,
        evidence=evidence,
        records=records,
        locks=locks,
        protection=ground.protection,
        territory=ground.territory,
    )
    return staging, unstaging, publishing


def cluster_of(settings: NodeSettings) -> KubeApi | None:
    """Give the API of this node's cluster; None when this is no pod, or the Node is not known by name."""
    return in_cluster(os.environ) if settings.node_name else None


def identities_of(settings: NodeSettings, root: Path = Path("/")) -> NodeIdentities:
    """Give the sources of this node's identity, the cluster's API among them where this is a pod."""
    api = cluster_of(settings)
    return NodeIdentities(
        node_id=settings.node_id,
        zone=settings.zone,
        node_name=settings.node_name,
        nodes=KubeNodes(api) if api is not None else None,
        use_dmi=settings.use_dmi,
        root=root,
    )


class MetricsObserver:
    """Hands the host side's figures to the program's metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def device_waited(self, seconds: float) -> None:
        """Take the time that a disk took to be found."""
        self._metrics.device_waited("found", seconds)

    def formatted(self, fs_type: str, seconds: float) -> None:
        """Take the time that a successful mkfs took."""
        self._metrics.file_system_made(fs_type, seconds)

    def command_ended(self, program: str, seconds: float) -> None:
        """Take the time that a host command took."""
        self._metrics.command_ended(program, seconds)

    def format_refused(self, reason: str) -> None:
        """Count a disk that was not formatted."""
        self._metrics.format_refused(reason)

    def repaired(self, fs_type: str) -> None:
        """Count a file system that had to be repaired."""
        self._metrics.file_system_repaired(fs_type)


@asynccontextmanager
async def this_host(observer: Observer) -> AsyncIterator[Host]:
    """Give the host that this process runs on, and hear its kernel's events meanwhile."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(DISK_THREADS, thread_name_prefix="disk"))
    runner = HostRunner(observer=observer)
    events = KernelDiskEvents()
    await events.start()
    try:
        yield Host(
            kernel=HostKernel(),
            runner=runner,
            events=events,
            hears_events=lambda: events.is_listening,
            find_program=lambda name: shutil.which(name, path=DEFAULT_PATH),
        )
    finally:
        events.stop()
        await runner.drain()


@asynccontextmanager
async def build(settings: NodeSettings, metrics: Metrics) -> AsyncIterator[Plugin]:
    """Open what the plugin needs of this host, bring its records in line, and give what is served."""
    observer = MetricsObserver(metrics)
    async with this_host(observer) as host, _owned_records(settings) as records:
        assembly = assemble(settings, host, observer, records=records)
        # Before the first call is served: a call must not meet a stage that a killed process left half done.
        await assembly.recovery.reconcile()
        servicer = NodeServicer(assembly.parts)

        def add_node(server: grpc.aio.Server) -> None:
            csi_pb2_grpc.add_NodeServicer_to_server(servicer, server)

        async def ready(*, deadline: float) -> None:
            await assembly.parts.identities.check(deadline=deadline)

        registration = _registration(settings)
        yield Plugin(
            services=[add_node],
            capabilities=[PLUGIN_CAPABILITIES[name] for name in settings.plugin_capabilities],
            ready=ready,
            registration=registration,
            tasks=_tasks(settings, assembly.parts.identities, registration),
        )


def _tasks(settings: NodeSettings, identities: NodeIdentities, registration: Registration | None) -> dict[str, Task]:
    """Give the work that the cluster needs of this node beside calls."""
    tasks: dict[str, Task] = {}
    api = cluster_of(settings)
    if api is None:
        return tasks
    if settings.startup_taint:
        taint = StartupTaint(
            nodes=KubeNodes(api),
            csi_nodes=KubeCsiNodes(api),
            node_name=settings.node_name,
            key=settings.startup_taint,
        )
        tasks["startup taint"] = lambda: taint.run(registration)
    if registration is not None and ZONES in settings.plugin_capabilities:
        watch = ZoneWatch(identities)
        tasks["zone"] = lambda: watch.run(registration)
    return tasks


@asynccontextmanager
async def _owned_records(settings: NodeSettings) -> AsyncIterator[VolumeRecords]:
    """Own the folder of records until the last call has ended.

    In a rolling update the process before this one may still end its calls; what it stages must not be undone here.
    """
    records = records_of(settings)
    await records.prepare_when_free(limit_s=settings.grace_s + ROLLBACK_S + HANDOVER_S)
    try:
        yield records
    finally:
        records.release()


def _registration(settings: NodeSettings) -> Registration | None:
    if settings.registration_dir is None:
        return None
    return Registration(
        socket=settings.registration_dir / f"{DRIVER_NAME}-reg.sock", endpoint=settings.socket_for_kubelet
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Serve with the process's arguments, or those given, and give the exit code; the word `serve` may stand first."""
    words = list(sys.argv[1:] if argv is None else argv)
    return run_program(PROGRAM, SUMMARY, NodeSettings, build, words[1:] if words[:1] == ["serve"] else words)


if __name__ == "__main__":
    sys.exit(main())
