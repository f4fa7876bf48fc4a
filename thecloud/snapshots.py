"""Snapshots: typed calls and no policy (platform contract 6; docs/platform-api.md, Snapshots and groups)."""

from collections.abc import Mapping

from thecloud.call import Call, Exchange, Lane, Repeat, decoder_of, read_object
from thecloud.presence import Gone
from thecloud.resource import FeaturesSource, Resource, body_of, key_header
from thecloud.wire import Snapshot

_SNAPSHOT = decoder_of(Snapshot)
_SNAPSHOTS = decoder_of(tuple[Snapshot, ...])


class Snapshots(Resource[Snapshot]):
    """The snapshots that this user sees (they belong to the user, not to the tenant: platform contract 1.10).

    Every method takes `deadline` (loop time) and raises PlatformError.
    """

    kind = "snapshot"
    route = "/snapshots"
    filter_feature = "volume.filter"
    missing_is_unknown = True

    def __init__(self, exchange: Exchange, features: FeaturesSource, *, listing_window_s: float) -> None:
        super().__init__(exchange, features, one=_SNAPSHOT, many=_SNAPSHOTS, listing_window_s=listing_window_s)

    async def create(
        self,
        *,
        volume_id: str,
        name: str,
        deadline: float,
        tags: Mapping[str, str] | None = None,
        idempotency_key: str = "",
    ) -> Snapshot:
        """Take a snapshot; the answer may still be CREATING.

        The strict tier knows no names: the name is its description as well, where `find_by_name` looks for it. With
        `idempotency_key` and the feature, the call is tried again while its outcome is unknown; without it, a
        repetition would make a second snapshot, so list by name before and after.
        """
        features = await self.features(deadline)
        if tags:
            self.need(features, "volume.tags")
        keyed = bool(idempotency_key) and features.has("volume.idempotency-key")
        call = Call(
            method="POST",
            route=self.route,
            path=self.route,
            deadline=deadline,
            lane=Lane.CREATE,
            repeat=Repeat.SAFE if keyed else Repeat.UNSENT_ONLY,
            body=body_of(volume_id=self.id_of(volume_id, kind="volume"), name=name, description=name, tags=tags),
            headers=key_header(idempotency_key if keyed else ""),
        )
        return read_object(_SNAPSHOT, call, await self.send(call))

    async def get(self, snapshot_id: str, *, deadline: float, lane: Lane = Lane.READ) -> Snapshot | Gone:
        """Give the snapshot, or say that it is gone; in the strict tier a listing decides after a 500."""
        return await self.look_up(snapshot_id, deadline=deadline, lane=lane)

    async def find_by_name(self, name: str, *, deadline: float, lane: Lane = Lane.READ) -> tuple[Snapshot, ...]:
        """Give the snapshots of exactly this name (description, where there are no names); as fresh as the question."""
        found = await self.listed((("name", name),), deadline=deadline, lane=lane)
        return tuple(snapshot for snapshot in found if name_of(snapshot) == name)

    async def find_by_volume(self, volume_id: str, *, deadline: float, lane: Lane = Lane.READ) -> tuple[Snapshot, ...]:
        """Give the snapshots of one volume; as fresh as the question."""
        canonical = self.id_of(volume_id, kind="volume")
        found = await self.listed((("volume_id", canonical),), deadline=deadline, lane=lane)
        return tuple(snapshot for snapshot in found if snapshot.volume_id == canonical)

    async def list(self, *, deadline: float, lane: Lane = Lane.READ) -> tuple[Snapshot, ...]:
        """Give all snapshots; as fresh as the question, newest first."""
        return await self.listed((), deadline=deadline, lane=lane)

    async def delete(self, snapshot_id: str, *, deadline: float, guard_tag: tuple[str, str] | None = None) -> None:
        """Delete the snapshot; with `guard_tag` only if it carries that tag (GuardMismatch otherwise).

        Raises Missing when it is definitely gone (in the strict tier UnknownOutcome: look with `get`), Conflict
        (`in_group`) for a member of a group.
        """
        await self.remove(snapshot_id, deadline=deadline, guard_tag=guard_tag, feature="volume.tags")


def name_of(snapshot: Snapshot) -> str:
    """Give the name under which the snapshot was made, in either tier; empty when it has none."""
    return snapshot.name or snapshot.description or ""
