"""Resident memory after many calls, its growth in the second half, and the time from start to serving."""

import os
import time
from pathlib import Path

from benchmarks.life import NODE
from benchmarks.report import at_most
from csi.pb import csi_pb2 as pb
from tests.support.orchestrator import Orchestrator, capability, orchestrator
from tests.support.stack import Stack

CALLS = 10_000
STARTS = 5
MIB = 1 << 20
NODE_BOUND_MIB = 45
CONTROLLER_BOUND_MIB = 55
GROWTH_BOUND_MIB = 1


async def measure_memory(root: Path) -> None:
    """Print memory of both programs."""
    async with Stack(root, nodes=(NODE,)) as stack, orchestrator(stack) as kube:
        volume = await kube.create("kept")
        context = await kube.bring_up(volume, NODE)
        half: dict[str, int] = {}
        for number in range(CALLS // 2):
            if number == CALLS // 4:
                half = {name: resident_bytes(stack.programs[name].pid) for name in ("controller", NODE)}
            await call_both(kube, volume, context, number)
        for name, bound in ((NODE, NODE_BOUND_MIB), ("controller", CONTROLLER_BOUND_MIB)):
            at_end = resident_bytes(stack.programs[name].pid)
            label = "node" if name == NODE else name
            at_most(f"memory.{label}.after_{CALLS}_rpcs", at_end / MIB, "MiB", bound)
            at_most(f"memory.{label}.second_half_growth", (at_end - half[name]) / MIB, "MiB", GROWTH_BOUND_MIB)
        await kube.take_down(volume.volume_id, NODE)
        await kube.delete(volume.volume_id)


async def call_both(kube: Orchestrator, volume: pb.Volume, context: dict[str, str], number: int) -> None:
    """Make two calls to each program: what repeats most in a cluster's life."""
    node = kube.nodes[NODE]
    target = str(kube.stack.target_path(NODE, volume.volume_id))
    await node.NodeGetVolumeStats(pb.NodeGetVolumeStatsRequest(volume_id=volume.volume_id, volume_path=target))
    await kube.publish(volume, NODE, context)
    if number % 5 == 0:
        await kube.controller.ListVolumes(pb.ListVolumesRequest())
    else:
        await kube.attach(volume.volume_id, NODE)
    await kube.controller.ValidateVolumeCapabilities(
        pb.ValidateVolumeCapabilitiesRequest(volume_id=volume.volume_id, volume_capabilities=[capability()])
    )


async def measure_start(root: Path) -> None:
    """Print the time from the start of the process to the first answer on its socket."""
    async with Stack(root, nodes=(NODE,)) as stack:
        for name, start in ((NODE, lambda: stack.start_node(NODE)), ("controller", stack.start_controller)):
            times = []
            for _ in range(STARTS):
                await stack.programs[name].stop()
                started = time.perf_counter()
                await start()
                times.append(time.perf_counter() - started)
            at_most(f"start.{'node' if name == NODE else name}", sorted(times)[STARTS // 2], "s", 0.4)


def resident_bytes(pid: int) -> int:
    """Give the resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
