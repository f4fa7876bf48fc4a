import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.model import DEFAULT_VOLUME_BYTES, GIB, MAX_VOLUME_BYTES
from controller.sizes import choose_size, fits
from csi.errors import CsiError, ErrorKind
from tests.unit.controller.outcomes import only

SIZES = st.integers(min_value=0, max_value=2 * MAX_VOLUME_BYTES)


@settings(deadline=None)
@given(SIZES, SIZES, st.integers(min_value=0, max_value=20).map(lambda gib: gib * GIB))
def test_a_chosen_size_is_whole_gib_inside_the_range_and_no_smaller_than_the_source(required, limit, source):
    with only(ErrorKind.OUT_OF_RANGE):
        size = choose_size(required, limit, at_least_bytes=source)
        assert size % GIB == 0
        assert size >= max(required, source)
        assert size <= MAX_VOLUME_BYTES
        assert fits(size, required, limit)


@pytest.mark.parametrize(
    ("required", "limit", "size"),
    [
        (0, 0, DEFAULT_VOLUME_BYTES),
        (1, 0, GIB),
        (GIB + 1, 0, 2 * GIB),
        (GIB * 3 // 2, 2 * GIB, 2 * GIB),
        (0, 3 * GIB, 3 * GIB),
        (0, 3 * GIB + 5, 3 * GIB),
        (0, 100 * GIB, DEFAULT_VOLUME_BYTES),
        (MAX_VOLUME_BYTES, 0, MAX_VOLUME_BYTES),
    ],
)
def test_sizes_are_rounded_up_and_default_to_ten_gib_or_what_the_limit_allows(required, limit, size):
    assert choose_size(required, limit) == size


@pytest.mark.parametrize(
    ("required", "limit", "source"),
    [
        (GIB + 1, GIB + 2, 0),
        (0, GIB - 1, 0),
        (MAX_VOLUME_BYTES + 1, 0, 0),
        (2**63 - 1, 0, 0),
        (GIB, 0, 2 * GIB),
        (0, 2 * GIB, 3 * GIB),
    ],
)
def test_a_range_without_a_size_is_out_of_range(required, limit, source):
    with pytest.raises(CsiError) as caught:
        choose_size(required, limit, at_least_bytes=source)
    assert caught.value.kind is ErrorKind.OUT_OF_RANGE
    assert "capacity_range" in caught.value.message


def test_a_volume_without_a_range_starts_with_the_size_of_its_source():
    assert choose_size(0, 0, at_least_bytes=40 * GIB) == 40 * GIB
