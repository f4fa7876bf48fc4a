"""Node groups: what a request makes of one, and which nodes come and go when sizes change. Pure."""

import re
from collections.abc import Sequence
from uuid import UUID

from kaas.domain.catalogue import Catalogue
from kaas.domain.errors import Code, Problem, RequestError
from kaas.domain.labels import check_labels, check_taints
from kaas.domain.model import CONTROL_PLANE_GROUP, ClusterSpec, GroupSpec, Node, Role, Snapshot
from kaas.domain.names import GROUP_NAME
from kaas.domain.states import NodeState
from kaas.domain.store import NewNode
from kaas.domain.wanted import Defaults, GroupRequest, GroupUpdate

WORKERS_FIELD = "workers"
ZONE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_MAX_ZONES = 16
MAX_GROUPS = 16
"""Worker groups of one cluster."""
TOO_MANY = f"a cluster has at most {MAX_GROUPS} node groups"
_LONGEST_NODE_NAME = 63
_NUMBER_DIGITS = 5
"""Kept free in the names of nodes, whose numbers only grow."""
_MAX_SHOWN = 80
_JOINED = frozenset({NodeState.JOINING, NodeState.READY, NodeState.UNHEALTHY})
_FIRST_TO_GO = (NodeState.WANTED, NodeState.UNHEALTHY, NodeState.PROVISIONING, NodeState.JOINING, NodeState.READY)


def find(spec: ClusterSpec, name: str) -> GroupSpec:
    """Give a group that is there. Raises RequestError (NOT_FOUND)."""
    for group in spec.worker_groups:
        if group.name == name:
            return group
    raise RequestError(Code.NOT_FOUND, f"node group {name[:_MAX_SHOWN]} not found")


def existing(snapshot: Snapshot, name: str) -> GroupSpec:
    """Give a worker group of a cluster. Raises RequestError (NOT_FOUND) naming the groups there are."""
    try:
        return find(snapshot.cluster.spec, name)
    except RequestError as error:
        names = ", ".join(group.name for group in snapshot.cluster.spec.worker_groups)
        raise RequestError(
            Code.NOT_FOUND, f"{error.message} in cluster {snapshot.cluster.name}; it has {names}"
        ) from error


def looks_like_id(name: str) -> bool:
    """Tell whether a name could be taken for an id."""
    try:
        UUID(name)
    except ValueError:
        return False
    return True


def name_problem(cluster: str, name: str) -> str:
    """Say why a group of a cluster cannot be called so; empty when it can."""
    if not GROUP_NAME.fullmatch(name):
        return (
            f"{name[:_MAX_SHOWN]!r} is no name of a node group: lower-case letters, digits and `-`, "
            "at most 20 characters, a letter first and no `-` at the end"
        )
    if name == CONTROL_PLANE_GROUP:
        return f"{name} is the name of the control plane; choose another one"
    room = _LONGEST_NODE_NAME - _NUMBER_DIGITS - len(cluster) - 2
    if len(name) > room:
        return f"{name} is too long for names such as {cluster}-{name}-0; at most {room} characters fit"
    return ""


def type_problems(catalogue: Catalogue, field: str, name: str) -> list[Problem]:
    """Say that an instance type is not offered."""
    if catalogue.instance_type(name) is not None:
        return []
    offered = ", ".join(kind.name for kind in catalogue.types)
    return [Problem(field, f"{name[:_MAX_SHOWN]!r} is no instance type; there is {offered}")]


def wanted(
    request: GroupRequest, defaults: Defaults, catalogue: Catalogue, problems: list[Problem], *, place: str = ""
) -> GroupSpec:
    """Make a group of a request, and add to `problems` what is wrong with it (but for its name)."""
    kind = request.instance_type or defaults.worker_type
    problems += type_problems(catalogue, f"{place}instance_type", kind)
    problems += check_labels(f"{place}labels", request.labels)
    problems += check_taints(f"{place}taints", request.taints)
    least = request.min_size
    size = request.desired_size if request.desired_size is not None else max(least or 0, 1)
    if least is None:
        least = min(1, size)
    most = max(defaults.group_max_size, size, least) if request.max_size is None else request.max_size
    problems += _bounds_problems(place, least, size, most, defaults)
    return GroupSpec(
        name=request.name,
        role=Role.WORKER,
        size=size,
        min_size=least,
        max_size=most,
        instance_type=kind,
        labels=request.labels,
        taints=request.taints,
    )


def updated(group: GroupSpec, update: GroupUpdate, defaults: Defaults, problems: list[Problem]) -> GroupSpec:
    """Make a group of an update of one, and add to `problems` what is wrong with it."""
    if update == GroupUpdate():
        problems.append(Problem("desired_size", "nothing is to change; give min_size, max_size or desired_size"))
    least = group.min_size if update.min_size is None else update.min_size
    most = group.max_size if update.max_size is None else update.max_size
    size = group.size if update.desired_size is None else update.desired_size
    problems += _bounds_problems("", least, size, most, defaults)
    return GroupSpec(
        name=group.name,
        role=group.role,
        size=size,
        min_size=least,
        max_size=most,
        instance_type=group.instance_type,
        labels=group.labels,
        taints=group.taints,
    )


def scale_problems(group: GroupSpec, workers: int, elsewhere: int) -> list[Problem]:
    """Say why the default group cannot make up for a number of workers in all."""
    if workers < 1:
        return [Problem(WORKERS_FIELD, f"{workers} is too few; a cluster needs a worker")]
    size = workers - elsewhere
    if size > group.max_size:
        what = f"{group.name} would have {size} nodes and its max_size is {group.max_size}"
        return [Problem(WORKERS_FIELD, f"{what}; raise that first: nodegroup update {group.name} --max-size {size}")]
    if size < group.min_size:
        what = f"{group.name} would have {size} nodes and its min_size is {group.min_size}"
        return [Problem(WORKERS_FIELD, f"{what}; the other node groups have {elsewhere} nodes, shrink one of them")]
    return []


def added(spec: ClusterSpec, nodes: Sequence[Node]) -> tuple[NewNode, ...]:
    """Give the nodes that are missing of what is wanted."""
    return tuple(
        NewNode(group.name, group.role)
        for group in spec.groups
        for _ in range(group.size - len(_living(group.name, nodes)))
    )


def leaving(spec: ClusterSpec, nodes: Sequence[Node]) -> tuple[str, ...]:
    """Give the ids of the nodes that are too many: those without a machine and unhealthy ones first, then the newest.

    Control planes never leave here; that is a matter of their quorum.
    """
    sizes = {group.name: group.size for group in spec.worker_groups}
    names = dict.fromkeys(node.group for node in nodes if node.role is not Role.CONTROL_PLANE)
    gone: list[str] = []
    for name in names:
        living = sorted(_living(name, nodes), key=_order_to_go)
        gone += [node.id for node in living[: max(0, len(living) - sizes.get(name, 0))]]
    return tuple(gone)


def check_control_plane(snapshot: Snapshot) -> None:
    """Raise RequestError (WRONG_STATE) when a cluster has run and no control plane of it is left to be joined."""
    planes = [node for node in snapshot.nodes if node.role is Role.CONTROL_PLANE and node.state in _JOINED]
    if snapshot.cluster.version and not planes:
        raise RequestError(
            Code.WRONG_STATE,
            f"cluster {snapshot.cluster.name} has no control plane any more, and with it all that was in it is "
            "gone: a repair brings back neither; delete it",
        )


def zone_problems(zones: Sequence[str]) -> list[Problem]:
    """Say what is wrong with the zones that nodes are to be spread over."""
    problems = [
        Problem(f"zones[{number}]", f"{zone[:_MAX_SHOWN]!r} is no name of a zone")
        for number, zone in enumerate(zones)
        if not ZONE.fullmatch(zone)
    ]
    if len(zones) > _MAX_ZONES or len(set(zones)) < len(zones):
        problems.append(Problem("zones", f"at most {_MAX_ZONES} zones are allowed, each once"))
    return problems


def _living(group: str, nodes: Sequence[Node]) -> list[Node]:
    return [node for node in nodes if node.group == group and node.state in _FIRST_TO_GO]


def _order_to_go(node: Node) -> tuple[int, int, str]:
    number = node.name.rpartition("-")[2]
    return _FIRST_TO_GO.index(node.state), -int(number) if number.isdigit() else 0, node.name


def _bounds_problems(place: str, least: int, size: int, most: int, defaults: Defaults) -> list[Problem]:
    problems = []
    if least < 0:
        problems.append(Problem(f"{place}min_size", f"{least} is less than none"))
    if most < 1 or most > defaults.max_nodes:
        problems.append(Problem(f"{place}max_size", f"{most} is not possible; 1 to {defaults.max_nodes} is allowed"))
    # What follows from a bound that is wrong itself is nobody's mistake.
    if not problems and least > most:
        problems.append(Problem(f"{place}min_size", f"{least} is more than max_size, which is {most}"))
    elif not problems and not least <= size <= most:
        bounds = f"from min_size, {least}, to max_size, {most}"
        problems.append(Problem(f"{place}desired_size", f"{size} is not {bounds}"))
    return problems
