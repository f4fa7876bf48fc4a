"""Instances that are made and deleted: typed calls and no policy (platform contract 4.3 to 4.6, 25.3)."""

from collections.abc import Mapping, Sequence

import msgspec

from thecloud.call import Call, Exchange, Lane, Repeat, decoder_of, read_list, read_object
from thecloud.resource import FeaturesSource, Resource, body_of, tag_param
from thecloud.wire import Instance


class InstanceType(msgspec.Struct, frozen=True, kw_only=True):
    """What the platform sells under a name (platform contract 4.6)."""

    id: str
    vcpus: int
    memory_mb: int
    price_per_hour: float = 0.0


_INSTANCE = decoder_of(Instance)
_INSTANCES = decoder_of(tuple[Instance, ...])
_TYPES = decoder_of(tuple[InstanceType, ...])


class Launches(Resource[Instance]):
    """Making, finding by label and deleting instances.

    Every method takes `deadline` (loop time) and raises PlatformError.
    """

    kind = "instance"
    route = "/instances"
    filter_feature = "instance.filter"
    missing_is_unknown = False

    def __init__(self, exchange: Exchange, features: FeaturesSource, *, listing_window_s: float) -> None:
        super().__init__(exchange, features, one=_INSTANCE, many=_INSTANCES, listing_window_s=listing_window_s)

    async def launch(
        self,
        *,
        name: str,
        image: str,
        instance_type: str,
        labels: Mapping[str, str],
        deadline: float,
        zone: str = "",
        vpc_id: str = "",
        subnet_id: str = "",
        ssh_key_id: str = "",
        cmd: Sequence[str] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> Instance:
        """Make an instance; the answer is STARTING.

        The platform takes no key for it and names are not unique, so that it is tried again only when nothing was
        sent: after UnknownOutcome look for the labels. All labels belong into this call, since a later update while it
        starts can orphan it. Where the platform offers it, the name is the host name too. `cmd` may hold secrets.
        """
        features = await self.features(deadline)
        if zone:
            self.need(features, "instance.zone")
        body = body_of(
            name=name,
            image=image,
            instance_type=instance_type,
            hostname=name if features.has("instance.hostname") else "",
            zone=zone,
            vpc_id=vpc_id and self.id_of(vpc_id, kind="vpc"),
            # A malformed one is silently left out by the platform.
            subnet_id=subnet_id and self.id_of(subnet_id, kind="subnet"),
            ssh_key_id=ssh_key_id and self.id_of(ssh_key_id, kind="ssh_key"),
            cmd=tuple(cmd),
            metadata=metadata,
            labels=labels,
        )
        call = Call(
            method="POST",
            route=self.route,
            path=self.route,
            deadline=deadline,
            lane=Lane.CREATE,
            repeat=Repeat.UNSENT_ONLY,
            body=body,
        )
        return read_object(_INSTANCE, call, await self.send(call))

    async def terminate(self, instance_id: str, *, deadline: float) -> None:
        """Delete the instance; its volumes are let go at once.

        Raises Missing when there is none, which in the strict tier a fault of the platform may cause as well (platform
        contract 1.12): look before believing it. There is no guard; who needs one looks at the labels first.
        """
        await self.remove(instance_id, deadline=deadline, guard_tag=None, feature="")

    async def find_by_label(self, key: str, value: str, *, deadline: float) -> tuple[Instance, ...]:
        """Give the instances with this label; as fresh as the question, newest first. Both tiers filter by labels."""
        call = Call(
            method="GET",
            route=self.route,
            path=self.route,
            deadline=deadline,
            lane=Lane.READ,
            repeat=Repeat.SAFE,
            params=(tag_param((key, value)),),
        )
        found = read_list(_INSTANCES, call, await self.send(call))
        return tuple(instance for instance in found if instance.labels.get(key) == value)

    async def types(self, *, deadline: float) -> tuple[InstanceType, ...]:
        """Give what the platform sells."""
        route = "/instance-types"
        call = Call(method="GET", route=route, path=route, deadline=deadline, lane=Lane.READ, repeat=Repeat.SAFE)
        return read_list(_TYPES, call, await self.send(call))
