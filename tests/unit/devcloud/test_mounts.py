"""Where loop devices are mounted, and that an open mount is the one of the table."""

import os
from pathlib import Path

import pytest

from devcloud import mounts
from devcloud.mounts import HERE, Mounted, MountView

MOUNTINFO = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
90 22 7:3 / /mnt/with\\040space rw,relatime shared:1 - ext4 /dev/loop3 rw
91 22 7:3 /sub /mnt/again rw,relatime - ext4 /dev/loop3 rw
92 22 7:30 / /mnt/other rw,relatime - ext4 /dev/loop30 rw
93 22 0:45 / /mnt/btrfs rw,relatime - btrfs /dev/loop4 rw
"""


def test_mount_points_are_found_by_device_number() -> None:
    assert mounts.parse(3, MOUNTINFO) == [(90, "/mnt/with space"), (91, "/mnt/again")]
    assert mounts.parse(5, MOUNTINFO) == []


def test_file_system_with_a_number_of_its_own_is_found_by_its_source() -> None:
    assert mounts.parse(4, MOUNTINFO) == [(93, "/mnt/btrfs")]


def test_every_namespace_is_looked_at_and_named(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTINFO)
    machine = MountView(tmp_path, tmp_path / "mountinfo", "instance w1")
    gone = MountView(tmp_path, tmp_path / "gone", "instance w2")

    found = mounts.find(4, [HERE, machine, gone])

    assert [place.describe() for place in found] == ["mounted on /mnt/btrfs in instance w1"]


def test_path_that_leads_to_another_mount_is_not_opened(tmp_path: Path) -> None:
    here = Path("/proc/self/mountinfo").read_text().splitlines()
    root = next(line.split() for line in here if line.split()[4] == "/")
    right, wrong = Mounted(int(root[0]), "/", HERE), Mounted(1 << 30, "/", HERE)

    with mounts.opened([wrong, right]) as folder:
        assert os.fstat(folder).st_ino == Path("/").stat().st_ino
    with pytest.raises(FileNotFoundError), mounts.opened([wrong]):
        pass
