"""One call to the platform and its answer: what the layers of the transport hand to each other.

Belongs here: the shape of a call. Does not belong here: sending it (`thecloud.transport`), waiting (`thecloud.budget`),
trying again (`thecloud.retry`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any, Protocol, TypeAlias, TypeVar

import msgspec

from thecloud.errors import UnknownOutcome
from thecloud.wire import Envelope

T = TypeVar("T")

Params = tuple[tuple[str, str], ...]

NO_CONTENT = 204
NOT_MODIFIED = 304
IF_NONE_MATCH = "If-None-Match"


class Lane(IntEnum):
    """Who goes first when the rate budget is short; the lower number does.

    What gives something back or lets a pod start comes before what makes new objects.
    """

    DELETE = 0
    ATTACH = 1
    CREATE = 2
    READ = 3


class Repeat(Enum):
    """Whether a call may be made again when nobody knows if it happened."""

    SAFE = "safe"
    """Twice is as good as once: reads, keyed creates, guarded attach and detach."""
    UNSENT_ONLY = "unsent only"
    """Only when it is certain that nothing was done."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call; `route` is the template for metrics and errors, `path` the address below the base URL."""

    method: str
    route: str
    path: str
    deadline: float
    """Loop time by which there is an answer or an error."""
    lane: Lane = Lane.READ
    repeat: Repeat = Repeat.UNSENT_ONLY
    params: Params = ()
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    headers: Params = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """A success (2xx), or 304 to a call that sent `If-None-Match`."""

    status: int
    body: bytes = field(repr=False)
    request_id: str = ""
    etag: str = ""
    """Names the state that this answer shows; empty when the platform gave no name that can be sent back."""


class Exchange(Protocol):
    """A layer of the transport."""

    async def send(self, call: Call) -> Answer:
        """Make the call and give the success; raises PlatformError for everything else."""
        ...


Decoder: TypeAlias = msgspec.json.Decoder[Envelope[T]]

_ANY: Decoder[object] = msgspec.json.Decoder(Envelope[object])


def decoder_of(shape: type[T]) -> Decoder[T]:
    """Give the reader of successes that carry one object, or a tuple of them, of that shape."""
    return msgspec.json.Decoder(Envelope[shape])  # type: ignore[valid-type]


def read_object(decoder: Decoder[T], call: Call, answer: Answer) -> T:
    """Give the object of a success that must carry one.

    Raises UnknownOutcome when the body cannot be read: the platform said yes, but not to what.
    """
    data = _decode(decoder, call, answer).data
    if data is None or isinstance(data, msgspec.UnsetType):
        raise _unreadable(call, answer, "the object that was asked for is not in it")
    return data


def read_list(decoder: Decoder[tuple[T, ...]], call: Call, answer: Answer) -> tuple[T, ...]:
    """Give the objects of a listing; null is an empty list, a listing without the field is no listing.

    Raises UnknownOutcome when the body cannot be read, so that nobody takes a foreign answer for "nothing there".
    """
    data = _decode(decoder, call, answer).data
    if isinstance(data, msgspec.UnsetType):
        raise _unreadable(call, answer, "it has no list")
    return data or ()


def read_done(call: Call, answer: Answer) -> None:
    """Check that a success without a payload of interest is the platform's; raises UnknownOutcome when it is not."""
    if answer.status == NO_CONTENT:
        return
    envelope = _decode(_ANY, call, answer)
    if envelope.meta is None and isinstance(envelope.data, msgspec.UnsetType):
        raise _unreadable(call, answer, "it has neither data nor meta")


def _decode(decoder: Decoder[T], call: Call, answer: Answer) -> Envelope[T]:
    try:
        return decoder.decode(answer.body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _unreadable(call, answer, str(error) if answer.body else "it is empty") from error


def _unreadable(call: Call, answer: Answer, why: str) -> UnknownOutcome:
    return UnknownOutcome(
        f"HTTP {answer.status} with a body that cannot be used: {why}",
        request_id=answer.request_id,
        status=answer.status,
        method=call.method,
        route=call.route,
    )
