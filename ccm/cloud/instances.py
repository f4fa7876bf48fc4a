"""Instances: one shared listing of the fleet, and the lookup by id that alone may say "gone"."""

import ipaddress

from ccm.cloud.errors import cloud_error, translated
from ccm.cloud.snapshot import Snapshot
from ccm.model import Fleet, Instance, InstanceState
from ccm.ports import Cause, CloudError
from thecloud import wire
from thecloud.client import Client
from thecloud.errors import Missing, PlatformError
from thecloud.presence import canonical_id

_GONE_TYPE = "NOT_FOUND"
_GONE_RESOURCES = ("", "instance")
"""The strict tier does not say what is missing; another kind than an instance proves nothing about this one."""


class Instances:
    """`ccm.ports.CloudInstances` on the platform's client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._snapshot: Snapshot[Fleet] = Snapshot(self._list, name="the listing of instances")
        self._read: tuple[tuple[wire.Instance, ...], Fleet] | None = None

    async def fleet(self, *, max_age_s: float, deadline: float) -> Fleet:
        """Give every instance as of at most `max_age_s` ago; callers at one time share one request."""
        with translated():
            return await self._snapshot.get(max_age_s=max_age_s, deadline=deadline)

    async def look_up(self, instance_id: str, *, deadline: float) -> Instance | None:
        """Give the instance; None only for a 404 NOT_FOUND in the platform's own form, asked by id.

        Raises CloudError for everything else: REFUSED for a text that is no id of the platform's, UNKNOWN for any
        answer that proves nothing.
        """
        if canonical_id(instance_id) is None:
            # Not None: "gone" leads to the deletion of a Node, and nobody said that anything is gone.
            raise CloudError(Cause.REFUSED, f"{instance_id[:80]!r} is no id of an instance; a uuid is needed")
        try:
            return instance_of(await self._client.instances.read(instance_id, deadline=deadline))
        except Missing as error:
            if error.error_type == _GONE_TYPE and error.resource in _GONE_RESOURCES:
                return None
            text = f"{error}; this does not say whether instance {instance_id} exists"
            raise CloudError(Cause.UNKNOWN, text) from error
        except PlatformError as error:
            raise cloud_error(error) from error

    async def _list(self, deadline: float, taken_at: float) -> Fleet:
        listed = await self._client.instances.list(deadline=deadline)
        # The client gives the same tuple again while the platform says that nothing has changed.
        if self._read is not None and self._read[0] is listed:
            before = self._read[1]
            fleet = Fleet(before.instances, taken_at, before.by_id)
        else:
            instances = tuple(instance_of(one) for one in listed)
            fleet = Fleet(instances, taken_at, {one.id: one for one in instances})
        self._read = (listed, fleet)
        return fleet


def instance_of(one: wire.Instance) -> Instance:
    """Give the instance as controllers see it."""
    return Instance(
        id=one.id,
        name=one.name,
        state=InstanceState(one.status.value),
        hostname=one.hostname or "",
        private_addresses=_addresses(one.private_ip),
        public_addresses=_addresses(one.public_ip),
        zone=one.zone or "",
        region=one.region or "",
        instance_type=one.instance_type or "",
        vpc_id=one.vpc_id or "",
        labels=one.labels,
        created_at=one.created_at,
    )


def _addresses(text: str | None) -> tuple[str, ...]:
    """Give the address in its canonical form; none for a text that is none, since a wrong one breaks a whole node."""
    if not text:
        return ()
    try:
        # The strict tier appends the length of the prefix (platform contract 4.1).
        address = ipaddress.ip_address(text.partition("/")[0].strip())
    except ValueError:
        return ()
    return () if address.is_unspecified or address.is_multicast else (str(address),)
