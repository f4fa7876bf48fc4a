"""`make bench-ccm`: how the cloud controller manager does with many nodes and services, on a real kube-apiserver."""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.manager_rig import LEASE, ManagerProcess, Rig, rig, until
from benchmarks.memory import MIB, resident_bytes
from benchmarks.report import Figure, at_most, report
from ccm.names import MANAGER, UNINITIALIZED_TAINT
from tests.support.real_api import MISSING_API

SYNC_S, SYNC_MIB = 2.0, 200.0
INITIALISED_S = 60.0
LISTINGS_PER_MINUTE = 1.0
HANDOVER_S = 2.0
STARTS = 4
QUIET_S = 5.0
"""Nothing has happened for so long: what was to be written has been."""
SYNCS = "service_controller_loadbalancer_sync_total"
INITIALISED = "node_controller_initial_node_sync_delay_seconds_count"
PUT_GROUP = "PUT /lb/{ref}/groups/{name}"
LIST_INSTANCES = "GET /instances"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much there is."""

    nodes: int = 5000
    services: int = 10000
    """Without a load balancer: only the cache has them."""
    balanced: int = 500
    """With a load balancer."""
    targets: int = 20
    """Nodes behind those."""
    joining: int = 100
    """Nodes that come at once."""
    steady_s: int = 180
    """Time in which nothing happens."""


async def measure_nodes(folder: Path, sizes: Sizes) -> None:
    """Print time and memory of the caches, the initialisation of all nodes, and what is done when nothing happens."""
    async with rig(folder) as made:
        await _occupy(made)
        empty_s = await _quickest_start(made)
        rows = await made.make_instances([f"node-{number}" for number in range(sizes.nodes)])
        await made.make_nodes(rows, is_new=True)
        await made.make_services(sizes.services, balanced=False)
        taken_s = await _quickest_start(made)
        _, manager = await _start(made)
        report(Figure("ccm.start", empty_s, "s"))
        name = f"ccm.caches.{sizes.nodes}_nodes_{sizes.services}_services"
        at_most(f"{name}.seconds", taken_s - empty_s, "s", SYNC_S)
        at_most(f"{name}.memory", _resident_mib(manager), "MiB", SYNC_MIB)
        await _measure_initialisation(made, manager, sizes.nodes)
        await _measure_steady_state(made, manager, sizes.steady_s)


async def _occupy(made: Rig) -> None:
    """Hold the Lease, so that a manager fills its caches and does nothing else."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec = {"holderIdentity": "bench", "leaseDurationSeconds": 86400, "acquireTime": now, "renewTime": now}
    meta = {"name": MANAGER, "namespace": "kube-system"}
    body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
    await made.send("POST", LEASE.rpartition("/")[0], body)


async def _quickest_start(made: Rig) -> float:
    """Give the time of the quickest of a few starts: the first of all reads the program from the disk."""
    times_s = []
    for _ in range(STARTS):
        taken_s, manager = await _start(made)
        times_s.append(taken_s)
        await manager.stop()
    return min(times_s)


async def _start(made: Rig) -> tuple[float, ManagerProcess]:
    began = time.perf_counter()
    manager = await made.started()
    return time.perf_counter() - began, manager


async def _measure_initialisation(made: Rig, manager: ManagerProcess, nodes: int) -> None:
    began = time.perf_counter()
    await made.send("DELETE", LEASE)

    async def initialised() -> bool:
        return await manager.total(INITIALISED) >= nodes

    await until(initialised, "all nodes to be initialised", every_s=1.0)
    at_most(f"ccm.initialisation.{nodes}_nodes", time.perf_counter() - began, "s", INITIALISED_S)
    report(Figure("ccm.initialisation.memory", _resident_mib(manager), "MiB"))
    listed = (await made.send("GET", "/api/v1/nodes"))["items"]
    # The API server itself adds a taint until a kubelet, or who looks after them, says that the node is ready.
    left = sum(not one["spec"].get("providerID") or UNINITIALIZED_TAINT in str(one["spec"]) for one in listed)
    at_most("ccm.initialisation.left_out", left, "nodes", 0)


async def _measure_steady_state(made: Rig, manager: ManagerProcess, steady_s: float) -> None:
    await asyncio.sleep(QUIET_S)
    await made.forget_calls()
    before = await manager.kubernetes_writes()
    await asyncio.sleep(steady_s)
    calls = await made.calls()
    listings = calls.get(LIST_INSTANCES, 0) * 60 / steady_s
    at_most("ccm.steady.listings_of_instances", listings, "a minute", LISTINGS_PER_MINUTE)
    report(Figure("ccm.steady.platform_calls", sum(calls.values()) * 60 / steady_s, "a minute"))
    at_most("ccm.steady.platform_writes", await made.platform_writes(), "writes", 0)
    at_most("ccm.steady.kubernetes_writes", await manager.kubernetes_writes() - before, "writes", 0)


async def measure_services(folder: Path, sizes: Sizes) -> None:
    """Print what many nodes that join cost, what a restart costs, and how long a handover takes."""
    async with rig(folder) as made:
        rows = await made.make_instances([f"node-{number}" for number in range(sizes.targets)])
        await made.make_nodes(rows, is_new=False)
        leader = await made.started()
        began = time.perf_counter()
        await made.make_services(sizes.balanced, balanced=True)

        async def all_balanced() -> bool:
            return await made.balanced() >= sizes.balanced

        await until(all_balanced, "all services to have an address", every_s=0.5)
        report(Figure(f"ccm.services.{sizes.balanced}_made", time.perf_counter() - began, "s"))
        await _measure_join(made, sizes)
        await leader.stop()
        leader = await _measure_restart(made, sizes.balanced)
        await _measure_handover(made, leader)


async def _measure_join(made: Rig, sizes: Sizes) -> None:
    rows = await made.make_instances([f"joining-{number}" for number in range(sizes.joining)])
    await asyncio.sleep(QUIET_S)
    await made.forget_calls()
    began = time.perf_counter()
    await made.make_nodes(rows, is_new=False)

    async def all_told() -> bool:
        return (await made.calls()).get(PUT_GROUP, 0) >= sizes.balanced

    await until(all_told, "all load balancers to have the new targets", every_s=0.5)
    report(Figure(f"ccm.join.{sizes.joining}_nodes", time.perf_counter() - began, "s"))
    await asyncio.sleep(QUIET_S)
    writes = (await made.platform_writes()) / sizes.balanced
    at_most(f"ccm.join.{sizes.joining}_nodes.writes", writes, "for each service", 1)
    every = await made.ask("GET", "/lb")
    wanted = sizes.targets + sizes.joining
    lacking = sum(len(one["groups"][0]["targets"]) != wanted for one in every)
    at_most("ccm.join.without_all_targets", lacking, "load balancers", 0)


async def _measure_restart(made: Rig, services: int) -> ManagerProcess:
    await made.forget_calls()
    manager = await made.started()

    async def looked() -> bool:
        return await manager.total(SYNCS) >= services

    await until(looked, "all services to be looked at", every_s=0.5)
    await asyncio.sleep(QUIET_S)
    at_most(f"ccm.restart.{services}_services.platform_writes", await made.platform_writes(), "writes", 0)
    at_most(f"ccm.restart.{services}_services.kubernetes_writes", await manager.kubernetes_writes(), "writes", 0)
    report(Figure("ccm.restart.platform_calls", sum((await made.calls()).values()), "calls"))
    return manager


async def _measure_handover(made: Rig, leader: ManagerProcess) -> None:
    """End the leader as a rolling restart does, with another one that stands by."""
    await made.started()
    former = await made.holder()
    began = time.perf_counter()
    ending = asyncio.create_task(leader.stop())

    async def handed_over() -> bool:
        return await made.holder() not in {"", former}

    await until(handed_over, "the other manager to lead", every_s=0.02)
    at_most("ccm.handover", time.perf_counter() - began, "s", HANDOVER_S)
    await ending


def _resident_mib(manager: ManagerProcess) -> float:
    return resident_bytes(manager.process.pid) / MIB


FIGURES: dict[str, Callable[[Path, Sizes], Awaitable[None]]] = {"nodes": measure_nodes, "services": measure_services}


async def run(names: list[str], sizes: Sizes) -> None:
    """Measure one after the other, each on a Kubernetes of its own."""
    for name in names:
        with tempfile.TemporaryDirectory(prefix="thecloud-bench-ccm-") as root:
            await FIGURES[name](Path(root) / "rig", sizes)


def main() -> int:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="make bench-ccm", description=__doc__)
    parser.add_argument("figures", nargs="*", choices=[*FIGURES, []], help="which figures (all)")
    for one in fields(Sizes):
        parser.add_argument(f"--{one.name.replace('_', '-')}", type=int, default=one.default)
    options = vars(parser.parse_args())
    names = options.pop("figures") or list(FIGURES)
    if MISSING_API:
        sys.stderr.write(f"{MISSING_API}\n")
        return 1
    asyncio.run(run(names, Sizes(**options)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
