"""Publish and unpublish: exactly the asked pair of volume and instance, never taken away from another instance.

This module finds the instance, holds the volume and picks how to speak to the platform: `guarded` where the platform
checks the pair itself, `careful` where this driver has to look before and after (platform contract 5.5).
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from controller import features as offer
from controller.careful import CarefulPairs
from controller.guarded import GuardedPairs
from controller.model import Volume
from controller.names import is_uuid
from controller.nodes import Nodes, matches_of
from controller.ports import Cause, Cloud, CloudError
from controller.uses import Uses, volume_key
from controller.volumes import missing_volume
from csi.errors import CsiError, ErrorKind


class Pairs(Protocol):
    """Attach and detach of one volume and one instance, both known by id."""

    async def attach(self, volume_id: str, instance_id: str, *, read_only: bool, deadline: float) -> Volume:
        """Attach and give the volume as attached; the same pair again is a success."""
        ...

    async def detach(self, volume_id: str, instance_id: str, *, deadline: float) -> None:
        """Detach if this instance holds the volume; anything else is left alone and a success."""
        ...


class Attachments:
    """Attaches volumes to nodes and detaches them."""

    def __init__(self, cloud: Cloud, nodes: Nodes, uses: Uses, *, clock: Callable[[], float] | None = None) -> None:
        self._cloud = cloud
        self._nodes = nodes
        self._uses = uses
        self._guarded = GuardedPairs(cloud.volumes)
        self._careful = CarefulPairs(cloud.volumes, clock=clock or (lambda: asyncio.get_running_loop().time()))

    async def publish(self, volume_id: str, node_id: str, *, read_only: bool, deadline: float) -> Volume:
        """Attach a volume to the instance behind a node; gives the volume as attached.

        Idempotent. Raises CsiError NOT_FOUND for volume or node, PRECONDITION naming the holder, ALREADY_EXISTS for the
        same instance in another mode, EXHAUSTED for a full instance, BUSY.
        """
        if not is_uuid(volume_id):
            raise missing_volume(volume_id)
        features = await self._cloud.offer.features(deadline=deadline)
        pairs = self._pairs(features)
        with self._uses.alone(volume_key(volume_id)):
            instance = await self._nodes.resolve(node_id, features=features, deadline=deadline)
            try:
                return await pairs.attach(volume_id, instance.id, read_only=read_only, deadline=deadline)
            except CloudError as failure:
                unclear = failure
            # The listing that named the instance may be old: one of that name may have taken its place. The strict tier
            # says nothing about a missing instance; its unclear answer asks for the same second look.
            is_instance = unclear.cause is Cause.MISSING and unclear.resource != "volume"
            if not is_instance and (unclear.cause is not Cause.UNKNOWN or pairs is self._guarded):
                raise unclear
            renewed = await self._nodes.resolve(node_id, features=features, deadline=deadline, fresh=True)
            if renewed.id == instance.id:
                raise _missing_node(node_id, unclear) if is_instance else unclear
            return await pairs.attach(volume_id, renewed.id, read_only=read_only, deadline=deadline)

    async def unpublish(self, volume_id: str, node_id: str, *, deadline: float) -> None:
        """Detach a volume from the instance behind a node; an empty node id means whichever has it.

        A missing volume, node or attachment is a success. Raises CsiError PRECONDITION while the instance still uses
        the disk, or when it cannot be told whether the node is the holder; BUSY.
        """
        if not is_uuid(volume_id):
            return
        features = await self._cloud.offer.features(deadline=deadline)
        with self._uses.alone(volume_key(volume_id)):
            instance_id = await self._holder_meant(volume_id, node_id, features=features, deadline=deadline)
            if instance_id:
                await self._pairs(features).detach(volume_id, instance_id, deadline=deadline)

    async def _holder_meant(self, volume_id: str, node_id: str, *, features: frozenset[str], deadline: float) -> str:
        """Give the instance to detach from, or an empty text when there is nothing to do."""
        if node_id:
            try:
                return (await self._nodes.resolve(node_id, features=features, deadline=deadline)).id
            except CsiError as error:
                if isinstance(error, CloudError) or error.kind not in (
                    ErrorKind.NOT_FOUND,
                    ErrorKind.PRECONDITION,
                ):
                    raise
                unresolved = error
        volume = await self._cloud.volumes.get(volume_id, deadline=deadline)
        if volume is None or not volume.in_use or not volume.instance_id:
            # A volume in use by nobody holds on to no node either; the next publish says what is wrong with it.
            return ""
        if not node_id:
            return volume.instance_id
        if unresolved.kind is ErrorKind.PRECONDITION:
            listing = await self._cloud.instances.all(max_age_s=0.0, deadline=deadline)
            if volume.instance_id in {match.id for match in matches_of(node_id, listing, features)}:
                raise unresolved
            return ""
        # The node is no instance any more. Its volume is given free only if the holder is definitely gone as well;
        # a holder that exists is another node.
        holder_exists = await self._cloud.instances.exists(volume.instance_id, deadline=deadline)
        return "" if holder_exists else volume.instance_id

    def _pairs(self, features: frozenset[str]) -> Pairs:
        return self._guarded if features >= offer.GUARDED_ATTACH else self._careful


def _missing_node(node_id: str, failure: CloudError) -> CsiError:
    return CsiError(ErrorKind.NOT_FOUND, f"node_id: node {node_id!r} is no instance of the platform: {failure.message}")
