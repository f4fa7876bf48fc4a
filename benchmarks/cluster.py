"""`make bench-e2e`: how long claims and pods take in a whole cluster, sidecars and kubelet included.

The cluster is the one of `make cluster`; its instances need places for the crowd (`--max-volumes`).
"""

import asyncio
import datetime as dt
import re
import time
import uuid

from benchmarks.report import Figure, at_most, percentile, report
from tests.e2e.cluster import site as sites
from tests.e2e.cluster.credentials import NAMESPACE
from tests.e2e.objects import claim, pod
from tests.e2e.world import World, opened

START_S = 4.0
MOVE_S = 6.0
CROWD_S = 120.0
STARTS = 20
MOVES = 10
CROWD = 100
_RPC = re.compile(r"csi\.rpc: rpc .*method=(\w+) code=OK duration_s=([\d.]+)")
_OF_A_START = ("CreateVolume", "ControllerPublishVolume", "NodeStageVolume", "NodePublishVolume")


async def measure_starts(world: World) -> None:
    """Claim and pod applied, until the pod is Ready with the volume mounted; one after the other."""
    since = dt.datetime.now(tz=dt.UTC)
    taken = []
    for number in range(STARTS):
        began = time.perf_counter()
        await world.start(claim(f"start-{number}"), pod(f"start-{number}", [f"start-{number}"]))
        taken.append(time.perf_counter() - began)
        await world.delete("pod", f"start-{number}")
    at_most("claim to running pod, p50", percentile(taken, 0.5), "s", START_S)
    report(Figure("claim to running pod, p90", percentile(taken, 0.9), "s"))
    report(Figure("of it in the driver's calls, mean", await _ours(world, since) / STARTS, "s"))


async def measure_moves(world: World) -> None:
    """Pod deleted, until the next one reads its data on the other node."""
    nodes = world.site.workers[:2]
    await world.start(claim("moved"), pod("moved-0", ["moved"], node=nodes[0]))
    await world.write("moved-0", "goes along")
    taken = []
    for number in range(1, MOVES + 1):
        began = time.perf_counter()
        await world.kube.run("delete", "pod", f"moved-{number - 1}", "-n", world.namespace, "--wait=false")
        await world.start(pod(f"moved-{number}", ["moved"], node=nodes[number % 2]))
        taken.append(time.perf_counter() - began)
        if await world.read(f"moved-{number}") != "goes along":
            raise SystemExit("the data did not go along")
    await world.delete("pod", f"moved-{MOVES}")
    at_most("pod moved to another node, p50", percentile(taken, 0.5), "s", MOVE_S)
    report(Figure("pod moved to another node, p90", percentile(taken, 0.9), "s"))


async def measure_crowd(world: World) -> None:
    """Claims and pods of a crowd in one request, until the last pod is Ready."""
    since = dt.datetime.now(tz=dt.UTC)
    names = [f"crowd-{number}" for number in range(CROWD)]
    began = time.perf_counter()
    await world.start(*(claim(name) for name in names), *(pod(name, [name]) for name in names), timeout_s=600)
    at_most(f"{CROWD} claims and pods at once", time.perf_counter() - began, "s", CROWD_S)
    report(Figure("of each in the driver's calls, mean", await _ours(world, since) / CROWD, "s"))


async def _ours(world: World, since: dt.datetime) -> float:
    """Add up how long the driver's own calls took since then, as its logs have it."""
    words = ("-n", NAMESPACE, "-c", "csi-driver", f"--since-time={since.isoformat(timespec='seconds')}")
    total = 0.0
    for one in await world.kube.items("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=thecloud-csi"):
        text = await world.kube.run("logs", one["metadata"]["name"], *words)
        total += sum(float(seconds) for method, seconds in _RPC.findall(text) if method in _OF_A_START)
    return total


async def run() -> None:
    """Measure on the cluster that runs here."""
    site = sites.load(sites.default_folder())
    if site.max_volumes * len(site.workers) < CROWD:
        raise SystemExit(f"{len(site.workers)} workers with {site.max_volumes} places each cannot take {CROWD} volumes")
    for measure in (measure_starts, measure_moves, measure_crowd):
        async with opened(site, f"bench-{uuid.uuid4().hex[:6]}") as world:
            await measure(world)


if __name__ == "__main__":
    asyncio.run(run())
