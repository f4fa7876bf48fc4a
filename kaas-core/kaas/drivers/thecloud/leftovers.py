"""What was made from inside of a cluster: volumes by its CSI driver, load balancers by its cloud controller manager.

Both are found by the mark that those programs write, and deleted with nothing but exactly this cluster's mark on them.
"""

from collections.abc import Mapping, Sequence

from kaas.domain.errors import Code
from kaas.domain.ports import Condition, External, Kind
from kaas.drivers.thecloud import marks
from kaas.drivers.thecloud.errors import code_of, translated
from kaas.drivers.thecloud.options import DriverOptions
from thecloud.client import Client
from thecloud.errors import Conflict, Missing, PlatformError, Refused
from thecloud.loadbalancers import LISTENERS, TAGS, TARGETS_PUT
from thecloud.network_wire import LoadBalancerStatus
from thecloud.presence import Gone
from thecloud.wire import Volume, VolumeStatus

_VOLUME_TAGS = "volume.tags"
_GROUPED = frozenset({LISTENERS, TARGETS_PUT, TAGS})
"""Without one of these a cloud controller manager makes load balancers as in the strict tier."""
_VOLUME_CONDITIONS: Mapping[VolumeStatus, Condition] = {
    VolumeStatus.AVAILABLE: Condition.READY,
    VolumeStatus.IN_USE: Condition.READY,
    VolumeStatus.DELETING: Condition.LEAVING,
    VolumeStatus.UNKNOWN: Condition.PENDING,
}


class Volumes:
    """Volumes with the tag, or in the strict tier the name, that a cluster's CSI driver gives."""

    def __init__(self, client: Client, options: DriverOptions) -> None:
        self._client = client
        self._options = options

    async def find(self, cluster_id: str, name: str, *, deadline: float) -> Sequence[External]:
        """Give the cluster's volumes, attached ones too."""
        with translated(f"looking for the volumes of cluster {cluster_id}"):
            tag = (marks.CSI_TAG, cluster_id) if await self._has_tags(deadline) else None
            found = await self._client.volumes.list(tag=tag, deadline=deadline)
        return [
            External(
                Kind.VOLUME,
                one.id,
                one.name,
                _VOLUME_CONDITIONS[one.status],
                message=_held(one),
                cluster_id=cluster_id,
            )
            for one in found
            if self._is_of(one, cluster_id, has_tags=tag is not None) and name in ("", one.name)
        ]

    async def delete(self, external: External, *, deadline: float) -> None:
        """Delete it; one that a machine still holds is tried again. It is never detached by force."""
        doing = f"deleting volume {external.name!r}"
        if not external.cluster_id:
            raise marks.not_ours(external, "nobody says whose it is")
        with translated(doing):
            found = await self._client.volumes.get(external.id, deadline=deadline)
            has_tags = await self._has_tags(deadline)
        if isinstance(found, Gone):
            return
        if not self._is_of(found, external.cluster_id, has_tags=has_tags):
            raise marks.not_ours(external, f"it does not carry the mark of cluster {external.cluster_id}")
        guard = (marks.CSI_TAG, external.cluster_id) if has_tags else None
        with translated(doing, read=_code_of_held):
            try:
                await self._client.volumes.delete(found.id, guard_tag=guard, deadline=deadline)
            except Missing:
                return

    async def _has_tags(self, deadline: float) -> bool:
        return (await self._client.features(deadline)).has(_VOLUME_TAGS)

    def _is_of(self, one: Volume, cluster_id: str, *, has_tags: bool) -> bool:
        if has_tags:
            return one.tags.get(marks.CSI_TAG) == cluster_id
        return one.name.startswith(marks.volume_prefix(self._options.csi_name_prefix, cluster_id))


class LoadBalancers:
    """Load balancers with the tag, or in the strict tier the name, that a cloud controller manager gives."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def find(self, cluster_id: str, name: str, *, deadline: float) -> Sequence[External]:
        """Give the cluster's load balancers; those that the platform has as deleted are not shown."""
        with translated(f"looking for the load balancers of cluster {cluster_id}"):
            if await self._has_groups(deadline):
                mark = (marks.CCM_TAG, cluster_id)
                listed = await self._client.load_balancers.list(tag=mark, deadline=deadline)
                found = [(one.id, one.name) for one in listed if one.tags.get(marks.CCM_TAG) == cluster_id]
            else:
                ports = await self._client.port_balancers.list(deadline=deadline)
                alive = [one for one in ports if one.status is not LoadBalancerStatus.DELETED]
                found = [(one.id, one.name) for one in alive if marks.is_port_balancer_of(one.name, cluster_id)]
        return [
            External(Kind.LOAD_BALANCER, one_id, one_name, Condition.READY, cluster_id=cluster_id)
            for one_id, one_name in found
            if name in ("", one_name)
        ]

    async def delete(self, external: External, *, deadline: float) -> None:
        """Delete it; its addresses are free again, elastic IPs stay."""
        if not external.cluster_id:
            raise marks.not_ours(external, "nobody says whose it is")
        with translated(f"deleting load balancer {external.name!r}"):
            try:
                await self._delete(external, deadline=deadline)
            except Missing:
                return

    async def _delete(self, external: External, *, deadline: float) -> None:
        if await self._has_groups(deadline):
            guard = (marks.CCM_TAG, external.cluster_id)
            await self._client.load_balancers.delete(external.id, guard_tag=guard, deadline=deadline)
            return
        found = await self._client.port_balancers.get(external.id, deadline=deadline)
        if isinstance(found, Gone):
            return
        if not marks.is_port_balancer_of(found.name, external.cluster_id):
            raise marks.not_ours(external, f"it is called {found.name!r}")
        await self._client.port_balancers.delete(found.id, deadline=deadline)

    async def _has_groups(self, deadline: float) -> bool:
        return (await self._client.features(deadline)).names >= _GROUPED


def _held(one: Volume) -> str:
    return f"attached to instance {one.instance_id or '(none recorded)'}" if one.status is VolumeStatus.IN_USE else ""


def _code_of_held(error: PlatformError) -> Code:
    """Give the code of a refused deletion: a volume is free once its machine is gone, and may be deleted then."""
    return Code.SURVIVORS if isinstance(error, Conflict | Refused) else code_of(error)
