"""Snapshot groups: typed calls and no policy (docs/platform-api.md, Snapshots and groups)."""

from collections.abc import Iterable, Mapping

from thecloud.call import Call, Exchange, Lane, Repeat, decoder_of, read_object
from thecloud.presence import Gone
from thecloud.resource import FeaturesSource, Resource, body_of, key_header
from thecloud.wire import SnapshotGroup

_FEATURE = "snapshot.group"
_GROUP = decoder_of(SnapshotGroup)
_GROUPS = decoder_of(tuple[SnapshotGroup, ...])


class SnapshotGroups(Resource[SnapshotGroup]):
    """Snapshots of several volumes that are taken, and deleted, together.

    Every method takes `deadline` (loop time) and raises PlatformError; Unsupported where the platform has no groups.
    """

    kind = "snapshot_group"
    route = "/snapshot-groups"
    filter_feature = _FEATURE
    missing_is_unknown = False

    def __init__(self, exchange: Exchange, features: FeaturesSource, *, listing_window_s: float) -> None:
        super().__init__(exchange, features, one=_GROUP, many=_GROUPS, listing_window_s=listing_window_s)

    async def create(
        self,
        *,
        name: str,
        volume_ids: Iterable[str],
        deadline: float,
        tags: Mapping[str, str] | None = None,
        idempotency_key: str = "",
    ) -> SnapshotGroup:
        """Take a snapshot of every volume at one point, or none at all.

        With `idempotency_key` the call is tried again while its outcome is unknown.
        """
        features = await self.features(deadline)
        self.need(features, _FEATURE)
        if tags:
            self.need(features, "volume.tags")
        keyed = bool(idempotency_key) and features.has("volume.idempotency-key")
        members = [self.id_of(volume_id, kind="volume") for volume_id in volume_ids]
        call = Call(
            method="POST",
            route=self.route,
            path=self.route,
            deadline=deadline,
            lane=Lane.CREATE,
            repeat=Repeat.SAFE if keyed else Repeat.UNSENT_ONLY,
            body=body_of(name=name, volume_ids=members, tags=tags),
            headers=key_header(idempotency_key if keyed else ""),
        )
        return read_object(_GROUP, call, await self.send(call))

    async def get(self, group_id: str, *, deadline: float, lane: Lane = Lane.READ) -> SnapshotGroup | Gone:
        """Give the group with its snapshots, or say that it is gone."""
        self.need(await self.features(deadline), _FEATURE)
        return await self.look_up(group_id, deadline=deadline, lane=lane)

    async def find_by_name(self, name: str, *, deadline: float, lane: Lane = Lane.READ) -> tuple[SnapshotGroup, ...]:
        """Give the groups of exactly this name; as fresh as the question."""
        self.need(await self.features(deadline), _FEATURE)
        found = await self.listed((("name", name),), deadline=deadline, lane=lane)
        return tuple(group for group in found if group.name == name)

    async def delete(self, group_id: str, *, deadline: float, guard_tag: tuple[str, str] | None = None) -> None:
        """Delete the group and its snapshots; with `guard_tag` only if it carries that tag (GuardMismatch otherwise).

        Raises Missing when it is definitely gone.
        """
        self.need(await self.features(deadline), _FEATURE)
        await self.remove(group_id, deadline=deadline, guard_tag=guard_tag, feature="volume.tags")
