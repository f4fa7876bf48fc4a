import inspect

import pytest
from grpc import StatusCode

from controller.cloud_errors import CAUSE_OF_CONFLICT, CAUSE_OF_ERROR, HINT_OF_ERROR, cloud_error
from controller.platform import open_cloud
from controller.ports import KIND_OF_CAUSE, Cause
from csi.codes import STATUS_OF_KIND
from tests.unit.thecloud.scripted import VOLUME_ID, Platform, ok, soon
from thecloud import errors

CONCRETE = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.PlatformError) and kind is not errors.PlatformError
]
ASKED_AGAIN = {StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.ABORTED}
"""What the provisioner takes for "may still be running"; after any other code it may forget the volume."""


def test_every_error_of_the_client_has_a_cause_and_every_cause_a_kind():
    assert set(CONCRETE) == set(CAUSE_OF_ERROR)
    assert set(Cause) == set(KIND_OF_CAUSE)
    assert set(Cause) == set(CAUSE_OF_ERROR.values()) | set(CAUSE_OF_CONFLICT.values())


@pytest.mark.parametrize("kind", sorted(set(CONCRETE) - set(HINT_OF_ERROR), key=str))
def test_a_translated_error_keeps_the_work_the_words_and_the_request(kind):
    error = cloud_error(kind("the words", request_id="r-1", method="GET", route="/volumes"), "reading volume v")
    assert error.message == "reading volume v: GET /volumes: the words (request r-1)"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (errors.Unauthorized, "the platform refuses the API key"),
        (errors.NotSent, "the platform cannot be reached"),
        (errors.Untrusted, "the platform's certificate is not trusted"),
    ],
)
def test_what_a_person_can_mend_is_said_in_words_and_keeps_those_of_the_platform(kind, words: str):
    error = cloud_error(kind("HTTP 403 with an empty body", request_id="r-1"), "reading volume v")
    assert error.message.startswith(f"reading volume v: {words}")
    assert error.message.endswith("HTTP 403 with an empty body (request r-1)")
    assert STATUS_OF_KIND[error.kind] in ASKED_AGAIN


NOTHING_SAID = (errors.UnknownOutcome, errors.NotSent, errors.Unauthorized, errors.RateLimited)


@pytest.mark.parametrize("kind", [k for k in CONCRETE if issubclass(k, NOTHING_SAID)])
def test_what_may_still_have_an_effect_is_never_final(kind):
    assert STATUS_OF_KIND[cloud_error(kind("x"), "y").kind] in ASKED_AGAIN


@pytest.mark.parametrize("reason", sorted(CAUSE_OF_CONFLICT))
def test_a_named_conflict_keeps_its_reason_and_holder(reason):
    error = cloud_error(errors.Conflict("x", details={"reason": reason, "instance_id": "i"}), "y")
    assert error.cause is CAUSE_OF_CONFLICT[reason]
    assert error.instance_id == "i"


def test_an_unnamed_conflict_is_only_a_conflict():
    assert cloud_error(errors.Conflict("x"), "y").cause is Cause.CONFLICT


def test_a_missing_object_keeps_its_kind():
    assert cloud_error(errors.Missing("x", details={"resource": "zone"}), "y").resource == "zone"


@pytest.mark.parametrize(
    ("status", "instance_id", "in_use"),
    [
        ("AVAILABLE", None, False),
        ("IN-USE", "i", True),
        ("IN-USE", None, True),
        ("DETACHING", "i", True),
        ("DELETING", None, False),
    ],
)
async def test_a_state_that_is_not_known_is_not_free_while_it_names_a_holder(status, instance_id, in_use):
    row = {"id": VOLUME_ID, "name": "n", "size_gb": 1, "status": status, "instance_id": instance_id}
    platform = Platform(features=()).on("GET", f"/volumes/{VOLUME_ID}", ok(row))
    async with platform.client() as client:
        found = await open_cloud(client).volumes.get(VOLUME_ID, deadline=soon())
    assert found is not None
    assert found.in_use is in_use


@pytest.mark.parametrize(
    ("status", "is_answered"), [(500, True), (200, True), (None, False), (408, False), (502, False), (504, False)]
)
def test_a_call_is_over_only_when_the_platform_itself_has_answered(status, is_answered):
    assert cloud_error(errors.UnknownOutcome("x", status=status), "y").is_answered is is_answered
