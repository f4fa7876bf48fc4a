import pytest

from controller.topology import Requirement, candidate_zones, is_reachable, segments_of
from csi.driver import ZONE_KEY
from csi.errors import CsiError, ErrorKind


def terms(*zones: str) -> tuple[dict[str, str], ...]:
    return tuple({ZONE_KEY: zone} for zone in zones)


@pytest.mark.parametrize(
    ("requisite", "preferred", "wanted", "zones"),
    [
        ((), (), "", ("",)),
        (("a", "b"), (), "", ("a", "b")),
        (("a", "b"), ("b", "a"), "", ("b", "a")),
        (("a", "b", "c"), ("c",), "", ("c", "a", "b")),
        ((), ("b",), "", ("b",)),
        (("a",), ("z",), "", ("a",)),
        (("a", "b"), ("a",), "b", ("b",)),
        ((), (), "b", ("b",)),
        (("a", "a"), ("a", "a"), "", ("a",)),
    ],
)
def test_preferred_zones_come_first_and_only_requisite_ones_are_tried(requisite, preferred, wanted, zones):
    assert candidate_zones(Requirement(terms(*requisite), terms(*preferred)), wanted) == zones


def test_a_storage_class_zone_outside_the_requirement_is_exhausted():
    with pytest.raises(CsiError) as caught:
        candidate_zones(Requirement(terms("a")), "b")
    assert caught.value.kind is ErrorKind.EXHAUSTED


@pytest.mark.parametrize("segments", [{}, {"other/key": "a"}, {ZONE_KEY: "a", "other/key": "b"}, {ZONE_KEY: ""}])
@pytest.mark.parametrize("part", ["requisite", "preferred"])
def test_a_term_that_is_not_exactly_our_key_is_invalid_and_named(segments, part):
    with pytest.raises(CsiError) as caught:
        candidate_zones(Requirement(**{part: (segments,)}), "")
    assert caught.value.kind is ErrorKind.INVALID
    assert f"accessibility_requirements.{part}[0]" in caught.value.message


def test_only_requisite_terms_bind_an_existing_volume():
    requirement = Requirement(terms("a", "b"), terms("a"))
    assert is_reachable("b", requirement, "")
    assert not is_reachable("c", requirement, "")
    assert is_reachable("c", Requirement(preferred=terms("a")), "")
    assert not is_reachable("b", requirement, "a")


def test_a_volume_without_a_zone_has_no_segments():
    assert segments_of("") == {}
    assert segments_of("a") == {ZONE_KEY: "a"}
