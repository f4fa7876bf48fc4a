"""Load balancers of the strict tier behind `ccm.ports.CloudBalancers`: one of the platform's for each service port.

The id of such a load balancer is the service's uid. There are no tags: the name carries our mark, and what does not
carry it is neither shown nor written.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ccm.cloud.errors import translated
from ccm.cloud.offer import strict_offer
from ccm.cloud.snapshot import Snapshot
from ccm.cloud.strict_limits import check_listener, check_shape, port_targets
from ccm.cloud.strict_names import Names
from ccm.cloud.strict_ports import Marked, Port, StrictPorts
from ccm.cloud.strict_view import NO_PORT, Told, as_is, shown, union
from ccm.model import Balancer, BalancerState, Listener, NewBalancer, Target
from ccm.names import CLUSTER_TAG, SERVICE_UID_TAG
from ccm.ports import BalancerOffer, Cause, CloudError, CloudInstances
from thecloud.client import Client

_FLEET_AGE_S = 60.0


class StrictBalancers:
    """`ccm.ports.CloudBalancers` for a platform without groups, tags and addresses."""

    def __init__(self, client: Client, instances: CloudInstances, *, cluster_id: str, address: str = "") -> None:
        """Take what is needed; `address` is where load balancers answer, which the platform does not tell."""
        self._client = client
        self._instances = instances
        self._cluster_id = cluster_id
        self._address = address
        self._ports = StrictPorts(client, Names(cluster_id))
        self._told: dict[str, Told] = {}
        self._snapshot: Snapshot[tuple[Balancer, ...]] = Snapshot(self._list, name="the listing of load balancers")

    async def offer(self, *, deadline: float) -> BalancerOffer:
        """Say what load balancers of this platform can do."""
        del deadline
        return strict_offer(has_addresses=bool(self._address))

    async def mine(self, *, max_age_s: float, deadline: float) -> Sequence[Balancer]:
        """Give one for each service of this cluster, as of at most `max_age_s` ago."""
        with translated():
            return await self._snapshot.get(max_age_s=max_age_s, deadline=deadline)

    async def get(self, balancer_id: str, *, deadline: float) -> Balancer | None:
        """Give the one of a service; None when the platform has none of its ports."""
        with translated():
            marked = await self._ports.marked(deadline=deadline)
            return await self._read(balancer_id, marked, deadline=deadline)

    async def create(self, new: NewBalancer, *, deadline: float) -> Balancer:
        """Make one for each listener; those that are there already, from a try before, are kept."""
        check_shape(new.shape)
        if not new.group.listeners:
            raise CloudError(
                Cause.REFUSED, f"load balancer {new.name!r} needs a listener: the platform has none without"
            )
        with self._snapshot.writing():
            marked = await self._ports.marked(deadline=deadline)
            uid = new.group.name
            self._told[uid] = Told(new.name, new.size, new.tags)
            return await self._write(
                uid, marked, new.group.listeners, new.group.targets, vpc_id=new.shape.vpc_id, deadline=deadline
            )

    async def put_group(
        self,
        balancer_id: str,
        name: str,
        *,
        listeners: Sequence[Listener] | None = None,
        targets: Sequence[Target] | None = None,
        deadline: float,
    ) -> Balancer:
        """Make, fill and take away ports until they are what is wanted; a listener with another algorithm is replaced.

        The last listener takes the whole load balancer with it.
        """
        if name != balancer_id:
            raise CloudError(Cause.UNSUPPORTED, "load balancers of this platform cannot be shared between services")
        with self._snapshot.writing():
            marked = await self._ports.marked(deadline=deadline)
            if balancer_id not in marked.alive:
                raise _missing(balancer_id)
            return await self._write(balancer_id, marked, listeners, targets, vpc_id="", deadline=deadline)

    async def delete_group(self, balancer_id: str, name: str, *, deadline: float) -> None:
        """Take the ports of a service away; none is no error."""
        if name == balancer_id:
            await self.delete(balancer_id, guard=None, deadline=deadline)

    async def modify(
        self,
        balancer_id: str,
        *,
        name: str = "",
        size: str = "",
        tags: Mapping[str, str] | None = None,
        deadline: float,
    ) -> Balancer:
        """Remember name, size and tags, which the platform cannot store."""
        with self._snapshot.writing():
            told = self._told.get(balancer_id, Told())
            merged = {key: value for key, value in {**told.tags, **(tags or {})}.items() if value}
            marked = await self._ports.marked(deadline=deadline)
            if balancer_id in marked.alive:
                self._told[balancer_id] = replace(told, name=name or told.name, size=size or told.size, tags=merged)
            found = await self._read(balancer_id, marked, deadline=deadline)
            if found is None:
                raise _missing(balancer_id)
            return found

    async def delete(self, balancer_id: str, *, guard: tuple[str, str] | None, deadline: float) -> None:
        """Delete all ports of a service, and return when the platform has forgotten them."""
        tags = {CLUSTER_TAG: self._cluster_id, SERVICE_UID_TAG: balancer_id}
        if guard is not None and tags.get(guard[0]) != guard[1]:
            raise CloudError(Cause.GUARD, f"load balancer {balancer_id} does not carry the tag {guard[0]}: {guard[1]}")
        with self._snapshot.writing():
            marked = await self._ports.marked(deadline=deadline)
            alive = [one for _, one in marked.alive.get(balancer_id, ())]
            await self._ports.delete(alive, deadline=deadline)
            await self._ports.forgotten([*alive, *marked.dead.get(balancer_id, ())], deadline=deadline)
        self._told.pop(balancer_id, None)

    async def _list(self, deadline: float, _since: float) -> tuple[Balancer, ...]:
        marked = await self._ports.marked(deadline=deadline)
        found = [(uid, one) for uid, ports in marked.alive.items() for one in ports]
        filled = await self._ports.filled((one for _, one in found), deadline=deadline)
        by_uid: dict[str, list[Port]] = {}
        for (uid, _), port in zip(found, filled, strict=True):
            by_uid.setdefault(uid, []).append(port)
        return tuple(self._show(uid, ports) for uid, ports in by_uid.items())

    async def _read(self, uid: str, marked: Marked, *, deadline: float) -> Balancer | None:
        ports = await self._ports.filled(marked.alive.get(uid, ()), deadline=deadline)
        return self._show(uid, ports) if ports else None

    def _show(self, uid: str, ports: Sequence[Port]) -> Balancer:
        told = self._told.get(uid, Told())
        return shown(uid, ports, told, cluster_id=self._cluster_id, address=self._address)

    async def _write(
        self,
        uid: str,
        marked: Marked,
        listeners: Sequence[Listener] | None,
        targets: Sequence[Target] | None,
        *,
        vpc_id: str,
        deadline: float,
    ) -> Balancer:
        ports = await self._ports.filled(marked.alive.get(uid, ()), deadline=deadline)
        told = self._told.get(uid, Told())
        wanted = {one.port: one for one in (_known(ports, told) if listeners is None else listeners)}
        for one in wanted.values():
            check_listener(one)
        sent_to = union(ports) if targets is None else targets
        kept: dict[int, Port] = {}
        for port in ports:
            if port.number in wanted and port.algorithm == wanted[port.number].algorithm.value:
                kept.setdefault(port.number, port)
        # What stays gets its targets first: a platform that is slow to forget must not keep them waiting.
        for number, port in kept.items():
            await self._ports.send_to(port, port_targets(wanted[number], sent_to), deadline=deadline)
        going = [port for port in ports if port not in kept.values()]
        await self._ports.delete([port.balancer for port in going], deadline=deadline)
        dead = [*marked.dead.get(uid, ()), *(port.balancer for port in going)]
        new = [one for number, one in sorted(wanted.items()) if number not in kept]
        if new:
            vpc_id = vpc_id or await self._vpc_of(ports, sent_to, deadline=deadline)
        for one in new:
            # Two of one port would be in each other's way.
            await self._ports.forgotten([each.balancer for each in going if each.number == one.port], deadline=deadline)
            made = await self._ports.create(
                uid, one.port, algorithm=one.algorithm.value, vpc_id=vpc_id, dead=dead, deadline=deadline
            )
            (port,) = await self._ports.filled([(one.port, made)], deadline=deadline)
            await self._ports.send_to(port, port_targets(one, sent_to), deadline=deadline)
            kept[one.port] = port
        self._told[uid] = replace(told, listeners=wanted)
        now = [(number, port.balancer) for number, port in sorted(kept.items())]
        return self._shown_after(uid, await self._ports.filled(now, deadline=deadline))

    def _shown_after(self, uid: str, ports: Sequence[Port]) -> Balancer:
        if ports:
            return self._show(uid, ports)
        told = self._told.pop(uid, Told())
        return Balancer(id=uid, name=told.name or uid, state=BalancerState.GOING, size=told.size)

    async def _vpc_of(self, ports: Sequence[Port], targets: Sequence[Target], *, deadline: float) -> str:
        """Give the network that most targets lie in: the platform wants to know it and takes no others."""
        for port in ports:
            if port.balancer.vpc_id:
                return port.balancer.vpc_id
        fleet = await self._instances.fleet(max_age_s=_FLEET_AGE_S, deadline=deadline)
        known = [fleet.by_id[one.instance_id].vpc_id for one in targets if one.instance_id in fleet.by_id]
        counted = Counter(vpc_id for vpc_id in known if vpc_id)
        if counted:
            return max(sorted(counted), key=lambda vpc_id: counted[vpc_id])
        vpcs = await self._client.vpcs.list(deadline=deadline)
        if len(vpcs) == 1:
            return vpcs[0].id
        text = f"no target tells the network to make the load balancer in, and the tenant has {len(vpcs)} networks"
        raise CloudError(Cause.CONFLICT, text, resource="vpc")


def _known(ports: Sequence[Port], told: Told) -> Sequence[Listener]:
    """Give the listeners that are there, to be filled with other targets."""
    found = as_is(ports, told)
    if unknown := [one.port for one in found if one.target_port == NO_PORT]:
        text = f"where ports {unknown} send to is not known; their listeners are needed as well as the targets"
        raise CloudError(Cause.REFUSED, text, resource="load_balancer")
    return found


def _missing(balancer_id: str) -> CloudError:
    text = f"there is no load balancer for service {balancer_id}"
    return CloudError(Cause.MISSING, text, resource="load_balancer", details={"id": balancer_id})
