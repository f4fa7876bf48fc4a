"""The platform of the simulated world."""

import base64
import hashlib
import secrets
import struct
from collections.abc import Callable, Sequence

from kaas.domain.errors import Code, Problem, StepError
from kaas.domain.model import ClusterSpec
from kaas.domain.ports import (
    SELF,
    Condition,
    CredentialFacts,
    CredentialWish,
    EndpointFacts,
    EndpointWish,
    External,
    KeyPairWish,
    Kind,
    MachineFacts,
    MachineWish,
    SecurityGroupWish,
    Wish,
)
from kaas.drivers.simulator.faults import Action, Rule
from kaas.drivers.simulator.records import (
    Balancer,
    Credential,
    Endpoint,
    KeyPair,
    Machine,
    Record,
    SecurityGroup,
    Volume,
)
from kaas.drivers.simulator.world import World

RECORDS: dict[Kind, type[Record]] = {
    Kind.LOAD_BALANCER: Balancer,
    Kind.ENDPOINT: Endpoint,
    Kind.MACHINE: Machine,
    Kind.VOLUME: Volume,
    Kind.SECURITY_GROUP: SecurityGroup,
    Kind.KEY_PAIR: KeyPair,
    Kind.CREDENTIAL: Credential,
}
_KIND_OF = {
    SecurityGroupWish: Kind.SECURITY_GROUP,
    KeyPairWish: Kind.KEY_PAIR,
    EndpointWish: Kind.ENDPOINT,
    MachineWish: Kind.MACHINE,
    CredentialWish: Kind.CREDENTIAL,
}


class SimulatedPlatform:
    """A `Driver`. As on a real one, names are not unique and asking twice makes two."""

    name = "simulator"

    def __init__(self, world: World, *, machine_made: Callable[[], None] = lambda: None) -> None:
        self._world = world
        self._machine_made = machine_made

    async def offers_endpoint(self, *, deadline: float) -> bool:
        """Tell whether there are load balancers."""
        return await self._world.call(
            "driver.offers_endpoint", "", lambda _: self._world.offer.endpoints, deadline=deadline
        )

    async def preflight(self, spec: ClusterSpec, *, deadline: float) -> Sequence[Problem]:
        """Tell what is not offered."""

        def act(_: Rule | None) -> list[Problem]:
            offer = self._world.offer
            problems = []
            if offer.images and spec.image not in offer.images:
                problems.append(Problem("image", f"the platform has no image {spec.image!r}"))
            for number, group in enumerate(spec.groups):
                if offer.instance_types and group.instance_type not in offer.instance_types:
                    message = f"the platform has no instance type {group.instance_type!r}"
                    problems.append(Problem(f"node_groups[{number}].instance_type", message))
            if spec.is_ha and not offer.endpoints:
                problems.append(Problem("ha", "the platform has no load balancers for several control planes"))
            return problems

        return await self._world.call("driver.preflight", spec.vpc_id, act, deadline=deadline)

    async def find(self, kind: Kind, cluster_id: str, *, name: str = "", deadline: float) -> Sequence[External]:
        """Give what the cluster has."""

        def act(rule: Rule | None) -> list[External]:
            if rule is not None and rule.action is Action.EMPTY:
                return []
            self._world.sweep(cluster_id)
            return [self._seen(one) for one in self._world.ground.all(RECORDS[kind], cluster=cluster_id, name=name)]

        return await self._world.call(
            "driver.find", f"{kind} {name}".strip(), act, deadline=deadline, cluster=cluster_id
        )

    async def machine(self, cluster_id: str, machine_id: str, *, deadline: float) -> External | None:
        """Give a machine by its id."""

        def act(rule: Rule | None) -> External | None:
            there = self._world.machine(machine_id)
            if (rule is not None and rule.action is Action.EMPTY) or there is None or there.cluster != cluster_id:
                return None
            return self._seen(there)

        return await self._world.call("driver.machine", machine_id, act, deadline=deadline, cluster=cluster_id)

    async def create(self, cluster_id: str, wish: Wish, *, deadline: float) -> External:
        """Make it, once more each time."""

        def act(rule: Rule | None) -> External:
            made = self._make(cluster_id, wish, rule)
            self._world.ground.put(made)
            return self._seen(made, with_secret=True)

        kind = _KIND_OF[type(wish)]
        made = await self._world.call(
            "driver.create", f"{kind} {wish.name}", act, deadline=deadline, cluster=cluster_id
        )
        if kind is Kind.MACHINE:
            self._machine_made()
        return made

    async def update(self, external: External, wish: Wish, *, deadline: float) -> External:
        """Change rules or targets."""

        def act(_: Rule | None) -> External:
            there = self._world.ground.get(RECORDS[external.kind], external.id)
            if there is None:
                raise StepError(Code.NOT_READY, f"{external.kind} {external.name}: it is not there any more")
            if isinstance(there, SecurityGroup) and isinstance(wish, SecurityGroupWish):
                there.rules = _rules(wish)
                there.members = self._members(there)
            elif isinstance(there, Endpoint) and isinstance(wish, EndpointWish):
                there.targets, there.sources = list(wish.targets), list(wish.sources)
            self._world.ground.put(there)
            return self._seen(there)

        what = f"{external.kind} {external.name}"
        return await self._world.call("driver.update", what, act, deadline=deadline)

    async def delete(self, external: External, *, deadline: float) -> None:
        """Let it go, at once or after a while."""

        def act(_: Rule | None) -> None:
            there = self._world.ground.get(RECORDS[external.kind], external.id)
            if there is None:
                return
            if isinstance(there, SecurityGroup) and any(
                machine.security_group_id == there.id for machine in self._world.machines(there.cluster)
            ):
                raise StepError(Code.PLATFORM_REFUSED, f"security group {there.name}: machines still use it")
            if isinstance(there, (Machine, Endpoint, Balancer, Volume)):
                if there.gone_at is None:
                    there.gone_at = self._world.clock() + self._world.timing.delete_s
                    self._world.ground.put(there)
            else:
                self._world.ground.remove(there)

        what = f"{external.kind} {external.name}"
        await self._world.call("driver.delete", what, act, deadline=deadline)

    def _make(self, cluster_id: str, wish: Wish, rule: Rule | None) -> Record:
        now = self._world.clock()
        number = self._world.ground.next("thing")
        made = self._of(wish, rule, number, now)
        made.id, made.cluster, made.name = f"{_KIND_OF[type(wish)]}-{number:07d}", cluster_id, wish.name
        if isinstance(made, Machine):
            made.host_key = _host_key(made.id)
        return made

    def _of(self, wish: Wish, rule: Rule | None, number: int, now: float) -> Record:
        match wish:
            case MachineWish():
                return self._machine(wish, rule, number, now)
            case EndpointWish():
                if not self._world.offer.endpoints:
                    raise StepError(Code.NOT_OFFERED, f"endpoint {wish.name}: the platform has no load balancers")
                return Endpoint(
                    vpc_id=wish.vpc_id,
                    address=_address(10, number),
                    port=wish.port,
                    targets=list(wish.targets),
                    sources=list(wish.sources),
                    ready_at=now + self._world.timing.endpoint_s,
                )
            case SecurityGroupWish():
                return SecurityGroup(vpc_id=wish.vpc_id, rules=_rules(wish))
            case KeyPairWish():
                if self._world.ground.all(KeyPair, name=wish.name):
                    raise StepError(Code.PLATFORM_REFUSED, f"key pair {wish.name}: there is one of this name already")
                return KeyPair(public_key=wish.public_key)
            case CredentialWish():
                return Credential(secret=secrets.token_urlsafe(24))

    def _machine(self, wish: MachineWish, rule: Rule | None, number: int, now: float) -> Machine:
        if self._world.ground.count(Machine) >= self._world.offer.machines:
            raise StepError(Code.PLATFORM_QUOTA, f"machine {wish.name}: the tenant's quota of instances is used up")
        ground, action = self._world.ground, rule.action if rule else None
        if ground.get(KeyPair, wish.key_pair_id) is None or ground.get(SecurityGroup, wish.security_group_id) is None:
            raise StepError(Code.PLATFORM_REFUSED, f"machine {wish.name}: no such key pair or security group")
        ready_at = now + self._world.timing.machine_s
        return Machine(
            image=wish.image,
            instance_type=wish.instance_type,
            vpc_id=wish.vpc_id,
            zone=wish.zone,
            address=_address(172, number),
            key_pair_id=wish.key_pair_id,
            security_group_id=wish.security_group_id,
            user_data=list(wish.user_data),
            labels=dict(wish.labels),
            host_key="",
            ready_at=ready_at,
            boots_at=None if action is Action.NEVER_BOOT else ready_at + self._world.timing.boot_s,
            failed=rule.message if rule and action is Action.FAIL_MACHINE else "",
            boot_error=rule.message if rule and action is Action.BOOT_ERROR else "",
        )

    def _members(self, group: SecurityGroup) -> list[str]:
        if not any(source == SELF for _, _, _, source in group.rules):
            return []
        return [one.address for one in self._world.machines(group.cluster) if one.security_group_id == group.id]

    def _seen(self, thing: Record, *, with_secret: bool = False) -> External:
        now, kind = self._world.clock(), Kind(thing.kind)
        gone_at = getattr(thing, "gone_at", None)
        condition = Condition.READY if gone_at is None else Condition.LEAVING
        message = ""
        facts: MachineFacts | EndpointFacts | CredentialFacts | None = None
        if isinstance(thing, Machine):
            up = now >= thing.ready_at and not thing.failed
            facts = MachineFacts(address=thing.address if up else "", zone=thing.zone)
            message = thing.failed or ("the machine has stopped" if thing.dead_at is not None else "")
            if gone_at is None and (message or not up):
                condition = Condition.FAILED if message else Condition.PENDING
        elif isinstance(thing, Endpoint):
            up = now >= thing.ready_at
            facts = EndpointFacts(thing.address, thing.port, tuple(thing.targets))
            if gone_at is None and not up:
                condition = Condition.PENDING
        elif isinstance(thing, Credential):
            facts = CredentialFacts(thing.secret if with_secret else "")
        return External(kind, thing.id, thing.name, condition, message, facts, thing.cluster)


def _rules(wish: SecurityGroupWish) -> list[tuple[str, int, int, str]]:
    return [(rule.protocol, rule.port_min, rule.port_max, rule.source) for rule in wish.rules]


def _address(first: int, number: int) -> str:
    return f"{first}.{16 + number // 62500}.{number // 250 % 250}.{number % 250 + 1}"


def _host_key(machine_id: str) -> str:
    kind = b"ssh-ed25519"
    key = hashlib.sha256(machine_id.encode()).digest()
    blob = struct.pack(">I", len(kind)) + kind + struct.pack(">I", len(key)) + key
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"
