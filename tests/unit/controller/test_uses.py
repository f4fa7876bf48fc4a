import pytest

from controller.uses import Uses, name_key, volume_key
from csi.errors import CsiError, ErrorKind


def refused(uses: Uses, key: str) -> bool:
    with pytest.raises(CsiError) as caught, uses.alone(key):
        pass
    return caught.value.kind is ErrorKind.BUSY


def test_a_held_object_refuses_a_second_worker_and_is_free_afterwards():
    uses = Uses()
    with uses.alone("a", "b"):
        assert refused(uses, "a")
        assert refused(uses, "b")
    with uses.alone("a", "b"):
        pass


def test_a_source_serves_many_but_is_not_deleted_meanwhile():
    uses = Uses()
    with uses.as_source("a"):
        with uses.as_source("a"):
            assert refused(uses, "a")
        assert refused(uses, "a")
    with uses.alone("a"):
        pass


def test_an_object_that_is_worked_on_is_no_source():
    uses = Uses()
    with uses.alone("a"), pytest.raises(CsiError), uses.as_source("a"):
        pass
    with uses.as_source("a"):
        pass


def test_a_failure_inside_releases_everything():
    uses = Uses()
    with pytest.raises(ZeroDivisionError), uses.alone("a"), uses.as_source("b"):
        raise ZeroDivisionError
    with uses.alone("a", "b"):
        pass


def test_names_and_ids_never_share_a_key_and_ids_are_compared_without_case():
    assert volume_key("ABC") == volume_key("abc")
    assert name_key("volume", "abc") != volume_key("abc")


def test_a_source_in_use_says_that_it_may_be_for_a_snapshot():
    uses = Uses()
    with uses.as_source("volume a"), pytest.raises(CsiError, match="a volume or a snapshot"), uses.alone("volume a"):
        pass
