"""Public SSH keys that instances can be launched with: typed calls and no policy (platform contract 4.7)."""

from datetime import datetime

import msgspec

from thecloud.call import Call, Exchange, Lane, decoder_of, read_object
from thecloud.presence import Gone
from thecloud.resource import FeaturesSource, Resource
from thecloud.wire import drop_zero_time


class SshKey(msgspec.Struct, frozen=True, kw_only=True):
    """A public key."""

    id: str
    name: str
    public_key: str
    """In OpenSSH's format, with whatever comment it was given with."""
    fingerprint: str = ""
    created_at: datetime | None = None

    def __post_init__(self) -> None:
        drop_zero_time(self)


_KEY = decoder_of(SshKey)
_KEYS = decoder_of(tuple[SshKey, ...])


class SshKeys(Resource[SshKey]):
    """The public keys of the tenant. Every method takes `deadline` (loop time) and raises PlatformError."""

    kind = "ssh_key"
    route = "/ssh-keys"
    filter_feature = ""
    missing_is_unknown = False

    def __init__(self, exchange: Exchange, features: FeaturesSource, *, listing_window_s: float) -> None:
        super().__init__(exchange, features, one=_KEY, many=_KEYS, listing_window_s=listing_window_s)

    async def create(self, *, name: str, public_key: str, deadline: float) -> SshKey:
        """Keep a public key.

        Raises Conflict when the tenant has the name, which after an answer that was lost may be by this very call;
        Refused for a text that is no key.
        """
        call = Call(
            method="POST",
            route=self.route,
            path=self.route,
            deadline=deadline,
            lane=Lane.CREATE,
            body={"name": name, "public_key": public_key},
        )
        return read_object(_KEY, call, await self.send(call))

    async def get(self, key_id: str, *, deadline: float, lane: Lane = Lane.READ) -> SshKey | Gone:
        """Give the key, or say that it is gone."""
        return await self.look_up(key_id, deadline=deadline, lane=lane)

    async def list(self, *, deadline: float, lane: Lane = Lane.READ) -> tuple[SshKey, ...]:
        """Give all keys; as fresh as the question, newest first."""
        return await self.listed((), deadline=deadline, lane=lane)

    async def delete(self, key_id: str, *, deadline: float) -> None:
        """Forget the key; instances keep what they were given. Raises Missing when it is gone."""
        await self.remove(key_id, deadline=deadline, guard_tag=None, feature="")
