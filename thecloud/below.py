"""Why nothing reached the platform, in words for a person: the library wraps the reason several times.

Belongs here: finding and naming the reason. Does not belong here: what it means for the call (`thecloud.transport`).
"""

import os
import ssl
from collections.abc import Iterator

_MOST = 10


def certificate_problem(error: BaseException) -> str:
    """Say what is wrong with the certificate that the other side showed; empty when that is not the reason."""
    for one in chain(error):
        if isinstance(one, ssl.SSLCertVerificationError):
            return one.verify_message or str(one)
    return ""


def reason(error: BaseException) -> str:
    """Give the reason in one line: the kind that the library names, and the system's own words at the end of it."""
    text = " ".join(str(error).split())
    for one in chain(error):
        if isinstance(one, OSError) and one.errno is not None and one.strerror:
            # asyncio puts its own words in place of the system's; those of the resolver have numbers below zero.
            text = os.strerror(one.errno) if one.errno > 0 else one.strerror
    return f"{type(error).__name__}: {text or 'no further words'}"


def chain(error: BaseException) -> Iterator[BaseException]:
    """Give an error and what it was raised from, the deepest last; of several at once, the first."""
    one: BaseException | None = error
    for _ in range(_MOST):
        if one is None:
            return
        yield one
        one = one.exceptions[0] if isinstance(one, BaseExceptionGroup) else one.__cause__ or one.__context__
