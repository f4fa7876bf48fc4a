"""Load balancers of the extended tier: typed calls and no policy (docs/platform-network.md)."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from thecloud.call import Call, Exchange, Lane, Repeat, decoder_of, read_done, read_object
from thecloud.errors import Refused
from thecloud.network_wire import Listener, LoadBalancer, Target, TargetGroup
from thecloud.presence import Gone
from thecloud.resource import FeaturesSource, Resource, body_of, key_header, tag_param

LISTENERS = "lb.listeners"
TARGETS_PUT = "lb.targets-put"
TAGS = "lb.tags"
ADDRESS = "lb.address"

_GROUP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""What may become part of a path."""

_Body = Mapping[str, Any]

_BALANCER = decoder_of(LoadBalancer)
_BALANCERS = decoder_of(tuple[LoadBalancer, ...])


class LoadBalancers(Resource[LoadBalancer]):
    """Load balancers with groups of listeners and targets.

    Every method takes `deadline` (loop time) and raises PlatformError; Unsupported where the platform has only the
    strict tier's (`thecloud.port_balancers`). Groups are replaced as a whole, so that their writes may be repeated.
    """

    kind = "load_balancer"
    route = "/lb"
    filter_feature = TAGS
    missing_is_unknown = False
    keeps_listing = True

    def __init__(self, exchange: Exchange, features: FeaturesSource, *, listing_window_s: float) -> None:
        super().__init__(exchange, features, one=_BALANCER, many=_BALANCERS, listing_window_s=listing_window_s)

    async def create(
        self,
        *,
        name: str,
        idempotency_key: str,
        deadline: float,
        vpc_id: str = "",
        internal: bool = False,
        size: str = "",
        families: Iterable[str] = (),
        static_addresses: Iterable[str] = (),
        tags: Mapping[str, str] | None = None,
        groups: Iterable[TargetGroup] = (),
    ) -> LoadBalancer:
        """Make a load balancer with its groups; tried again while its outcome is unknown, since it has a key.

        Raises Conflict (`key_reused`, `attached` for a static address in use, `port_taken`), Refused for a target that
        is not there or lies elsewhere (`details["instance_id"]`).
        """
        features = await self.features(deadline)
        self.need(features, LISTENERS)
        if tags:
            self.need(features, TAGS)
        addresses, wanted = tuple(static_addresses), tuple(families)
        if addresses or wanted or internal:
            self.need(features, ADDRESS)
        body = body_of(
            name=name,
            vpc_id=vpc_id,
            internal=internal,
            size=size,
            families=wanted,
            static_addresses=addresses,
            tags=tags,
            groups=tuple({"name": one.name, **_parts(one.listeners, self._targets(one.targets))} for one in groups),
        )
        call = Call(
            method="POST",
            route=self.route,
            path=self.route,
            deadline=deadline,
            lane=Lane.CREATE,
            repeat=Repeat.SAFE if idempotency_key else Repeat.UNSENT_ONLY,
            body=body,
            headers=key_header(idempotency_key),
        )
        return read_object(_BALANCER, call, await self.send(call))

    async def get(self, balancer_id: str, *, deadline: float, lane: Lane = Lane.READ) -> LoadBalancer | Gone:
        """Give the load balancer, or say that it is gone."""
        self.need(await self.features(deadline), LISTENERS)
        return await self.look_up(balancer_id, deadline=deadline, lane=lane)

    async def list(
        self, *, deadline: float, tag: tuple[str, str] | None = None, lane: Lane = Lane.READ
    ) -> tuple[LoadBalancer, ...]:
        """Give all, or those with a tag; as fresh as the question, and the same tuple again while nothing changed.

        Others may share the listing, so that it may hold more than what was asked for.
        """
        self.need(await self.features(deadline), LISTENERS)
        return await self.listed(() if tag is None else (tag_param(tag),), deadline=deadline, lane=lane)

    async def put_group(
        self,
        balancer_id: str,
        name: str,
        *,
        deadline: float,
        listeners: Iterable[Listener] | None = None,
        targets: Iterable[Target] | None = None,
    ) -> LoadBalancer:
        """Replace the listeners of a group, its targets, or both; makes the group when there is none.

        Raises Conflict (`port_taken`, with `group` and `port`), Refused (with `instance_id` for a target that is not
        there or lies elsewhere); nothing is changed then.
        """
        features = await self.features(deadline)
        self.need(features, LISTENERS)
        if targets is not None:
            self.need(features, TARGETS_PUT)
        parts = _parts(listeners, None if targets is None else self._targets(targets))
        call = self._of_group(balancer_id, name, "PUT", deadline=deadline, body=parts)
        return read_object(_BALANCER, call, await self.send(call))

    async def delete_group(self, balancer_id: str, name: str, *, deadline: float) -> None:
        """Take a group away; none is a success. Raises Missing when the load balancer is gone."""
        self.need(await self.features(deadline), LISTENERS)
        call = self._of_group(balancer_id, name, "DELETE", deadline=deadline)
        read_done(call, await self.send(call))

    async def modify(
        self,
        balancer_id: str,
        *,
        deadline: float,
        name: str = "",
        size: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> LoadBalancer:
        """Change name and size (empty: keep), and merge `tags` (an empty value takes the key away)."""
        features = await self.features(deadline)
        self.need(features, LISTENERS)
        if tags:
            self.need(features, TAGS)
        call = Call(
            method="PATCH",
            route=self.route + "/{id}",
            path=self.path_of(balancer_id),
            deadline=deadline,
            lane=Lane.CREATE,
            repeat=Repeat.SAFE,
            body=body_of(name=name, size=size, tags=tags),
        )
        return read_object(_BALANCER, call, await self.send(call))

    async def delete(self, balancer_id: str, *, deadline: float, guard_tag: tuple[str, str] | None = None) -> None:
        """Delete it; with `guard_tag` only if it carries that tag (GuardMismatch otherwise); Missing when gone."""
        self.need(await self.features(deadline), LISTENERS)
        await self.remove(balancer_id, deadline=deadline, guard_tag=guard_tag, feature=TAGS)

    def _of_group(
        self, balancer_id: str, name: str, method: str, *, deadline: float, body: _Body | None = None
    ) -> Call:
        route = self.route + "/{id}/groups/{name}"
        if _GROUP_NAME.fullmatch(name) is None:
            raise Refused(f"{name[:80]!r} cannot be the name of a group", method=method, route=route)
        return Call(
            method=method,
            route=route,
            path=f"{self.path_of(balancer_id)}/groups/{name}",
            deadline=deadline,
            lane=Lane.ATTACH if body is not None else Lane.DELETE,
            repeat=Repeat.SAFE,
            body=body,
        )

    def _targets(self, targets: Iterable[Target]) -> tuple[_Body, ...]:
        return tuple(
            {"instance_id": self.id_of(one.instance_id, kind="instance"), "weight": one.weight} for one in targets
        )


def _parts(listeners: Iterable[Listener] | None, targets: Iterable[_Body] | None) -> _Body:
    """Give the parts that are there; an empty one is sent, since it means "none", not "as it is"."""
    parts: dict[str, Any] = {}
    if listeners is not None:
        parts["listeners"] = [msgspec.to_builtins(one) for one in listeners]
    if targets is not None:
        parts["targets"] = list(targets)
    return parts
