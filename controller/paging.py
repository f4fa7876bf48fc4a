"""Pages over listings that the platform gives whole (pure).

Entries are ordered by creation time and id, which never change, and a token names the last entry given: objects that
come or go between two pages shift nothing.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from csi.errors import CsiError, ErrorKind

MAX_PAGE = 2000
"""Entries in one answer at most; an answer of that many stays far below the 4 MiB that gRPC clients accept."""

T = TypeVar("T")
Place = tuple[datetime, str]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page and the token of the next one; an empty token ends the list."""

    entries: tuple[T, ...]
    next_token: str


def take_page(entries: Iterable[T], place: Callable[[T], Place], *, max_entries: int, token: str) -> Page[T]:
    """Cut the page after `token` out of all entries; `max_entries` 0 leaves the size to us.

    Raises CsiError INVALID for a negative number, BUSY (which is ABORTED, as CSI demands) for a token that is not ours.
    """
    if max_entries < 0:
        raise CsiError(ErrorKind.INVALID, f"max_entries is {max_entries}; it must not be negative")
    ordered = sorted(entries, key=place)
    if token:
        after = _decode(token)
        ordered = [entry for entry in ordered if place(entry) > after]
    size = min(max_entries or MAX_PAGE, MAX_PAGE)
    taken = tuple(ordered[:size])
    more = len(ordered) > size
    return Page(entries=taken, next_token=_encode(place(taken[-1])) if more else "")


def _encode(place: Place) -> str:
    text = f"{place[0].isoformat()} {place[1]}"
    return base64.urlsafe_b64encode(f"{_check(text)} {text}".encode()).decode()


def _decode(token: str) -> Place:
    try:
        check, moment, identity = base64.b64decode(token, altchars=b"-_", validate=True).decode().split(" ")
        place = datetime.fromisoformat(moment), identity
    except (binascii.Error, ValueError) as error:
        raise _bad_token() from error
    if check != _check(f"{moment} {identity}") or place[0].tzinfo is None:
        raise _bad_token()
    return place


def _check(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _bad_token() -> CsiError:
    return CsiError(ErrorKind.BUSY, "starting_token is none that this driver gave out; start the listing again")
