"""The plan of what makes, grows, shrinks and repairs a cluster: what is there already is found and left alone."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from kaas.domain import names
from kaas.domain.firewall import EVERYBODY
from kaas.domain.model import Node, Snapshot
from kaas.domain.states import NodeState, OperationKind
from kaas.kube.addons import ccm, cni, csi, rbac
from kaas.reconcile.plans.members import GONE, INIT, MACHINE, Members, members_of
from kaas.reconcile.schedule import PlanError
from kaas.reconcile.step import Step
from kaas.reconcile.steps import addons, endpoint, ground, leave, machine, nodes, ready
from kaas.reconcile.steps.base import Recipe

MINUTE_S = 60.0
_RULES = "security-group-rules"


@dataclass(slots=True)
class _Draft:
    """A plan as it grows; `members` and `recipe` are what it grows from."""

    snapshot: Snapshot
    members: Members
    recipe: Recipe
    addons: addons.Addons
    steps: list[Step] = field(default_factory=list)
    aimed: frozenset[str] = frozenset()
    """The step that says last so far where the endpoint leads."""

    def add(self, step: Step) -> str:
        self.steps.append(step)
        return step.key

    @property
    def is_narrow(self) -> bool:
        """Whether the endpoint lets in only some: machines that join are named to it, so it has to know them."""
        return EVERYBODY not in self.snapshot.cluster.spec.access.api

    @property
    def repairs(self) -> bool:
        """Whether what is there already is looked after, too."""
        operation = self.snapshot.operation
        is_repair = operation is not None and operation.kind is OperationKind.REPAIR
        return is_repair and not self.members.initialises and bool(self.members.planes)

    @property
    def installs(self) -> bool:
        """Whether what every cluster has inside is put there, or put right."""
        return self.members.initialises or self.repairs


@dataclass(frozen=True, slots=True)
class _Base:
    """Keys of what stands before the machines."""

    place: machine.Place
    endpoint: str
    credential: str
    ready_for_machines: frozenset[str]


def build(snapshot: Snapshot, recipe: Recipe, shipped: addons.Addons) -> tuple[Step, ...]:
    """Give the steps of a create, a scale or a repair."""
    draft = _Draft(snapshot, members_of(snapshot), recipe, shipped)
    base = _base(draft)
    running = _running(draft, base)
    left = _leave(draft, base, running)
    joined = _come(draft, base, running, left)
    finish = {*joined, *left, *running}
    if draft.installs:
        finish |= _install(draft, base, joined if draft.members.initialises else running)
    _end(draft, base, frozenset(finish))
    return tuple(draft.steps)


def _base(draft: _Draft) -> _Base:
    cluster = draft.snapshot.cluster
    group = f"security-group/{names.security_group(cluster.name)}"
    pair = f"key-pair/{names.key_pair(cluster.name, cluster.id)}"
    at = f"endpoint/{names.endpoint(cluster.name, cluster.id)}"
    access = f"credential/{names.credential(cluster.name, cluster.id)}"
    first: frozenset[str] = frozenset()
    if draft.members.initialises:
        first = frozenset({draft.add(ground.Preflight(key="preflight", deadline_s=5 * MINUTE_S))})
    made = frozenset({draft.add(ground.Secrets(key="secrets", needs=first))})
    draft.add(ground.SecurityGroup(key=group, needs=first))
    draft.add(ground.KeyPair(key=pair, needs=made))
    draft.add(endpoint.Endpoint(key=at, needs=first, poll_s=draft.recipe.poll_s))
    if draft.installs:
        # One that is made anew takes the place of the one inside, so that it is made only where it is put there too.
        draft.add(ground.Credential(key=access, needs=first))
    return _Base(machine.Place(security_group=group, key_pair=pair), at, access, frozenset({group, pair}))


def _running(draft: _Draft, base: _Base) -> set[str]:
    """Take care that the API of a cluster that ran before answers, since all that follows goes through it."""
    members = draft.members
    if members.initialises or not members.planes:
        return set()
    needs = {"secrets"}
    if draft.repairs:
        needs.add(_rules(draft, base, frozenset()))
        here = (*members.planes, *members.leaving_planes)
        needs.add(_targets(draft, base, "endpoint-targets", here, needs=(), leaving=members.leaving_planes))
    up = nodes.Restart(
        key="api-server",
        needs=frozenset(needs),
        planes=tuple(node.name for node in members.planes),
        recipe=draft.recipe,
        deadline_s=10 * MINUTE_S,
    )
    return {draft.add(up)}


def _leave(draft: _Draft, base: _Base, running: set[str]) -> set[str]:
    """Let nodes go: workers side by side, control planes one after the other, and never fewer than a quorum."""
    members, done = draft.members, set[str]()
    if members.initialises:
        return {_gone(draft, node, frozenset({"secrets"}), has_api=False) for node in members.leaving}
    for node in members.leaving_workers:
        done.add(_gone(draft, node, frozenset({_drained(draft, node, frozenset({"secrets", *running}))})))
    here = [*members.planes, *members.leaving_planes]
    before = frozenset({"secrets", *running})
    for node in members.leaving_planes:
        here.remove(node)
        drained = _drained(draft, node, before)
        if not here:
            raise PlanError(f"{node.name} is the last control plane, and all of the cluster is in its etcd")
        next_ones = [one for one in here if one in members.leaving_planes]
        aimed = _targets(draft, base, f"endpoint-targets/without-{node.name}", here, needs={drained}, leaving=next_ones)
        out = leave.LeaveEtcd(
            key=f"etcd/{node.name}",
            needs=frozenset({aimed}),
            node=node.name,
            others=tuple(one.name for one in here),
            deadline_s=15 * MINUTE_S,
        )
        before = frozenset({_gone(draft, node, frozenset({draft.add(out)}))})
    return done | (set(before) if members.leaving_planes else set())


def _come(draft: _Draft, base: _Base, running: set[str], left: set[str]) -> set[str]:
    """Let nodes come: machines all at once, control planes one after the other, workers as soon as there is an API."""
    members = draft.members
    if not members.new:
        if members.leaving and not draft.repairs:
            _rules(draft, base, frozenset(left))
        return set()
    machines = frozenset(_machine(draft, base, node) for node in members.new)
    # A node's name leads to its machine also while the ones before it go; rules name whom the group lets in.
    rules = _RULES if draft.repairs else _rules(draft, base, machines)
    joins: set[str] = set()
    before = frozenset({rules, *running, *(f"{GONE}/{node.name}" for node in members.leaving_planes)})
    before |= machines
    here = list(members.planes)
    planes = list(members.new_planes)
    if members.initialises and planes:
        first = planes.pop(0)
        here.append(first)
        known = machines if draft.is_narrow else frozenset()
        aimed = _targets(draft, base, f"endpoint-targets/{first.name}", here, needs={f"boot/{first.name}", *known})
        init = nodes.Init(
            key=f"{INIT}/{first.name}",
            needs=frozenset({aimed, f"boot/{first.name}", rules}),
            deadline_s=20 * MINUTE_S,
            node=first.name,
            recipe=draft.recipe,
            place=base.place,
            machine=f"{MACHINE}/{first.name}",
        )
        before = frozenset({draft.add(init), rules})
        joins |= before
    elif draft.is_narrow:
        before |= {_targets(draft, base, "endpoint-targets/machines", here, needs=before)}
    joins |= {_join(draft, base, node, before) for node in members.new_workers}
    for node in planes:
        joined = _join(draft, base, node, before)
        here.append(node)
        before = frozenset({rules, _targets(draft, base, f"endpoint-targets/{node.name}", here, needs={joined})})
        joins |= {joined, *before}
    return joins


def _install(draft: _Draft, base: _Base, joined: Iterable[str]) -> set[str]:
    """Put in what every cluster has, as soon as there is an API to put it into."""
    api = frozenset(key for key in joined if key.startswith(f"{INIT}/") or key == "api-server")
    spec = draft.snapshot.cluster.spec
    given = {"version": spec.version, "cni": spec.cni.value, "nodes": sum(group.size for group in spec.groups) > 1}
    access = api | {base.credential}
    kinds: tuple[tuple[type[addons.Addon], str, frozenset[str]], ...] = (
        (addons.Network, cni.ADDON, api),
        (addons.Roles, rbac.ADDON, api),
        (addons.Cloud, ccm.ADDON, access),
        (addons.Storage, csi.ADDON, access),
    )
    return {
        draft.add(
            kind(
                key=name,
                needs=needs,
                addons=draft.addons,
                inputs=given,
                # What has just been made holds nothing of an earlier version.
                prunes="" if draft.members.initialises else name,
            )
        )
        for kind, name, needs in kinds
    }


def _end(draft: _Draft, base: _Base, finish: frozenset[str]) -> None:
    staying = tuple(node.name for node in draft.members.staying)
    new = tuple(node.name for node in draft.members.new)
    settled = ready.Ready(
        key="ready",
        needs=finish | {"secrets"},
        inputs={"nodes": list(staying)},
        deadline_s=20 * MINUTE_S,
        new=new,
        staying=staying,
        whole=draft.members.initialises,
        addons=draft.addons,
        recipe=draft.recipe,
        place=base.place,
    )
    draft.add(settled)
    if new:
        draft.add(ready.Seal(key="seal", needs=frozenset({"ready"}), nodes=new, deadline_s=10 * MINUTE_S))


def _machine(draft: _Draft, base: _Base, node: Node) -> str:
    recipe = draft.recipe
    key = draft.add(
        machine.Machine(
            key=f"{MACHINE}/{node.name}",
            needs=base.ready_for_machines,
            deadline_s=15 * MINUTE_S,
            node=node.name,
            recipe=recipe,
            place=base.place,
        )
    )
    boot = machine.Boot(
        key=f"boot/{node.name}",
        needs=frozenset({key, *base.ready_for_machines}),
        deadline_s=2 * recipe.silent_after_s + 10 * MINUTE_S,
        node=node.name,
        recipe=recipe,
        place=base.place,
        machine=key,
    )
    draft.add(boot)
    return key


def _join(draft: _Draft, base: _Base, node: Node, before: Iterable[str]) -> str:
    join = nodes.Join(
        key=f"join/{node.name}",
        needs=frozenset({*before, f"boot/{node.name}"}),
        # A machine that was made anew after it had joined joins again.
        inputs={"machine": node.instance_id},
        deadline_s=25 * MINUTE_S,
        node=node.name,
        recipe=draft.recipe,
        place=base.place,
        machine=f"{MACHINE}/{node.name}",
    )
    return draft.add(join)


def _rules(draft: _Draft, base: _Base, needs: frozenset[str]) -> str:
    """Let the group's rules follow its machines: what names them in a rule has to be written again when they change."""
    machines = sorted(node.instance_id for node in draft.members.staying if node.instance_id)
    gone = [node.name for node in draft.members.leaving if node.state is NodeState.GONE]
    step = ground.SecurityGroupRules(
        key=_RULES,
        needs=needs | {base.place.security_group},
        inputs={"machines": machines, "gone": gone, "access": repr(draft.snapshot.cluster.spec.access)},
    )
    return draft.add(step)


def _targets(
    draft: _Draft, base: _Base, key: str, planes: Sequence[Node], *, needs: Iterable[str], leaving: Sequence[Node] = ()
) -> str:
    step = endpoint.EndpointTargets(
        key=key,
        # One after the other: when something changes for all of them, the last one has the last word.
        needs=frozenset({*needs, *draft.aimed, base.endpoint}),
        inputs={
            "machines": _places(planes),
            "sources": sorted(draft.snapshot.cluster.spec.access.api),
            "let_in": _places(draft.members.staying) if draft.is_narrow else [],
        },
        endpoint=base.endpoint,
        planes=tuple(node.name for node in planes),
        leaving=tuple(node.name for node in leaving),
        poll_s=draft.recipe.poll_s,
    )
    draft.aimed = frozenset({draft.add(step)})
    return step.key


def _places(nodes: Iterable[Node]) -> list[str]:
    return sorted(f"{node.instance_id} {node.address}" for node in nodes if node.instance_id)


def _drained(draft: _Draft, node: Node, needs: frozenset[str]) -> str:
    deadline_s = draft.recipe.drain_s + 2 * MINUTE_S
    return draft.add(
        leave.Drain(key=f"drain/{node.name}", needs=needs, deadline_s=deadline_s, node=node.name, recipe=draft.recipe)
    )


def _gone(draft: _Draft, node: Node, needs: frozenset[str], *, has_api: bool = True) -> str:
    if has_api:
        dropped = leave.DropNode(
            key=f"node/{node.name}", needs=needs, deadline_s=10 * MINUTE_S, node=node.name, recipe=draft.recipe
        )
        needs = frozenset({draft.add(dropped)})
    gone = leave.DropMachine(
        key=f"{GONE}/{node.name}",
        needs=needs,
        deadline_s=20 * MINUTE_S,
        node=node.name,
        recipe=draft.recipe,
        has_api=has_api,
    )
    return draft.add(gone)
