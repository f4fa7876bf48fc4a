"""One volume's whole life at concurrency 1: what it costs the platform, and what our own code adds."""

import time
from pathlib import Path

from benchmarks.report import Figure, at_most, percentile, report
from tests.support.orchestrator import Orchestrator, capability, orchestrator
from tests.support.stack import Stack

LIVES = 60
NODE = "node-a"
MOST_CALLS = {"extended": 5, "strict": 9}
_HOST_WORK = ("mkfs.", "mount", "umount")


async def measure_life(root: Path, tier: str) -> None:
    """Print platform calls, life and overhead for one tier."""
    async with Stack(root, tier=tier, nodes=(NODE,)) as stack, orchestrator(stack) as kube:
        await live(kube, "warm-up")
        lives, overheads, calls = [], [], []
        for number in range(LIVES):
            before = await spent_elsewhere(stack)
            started = time.perf_counter()
            await live(kube, f"claim-{number}")
            lives.append(time.perf_counter() - started)
            after = await spent_elsewhere(stack)
            overheads.append(lives[-1] - (after[0] - before[0]) - (after[1] - before[1]))
            calls.append(after[2] - before[2])
        at_most(f"life.{tier}.platform_calls", max(calls), "calls", MOST_CALLS[tier])
        report(Figure(f"life.{tier}.p50", percentile(lives, 0.5) * 1000, "ms"))
        report(Figure(f"life.{tier}.p99", percentile(lives, 0.99) * 1000, "ms"))
        at_most(f"life.{tier}.overhead.p50", percentile(overheads, 0.5) * 1000, "ms", 15)
        at_most(f"life.{tier}.overhead.p99", percentile(overheads, 0.99) * 1000, "ms", 60)
        report(Figure(f"life.{tier}.overhead_share", sum(overheads) / sum(lives), "of the life"))


async def live(kube: Orchestrator, name: str) -> None:
    """Take one volume through the eight calls of its life."""
    volume = await kube.create(name)
    await kube.bring_up(volume, NODE)
    await kube.take_down(volume.volume_id, NODE)
    await kube.delete(volume.volume_id)


async def spent_elsewhere(stack: Stack) -> tuple[float, float, int]:
    """Give seconds inside the platform, seconds in mkfs, mount and umount, and the number of platform calls."""
    calls = await stack.platform("GET", "/_devcloud/calls")
    metrics = await stack.metrics(NODE)
    commands = sum(
        value
        for series, value in metrics.items()
        if series.startswith("thecloud_csi_command_seconds_sum")
        and any(f'command="{word}' in series for word in _HOST_WORK)
    )
    return sum(row["platform_s"] for row in calls.values()), commands, sum(row["count"] for row in calls.values())


async def measure_mkfs(root: Path) -> None:
    """Print the time of mkfs on a blank volume of 100 GiB, by file system."""
    async with Stack(root, nodes=(NODE,)) as stack, orchestrator(stack) as kube:
        for fs_type in ("ext4", "xfs", "btrfs"):
            cap = capability(fs_type)
            volume = await kube.create(f"large-{fs_type}", size_gib=100, cap=cap)
            await kube.bring_up(volume, NODE, cap)
            seconds = (await stack.metrics(NODE))[f'thecloud_csi_mkfs_seconds_sum{{fs_type="{fs_type}"}}']
            await kube.take_down(volume.volume_id, NODE)
            await kube.delete(volume.volume_id)
            at_most(f"mkfs.100gib.{fs_type}", seconds, "s", 0.5)
