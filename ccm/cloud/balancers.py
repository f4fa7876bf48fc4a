"""Load balancers of the extended tier behind `ccm.ports.CloudBalancers`."""

from collections.abc import Mapping, Sequence

from ccm.cloud.errors import translated
from ccm.cloud.offer import extended_offer
from ccm.cloud.shapes import balancer_of, wire_group, wire_listener, wire_target
from ccm.cloud.snapshot import Snapshot
from ccm.model import Balancer, Listener, NewBalancer, Target
from ccm.names import CLUSTER_TAG
from ccm.ports import BalancerOffer, Cause, CloudError
from thecloud import network_wire as wire
from thecloud.client import Client
from thecloud.errors import Missing
from thecloud.presence import Gone


class Balancers:
    """`ccm.ports.CloudBalancers` for a platform with groups of listeners.

    A load balancer without this cluster's mark is never modified or deleted; on one that a service names by id, only
    the service's own group is written.
    """

    def __init__(self, client: Client, *, cluster_id: str) -> None:
        self._client = client
        self._mark = (CLUSTER_TAG, cluster_id)
        self._snapshot: Snapshot[tuple[Balancer, ...]] = Snapshot(self._list, name="the listing of load balancers")
        self._read: tuple[tuple[wire.LoadBalancer, ...], tuple[Balancer, ...]] | None = None

    async def offer(self, *, deadline: float) -> BalancerOffer:
        """Say what load balancers of this platform can do."""
        with translated():
            return extended_offer(await self._client.features(deadline))

    async def mine(self, *, max_age_s: float, deadline: float) -> Sequence[Balancer]:
        """List those with this cluster's mark, as of at most `max_age_s` ago."""
        with translated():
            return await self._snapshot.get(max_age_s=max_age_s, deadline=deadline)

    async def get(self, balancer_id: str, *, deadline: float) -> Balancer | None:
        """Read one, whoever's it is; None when it is definitely not there."""
        with translated():
            found = await self._client.load_balancers.get(balancer_id, deadline=deadline)
        return None if isinstance(found, Gone) else balancer_of(found)

    async def create(self, new: NewBalancer, *, deadline: float) -> Balancer:
        """Make one with its first group; always with this cluster's mark.

        Raises CloudError CONFLICT when the same key has made one that was let go since: it would not be ours.
        """
        shape = new.shape
        with self._snapshot.writing():
            made = await self._client.load_balancers.create(
                name=new.name,
                idempotency_key=new.idempotency_key,
                deadline=deadline,
                vpc_id=shape.vpc_id,
                internal=shape.internal,
                size=new.size,
                families=() if shape.families == ("ipv4",) else shape.families,
                static_addresses=shape.static_addresses,
                tags={**new.tags, self._mark[0]: self._mark[1]},
                groups=(wire_group(new.group),),
            )
        if not self._is_marked(made.tags):
            text = (
                f"load balancer {made.id} was made by the same request before and has lost the tag {self._mark[0]} "
                "since; adopt it, or delete it so that another can be made"
            )
            raise CloudError(Cause.CONFLICT, text, resource="load_balancer", details={"id": made.id})
        return balancer_of(made)

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
        with self._snapshot.writing():
            written = await self._client.load_balancers.put_group(
                balancer_id,
                name,
                listeners=None if listeners is None else [wire_listener(one) for one in listeners],
                targets=None if targets is None else [wire_target(one) for one in targets],
                deadline=deadline,
            )
        return balancer_of(written)

    async def delete_group(self, balancer_id: str, name: str, *, deadline: float) -> None:
        """Take a group away; none is no error, nor is a load balancer that is gone."""
        with self._snapshot.writing():
            try:
                await self._client.load_balancers.delete_group(balancer_id, name, deadline=deadline)
            except Missing as error:
                if not _is_balancer(error):
                    raise

    async def modify(
        self,
        balancer_id: str,
        *,
        name: str = "",
        size: str = "",
        tags: Mapping[str, str] | None = None,
        deadline: float,
    ) -> Balancer:
        """Change name, size and tags of one of ours; raises CloudError GUARD for another's.

        An empty value takes the mark away, after which it is not ours any more; another mark cannot be given.
        """
        # The platform has no guard on changes. The mark is given at creation and taken away by this program alone, so
        # that what carries it now still does when the change arrives.
        before = await self.get(balancer_id, deadline=deadline)
        if before is None:
            text = f"load balancer {balancer_id} is gone"
            raise CloudError(Cause.MISSING, text, resource="load_balancer", details={"id": balancer_id})
        self._check_mark(before)
        changes = {key: value for key, value in (tags or {}).items() if key != self._mark[0] or not value}
        with self._snapshot.writing():
            changed = await self._client.load_balancers.modify(
                balancer_id, name=name, size=size, tags=changes, deadline=deadline
            )
        return balancer_of(changed)

    async def delete(self, balancer_id: str, *, guard: tuple[str, str] | None, deadline: float) -> None:
        """Delete one of ours, with `guard` only if it carries that tag too; one that is gone is no error."""
        if guard is not None and guard != self._mark:
            # The platform compares one tag; the mark is looked at here.
            before = await self.get(balancer_id, deadline=deadline)
            if before is None:
                return
            self._check_mark(before)
        with self._snapshot.writing():
            try:
                await self._client.load_balancers.delete(balancer_id, guard_tag=guard or self._mark, deadline=deadline)
            except Missing as error:
                if not _is_balancer(error):
                    raise

    async def _list(self, deadline: float, _taken_at: float) -> tuple[Balancer, ...]:
        listed = await self._client.load_balancers.list(tag=self._mark, deadline=deadline)
        # The client gives the same tuple again while the platform says that nothing has changed.
        if self._read is None or self._read[0] is not listed:
            self._read = (listed, tuple(balancer_of(one) for one in listed if self._is_marked(one.tags)))
        return self._read[1]

    def _is_marked(self, tags: Mapping[str, str]) -> bool:
        return tags.get(self._mark[0]) == self._mark[1]

    def _check_mark(self, balancer: Balancer) -> None:
        if not self._is_marked(balancer.tags):
            raise CloudError(
                Cause.GUARD,
                f"load balancer {balancer.id} ({balancer.name[:80]!r}) does not carry the tag "
                f"{self._mark[0]}: {self._mark[1]}; it is not changed",
            )


def _is_balancer(error: Missing) -> bool:
    return error.resource in ("", "load_balancer")
