"""One table from what the client says to what a controller may conclude."""

import pytest

import thecloud.errors
from ccm.cloud.errors import CAUSES, cloud_error, translated
from ccm.ports import Cause, CloudError
from thecloud.errors import (
    Conflict,
    DeadlineExceeded,
    KeyUnusable,
    Misrouted,
    Missing,
    NoRoute,
    PlatformError,
    RateLimited,
    Refused,
    Unauthorized,
    UnknownOutcome,
    Unsupported,
)

KINDS = [kind for kind in vars(thecloud.errors).values() if isinstance(kind, type) and issubclass(kind, PlatformError)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_cause_and_only_a_definite_answer_is_definite(kind):
    cause = cloud_error(kind("text")).cause
    if issubclass(kind, UnknownOutcome) or kind is PlatformError:
        assert cause is Cause.UNKNOWN
    else:
        assert cause is not Cause.UNKNOWN
    assert (cause is Cause.MISSING) is issubclass(kind, Missing)


def test_no_row_of_the_table_is_hidden_by_one_before_it():
    seen = []
    for kind, _ in CAUSES:
        assert not any(issubclass(kind, before) for before in seen)
        seen.append(kind)


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        (DeadlineExceeded, Cause.NOT_SENT),
        (KeyUnusable, Cause.NOT_SENT),
        (Misrouted, Cause.UNKNOWN),
        (NoRoute, Cause.UNKNOWN),
        (Unauthorized, Cause.UNAUTHORIZED),
        (RateLimited, Cause.RATE_LIMITED),
        (Unsupported, Cause.UNSUPPORTED),
    ],
)
def test_some_causes(kind, cause):
    assert cloud_error(kind("text")).cause is cause


def test_what_a_controller_acts_on_comes_along():
    error = Conflict(
        "taken", method="PUT", route="/lb/{id}", details={"reason": "port_taken", "port": "80"}, request_id="r-1"
    )
    said = cloud_error(error)
    assert (said.reason, said.details["port"]) == ("port_taken", "80")
    assert str(said) == "PUT /lb/{id}: taken (request r-1)"
    assert cloud_error(Conflict("strict tier", error_type="CONFLICT")).reason == ""
    assert cloud_error(Refused("other network", error_type="LB_CROSS_VPC")).reason == "LB_CROSS_VPC"
    assert cloud_error(RateLimited("slow down", retry_after_s=3.0)).retry_after_s == 3.0
    assert cloud_error(Missing("no", details={"resource": "instance"})).resource == "instance"
    assert cloud_error(Missing("no", error_type="LB_NOT_FOUND")).resource == "load_balancer"


def test_other_errors_pass():
    with pytest.raises(KeyError), translated():
        raise KeyError("bug")
    with pytest.raises(CloudError), translated():
        raise Missing("no")
