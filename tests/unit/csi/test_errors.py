import grpc

from csi.codes import STATUS_OF_KIND
from csi.errors import CsiError, ErrorKind


def test_every_kind_has_its_own_status() -> None:
    assert set(STATUS_OF_KIND) == set(ErrorKind)
    assert len(set(STATUS_OF_KIND.values())) == len(ErrorKind)


def test_an_outcome_that_is_not_known_is_never_reported_as_final() -> None:
    maybe_running = {
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
    kinds = (ErrorKind.BUSY, ErrorKind.UNKNOWN_OUTCOME, ErrorKind.TIMEOUT)
    assert {STATUS_OF_KIND[kind] for kind in kinds} == maybe_running


def test_an_error_reads_as_its_message() -> None:
    error = CsiError(ErrorKind.NOT_FOUND, "volume x does not exist")
    assert str(error) == error.message == "volume x does not exist"
