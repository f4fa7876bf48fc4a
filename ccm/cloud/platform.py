"""The platform as the controllers get it: `open_cloud`."""

from collections.abc import Mapping, Sequence

from ccm.cloud.balancers import Balancers
from ccm.cloud.certificates import Certificates
from ccm.cloud.errors import translated
from ccm.cloud.instances import Instances
from ccm.cloud.offer import is_extended
from ccm.cloud.strict_balancers import StrictBalancers
from ccm.model import Balancer, Listener, NewBalancer, Target
from ccm.ports import BalancerOffer, Cloud, CloudBalancers
from thecloud.client import Client


def open_cloud(client: Client, *, cluster_id: str, strict_address: str = "") -> Cloud:
    """Give the ports on this client; nothing is asked yet, and the caller closes the client.

    `strict_address` is where load balancers answer on a platform that does not tell it; empty: nobody knows.
    """
    instances = Instances(client)
    balancers = TieredBalancers(
        client,
        extended=Balancers(client, cluster_id=cluster_id),
        strict=StrictBalancers(client, instances, cluster_id=cluster_id, address=strict_address),
    )
    return Cloud(instances, balancers, Certificates(client, cluster_id=cluster_id))


class TieredBalancers:
    """Load balancers of whichever tier the platform is in when it is asked."""

    def __init__(self, client: Client, *, extended: CloudBalancers, strict: CloudBalancers) -> None:
        self._client = client
        self._extended = extended
        self._strict = strict

    async def offer(self, *, deadline: float) -> BalancerOffer:
        """Say what load balancers of this platform can do."""
        return await (await self._tier(deadline)).offer(deadline=deadline)

    async def mine(self, *, max_age_s: float, deadline: float) -> Sequence[Balancer]:
        """List those with this cluster's mark."""
        return await (await self._tier(deadline)).mine(max_age_s=max_age_s, deadline=deadline)

    async def get(self, balancer_id: str, *, deadline: float) -> Balancer | None:
        """Read one; None only when it is definitely not there."""
        return await (await self._tier(deadline)).get(balancer_id, deadline=deadline)

    async def create(self, new: NewBalancer, *, deadline: float) -> Balancer:
        """Make one with its first group."""
        return await (await self._tier(deadline)).create(new, deadline=deadline)

    async def put_group(
        self,
        balancer_id: str,
        name: str,
        *,
        listeners: Sequence[Listener] | None = None,
        targets: Sequence[Target] | None = None,
        deadline: float,
    ) -> Balancer:
        """Replace a group's listeners, its targets, or both."""
        tier = await self._tier(deadline)
        return await tier.put_group(balancer_id, name, listeners=listeners, targets=targets, deadline=deadline)

    async def delete_group(self, balancer_id: str, name: str, *, deadline: float) -> None:
        """Take a group away."""
        await (await self._tier(deadline)).delete_group(balancer_id, name, deadline=deadline)

    async def modify(
        self,
        balancer_id: str,
        *,
        name: str = "",
        size: str = "",
        tags: Mapping[str, str] | None = None,
        deadline: float,
    ) -> Balancer:
        """Change name, size and tags."""
        tier = await self._tier(deadline)
        return await tier.modify(balancer_id, name=name, size=size, tags=tags, deadline=deadline)

    async def delete(self, balancer_id: str, *, guard: tuple[str, str] | None, deadline: float) -> None:
        """Delete one of ours."""
        await (await self._tier(deadline)).delete(balancer_id, guard=guard, deadline=deadline)

    async def _tier(self, deadline: float) -> CloudBalancers:
        with translated():
            features = await self._client.features(deadline)
        return self._extended if is_extended(features) else self._strict
