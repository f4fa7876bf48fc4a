"""From a request and what is known of a cluster to the `Change` that is stored, or to all that is wrong with it.

Pure: the store calls these decisions with a snapshot that it holds locked. Does not belong here: who may ask
(`policy`), and the ranges and labels themselves (`networks`, `labels`).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NoReturn

from kaas.domain import groups
from kaas.domain.breaker import by_hand
from kaas.domain.catalogue import Catalogue, Offer
from kaas.domain.errors import Code, Problem, RequestError
from kaas.domain.groups import WORKERS_FIELD
from kaas.domain.model import (
    CONTROL_PLANE_GROUP,
    DEFAULT_GROUP,
    Access,
    ClusterSpec,
    Cni,
    Event,
    GroupSpec,
    Role,
    Snapshot,
)
from kaas.domain.names import CLUSTER_NAME
from kaas.domain.networks import check_networks, room_problem, source_problem
from kaas.domain.states import ALLOWED, SUPERSEDES, ClusterStatus, OperationKind
from kaas.domain.store import Amounts, Change
from kaas.domain.versions import parse_version
from kaas.domain.wanted import DELETE_VOLUMES, HA_CONTROL_PLANES, CreateRequest, Defaults, GroupRequest, GroupUpdate

Decide = Callable[[Snapshot], Change]
_MAX_SHOWN = 80
_LEAST_VCPUS = 2
_LEAST_MEMORY_MB = 1700
"""What kubeadm asks of a control plane."""
_MAX_SOURCES = 32


class Rules:
    """Decides on requests, by what is offered and what holds by default."""

    def __init__(self, catalogue: Catalogue, defaults: Defaults) -> None:
        """Check that the defaults are offered themselves; raises ValueError when not."""
        problems: list[Problem] = []
        self._catalogue = catalogue
        self._defaults = defaults
        offer = self._offer("", problems)
        self._cni("", offer, problems)
        self._control_plane(CreateRequest(name=""), problems)
        problems += groups.type_problems(catalogue, "worker_type", defaults.worker_type)
        if problems:
            text = "; ".join(f"{problem.field}: {problem.message}" for problem in problems)
            raise ValueError(f"the defaults of new clusters are not offered: {text}")

    def create(self, request: CreateRequest, *, vpc_range: str = "") -> Change:
        """Decide on a new cluster. Raises RequestError (INVALID) with all problems."""
        problems: list[Problem] = []
        if problem := name_problem(request.name):
            problems.append(Problem("name", problem))
        vpc_id = self.vpc_of(request)
        if not vpc_id:
            problems.append(Problem("vpc_id", "a VPC is needed; give the id of one of yours"))
        elif request.vpc_id and not groups.looks_like_id(request.vpc_id):
            problems.append(Problem("vpc_id", f"{vpc_id[:_MAX_SHOWN]!r} is no id; `cloud vpc list` shows yours"))
        offer = self._offer(request.version, problems)
        cni = self._cni(request.cni, offer, problems)
        all_groups = (self._control_plane(request, problems), *self._workers(request, problems))
        nodes = sum(group.size for group in all_groups)
        pod_cidr = request.pod_cidr or self._defaults.pod_cidr
        service_cidr = request.service_cidr or self._defaults.service_cidr
        others = {"the VPC's range": vpc_range, "the network of the nodes": self._defaults.node_network}
        problems += self._size_problems(WORKERS_FIELD, nodes)
        # A number that is refused anyhow would only be refused once more, as a range that is too small for it.
        counted = 0 if any(problem.field == WORKERS_FIELD for problem in problems) else nodes
        problems += check_networks(pod_cidr, service_cidr, nodes=counted, others=others)
        problems += _access_problems(request.access) + groups.zone_problems(request.zones)
        if problems or offer is None or cni is None:
            refuse("the cluster cannot be created", problems)
        spec = ClusterSpec(
            version=str(offer.version),
            vpc_id=vpc_id,
            pod_cidr=pod_cidr,
            service_cidr=service_cidr,
            cni=cni,
            image=offer.image,
            groups=all_groups,
            network_isolation=request.network_isolation,
            access=request.access,
            zones=request.zones,
        )
        return Change(
            kind=OperationKind.CREATE,
            spec=spec,
            deadline_s=self._defaults.deadlines_s[OperationKind.CREATE],
            add=groups.added(spec, ()),
            usage=self.usage(spec),
            events=(_asked(OperationKind.CREATE, spec),),
        )

    def vpc_of(self, request: CreateRequest) -> str:
        """Give the VPC that a cluster would be in; empty when none is named and there is no default."""
        return request.vpc_id or self._defaults.vpc_id

    def is_worth_a_look(self, request: CreateRequest) -> bool:
        """Tell whether the platform can be asked for the VPC of a request; what is no id is refused without it."""
        vpc_id = self.vpc_of(request)
        return bool(vpc_id) and self._may_be_vpc(vpc_id)

    def scale(self, workers: int) -> Decide:
        """Decide on so many workers in all; the default group takes the difference."""

        def decide(snapshot: Snapshot) -> Change:
            check_moment(snapshot, OperationKind.SCALE)
            spec = snapshot.cluster.spec
            elsewhere = sum(group.size for group in spec.worker_groups if group.name != DEFAULT_GROUP)
            group = groups.find(spec, DEFAULT_GROUP)
            problems = groups.scale_problems(group, workers, elsewhere)
            problems += self._size_problems(WORKERS_FIELD, spec.control_plane.size + workers)
            if problems:
                refuse(f"cluster {snapshot.cluster.name} cannot have {workers} workers", problems)
            return self._regrouped(snapshot, dataclasses.replace(group, size=workers - elsewhere), WORKERS_FIELD)

        return decide

    def create_group(self, request: GroupRequest) -> Decide:
        """Decide on one more node group."""

        def decide(snapshot: Snapshot) -> Change:
            check_moment(snapshot, OperationKind.SCALE)
            cluster = snapshot.cluster
            problems: list[Problem] = []
            group = groups.wanted(request, self._defaults, self._catalogue, problems)
            if problem := groups.name_problem(cluster.name, request.name):
                problems.append(Problem("name", problem))
            if problems:
                refuse(f"the node group cannot be added to cluster {cluster.name}", problems)
            if len(cluster.spec.groups) > groups.MAX_GROUPS:
                refuse("the node group cannot be added", [Problem("name", groups.TOO_MANY)])
            if any(other.name == request.name for other in cluster.spec.groups):
                raise RequestError(
                    Code.NAME_TAKEN, f"cluster {cluster.name} has a node group {request.name}; choose another name"
                )
            return self._regrouped(snapshot, group, "desired_size")

        return decide

    def update_group(self, name: str, update: GroupUpdate) -> Decide:
        """Decide on other sizes of a node group."""

        def decide(snapshot: Snapshot) -> Change:
            check_moment(snapshot, OperationKind.SCALE)
            old = groups.existing(snapshot, name)
            problems: list[Problem] = []
            new = groups.updated(old, update, self._defaults, problems)
            others = [group for group in snapshot.cluster.spec.worker_groups if group.name != name]
            if not problems and new.size + sum(group.size for group in others) < 1:
                problems.append(Problem("desired_size", "the cluster would have no worker; one has to stay"))
            if problems:
                refuse(f"node group {name} of cluster {snapshot.cluster.name} cannot be changed", problems)
            return self._regrouped(snapshot, new, "desired_size")

        return decide

    def delete_group(self, name: str) -> Decide:
        """Decide on the end of a node group; the default one stays (platform contract 15.2)."""

        def decide(snapshot: Snapshot) -> Change:
            check_moment(snapshot, OperationKind.SCALE)
            groups.existing(snapshot, name)
            if name == DEFAULT_GROUP:
                raise RequestError(
                    Code.INVALID, f"node group {name} cannot be deleted; give it another size, or delete the cluster"
                )
            spec = snapshot.cluster.spec
            left = tuple(group for group in spec.groups if group.name != name)
            if not any(group.size for group in left if group.role is Role.WORKER):
                raise RequestError(
                    Code.INVALID,
                    f"without node group {name} the cluster would have no worker; scale {DEFAULT_GROUP} up",
                )
            return self._change(snapshot, OperationKind.SCALE, dataclasses.replace(spec, groups=left))

        return decide

    def repair(self) -> Decide:
        """Decide on a repair: what is wanted stays, and what is missing of it is added.

        Nodes that are unhealthy are replaced only where that is not done by itself now (`kaas.domain.breaker`).
        """

        def decide(snapshot: Snapshot) -> Change:
            check_moment(snapshot, OperationKind.REPAIR)
            groups.check_control_plane(snapshot)
            return by_hand(snapshot, self._change(snapshot, OperationKind.REPAIR, snapshot.cluster.spec))

        return decide

    def delete(self, *, volumes: bool = False) -> Decide:
        """Decide on the end of a cluster. Its share of the quota is kept until the store removes it."""

        def decide(snapshot: Snapshot) -> Change:
            check_moment(snapshot, OperationKind.DELETE)
            begun = {} if snapshot.operation is None else snapshot.operation.arguments
            if volumes and begun.get(DELETE_VOLUMES) is False:
                raise RequestError(Code.WRONG_STATE, "volumes are kept by the delete under way; its events name them")
            spec = snapshot.cluster.spec
            return Change(
                kind=OperationKind.DELETE,
                spec=spec,
                deadline_s=self._defaults.deadlines_s[OperationKind.DELETE],
                usage=self.usage(spec),
                arguments={DELETE_VOLUMES: volumes},
                events=(_asked(OperationKind.DELETE, spec),),
            )

        return decide

    def usage(self, spec: ClusterSpec) -> Amounts:
        """Tell what a cluster uses of its tenant's quota; a type that is not offered any more counts as nothing."""
        kinds = [(group.size, self._catalogue.instance_type(group.instance_type)) for group in spec.groups]
        return Amounts(
            clusters=1,
            nodes=sum(size for size, _ in kinds),
            vcpus=sum(size * kind.vcpus for size, kind in kinds if kind is not None),
            memory_mb=sum(size * kind.memory_mb for size, kind in kinds if kind is not None),
        )

    def _regrouped(self, snapshot: Snapshot, group: GroupSpec, field: str) -> Change:
        spec = snapshot.cluster.spec
        kept = tuple(group if other.name == group.name else other for other in spec.groups)
        spec = dataclasses.replace(spec, groups=kept if group in kept else (*kept, group))
        nodes = sum(other.size for other in spec.groups)
        problems = self._size_problems(field, nodes)
        if problem := room_problem(spec.pod_cidr, nodes):
            problems.append(Problem(field, problem))
        if problems:
            refuse(f"cluster {snapshot.cluster.name} cannot have {nodes} nodes", problems)
        return self._change(snapshot, OperationKind.SCALE, spec)

    def _change(self, snapshot: Snapshot, kind: OperationKind, spec: ClusterSpec) -> Change:
        return Change(
            kind=kind,
            spec=spec,
            deadline_s=self._defaults.deadlines_s[kind],
            add=groups.added(spec, snapshot.nodes),
            leave=groups.leaving(spec, snapshot.nodes),
            usage=self.usage(spec),
            events=(_asked(kind, spec),),
        )

    def _may_be_vpc(self, vpc_id: str) -> bool:
        return vpc_id == self._defaults.vpc_id or groups.looks_like_id(vpc_id)

    def _offer(self, text: str, problems: list[Problem]) -> Offer | None:
        try:
            version = parse_version(text or self._defaults.version)
        except ValueError as error:
            problems.append(Problem("version", str(error)))
            return None
        offer = self._catalogue.offer(version)
        if offer is None:
            offered = ", ".join(self._catalogue.versions)
            problems.append(Problem("version", f"{version} is not offered; there is {offered}"))
        return offer

    def _cni(self, text: str, offer: Offer | None, problems: list[Problem]) -> Cni | None:
        wanted = text or self._defaults.cni.value
        if wanted not in list(Cni):
            names = ", ".join(cni.value for cni in Cni)
            problems.append(Problem("cni", f"{wanted[:_MAX_SHOWN]!r} is no pod network; there is {names}"))
            return None
        cni = Cni(wanted)
        if offer is not None and not offer.has(cni):
            held = ", ".join(other.value for other in Cni if offer.has(other))
            problems.append(Problem("cni", f"{cni.value} is not offered with {offer.version}; there is {held}"))
        return cni

    def _control_plane(self, request: CreateRequest, problems: list[Problem]) -> GroupSpec:
        name = request.control_plane_type or self._defaults.control_plane_type
        size = HA_CONTROL_PLANES if request.ha else 1
        problems += groups.type_problems(self._catalogue, "control_plane_type", name)
        kind = self._catalogue.instance_type(name)
        if kind is not None and (kind.vcpus < _LEAST_VCPUS or kind.memory_mb < _LEAST_MEMORY_MB):
            least = f"{_LEAST_VCPUS} CPUs and {_LEAST_MEMORY_MB} MB of memory"
            problems.append(
                Problem("control_plane_type", f"{name} is too small for a control plane, which needs {least}")
            )
        return GroupSpec(
            name=CONTROL_PLANE_GROUP,
            role=Role.CONTROL_PLANE,
            size=size,
            min_size=size,
            max_size=size,
            instance_type=name,
        )

    def _workers(self, request: CreateRequest, problems: list[Problem]) -> list[GroupSpec]:
        size = self._defaults.workers if request.workers is None else request.workers
        if size < 1:
            problems.append(Problem(WORKERS_FIELD, f"{size} is too few; a cluster needs a worker"))
        kind = request.worker_type or self._defaults.worker_type
        problems += groups.type_problems(self._catalogue, "worker_type", kind)
        most = max(size, self._defaults.group_max_size)
        made = [
            GroupSpec(name=DEFAULT_GROUP, role=Role.WORKER, size=size, min_size=1, max_size=most, instance_type=kind)
        ]
        taken = {DEFAULT_GROUP, CONTROL_PLANE_GROUP}
        if len(request.node_groups) >= groups.MAX_GROUPS:
            problems.append(Problem("node_groups", groups.TOO_MANY))
        for number, wanted in enumerate(request.node_groups):
            place = f"node_groups[{number}]."
            made.append(groups.wanted(wanted, self._defaults, self._catalogue, problems, place=place))
            if problem := groups.name_problem(request.name, wanted.name):
                problems.append(Problem(f"{place}name", problem))
            elif wanted.name in taken:
                problems.append(Problem(f"{place}name", f"there is a node group {wanted.name} already"))
            taken.add(wanted.name)
        return made

    def _size_problems(self, field: str, nodes: int) -> list[Problem]:
        most = self._defaults.max_nodes
        return [Problem(field, f"{nodes} nodes are too many; a cluster has at most {most}")] if nodes > most else []


def name_problem(name: str) -> str:
    """Say why a cluster cannot be called so; empty when it can."""
    if not CLUSTER_NAME.fullmatch(name):
        return (
            f"{name[:_MAX_SHOWN]!r} is no name of a cluster: lower-case letters, digits and `-`, "
            "at most 40 characters, a letter first and no `-` at the end"
        )
    if groups.looks_like_id(name):
        return f"{name!r} looks like an id, so that nobody could tell which of the two is meant; choose another name"
    return ""


def check_moment(snapshot: Snapshot, kind: OperationKind) -> None:
    """Raise RequestError (WRONG_STATE) when a cluster's status or its running operation forbids one of this kind.

    Deleting what is being deleted is no error; the store gives the operation that does it.
    """
    cluster, running = snapshot.cluster, snapshot.operation
    if cluster.status not in ALLOWED[kind]:
        hint = _WHAT_NOW.get(cluster.status, "wait until it is running")
        raise RequestError(
            Code.WRONG_STATE, f"cluster {cluster.name} is {cluster.status.value}, which allows no {kind.value}; {hint}"
        )
    is_again = running is not None and running.kind is kind is OperationKind.DELETE
    if running is not None and not is_again and running.kind not in SUPERSEDES[kind]:
        raise RequestError(
            Code.WRONG_STATE,
            f"cluster {cluster.name} has a {running.kind.value} under way (operation {running.id}), "
            f"which allows no {kind.value}; wait for its end",
        )


_WHAT_NOW = {
    ClusterStatus.FAILED: "repair it, or delete it",
    ClusterStatus.DELETING: "it cannot be kept any more",
}


def refuse(message: str, problems: Sequence[Problem]) -> NoReturn:
    """Raise RequestError (INVALID) with all problems, one for each field, and the first one in its text."""
    of_fields: dict[str, Problem] = {}
    for problem in problems:
        of_fields.setdefault(problem.field, problem)
    told = tuple(of_fields.values())
    first = f": {told[0].field}: {told[0].message}" if told else ""
    more = f" (and {len(told) - 1} more)" if len(told) > 1 else ""
    raise RequestError(Code.INVALID, f"{message}{first}{more}", problems=told)


def _asked(kind: OperationKind, spec: ClusterSpec) -> Event:
    """Tell that somebody asked; the store fills in which cluster, and who."""
    sizes = ", ".join(f"{group.name} {group.size}" for group in spec.groups)
    wanted = "" if kind is OperationKind.DELETE else f"; wanted: {spec.version}, {sizes}"
    return Event("", f"{kind.name}_REQUESTED", f"{kind.value} was asked for{wanted}")


def _access_problems(access: Access) -> list[Problem]:
    problems = []
    for field, sources in (("access.api", access.api), ("access.node_ports", access.node_ports)):
        if len(sources) > _MAX_SOURCES:
            problems.append(Problem(field, f"there are {len(sources)} ranges; {_MAX_SOURCES} are allowed"))
        for number, source in enumerate(sources):
            if problem := source_problem(source):
                problems.append(Problem(f"{field}[{number}]", problem))
    if not access.api:
        problems.append(Problem("access.api", "without a range nobody could reach the cluster; leave it out for all"))
    return problems
