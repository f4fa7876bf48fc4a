"""Security groups: typed calls and no policy (platform contract 8; docs/platform-network.md, Security groups)."""

from collections.abc import Mapping
from typing import Any

from thecloud.call import Call, Exchange, Lane, Repeat, decoder_of, read_done, read_list, read_object
from thecloud.network_wire import SecurityGroup, SecurityRule
from thecloud.presence import Gone
from thecloud.resource import FeaturesSource, Resource, body_of

DETAILS = "security-group.details"
INGRESS = "ingress"
DEFAULT_PRIORITY = 100

_GROUP = decoder_of(SecurityGroup)
_GROUPS = decoder_of(tuple[SecurityGroup, ...])
_RULE = decoder_of(SecurityRule)


class SecurityGroups(Resource[SecurityGroup]):
    """The security groups of the tenant. Every method takes `deadline` (loop time) and raises PlatformError.

    There is no way to take a group from an instance on purpose: the strict tier then ends the rules of all instances
    that have it. Deleting the group, or the instance, does no such harm.
    """

    kind = "security_group"
    route = "/security-groups"
    filter_feature = ""
    missing_is_unknown = False

    def __init__(self, exchange: Exchange, features: FeaturesSource, *, listing_window_s: float) -> None:
        super().__init__(exchange, features, one=_GROUP, many=_GROUPS, listing_window_s=listing_window_s)

    async def create(self, *, vpc_id: str, name: str, description: str, deadline: float) -> SecurityGroup:
        """Make a group; it has no rules, whatever the answer of the strict tier lists.

        There is no key for it, so that it is tried again only when nothing was sent. Raises Conflict (`name_taken`);
        in the strict tier a name that the VPC has is an UnknownOutcome like any fault.
        """
        body = body_of(vpc_id=self.id_of(vpc_id, kind="vpc"), name=name, description=description)
        call = self._post("", body, lane=Lane.CREATE, deadline=deadline)
        return read_object(_GROUP, call, await self.send(call))

    async def get(self, group_id: str, *, deadline: float, lane: Lane = Lane.READ) -> SecurityGroup | Gone:
        """Give the group with its rules, or say that it is gone."""
        return await self.look_up(group_id, deadline=deadline, lane=lane)

    async def in_vpc(self, vpc_id: str, *, deadline: float) -> tuple[SecurityGroup, ...]:
        """Give the groups of a VPC, newest first; there is no listing of all. Rules may be left out."""
        call = Call(
            method="GET",
            route=self.route,
            path=self.route,
            deadline=deadline,
            lane=Lane.READ,
            repeat=Repeat.SAFE,
            params=(("vpc_id", self.id_of(vpc_id, kind="vpc")),),
        )
        return read_list(_GROUPS, call, await self.send(call))

    async def add_rule(
        self,
        group_id: str,
        *,
        protocol: str,
        cidr: str,
        deadline: float,
        port_min: int = 0,
        port_max: int = 0,
        direction: str = INGRESS,
        priority: int = DEFAULT_PRIORITY,
    ) -> SecurityRule:
        """Add a rule.

        In the strict tier nothing of it is checked, the same rule again is a second one (look at the group after
        UnknownOutcome), and it counts from the next `attach`.
        """
        is_repeatable = (await self.features(deadline)).has(DETAILS)
        body = body_of(
            direction=direction,
            protocol=protocol,
            port_min=port_min or None,
            port_max=port_max or None,
            cidr=cidr,
            priority=priority,
        )
        call = Call(
            method="POST",
            route=self.route + "/{id}/rules",
            path=f"{self.path_of(group_id)}/rules",
            deadline=deadline,
            lane=Lane.ATTACH,
            repeat=Repeat.SAFE if is_repeatable else Repeat.UNSENT_ONLY,
            body=body,
        )
        return read_object(_RULE, call, await self.send(call))

    async def remove_rule(self, rule_id: str, *, deadline: float) -> None:
        """Take a rule away; raises Missing when there is none."""
        call = Call(
            method="DELETE",
            route=self.route + "/rules/{id}",
            path=f"{self.route}/rules/{self.id_of(rule_id, kind='security_rule')}",
            deadline=deadline,
            lane=Lane.DELETE,
        )
        read_done(call, await self.send(call))

    async def attach(self, group_id: str, instance_id: str, *, deadline: float) -> None:
        """Let an instance have the group; the same again is a success, and puts new rules in force."""
        body = {
            "group_id": self.id_of(group_id),
            "instance_id": self.id_of(instance_id, kind="instance"),
        }
        call = self._post("/attach", body, lane=Lane.ATTACH, deadline=deadline, repeat=Repeat.SAFE)
        read_done(call, await self.send(call))

    async def delete(self, group_id: str, *, deadline: float) -> None:
        """Delete the group with its rules, whoever has it; Missing when it is gone, where the platform tells."""
        await self.remove(group_id, deadline=deadline, guard_tag=None, feature="")

    def _post(
        self,
        step: str,
        body: Mapping[str, Any],
        *,
        lane: Lane,
        deadline: float,
        repeat: Repeat = Repeat.UNSENT_ONLY,
    ) -> Call:
        path = self.route + step
        return Call(method="POST", route=path, path=path, deadline=deadline, lane=lane, repeat=repeat, body=body)
