"""What a call may end in, for tests over generated input."""

from collections.abc import Iterator
from contextlib import contextmanager

from csi.errors import CsiError, ErrorKind


@contextmanager
def only(*kinds: ErrorKind) -> Iterator[None]:
    """Let the block succeed or raise a CsiError of one of these kinds; anything else fails the test."""
    try:
        yield
    except CsiError as error:
        if error.kind not in kinds:
            raise
