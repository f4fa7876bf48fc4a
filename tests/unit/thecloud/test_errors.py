"""The table from HTTP answers to errors, and that nothing escapes it."""

import json

import httpx as whole_httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thecloud import errors, transport
from thecloud.errors import (
    Conflict,
    DeadlineExceeded,
    GuardMismatch,
    Misrouted,
    Missing,
    NoRoute,
    NotSent,
    PlatformError,
    QuotaExceeded,
    RateLimited,
    Refused,
    Unauthorized,
    UnknownOutcome,
    error_of_answer,
)


def read(status, body=b"", **fields):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return error_of_answer(status=status, body=content, method="GET", route="/volumes/{id}", request_id="r1", **fields)


def envelope(kind, **details):
    return {"error": {"type": kind, "code": kind, "message": "words", "details": details}, "meta": {"request_id": "r2"}}


CONTRACT_TYPES = {
    "INVALID_INPUT": (400, Refused),
    "LB_CROSS_VPC": (400, Refused),
    "UNAUTHORIZED": (401, Unauthorized),
    "FORBIDDEN": (403, Unauthorized),
    "NOT_FOUND": (404, Missing),
    "BUCKET_NOT_FOUND": (404, Missing),
    "OBJECT_NOT_FOUND": (404, Missing),
    "LB_NOT_FOUND": (404, Missing),
    "CONFLICT": (409, Conflict),
    "INSTANCE_NOT_RUNNING": (409, Conflict),
    "PORT_CONFLICT": (409, Conflict),
    "TOO_MANY_PORTS": (409, Conflict),
    "LB_TARGET_EXISTS": (409, Conflict),
    "PRECONDITION_FAILED": (412, GuardMismatch),
    "OBJECT_TOO_LARGE": (413, Refused),
    "RESOURCE_LIMIT_EXCEEDED": (429, QuotaExceeded),
    "QUOTA_EXCEEDED": (429, QuotaExceeded),
    "INTERNAL": (500, UnknownOutcome),
    "PERMISSION_DENIED": (500, UnknownOutcome),
    "NOT_IMPLEMENTED": (500, UnknownOutcome),
    "INVALID_PORT_FORMAT": (500, UnknownOutcome),
    "TIMEOUT": (504, UnknownOutcome),
}


@pytest.mark.parametrize(("kind", "expected"), CONTRACT_TYPES.items())
def test_every_type_of_the_contract_has_its_class(kind, expected):
    status, error_class = expected
    error = read(status, envelope(kind))
    assert type(error) is error_class
    assert (error.status, error.error_type, error.request_id) == (status, kind, "r2")
    assert str(error).startswith("GET /volumes/{id}: ")
    assert str(error).endswith("(request r2)")


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (429, b'{"error":"rate limit exceeded"}', RateLimited),
        (429, b"", RateLimited),
        (429, b"<html>slow down</html>", RateLimited),
        (400, b'{"error":"bad uuid"}', Refused),
        (418, b'{"error":"teapot"}', Refused),
        (401, b"<html>", Unauthorized),
        (403, b"", Unauthorized),
        (404, b"404 page not found", NoRoute),
        (404, b"404 page not found\n", NoRoute),
        (404, b"<html>404 page not found</html>", Misrouted),
        (405, b"404 page not found", Misrouted),
        (404, b"", Misrouted),
        (404, b'{"error":"not found"}', Misrouted),
        (404, b'{"message":"Not Found"}', Misrouted),
        (404, b'{"error":{"type":"ROUTE","message":"no"}}', Misrouted),
        (400, b"<html>proxy</html>", Misrouted),
        (405, b"", Misrouted),
        (408, b"", UnknownOutcome),
        (408, b'{"error":"late"}', UnknownOutcome),
        (301, b"", Misrouted),
        (307, b'{"error":"moved"}', Misrouted),
        (304, b"", Misrouted),
        (500, b"", UnknownOutcome),
        (502, b"<html>bad gateway</html>", UnknownOutcome),
        (503, b'{"error":"down"}', UnknownOutcome),
        (599, b"\xff\xfe", UnknownOutcome),
    ],
)
def test_bodies_outside_the_envelope(status, body, expected):
    assert type(read(status, body)) is expected


def test_a_plain_404_is_unknown_and_never_missing():
    assert isinstance(read(404, b"404 page not found"), UnknownOutcome)


def test_details_reach_the_caller():
    attached = read(409, envelope("CONFLICT", reason="attached", instance_id="i-1"))
    assert (attached.reason, attached.instance_id) == ("attached", "i-1")
    missing = read(404, envelope("NOT_FOUND", resource="instance", id="i-2"))
    assert (missing.resource, missing.object_id) == ("instance", "i-2")
    strict = read(409, {"error": {"type": "CONFLICT", "message": "taken"}})
    assert (strict.reason, strict.instance_id, dict(strict.details)) == ("", "", {})
    assert read(404, {"error": {"type": "NOT_FOUND"}}).resource == ""


def test_details_that_are_no_texts_are_left_out():
    assert dict(read(409, envelope("CONFLICT", reason="busy", count=3)).details) == {"reason": "busy"}


def test_a_redirect_names_its_target_without_the_query():
    error = read(301, b"", location="https://elsewhere.test/volumes?token=s3cret")
    assert "https://elsewhere.test/volumes" in str(error)
    assert "s3cret" not in str(error)


def test_a_long_foreign_body_is_shortened_to_one_line():
    text = str(read(400, b"<html>\n" + b"x" * 10_000))
    assert len(text) < 500
    assert "\n" not in text


@pytest.mark.parametrize(
    "body",
    [
        b"<pre>GET /volumes HTTP/1.1 X-Api-Key: %s Accept: */*</pre>",
        b"x" * 280 + b" %s",
        b'{"error":"bad header %s"}',
        b'{"error":{"type":"INVALID_INPUT","message":"X-API-Key: %s","details":{"header":"%s"}}}',
    ],
)
def test_what_was_sent_in_secret_does_not_come_back_in_a_text(body):
    secret = "thecloud_0123456789abcdef0123456789abcdef"
    error = read(400, body.replace(b"%s", secret.encode()), secret=secret)
    for start in range(len(secret) - 8):
        assert secret[start : start + 8] not in f"{error} {dict(error.details)}"
    assert "***" in str(error)


def test_a_redirect_does_not_show_the_secret():
    assert "s3cret" not in str(read(301, b"", location="https://x/s3cret/y", secret="s3cret"))


def test_the_tree_in_the_documentation_is_the_tree_in_the_code():
    def walk(kind):
        yield kind.__name__
        for child in kind.__subclasses__():
            yield from walk(child)

    drawn = {line.split("── ")[1].split()[0] for line in errors.__doc__.splitlines() if "── " in line}
    assert drawn | {"PlatformError"} == set(walk(PlatformError))


def test_what_is_definite_is_never_unknown():
    assert not issubclass(NotSent, UnknownOutcome)
    assert issubclass(DeadlineExceeded, NotSent)
    assert issubclass(Misrouted, UnknownOutcome)


def library_exceptions():
    found = [getattr(whole_httpx, name) for name in whole_httpx.__all__]
    return [kind for kind in found if isinstance(kind, type) and issubclass(kind, Exception)]


@pytest.mark.parametrize("kind", library_exceptions(), ids=lambda kind: kind.__name__)
def test_every_exception_of_the_library_is_caught_and_has_a_meaning(kind):
    assert issubclass(kind, transport._LIBRARY_ERRORS)
    is_abstract = any(other is not kind and issubclass(other, kind) for other in library_exceptions())
    assert is_abstract or kind in transport.OF_LIBRARY_ERROR


def test_only_failures_before_sending_count_as_not_sent():
    unsent = {kind.__name__ for kind, meaning in transport.OF_LIBRARY_ERROR.items() if meaning is NotSent}
    assert unsent == {"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol", "InvalidURL"}


def test_an_unheard_of_library_error_may_have_had_an_effect():
    class NewError(whole_httpx.NetworkError):
        pass

    assert transport.class_of_library_error(NewError) is UnknownOutcome


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "type", "code", "message", "details", "meta", "request_id", "data"]), inner
        )
    ),
    max_leaves=12,
)


@given(status=st.integers(300, 599), body=json_values.map(lambda value: json.dumps(value).encode()) | st.binary())
def test_any_body_reads_as_an_error_of_the_tree(status, body):
    error = read(status, body)
    assert isinstance(error, PlatformError)
    assert str(error)
    if status >= 500 or status < 400:
        assert isinstance(error, UnknownOutcome)


@given(body=st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_missing_needs_the_platforms_own_words(body):
    if isinstance(read(404, body), Missing):
        assert json.loads(body)["error"]["type"].endswith("NOT_FOUND")
