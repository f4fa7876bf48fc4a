"""The parts of the loop driver that need no device."""

from devcloud import loop


def test_loop_number_without_a_device_is_nothing() -> None:
    assert loop.read_loop(99999) is None
    assert loop.holders(99999) == []
