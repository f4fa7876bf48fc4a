"""What a change would do, told before anything is written: made, kept and removed, and the use of the quota."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from kaas.domain import names
from kaas.domain.model import ClusterSpec, GroupSpec, Snapshot
from kaas.domain.ports import Kind
from kaas.domain.states import OperationKind, RefState
from kaas.domain.store import Amounts, Change
from kaas.domain.wanted import DELETE_VOLUMES


@dataclass(frozen=True, slots=True)
class Item:
    """Things of one kind; `name` ends in `*` where it stands for `count` of them, whose numbers are not chosen yet."""

    kind: Kind
    name: str
    count: int = 1
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a change comes to."""

    kind: OperationKind
    make: tuple[Item, ...]
    keep: tuple[Item, ...]
    remove: tuple[Item, ...]
    usage_before: Amounts
    usage_after: Amounts
    warnings: tuple[str, ...] = ()


def plan_create(name: str, change: Change) -> Plan:
    """Tell what a new cluster is made of."""
    spec = change.spec
    fixed = [
        Item(Kind.SECURITY_GROUP, names.security_group(name)),
        Item(Kind.KEY_PAIR, f"k8s-{name}-*"),
        Item(Kind.ENDPOINT, f"k8s-{name}-*-api", detail="port 6443"),
        Item(Kind.CREDENTIAL, f"k8s-{name}-*"),
    ]
    machines = [_machines(name, group, group.size) for group in spec.groups if group.size]
    return Plan(change.kind, (*fixed, *machines), (), (), Amounts(), change.usage, _warnings(spec, change))


def plan_change(snapshot: Snapshot, change: Change, usage_before: Amounts) -> Plan:
    """Tell what a change of a cluster makes, keeps and removes."""
    cluster = snapshot.cluster
    leaving = set(change.leave)
    is_end = change.kind is OperationKind.DELETE
    there = [ref for ref in snapshot.refs if ref.state is not RefState.GONE]
    goes = [
        Item(Kind(ref.kind), ref.name)
        for ref in there
        if is_end or (ref.kind == Kind.MACHINE.value and ref.node_id in leaving)
    ]
    stays = [Item(Kind(ref.kind), ref.name) for ref in there]
    groups = {group.name: group for group in change.spec.groups}
    counts = Counter(node.group for node in change.add)
    return Plan(
        change.kind,
        tuple(_machines(cluster.name, groups[name], count) for name, count in counts.items()),
        tuple(item for item in stays if item not in goes),
        tuple(_in_order(goes)),
        usage_before,
        Amounts() if is_end else change.usage,
        _warnings(change.spec, change),
    )


def _machines(cluster: str, group: GroupSpec, count: int) -> Item:
    return Item(Kind.MACHINE, f"{cluster}-{group.name}-*", count, group.instance_type)


def _in_order(items: Iterable[Item]) -> list[Item]:
    order = list(Kind)
    return sorted(items, key=lambda item: (order.index(item.kind), item.name))


def _warnings(spec: ClusterSpec, change: Change) -> tuple[str, ...]:
    found = []
    if change.kind is OperationKind.CREATE and not spec.is_ha:
        found.append("one control plane: while its machine is away, so is the cluster's API")
    if change.kind is OperationKind.CREATE and spec.network_isolation:
        found.append("network isolation is kept with the cluster, and nothing acts on it yet; narrow who may reach it")
    if change.kind is OperationKind.DELETE:
        found.append(
            "volumes of claims are deleted with all that is on them, but for those with reclaim policy Retain"
            if change.arguments.get(DELETE_VOLUMES)
            else "volumes of claims are kept"
        )
    if change.leave:
        found.append(f"{len(change.leave)} nodes are drained and their machines deleted")
    return tuple(found)
