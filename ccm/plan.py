"""What is wanted against what is there: the steps to take, and no others (pure).

Nothing is written that is equal already, and a group's listeners and targets are written apart: a hundred new nodes are
one write of targets. Of a load balancer that somebody else has, only our group is touched. What would cost the address
is refused unless the service permits it; until then the targets follow the nodes, and nothing else changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ccm.annotations.row import Policy
from ccm.annotations.table import ADOPT_ID, RECREATE
from ccm.comparing import same_listeners, same_shape, same_targets, transport
from ccm.desired.wanted import Wanted
from ccm.model import Balancer, BalancerState, Listener, NewBalancer, Shape, Target
from ccm.names import CLUSTER_TAG, SERVICE_TAG, SERVICE_UID_TAG
from ccm.notices import Notice, Reason


@dataclass(frozen=True, slots=True)
class Create:
    """Make a load balancer with its first group."""

    new: NewBalancer

    def __str__(self) -> str:
        group = self.new.group
        return f"create load balancer {self.new.name} ({len(group.listeners)} listeners, {len(group.targets)} targets)"


@dataclass(frozen=True, slots=True)
class Modify:
    """Change name, size or tags in place; what is empty stays, an empty tag goes."""

    balancer_id: str
    name: str = ""
    size: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        said = [f"name {self.name}"] if self.name else []
        said += [f"size {self.size}"] if self.size else []
        said += [f"tag {key}={value}" for key, value in sorted(self.tags.items())]
        return f"modify load balancer {self.balancer_id}: {', '.join(said)}"


@dataclass(frozen=True, slots=True)
class PutGroup:
    """Replace a group's listeners, its targets, or both; None leaves a part as it is."""

    balancer_id: str
    name: str
    listeners: tuple[Listener, ...] | None = None
    targets: tuple[Target, ...] | None = None

    def __str__(self) -> str:
        said = [] if self.listeners is None else [f"{len(self.listeners)} listeners"]
        said += [] if self.targets is None else [f"{len(self.targets)} targets"]
        return f"put {' and '.join(said)} of group {self.name} on load balancer {self.balancer_id}"


@dataclass(frozen=True, slots=True)
class DeleteGroup:
    """Take our group away; the load balancer stays."""

    balancer_id: str
    name: str

    def __str__(self) -> str:
        return f"delete group {self.name} of load balancer {self.balancer_id}"


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a load balancer, if it carries the tag."""

    balancer_id: str
    guard: tuple[str, str]

    def __str__(self) -> str:
        return f"delete load balancer {self.balancer_id}"


Step = Create | Modify | PutGroup | DeleteGroup | Delete


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in the order in which they are taken; its text is for logs."""

    steps: tuple[Step, ...] = ()
    refusals: tuple[Notice, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write; something may be refused nevertheless."""
        return not self.steps

    def __str__(self) -> str:
        said = [str(one) for one in self.steps] + [f"refused: {one.text}" for one in self.refusals]
        return "; ".join(said) or "nothing to do"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a service's group should be, and where else it still is."""

    home: Balancer | None
    old: tuple[Balancer, ...] = ()

    @property
    def all(self) -> tuple[Balancer, ...]:
        """The load balancers that the service has, or shall have, something on."""
        return self.old if self.home is None else (self.home, *self.old)


def place(wanted: Wanted, candidates: Sequence[Balancer]) -> Place:
    """Choose among load balancers: those of the service, by tag or group, and the one that it names or shares.

    A load balancer whose owner has no group on it any more was shared, and its owner is gone: the service that is now
    the oldest takes it over. One that is being deleted is none.
    """
    uid = wanted.service_uid
    alive = {one.id: one for one in candidates if one.state is not BalancerState.GOING}
    if wanted.adopt_id:
        home = alive.get(wanted.adopt_id)
    else:
        home = _home(wanted.host_uid or uid, wanted.tags.get(CLUSTER_TAG, ""), tuple(alive.values()))
    others = (one for one in alive.values() if home is None or one.id != home.id)
    return Place(home, tuple(one for one in others if _is_owner(uid, one) or one.group(uid) is not None))


def diff(wanted: Wanted, observed: Balancer | None, *, old: Sequence[Balancer] = ()) -> Plan:
    """Give the steps from what is there to what is wanted.

    `observed` is the load balancer that shall carry the group, `old` others that still do (`place` gives both).
    """
    refusal = _refusal(wanted, observed, old)
    if refusal is not None:
        here = [one for one in (observed, *old) if one is not None]
        return Plan(follow(wanted.service_uid, wanted.group.targets, here).steps, (refusal,))
    leave = tuple(step for one in old for step in _leave(wanted, one))
    if observed is None:
        return Plan((Create(wanted.new), *leave))
    if wanted.is_own and not same_shape(wanted.shape, observed.shape):
        return Plan((*leave, Delete(observed.id, _guard(wanted)), Create(wanted.new)))
    modify = _modify(wanted, observed) if wanted.is_own else ()
    return Plan((*modify, *_put(wanted, observed), *leave))


def follow(uid: str, targets: tuple[Target, ...], balancers: Sequence[Balancer]) -> Plan:
    """Give the steps that let a service's targets follow the nodes and change nothing else."""
    found = ((one, one.group(uid)) for one in balancers)
    return Plan(
        tuple(
            PutGroup(one.id, uid, targets=targets)
            for one, group in found
            if group is not None and not same_targets(targets, group.targets)
        )
    )


def removal(uid: str, cluster_id: str, policy: Policy, balancers: Sequence[Balancer]) -> Plan:
    """Give the steps when a service needs no load balancer any more; `balancers` are all that have something of it."""
    steps: list[Step] = []
    for one in balancers:
        if one.state is BalancerState.GOING:
            continue
        is_ours = one.tags.get(CLUSTER_TAG) == cluster_id
        is_alone = all(group.name == uid for group in one.groups)
        if policy is Policy.ORPHAN and is_alone and _is_owner(uid, one) and is_ours:
            steps.append(Modify(one.id, tags={CLUSTER_TAG: "", SERVICE_UID_TAG: "", SERVICE_TAG: ""}))
        elif policy is Policy.ORPHAN and not is_ours:
            continue
        else:
            steps += _take_away(uid, (CLUSTER_TAG, cluster_id), one)
    return Plan(tuple(steps))


def _home(uid: str, cluster_id: str, alive: Sequence[Balancer]) -> Balancer | None:
    owned = next((one for one in alive if _is_owner(uid, one) and one.tags.get(CLUSTER_TAG) == cluster_id), None)
    if owned is not None:
        return owned
    return next((one for one in alive if one.group(uid) is not None and _is_inherited(one, cluster_id)), None)


def _is_inherited(one: Balancer, cluster_id: str) -> bool:
    return one.tags.get(CLUSTER_TAG) == cluster_id and one.group(one.tags.get(SERVICE_UID_TAG, "")) is None


def _is_owner(uid: str, one: Balancer) -> bool:
    return one.tags.get(SERVICE_UID_TAG) == uid


def _refusal(wanted: Wanted, observed: Balancer | None, old: Sequence[Balancer]) -> Notice | None:
    """Give what stands in the way, if anything does."""
    uid = wanted.service_uid
    problem = _missing(wanted) if observed is None else _unfit(wanted, observed)
    if problem is not None:
        return problem
    left = [one.id for one in old if one.group(uid) is not None]
    if left and (observed is None or observed.group(uid) is None) and not wanted.may_recreate:
        return _needs_recreate(f"its ports would move away from load balancer {left[0]}")
    return None


def _missing(wanted: Wanted) -> Notice | None:
    if wanted.adopt_id:
        text = f"load balancer {wanted.adopt_id}, which annotation {ADOPT_ID.name()} names, does not exist"
        return Notice(text, Reason.CONFLICT, ADOPT_ID.name())
    if wanted.host_uid:
        text = f"the load balancer to be shared, that of the service with uid {wanted.host_uid}, is not there yet"
        return Notice(text, Reason.NOT_SHARED)
    return None


def _unfit(wanted: Wanted, observed: Balancer) -> Notice | None:
    if taken := _taken(wanted, observed):
        return Notice(f"load balancer {observed.id}: {taken}", Reason.CONFLICT)
    if not wanted.is_own:
        is_exposed = wanted.shape.internal and not observed.shape.internal
        text = f"load balancer {observed.id} is public, and the service asks for an internal one"
        return Notice(text, Reason.CONFLICT) if is_exposed else None
    if same_shape(wanted.shape, observed.shape):
        return None
    if any(group.name != wanted.service_uid for group in observed.groups):
        text = f"load balancer {observed.id} cannot be made anew in another shape: other services use it as well"
        return Notice(text, Reason.CONFLICT)
    what = f"load balancer {observed.id} is {_shown(observed.shape)}, wanted is {_shown(wanted.shape)}"
    return None if wanted.may_recreate else _needs_recreate(what)


def _shown(shape: Shape) -> str:
    said = ["internal" if shape.internal else "public", " and ".join(sorted(shape.families))]
    said += [f"at {', '.join(sorted(shape.static_addresses))}"] if shape.static_addresses else []
    said += [f"in network {shape.vpc_id}"] if shape.vpc_id else []
    return " ".join(said)


def _needs_recreate(what: str) -> Notice:
    text = f"{what}; that takes another load balancer, whose address may be another: allow it by annotation "
    return Notice(f"{text}{RECREATE.name()}: allow", Reason.NEEDS_RECREATE, RECREATE.name())


def _taken(wanted: Wanted, observed: Balancer) -> str:
    ours = {(one.port, transport(one)) for one in wanted.group.listeners}
    for group in observed.groups:
        for one in group.listeners:
            if group.name != wanted.service_uid and (one.port, transport(one)) in ours:
                return f"{transport(one)} port {one.port} is taken by group {group.name}"
    return ""


def _modify(wanted: Wanted, observed: Balancer) -> tuple[Modify, ...]:
    name = wanted.name if wanted.name != observed.name else ""
    size = wanted.size if wanted.size != observed.size else ""
    tags = {key: value for key, value in wanted.tags.items() if observed.tags.get(key) != value}
    return (Modify(observed.id, name, size, tags),) if name or size or tags else ()


def _put(wanted: Wanted, observed: Balancer) -> tuple[PutGroup, ...]:
    there, group = observed.group(wanted.group.name), wanted.group
    if there is None:
        return (PutGroup(observed.id, group.name, group.listeners, group.targets),)
    listeners = None if same_listeners(group.listeners, there.listeners) else group.listeners
    targets = None if same_targets(group.targets, there.targets) else group.targets
    if listeners is None and targets is None:
        return ()
    return (PutGroup(observed.id, group.name, listeners, targets),)


def _guard(wanted: Wanted) -> tuple[str, str]:
    return (CLUSTER_TAG, wanted.tags[CLUSTER_TAG])


def _leave(wanted: Wanted, old: Balancer) -> tuple[Step, ...]:
    return _take_away(wanted.service_uid, _guard(wanted), old)


def _take_away(uid: str, guard: tuple[str, str], one: Balancer) -> tuple[Step, ...]:
    others = any(group.name != uid for group in one.groups)
    is_ours = one.tags.get(guard[0]) == guard[1]
    # A load balancer that was shared may have lost its owner already; its last user deletes it.
    if is_ours and not others and (_is_owner(uid, one) or one.group(uid) is not None):
        return (Delete(one.id, guard),)
    return (DeleteGroup(one.id, uid),) if one.group(uid) is not None else ()
