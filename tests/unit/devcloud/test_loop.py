"""The parts of the loop driver that need no device."""

from devcloud import loop

MOUNTINFO = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
90 22 7:3 / /mnt/with\\040space rw,relatime shared:1 - ext4 /dev/loop3 rw
91 22 7:3 /sub /mnt/again rw,relatime - ext4 /dev/loop3 rw
92 22 7:30 / /mnt/other rw,relatime - ext4 /dev/loop30 rw
"""


def test_mount_points_are_found_by_device_number() -> None:
    assert loop.mount_points(3, MOUNTINFO) == ["/mnt/with space", "/mnt/again"]
    assert loop.mount_points(4, MOUNTINFO) == []


def test_loop_number_without_a_device_is_nothing() -> None:
    assert loop.read_loop(99999) is None
    assert loop.holders(99999) == []
