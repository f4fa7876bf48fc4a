"""The user's API keys: typed calls and no policy (platform contract 2.2).

A key is in one answer only, that to making it. The platform's listing may show all keys in clear; they are not read.
"""

from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from thecloud.call import Call, Exchange, Lane, Repeat, decoder_of, read_list, read_object
from thecloud.resource import FeaturesSource, Resource
from thecloud.wire import drop_zero_time


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key, without the key. Names are not unique."""

    id: str
    name: str
    created_at: datetime | None = None

    def __post_init__(self) -> None:
        drop_zero_time(self)


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A new API key; whoever loses `secret` makes another one."""

    key: ApiKey
    secret: str = field(repr=False)


class _Secret(msgspec.Struct, frozen=True, kw_only=True):
    key: str

    def __repr__(self) -> str:
        return "_Secret()"


_KEY = decoder_of(ApiKey)
_KEYS = decoder_of(tuple[ApiKey, ...])
_SECRET = decoder_of(_Secret)


class ApiKeys(Resource[ApiKey]):
    """The keys of the user whose key this client has. Every method takes `deadline` (loop time), raises PlatformError.

    All keys of a user may do the same, in the tenant that they were made in; a key of one's own can be revoked alone.
    """

    kind = "api_key"
    route = "/auth/keys"
    filter_feature = ""
    missing_is_unknown = False

    def __init__(self, exchange: Exchange, features: FeaturesSource, *, listing_window_s: float) -> None:
        super().__init__(exchange, features, one=_KEY, many=_KEYS, listing_window_s=listing_window_s)

    async def create(self, *, name: str, deadline: float) -> MadeKey:
        """Make a key for the tenant that this client works in.

        Tried again only when nothing was sent: after UnknownOutcome there may be one that nobody can use, to be found
        by its name and revoked.
        """
        call = Call(
            method="POST",
            route=self.route,
            path=self.route,
            deadline=deadline,
            lane=Lane.CREATE,
            body={"name": name},
        )
        answer = await self.send(call)
        return MadeKey(read_object(_KEY, call, answer), read_object(_SECRET, call, answer).key)

    async def list(self, *, deadline: float) -> tuple[ApiKey, ...]:
        """Give the user's keys, of all its tenants, newest first."""
        call = Call(
            method="GET", route=self.route, path=self.route, deadline=deadline, lane=Lane.READ, repeat=Repeat.SAFE
        )
        return read_list(_KEYS, call, await self.send(call))

    async def revoke(self, key_id: str, *, deadline: float) -> None:
        """End a key; a platform may honour it for some minutes more. Raises Missing when there is none."""
        await self.remove(key_id, deadline=deadline, guard_tag=None, feature="")
