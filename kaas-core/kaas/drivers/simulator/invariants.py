"""What must hold of a world whatever happened in it; each check gives sentences, none when all is well."""

from collections import Counter

from kaas.domain.ports import Kind
from kaas.drivers.simulator.platform import RECORDS
from kaas.drivers.simulator.records import Brain, Machine
from kaas.drivers.simulator.world import World


def leaks(world: World, cluster: str, *, keeps_volumes: bool = False) -> list[str]:
    """Name what is left of a cluster that was deleted."""
    world.sweep(cluster)
    kinds = [kind for kind in Kind if not (keeps_volumes and kind is Kind.VOLUME)]
    left = [one for kind in kinds for one in world.ground.all(RECORDS[kind], cluster=cluster)]
    return [f"{one.kind} {one.name} {one.id} is left of cluster {cluster}" for one in left]


def duplicates(world: World, cluster: str = "") -> list[str]:
    """Name what is there twice under one name, though one was wanted."""
    found = []
    for kind in (Kind.ENDPOINT, Kind.MACHINE, Kind.SECURITY_GROUP, Kind.KEY_PAIR, Kind.CREDENTIAL):
        things = [one for one in world.ground.all(RECORDS[kind], cluster=cluster) if one.gone_at is None]
        names = Counter((one.cluster, one.name) for one in things)
        found += [f"{times} of {kind} {name}" for (_, name), times in names.items() if times > 1]
    return found


def repeated_creates(world: World, cluster: str) -> list[str]:
    """Name what was made again without having been deleted in between, by the audit log."""
    there: Counter[str] = Counter()
    found = []
    for call in world.ground.calls(cluster=""):
        if call.outcome not in {"done", "lost"} or (call.cluster and call.cluster != cluster):
            continue
        if call.method == "driver.delete":
            there[call.what] = 0
        elif call.method == "driver.create":
            there[call.what] += 1
            if there[call.what] > 1:
                found.append(f"{call.what} was made {there[call.what]} times")
    return found


def broken_quorums(world: World) -> list[str]:
    """Name clusters whose etcd has more dead members than it survives."""
    return [
        f"etcd of cluster {brain.cluster} has no quorum of its {len(brain.members)} members"
        for brain in world.ground.all(Brain)
        if not world.serves(brain)
    ]


def strangers(world: World, cluster: str) -> list[str]:
    """Name Node objects without a machine, and machines of nodes that nobody knows."""
    brains = world.ground.all(Brain, cluster=cluster)
    known = {node.machine_id for brain in brains for node in brain.nodes.values()}
    machines = {one.id: one for one in world.ground.all(Machine, cluster=cluster) if one.gone_at is None}
    found = [f"machine {one.name} {one.id} is no node" for key, one in machines.items() if key not in known]
    for brain in brains:
        found += [
            f"node {name} has no machine" for name, node in brain.nodes.items() if node.machine_id not in machines
        ]
    return found
