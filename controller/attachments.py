"""Publish and unpublish: exactly the asked pair of volume and instance, never taken away from another instance.

This module finds the instance, holds the volume and picks how to speak to the platform: `guarded` where the platform
checks the pair itself, `careful` where this driver has to look before and after (platform contract 5.5).
"""

import asyncio
from collections.abc import Callable

from controller import features as offer
from controller.careful import CarefulPairs, Meant
from controller.guarded import GuardedPairs
from controller.model import Volume
from controller.names import is_uuid
from controller.nodes import Nodes
from controller.ports import Cause, Cloud, CloudError, Lane
from controller.uses import Uses, volume_key
from controller.volumes import missing_volume
from controller.written import UNANSWERED_S
from csi.errors import CsiError, ErrorKind


class Attachments:
    """Attaches volumes to nodes and detaches them."""

    def __init__(
        self,
        cloud: Cloud,
        nodes: Nodes,
        uses: Uses,
        *,
        clock: Callable[[], float] | None = None,
        unanswered_s: float = UNANSWERED_S,
    ) -> None:
        self._cloud = cloud
        self._nodes = nodes
        self._uses = uses
        self._guarded = GuardedPairs(cloud.volumes)
        self._careful = CarefulPairs(
            cloud.volumes, clock=clock or (lambda: asyncio.get_running_loop().time()), unanswered_s=unanswered_s
        )

    async def publish(self, volume_id: str, node_id: str, *, read_only: bool, deadline: float) -> Volume:
        """Attach a volume to the instance behind a node; gives the volume as attached.

        Idempotent. Raises CsiError NOT_FOUND for volume or node, PRECONDITION naming the holder, ALREADY_EXISTS for the
        same instance in another mode, EXHAUSTED for a full instance, BUSY, and UNKNOWN_OUTCOME, after which asking
        again is safe.
        """
        if not is_uuid(volume_id):
            raise missing_volume(volume_id)
        features = await self._cloud.offer.features(deadline=deadline)
        with self._uses.alone(volume_key(volume_id)):
            volume = await self._attach(volume_id, node_id, features, read_only=read_only, deadline=deadline)
        self._nodes.note_published(node_id, volume.instance_id)
        return volume

    async def _attach(
        self, volume_id: str, node_id: str, features: frozenset[str], *, read_only: bool, deadline: float
    ) -> Volume:
        pairs = self._guarded if _is_guarded(features) else self._careful

        async def attach_to(instance_id: str) -> Volume:
            try:
                return await pairs.attach(volume_id, instance_id, read_only=read_only, deadline=deadline)
            except CloudError as failure:
                if failure.cause is Cause.QUOTA:
                    raise _full_node(node_id, instance_id, failure) from failure
                raise

        instance = await self._nodes.resolve(node_id, features=features, deadline=deadline)
        try:
            return await attach_to(instance.id)
        except CloudError as failure:
            unclear = failure
        # The listing that named the instance may be old: one of that name may have taken its place. The strict tier
        # says nothing about a missing instance; an answer that tells nothing asks for the same second look.
        is_instance = unclear.cause is Cause.MISSING and unclear.resource != "volume"
        is_fault = unclear.cause is Cause.UNKNOWN and unclear.is_answered and not _is_guarded(features)
        if not is_instance and not is_fault:
            raise unclear
        renewed = await self._nodes.resolve(node_id, features=features, deadline=deadline, fresh=True)
        if renewed.id == instance.id:
            raise _missing_node(node_id, unclear) if is_instance else unclear
        return await attach_to(renewed.id)

    async def unpublish(self, volume_id: str, node_id: str, *, deadline: float) -> None:
        """Detach a volume from the instance behind a node; an empty node id means whichever has it.

        A missing volume, node or attachment is a success. Raises CsiError PRECONDITION while the instance still uses
        the disk, or when it cannot be told whether the node is the holder; UNKNOWN_OUTCOME when the platform does not
        say clearly what is, or may still be carrying something out; BUSY.
        """
        if not is_uuid(volume_id):
            return
        features = await self._cloud.offer.features(deadline=deadline)

        async def is_meant(holder_id: str) -> bool:
            return not node_id or await self._nodes.means(node_id, holder_id, features=features, deadline=deadline)

        with self._uses.alone(volume_key(volume_id)):
            if _is_guarded(features):
                guess = await self._nodes.guess(node_id, features=features, deadline=deadline) if node_id else ""
                await self._detach_guarded(volume_id, guess, is_meant, deadline=deadline)
            else:
                await self._careful.detach(volume_id, is_meant, deadline=deadline)

    async def _detach_guarded(self, volume_id: str, guess: str, is_meant: Meant, *, deadline: float) -> None:
        """Detach where the platform compares the instance: a wrong guess costs no more than being told so."""
        holder: str | None = ""
        if guess:
            holder = await self._guarded.detach(volume_id, guess, deadline=deadline)
        if holder == "":
            volume = await self._cloud.volumes.get(volume_id, lane=Lane.ATTACH, deadline=deadline)
            # A volume in use by nobody holds on to no node either; the next publish says what is wrong with it.
            holder = volume.instance_id if volume is not None else None
        if holder and await is_meant(holder):
            await self._guarded.detach(volume_id, holder, deadline=deadline)


def _is_guarded(features: frozenset[str]) -> bool:
    return features >= offer.GUARDED_ATTACH


def _full_node(node_id: str, instance_id: str, failure: CloudError) -> CsiError:
    return CsiError(
        ErrorKind.EXHAUSTED,
        f"node {node_id!r} (instance {instance_id}) takes no more volumes. Kubernetes from 1.34 on places the pod "
        "elsewhere; if this repeats, --max-volumes of its node plugin is more than the platform allows, or other disks "
        # The platform's own words alone: what to do about a quota is no advice here.
        f"take its places (--reserved-volumes). {failure.__cause__ or failure.message}",
    )


def _missing_node(node_id: str, failure: CloudError) -> CsiError:
    return CsiError(ErrorKind.NOT_FOUND, f"node_id: node {node_id!r} is no instance of the platform: {failure.message}")
