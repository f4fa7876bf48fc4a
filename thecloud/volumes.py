"""Volumes: typed calls and no policy (platform contract 5; docs/platform-api.md, Volumes).

What a conflict means, whether a volume may be deleted and how often to ask is the caller's decision.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from thecloud.call import Call, Exchange, Lane, Repeat, decoder_of, read_done, read_object
from thecloud.presence import Gone
from thecloud.resource import FeaturesSource, Resource, body_of, key_header, loop_time, tag_param
from thecloud.wire import AttachResult, Volume

_SERIAL_DIGITS = 20
_MAX_WAIT_S = 60
_ANSWER_MARGIN = 0.9
_UNUSED_MOUNT_PATH = "/dev/disk"

_VOLUME = decoder_of(Volume)
_VOLUMES = decoder_of(tuple[Volume, ...])
_ATTACH = decoder_of(AttachResult)


def serial_of(volume_id: str) -> str:
    """Give the serial that a disk shows in the guest when the platform does not name one: 20 hex digits of the id."""
    return volume_id.lower().replace("-", "")[:_SERIAL_DIGITS]


@dataclass(frozen=True, slots=True)
class AttachAnswer:
    """The platform has attached the volume."""

    volume: Volume | None
    """How it is now; None in the strict tier, where the caller must look, since a parallel attach may have won."""


class Volumes(Resource[Volume]):
    """The volumes of the tenant.

    Every method takes `deadline` (loop time) and raises PlatformError. Ids are uuids; for anything else the answer is
    "gone" without a call. Methods raise Unsupported, and send nothing, for an argument that the platform would ignore.
    """

    kind = "volume"
    route = "/volumes"
    filter_feature = "volume.filter"
    missing_is_unknown = True

    def __init__(self, exchange: Exchange, features: FeaturesSource, *, listing_window_s: float) -> None:
        super().__init__(exchange, features, one=_VOLUME, many=_VOLUMES, listing_window_s=listing_window_s)

    async def create(
        self,
        *,
        name: str,
        size_gb: int,
        deadline: float,
        tags: Mapping[str, str] | None = None,
        performance_class: str = "",
        zone: str = "",
        snapshot_id: str = "",
        source_volume_id: str = "",
        idempotency_key: str = "",
    ) -> Volume:
        """Make a volume of `size_gb` GiB.

        With `idempotency_key` (at most 64 characters) and the feature, the call is tried again while its outcome is
        unknown; without the feature the key is not sent. Raises Conflict (`name_taken`, `key_reused`); in the strict
        tier a taken name is an UnknownOutcome like any fault, so list by name before and after.
        """
        features = await self.features(deadline)
        if tags:
            self.need(features, "volume.tags")
        if performance_class:
            self.need(features, "volume.modify")
        if zone:
            self.need(features, "instance.zone")
        if snapshot_id:
            self.need(features, "snapshot.restore")
        if source_volume_id:
            self.need(features, "volume.clone")
        keyed = bool(idempotency_key) and features.has("volume.idempotency-key")
        body = body_of(
            name=name,
            size_gb=size_gb,
            tags=tags,
            performance_class=performance_class,
            zone=zone,
            snapshot_id=snapshot_id,
            source_volume_id=source_volume_id,
        )
        call = Call(
            method="POST",
            route=self.route,
            path=self.route,
            deadline=deadline,
            lane=Lane.CREATE,
            repeat=Repeat.SAFE if keyed else Repeat.UNSENT_ONLY,
            body=body,
            headers=key_header(idempotency_key if keyed else ""),
        )
        return read_object(_VOLUME, call, await self.send(call))

    async def get(self, volume_id: str, *, deadline: float, lane: Lane = Lane.READ) -> Volume | Gone:
        """Give the volume, or say that it is gone.

        The strict tier answers 500 for a missing volume as for any fault; one listing then decides (platform contract
        25.1). Raises UnknownOutcome when even that does not tell.
        """
        return await self.look_up(volume_id, deadline=deadline, lane=lane)

    async def find_by_name(self, name: str, *, deadline: float, lane: Lane = Lane.READ) -> tuple[Volume, ...]:
        """Give the volumes of exactly this name; as fresh as the question."""
        found = await self.listed((("name", name),), deadline=deadline, lane=lane)
        return tuple(volume for volume in found if volume.name == name)

    async def list(
        self, *, deadline: float, tag: tuple[str, str] | None = None, lane: Lane = Lane.READ
    ) -> tuple[Volume, ...]:
        """Give all volumes of the tenant, or those with a tag; as fresh as the question, newest first.

        It may hold more than what was asked for: others may share the listing, and the strict tier has no tags.
        """
        return await self.listed(() if tag is None else (tag_param(tag),), deadline=deadline, lane=lane)

    async def delete(self, volume_id: str, *, deadline: float, guard_tag: tuple[str, str] | None = None) -> None:
        """Delete the volume; with `guard_tag` only if it carries that tag (GuardMismatch otherwise).

        Raises Missing when it is definitely gone, Conflict (`attached`) or, in the strict tier, Refused while it is in
        use. In the strict tier a missing volume is an UnknownOutcome: look with `get`. Never tried again on its own
        when the outcome is unknown.
        """
        await self.remove(volume_id, deadline=deadline, guard_tag=guard_tag, feature="volume.tags")

    async def attach(
        self,
        volume_id: str,
        instance_id: str,
        *,
        deadline: float,
        read_only: bool = False,
        wait_s: float = 30.0,
    ) -> AttachAnswer:
        """Give the disk to the instance.

        With the feature `volume.attach-wait` the answer comes when the instance has the disk, waiting at most `wait_s`
        of the time that is left, and the call is tried again while its outcome is unknown. Raises Conflict (`attached`,
        with `instance_id`), Missing (`resource` tells volume from instance), QuotaExceeded for a full instance.
        """
        features = await self.features(deadline)
        if read_only:
            self.need(features, "volume.read-only")
        waits = features.has("volume.attach-wait")
        body: dict[str, Any] = {
            "instance_id": self.id_of(instance_id, kind="instance"),
            "mount_path": _UNUSED_MOUNT_PATH,
        }
        if read_only:
            body["read_only"] = True
        if waits:
            body["wait_s"] = _wait_within(wait_s, deadline)
        call = self._step(volume_id, "attach", body, deadline=deadline, is_repeatable=waits)
        return AttachAnswer(read_object(_ATTACH, call, await self.send(call)).volume)

    async def detach(self, volume_id: str, instance_id: str, *, deadline: float, wait_s: float = 30.0) -> None:
        """Take the disk from the instance.

        With the feature `volume.attach-wait` the platform compares the instance (Conflict `not_holder`), a detached
        volume is a success, and Conflict `busy` means that the instance still uses the disk. **The strict tier detaches
        whoever holds the volume**, so the caller looks first, and answers Refused for a volume that is free.
        """
        waits = (await self.features(deadline)).has("volume.attach-wait")
        body: dict[str, Any] = {"instance_id": self.id_of(instance_id, kind="instance")}
        if waits:
            body["wait_s"] = _wait_within(wait_s, deadline)
        call = self._step(volume_id, "detach", body, deadline=deadline, is_repeatable=waits)
        read_done(call, await self.send(call))

    async def resize(self, volume_id: str, *, size_gb: int, deadline: float) -> Volume:
        """Grow the volume to `size_gb` GiB; the same size is a success. Raises Refused for a smaller size."""
        self.need(await self.features(deadline), "volume.resize")
        call = self._step(volume_id, "resize", {"size_gb": size_gb}, deadline=deadline, is_repeatable=True)
        return read_object(_VOLUME, call, await self.send(call))

    async def modify(
        self,
        volume_id: str,
        *,
        deadline: float,
        performance_class: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> Volume:
        """Change the performance class, and merge `tags` (an empty value takes the key away)."""
        features = await self.features(deadline)
        self.need(features, "volume.modify")
        if tags:
            self.need(features, "volume.tags")
        call = Call(
            method="PATCH",
            route=self.route + "/{id}",
            path=self.path_of(volume_id),
            deadline=deadline,
            lane=Lane.CREATE,
            repeat=Repeat.SAFE,
            body=body_of(performance_class=performance_class, tags=tags),
        )
        return read_object(_VOLUME, call, await self.send(call))

    def _step(
        self, volume_id: str, step: str, body: Mapping[str, Any], *, deadline: float, is_repeatable: bool
    ) -> Call:
        return Call(
            method="POST",
            route=f"{self.route}/{{id}}/{step}",
            path=f"{self.path_of(volume_id)}/{step}",
            deadline=deadline,
            lane=Lane.CREATE if step == "resize" else Lane.ATTACH,
            repeat=Repeat.SAFE if is_repeatable else Repeat.UNSENT_ONLY,
            body=body,
        )


def _wait_within(wait_s: float, deadline: float) -> int:
    """Shorten the platform's wait so that its answer still comes before the deadline."""
    left_s = (deadline - loop_time()) * _ANSWER_MARGIN
    return max(0, int(min(wait_s, left_s, _MAX_WAIT_S)))
