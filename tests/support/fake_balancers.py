"""Load balancers of the platform in memory; see tests/support/fake_cloud.py and docs/platform-network.md."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ccm.model import (
    Balancer,
    BalancerAddress,
    BalancerState,
    Group,
    Listener,
    NewBalancer,
    Protocol,
    Shape,
    Target,
)
from ccm.names import CLUSTER_TAG
from ccm.ports import BalancerOffer, Cause, CloudError

if TYPE_CHECKING:
    from tests.support.fake_cloud import Faults

FULL_OFFER = BalancerOffer(
    protocols=frozenset({"tcp", "udp", "http", "https", "tls"}), families=frozenset({"ipv4", "ipv6"})
)
STRICT_OFFER = BalancerOffer(
    protocols=frozenset({"http"}),
    listeners_per_balancer=1,
    has_addresses=False,
    has_health_checks=False,
    has_source_ranges=False,
    has_proxy_protocol=False,
    has_sticky=False,
    has_static_addresses=False,
    has_internal=False,
    has_sizes=False,
    has_certificates=False,
    has_transparent=False,
    has_shared=False,
    has_listener_options=False,
)
MAX_KEY = 64


class FakeBalancers:
    """Load balancers; `all` may be changed by a test as somebody else's doing."""

    def __init__(
        self,
        faults: "Faults",
        cluster_id: str,
        has_instance: Callable[[str], bool],
        has_certificate: Callable[[str], bool],
    ) -> None:
        self.all: dict[str, Balancer] = {}
        self.offered = FULL_OFFER
        self.activates = True
        """Whether a new one is ACTIVE at the next read; else it stays CREATING until `turn`."""
        self.static_addresses: dict[str, str] = {}
        """The tenant's elastic IPs, with the id of the load balancer that has each, or an empty text."""
        self._faults = faults
        self._cluster_id = cluster_id
        self._has_instance = has_instance
        self._has_certificate = has_certificate
        self._by_key: dict[str, tuple[str, NewBalancer]] = {}
        self._listed: tuple[float, tuple[Balancer, ...]] | None = None
        self._made = 0

    def turn(self, balancer_id: str, state: BalancerState, reason: str = "") -> None:
        """Put one into another state."""
        self.all[balancer_id] = replace(self.all[balancer_id], state=state, state_reason=reason)

    def forget_instance(self, instance_id: str) -> None:
        """Take a terminated instance out of every group."""
        for balancer in list(self.all.values()):
            groups = tuple(
                replace(group, targets=tuple(one for one in group.targets if one.instance_id != instance_id))
                for group in balancer.groups
            )
            self._store(balancer, replace(balancer, groups=groups))

    async def offer(self, *, deadline: float) -> BalancerOffer:
        """As `ccm.ports.CloudBalancers.offer`."""
        await self._faults.before("offer", "", deadline)
        return self.offered

    async def mine(self, *, max_age_s: float, deadline: float) -> Sequence[Balancer]:
        """As `ccm.ports.CloudBalancers.mine`."""
        asked_at = self._faults.clock()
        if self._listed and max_age_s > 0 and asked_at - self._listed[0] <= max_age_s:
            return self._listed[1]
        await self._faults.before("balancers", "", deadline)
        found = tuple(one for one in self.all.values() if one.tags.get(CLUSTER_TAG) == self._cluster_id)
        self._faults.after("balancers", "")
        self._listed = (asked_at, found)
        return found

    async def get(self, balancer_id: str, *, deadline: float) -> Balancer | None:
        """As `ccm.ports.CloudBalancers.get`."""
        await self._faults.before("get", balancer_id, deadline)
        return self.all.get(balancer_id)

    async def create(self, new: NewBalancer, *, deadline: float) -> Balancer:
        """As `ccm.ports.CloudBalancers.create`: CREATING in the answer, with its addresses."""
        await self._write("create", new.name, deadline)
        if len(new.idempotency_key) > MAX_KEY or not new.idempotency_key:
            raise CloudError(Cause.REFUSED, "the idempotency key has 1 to 64 characters")
        known_id, known = self._by_key.get(new.idempotency_key, ("", None))
        if known is not None and known_id in self.all:
            if known != new:
                raise CloudError(Cause.CONFLICT, "this key made another load balancer", reason="key_reused")
            return self.all[known_id]
        self._check(new.group, others=())
        made = self._allocate(new)
        # The answer says CREATING; by the next read its data path is there, unless a test wants to watch it come.
        self.all[made.id] = replace(made, state=BalancerState.ACTIVE) if self.activates else made
        self._by_key[new.idempotency_key] = (made.id, new)
        self._faults.after("create", new.name)
        return made

    async def put_group(
        self,
        balancer_id: str,
        name: str,
        *,
        listeners: Sequence[Listener] | None = None,
        targets: Sequence[Target] | None = None,
        deadline: float,
    ) -> Balancer:
        """As `ccm.ports.CloudBalancers.put_group`."""
        await self._write("put_group", balancer_id, deadline)
        before = self._existing(balancer_id)
        group = before.group(name) or Group(name=name)
        if listeners is not None:
            group = replace(group, listeners=tuple(listeners))
        if targets is not None:
            group = replace(group, targets=tuple(targets))
        others = tuple(one for one in before.groups if one.name != name)
        self._check(group, others)
        kept = tuple(group if one.name == name else one for one in before.groups)
        groups = kept if before.group(name) else (*before.groups, group)
        after = self._store(before, replace(before, groups=groups))
        self._faults.after("put_group", balancer_id)
        return after

    async def delete_group(self, balancer_id: str, name: str, *, deadline: float) -> None:
        """As `ccm.ports.CloudBalancers.delete_group`."""
        await self._write("delete_group", balancer_id, deadline)
        if before := self.all.get(balancer_id):
            self._store(before, replace(before, groups=tuple(one for one in before.groups if one.name != name)))
        self._faults.after("delete_group", balancer_id)

    async def modify(
        self,
        balancer_id: str,
        *,
        name: str = "",
        size: str = "",
        tags: Mapping[str, str] | None = None,
        deadline: float,
    ) -> Balancer:
        """As `ccm.ports.CloudBalancers.modify`."""
        await self._write("modify", balancer_id, deadline)
        before = self._existing(balancer_id)
        merged = {key: value for key, value in {**before.tags, **(tags or {})}.items() if value}
        after = replace(before, name=name or before.name, size=size or before.size, tags=merged)
        after = self._store(before, after)
        self._faults.after("modify", balancer_id)
        return after

    async def delete(self, balancer_id: str, *, guard: tuple[str, str] | None, deadline: float) -> None:
        """As `ccm.ports.CloudBalancers.delete`."""
        await self._write("delete", balancer_id, deadline)
        if found := self.all.get(balancer_id):
            if guard is not None and found.tags.get(guard[0]) != guard[1]:
                raise CloudError(Cause.GUARD, f"load balancer {balancer_id} does not carry the tag {guard[0]}")
            del self.all[balancer_id]
            for address, user in self.static_addresses.items():
                if user == balancer_id:
                    self.static_addresses[address] = ""
        self._faults.after("delete", balancer_id)

    async def _write(self, point: str, about: str, deadline: float) -> None:
        # A write makes older listings unusable, also one whose outcome nobody learns.
        self._listed = None
        await self._faults.before(point, about, deadline)
        self._listed = None

    def _existing(self, balancer_id: str) -> Balancer:
        if found := self.all.get(balancer_id):
            return found
        raise CloudError(Cause.MISSING, f"load balancer {balancer_id} does not exist", resource="balancer")

    def _store(self, before: Balancer, after: Balancer) -> Balancer:
        if after == before:
            return before
        after = replace(after, version=before.version + 1)
        self.all[after.id] = after
        return after

    def _check(self, group: Group, others: Sequence[Group]) -> None:
        taken = {_endpoint(listener): (other.name, listener.name) for other in others for listener in other.listeners}
        for listener in group.listeners:
            endpoint = _endpoint(listener)
            if endpoint in taken:
                holder, _ = taken[endpoint]
                details = {"group": holder, "port": str(listener.port)}
                text = f"port {listener.port} belongs to group {holder!r}"
                raise CloudError(Cause.CONFLICT, text, reason="port_taken", details=details)
            taken[endpoint] = (group.name, listener.name)
            self._check_listener(listener)
        for target in group.targets:
            if not self._has_instance(target.instance_id):
                details = {"instance_id": target.instance_id}
                raise CloudError(Cause.REFUSED, f"instance {target.instance_id} does not exist", details=details)

    def _check_listener(self, listener: Listener) -> None:
        ends_tls = listener.protocol in (Protocol.HTTPS, Protocol.TLS)
        if ends_tls != bool(listener.certificate_ids):
            raise CloudError(Cause.REFUSED, f"listener {listener.name!r}: https and tls have certificates, others none")
        if missing := [one for one in listener.certificate_ids if not self._has_certificate(one)]:
            raise CloudError(Cause.REFUSED, f"certificate {missing[0]} does not exist")
        if not (1 <= listener.port <= 65535 and 1 <= listener.target_port <= 65535):
            raise CloudError(Cause.REFUSED, f"listener {listener.name!r}: ports are 1 to 65535")
        if listener.proxy_protocol and (listener.protocol is Protocol.UDP or listener.transparent):
            raise CloudError(Cause.REFUSED, f"listener {listener.name!r}: PROXY protocol goes with neither")

    def _allocate(self, new: NewBalancer) -> Balancer:
        for address in new.shape.static_addresses:
            if address not in self.static_addresses:
                raise CloudError(Cause.REFUSED, f"{address} is no elastic IP of the tenant")
            if self.static_addresses[address]:
                raise CloudError(Cause.CONFLICT, f"{address} has another user", reason="attached")
        self._made += 1
        made = Balancer(
            id=f"00000000-0000-4000-8000-{self._made:012d}",
            name=new.name,
            state=BalancerState.CREATING,
            shape=new.shape,
            size=new.size,
            tags=dict(new.tags),
            addresses=self._addresses(new.shape),
            groups=(new.group,),
            version=1,
        )
        self.static_addresses.update(dict.fromkeys(new.shape.static_addresses, made.id))
        return made

    def _addresses(self, shape: Shape) -> tuple[BalancerAddress, ...]:
        if not self.offered.has_addresses:
            return ()
        static = tuple(BalancerAddress(address, is_static=True) for address in shape.static_addresses)
        has_static = {"ipv6" if ":" in one.address else "ipv4" for one in static}
        v4 = "10.96.0." if shape.internal else "203.0.113."
        v6 = "fd00::" if shape.internal else "2001:db8::"
        own = {"ipv4": f"{v4}{self._made}", "ipv6": f"{v6}{self._made:x}"}
        return static + tuple(BalancerAddress(own[one]) for one in shape.families if one not in has_static)


def _endpoint(listener: Listener) -> tuple[int, bool]:
    return listener.port, listener.protocol is Protocol.UDP
