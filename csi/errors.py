"""Error kinds of the drivers: domain code raises `CsiError` with a kind.

Not here: their gRPC status codes (`csi.codes`); commands that serve nothing do without gRPC's memory and start time.
"""

from enum import Enum


class ErrorKind(Enum):
    """What went wrong, in the terms of the CSI specification's error tables."""

    INVALID = "invalid"
    """The request is wrong and stays wrong."""
    NOT_FOUND = "not_found"
    """The object is definitely not there."""
    ALREADY_EXISTS = "already_exists"
    """An object of that name or place exists and does not fit the request."""
    PRECONDITION = "precondition"
    """The object is in a state that forbids this; somebody else has to act first."""
    BUSY = "busy"
    """The same object is being worked on; ask again."""
    EXHAUSTED = "exhausted"
    """A limit of a node, a quota or the storage is reached."""
    OUT_OF_RANGE = "out_of_range"
    """The size cannot be had."""
    UNSUPPORTED = "unsupported"
    """The platform or this driver cannot do it."""
    UNKNOWN_OUTCOME = "unknown_outcome"
    """The platform did not say whether it happened, or refused the API key; ask again, nothing may be concluded."""
    TIMEOUT = "timeout"
    """The caller's deadline passed; work may have had an effect."""
    DATA_LOSS = "data_loss"
    """Data is lost or would be lost by going on."""
    INTERNAL = "internal"
    """Something on this host or in this program failed."""


class CsiError(Exception):
    """A failure with a kind and a text for the person who reads the Kubernetes event.

    The text says what failed, on which object, what was seen and what to do.
    """

    def __init__(self, kind: ErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
