"""The one table from the client's errors to the domain's codes."""

from collections.abc import Iterator

import pytest

from kaas.domain.errors import STEP_CODES, Code, StepError
from kaas.drivers.thecloud.errors import code_of, translated
from thecloud import errors

EXPECTED = {
    errors.PlatformError: Code.PLATFORM_UNAVAILABLE,
    errors.NotSent: Code.PLATFORM_UNAVAILABLE,
    errors.DeadlineExceeded: Code.PLATFORM_UNAVAILABLE,
    errors.Untrusted: Code.PLATFORM_UNAVAILABLE,
    errors.KeyUnusable: Code.PLATFORM_AUTH,
    errors.Unsupported: Code.NOT_OFFERED,
    errors.Unauthorized: Code.PLATFORM_AUTH,
    errors.RateLimited: Code.PLATFORM_THROTTLED,
    errors.QuotaExceeded: Code.PLATFORM_QUOTA,
    errors.Missing: Code.PLATFORM_REFUSED,
    errors.Conflict: Code.PLATFORM_REFUSED,
    errors.GuardMismatch: Code.PLATFORM_REFUSED,
    errors.Refused: Code.PLATFORM_REFUSED,
    errors.UnknownOutcome: Code.PLATFORM_UNAVAILABLE,
    errors.Misrouted: Code.PLATFORM_UNAVAILABLE,
    errors.NoRoute: Code.PLATFORM_UNAVAILABLE,
}


def kinds(kind: type[errors.PlatformError] = errors.PlatformError) -> Iterator[type[errors.PlatformError]]:
    yield kind
    for one in kind.__subclasses__():
        yield from kinds(one)


def test_every_error_of_the_client_has_its_code() -> None:
    assert {kind: code_of(kind("no")) for kind in kinds()} == EXPECTED
    assert set(EXPECTED.values()) <= set(STEP_CODES)


def test_the_text_says_what_was_done_what_was_seen_and_what_to_do() -> None:
    seen = errors.QuotaExceeded("HTTP 429 QUOTA_EXCEEDED: vcpus", method="POST", route="/instances", request_id="r-1")

    with pytest.raises(StepError) as raised, translated("launching machine 'dev-0'"):
        raise seen

    assert raised.value.message.startswith("launching machine 'dev-0': POST /instances: HTTP 429 QUOTA_EXCEEDED: vcpus")
    assert "request r-1" in raised.value.message
    assert raised.value.message.endswith("have the tenant's quota raised")
    assert raised.value.__cause__ is seen


def test_a_pause_that_the_platform_asks_for_is_passed_on() -> None:
    with pytest.raises(StepError) as raised, translated("x"):
        raise errors.RateLimited("slow down", retry_after_s=7.0)

    assert (raised.value.code, raised.value.retry_after_s) == (Code.PLATFORM_THROTTLED, 7.0)


def test_other_errors_pass_through() -> None:
    with pytest.raises(KeyError), translated("x"):
        raise KeyError
