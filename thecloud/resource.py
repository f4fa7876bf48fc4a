"""What all collections of the platform have in common: address, lookup, listing, guarded delete.

Belongs here: the calls that are the same for each kind of object. Does not belong here: what only one kind can do.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from thecloud.call import (
    IF_NONE_MATCH,
    NOT_MODIFIED,
    Answer,
    Call,
    Decoder,
    Exchange,
    Lane,
    Params,
    Repeat,
    read_done,
    read_list,
    read_object,
)
from thecloud.capabilities import Features
from thecloud.errors import Missing, UnknownOutcome, Unsupported
from thecloud.listing import Listing
from thecloud.presence import Gone, canonical_id

PRECISE_ERRORS = "errors.precise"
CONDITIONAL_LISTS = "list.etag"
_MAX_KEY = 64


class Identified(Protocol):
    """An object with an id."""

    @property
    def id(self) -> str:
        """The object's uuid."""
        ...


ObjectT = TypeVar("ObjectT", bound=Identified)

FeaturesSource = Callable[[float], Awaitable[Features]]
"""Gives the platform's features; takes the deadline (loop time)."""


class Resource(Generic[ObjectT]):
    """One collection of the platform."""

    kind: ClassVar[str]
    """As in `details.resource` of an error."""
    route: ClassVar[str]
    filter_feature: ClassVar[str]
    """The feature that lets the platform filter the listing."""
    missing_is_unknown: ClassVar[bool]
    """Whether the strict tier answers 500 for a missing object (platform contract 1.12)."""
    keeps_listing: ClassVar[bool] = False
    """Whether the last listing is kept, and asked for anew only if it has changed (`list.etag`)."""

    def __init__(
        self,
        exchange: Exchange,
        features: FeaturesSource,
        *,
        one: Decoder[ObjectT],
        many: Decoder[tuple[ObjectT, ...]],
        listing_window_s: float,
    ) -> None:
        self._one = one
        self._many = many
        self._exchange = exchange
        self._features = features
        self._kept: _Kept[ObjectT] | None = None
        self._listing: Listing[ObjectT] = Listing(self._fetch, window_s=listing_window_s, name=f"GET {self.route}")

    async def aclose(self) -> None:
        """Stop a listing that is under way."""
        await self._listing.aclose()

    async def send(self, call: Call) -> Answer:
        """Make the call; raises PlatformError."""
        return await self._exchange.send(call)

    async def features(self, deadline: float) -> Features:
        """Give what the platform offers; raises PlatformError when it does not say."""
        return await self._features(deadline)

    def need(self, features: Features, name: str) -> None:
        """Raise Unsupported unless the platform offers the feature."""
        if not features.has(name):
            raise Unsupported(
                f"the platform ({features.tier} tier) does not offer {name}",
                route=self.route,
                details={"feature": name},
            )

    def id_of(self, text: str, *, kind: str = "") -> str:
        """Give the id as the platform writes it; raises Missing for a text that no object can have as its id."""
        canonical = canonical_id(text)
        if canonical is None:
            raise Missing(
                f"{text[:80]!r} is no uuid, so there is no such {kind or self.kind}",
                route=self.route,
                details={"resource": kind or self.kind, "id": text[:80]},
            )
        return canonical

    def path_of(self, object_id: str) -> str:
        """Give the object's address; raises Missing for a text that no object can have as its id."""
        return f"{self.route}/{self.id_of(object_id)}"

    async def look_up(self, object_id: str, *, deadline: float, lane: Lane) -> ObjectT | Gone:
        """Give the object or say that it is gone; raises PlatformError when the platform does not tell."""
        canonical = canonical_id(object_id)
        if canonical is None:
            return Gone(self.kind, object_id)
        is_precise = not self.missing_is_unknown or (await self.features(deadline)).has(PRECISE_ERRORS)
        try:
            return await self._get(canonical, deadline=deadline, lane=lane, is_precise=is_precise)
        except Missing as error:
            if error.resource == self.kind or (not error.resource and not self.missing_is_unknown):
                return Gone(self.kind, canonical)
        except UnknownOutcome:
            if is_precise:
                raise
        for found in await self.listed((), deadline=deadline, lane=lane):
            if found.id == canonical:
                return found
        return Gone(self.kind, canonical)

    async def listed(self, params: Params, *, deadline: float, lane: Lane) -> tuple[ObjectT, ...]:
        """Give a listing that began after this question and holds at least what `params` select.

        Others may share it, so that it may hold more: the caller selects again. Raises PlatformError.
        """
        return await self._listing.get(params, deadline=deadline, lane=lane)

    async def remove(self, object_id: str, *, deadline: float, guard_tag: tuple[str, str] | None, feature: str) -> None:
        """Delete the object, if it carries `guard_tag`; raises PlatformError."""
        if guard_tag is not None:
            self.need(await self.features(deadline), feature)
        call = Call(
            method="DELETE",
            route=self.route + "/{id}",
            path=self.path_of(object_id),
            deadline=deadline,
            lane=Lane.DELETE,
            params=() if guard_tag is None else (tag_param(guard_tag),),
        )
        read_done(call, await self.send(call))

    async def _get(self, object_id: str, *, deadline: float, lane: Lane, is_precise: bool) -> ObjectT:
        call = Call(
            method="GET",
            route=self.route + "/{id}",
            path=f"{self.route}/{object_id}",
            deadline=deadline,
            lane=lane,
            # Where 500 is how a missing object looks, a listing tells more than asking again.
            repeat=Repeat.SAFE if is_precise else Repeat.UNSENT_ONLY,
        )
        found = read_object(self._one, call, await self.send(call))
        if found.id != object_id:
            raise UnknownOutcome(
                f"asked for {self.kind} {object_id}, got {found.id[:80]!r}", method=call.method, route=call.route
            )
        return found

    async def _fetch(self, params: Params, lane: Lane, deadline: float) -> tuple[ObjectT, ...]:
        offered = bool(params) and (await self.features(deadline)).has(self.filter_feature)
        asked = params if offered else ()
        kept = self._kept if self._kept is not None and self._kept.params == asked else None
        if kept is not None and not (await self.features(deadline)).has(CONDITIONAL_LISTS):
            kept = None
        call = Call(
            method="GET",
            route=self.route,
            path=self.route,
            deadline=deadline,
            lane=lane,
            repeat=Repeat.SAFE,
            params=asked,
            headers=() if kept is None else ((IF_NONE_MATCH, kept.etag),),
        )
        answer = await self.send(call)
        if kept is not None and answer.status == NOT_MODIFIED:
            return kept.objects
        found = read_list(self._many, call, answer)
        if self.keeps_listing:
            self._kept = _Kept(asked, answer.etag, found) if answer.etag else None
        return found


@dataclass(frozen=True, slots=True)
class _Kept(Generic[ObjectT]):
    """A listing, and the platform's name for the state that it shows."""

    params: Params
    etag: str
    objects: tuple[ObjectT, ...]


def tag_param(tag: tuple[str, str]) -> tuple[str, str]:
    """Give the query parameter that selects a tag; the platform splits it at the first colon."""
    return ("tag", f"{tag[0]}:{tag[1]}")


def body_of(**fields: object) -> Mapping[str, Any]:
    """Give the fields that say something; None and empty ones are left out."""
    return {name: value for name, value in fields.items() if value not in (None, "", (), {})}


def key_header(idempotency_key: str) -> Params:
    """Give the header for a key, or none for an empty one; raises ValueError for one that the platform cannot store."""
    if not idempotency_key:
        return ()
    if len(idempotency_key) > _MAX_KEY or not idempotency_key.isascii() or not idempotency_key.isprintable():
        raise ValueError(f"an idempotency key has 1 to {_MAX_KEY} printable ASCII characters: {idempotency_key[:80]!r}")
    return (("Idempotency-Key", idempotency_key),)


def loop_time() -> float:
    """Give the time that deadlines are measured in."""
    return asyncio.get_running_loop().time()
