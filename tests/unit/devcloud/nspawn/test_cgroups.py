"""Control groups: what the host has, and where a machine's processes go."""

from pathlib import Path

import pytest

from devcloud.errors import BackendError
from devcloud.nspawn.cgroups import Cgroups, Hierarchy, find_hierarchies

V1 = """\
20 1 0:5 / /proc rw,relatime - proc proc rw
30 25 0:26 / {root}/cpu rw,relatime shared:1 - cgroup cgroup rw,cpu,cpuacct
31 25 0:27 / {root}/cpuset rw,relatime - cgroup cgroup rw,cpuset
32 25 0:28 / {root}/memory rw,relatime - cgroup cgroup rw,memory
33 25 0:29 / {root}/devices rw,relatime - cgroup cgroup rw,devices
34 25 0:30 / {root}/freezer rw,relatime - cgroup cgroup rw,freezer
35 25 0:31 / {root}/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
36 25 0:32 / {root}/unified rw,relatime - cgroup2 cgroup2 rw
37 25 0:28 / {root}/again rw,relatime - cgroup cgroup rw,memory
"""
V2 = "30 25 0:26 / {root} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def groups_of(table: str, root: Path) -> Cgroups:
    return Cgroups("site", find_hierarchies(table.format(root=root)))


@pytest.fixture
def v1(tmp_path: Path) -> Path:
    for name in ("cpu", "cpuset", "memory", "devices", "freezer", "systemd", "unified"):
        (tmp_path / name).mkdir()
    (tmp_path / "cpuset/cpuset.cpus").write_text("0-1\n")
    (tmp_path / "cpuset/cpuset.mems").write_text("0\n")
    # The kernel makes a group's files with the group.
    (tmp_path / "cpuset/site").mkdir()
    for name in ("cpuset.cpus", "cpuset.mems"):
        (tmp_path / "cpuset/site" / name).write_text("\n")
    return tmp_path


@pytest.fixture
def v2(tmp_path: Path) -> Path:
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    return tmp_path


def test_every_hierarchy_is_found_once(v1: Path) -> None:
    found = find_hierarchies(V1.format(root=v1))

    assert [item.mount.name for item in found] == [
        *("cpu", "cpuset", "memory", "devices", "freezer", "systemd", "unified")
    ]
    assert found[0] == Hierarchy(v1 / "cpu", frozenset({"cpu", "cpuacct"}), 1)
    assert found[-1].version == 2


def test_host_without_groups_says_so(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="no control groups"):
        Cgroups("site", find_hierarchies("20 1 0:5 / /proc rw - proc proc rw\n")).require()
    (tmp_path / "x").mkdir()
    missing = Hierarchy(tmp_path / "gone", frozenset({"cpu"}), 1)
    with pytest.raises(BackendError, match="read-only"):
        Cgroups("site", [missing]).require()


def test_machine_joins_a_group_of_its_own_in_every_hierarchy(v1: Path) -> None:
    groups = groups_of(V1, v1)
    groups.create("m", 4096)
    groups.join("m", 77)

    for name in ("cpu", "cpuset", "memory", "devices", "freezer", "systemd", "unified"):
        assert (v1 / name / "site/m/cgroup.procs").read_text() == "77"
    assert (v1 / "memory/site/m/memory.limit_in_bytes").read_text() == "4096"
    assert (v1 / "cpuset/site/cpuset.cpus").read_text() == "0-1\n"
    assert (v1 / "cpuset/site/cgroup.clone_children").read_text() == "1"
    assert groups.machines() == {"m"}
    assert groups.container_group("m") == ""


def test_no_limit_is_written_where_none_is_wanted(v1: Path) -> None:
    groups_of(V1, v1).create("m", 0)

    assert not (v1 / "memory/site/m/memory.limit_in_bytes").exists()


def test_controllers_that_a_kubelet_writes_to_are_made_writable(v1: Path) -> None:
    wanted = groups_of(V1, v1).read_only_in_machine

    assert wanted == tuple(str(v1 / name) for name in ("cpu", "cpuset", "memory", "devices", "freezer"))


def test_other_machines_disks_are_denied(v1: Path) -> None:
    groups = groups_of(V1, v1)
    groups.create("m", 0)
    groups.deny_disk("m", 7, 1003)

    assert (v1 / "devices/site/m/devices.deny").read_text() == "b 7:1003 rw"
    assert groups.guard_disks


def test_machine_is_frozen_as_a_whole(v1: Path) -> None:
    groups = groups_of(V1, v1)
    groups.create("m", 0)
    groups.freeze("m", frozen=True)
    assert (v1 / "freezer/site/m/freezer.state").read_text() == "FROZEN"
    groups.freeze("m", frozen=False)
    assert (v1 / "freezer/site/m/freezer.state").read_text() == "THAWED"


def test_host_that_cannot_freeze_says_so(tmp_path: Path) -> None:
    groups = Cgroups("site", [Hierarchy(tmp_path, frozenset({"cpu"}), 1)])
    groups.create("m", 0)

    with pytest.raises(BackendError, match="freezer"):
        groups.freeze("m", frozen=True)
    groups.freeze("m", frozen=False)


def test_processes_of_all_groups_below_are_the_machines(v1: Path) -> None:
    groups = groups_of(V1, v1)
    groups.create("m", 0)
    (v1 / "systemd/site/m/system.slice/a.service").mkdir(parents=True)
    (v1 / "systemd/site/m/system.slice/a.service/cgroup.procs").write_text("8\n9\n")
    (v1 / "cpu/site/m/cgroup.procs").write_text("7\n")

    assert groups.processes("m") == {7, 8, 9}
    assert groups.processes("other") == set()


def test_groups_are_removed_deepest_first(v1: Path) -> None:
    for name in ("cpu", "systemd"):
        (v1 / name / "site/m/a/b").mkdir(parents=True)
        (v1 / name / "site/m/c").mkdir()
        (v1 / name / "site/other").mkdir()
    groups = groups_of(V1, v1)
    groups.remove("m")

    assert groups.machines() == {"other"}
    (v1 / "systemd/site/other/busy").touch()
    with pytest.raises(BackendError, match="site/other"):
        groups.remove("other")


def test_with_version_2_the_container_has_a_group_without_its_keeper(v2: Path) -> None:
    groups = groups_of(V2, v2)
    groups.create("m", 4096)
    groups.join("m", 77)

    # A group with controllers for those below may have no processes itself.
    assert (v2 / "site/m/keeper/cgroup.procs").read_text() == "77"
    assert not (v2 / "site/m/cgroup.procs").exists()
    assert groups.container_group("m") == str(v2 / "site/m/container")
    assert (v2 / "site/m/cgroup.subtree_control").exists()
    assert (v2 / "site/m/memory.max").read_text() == "4096"
    assert (v2 / "site/cgroup.subtree_control").exists()
    assert groups.read_only_in_machine == ()
    assert not groups.guard_disks
    groups.freeze("m", frozen=True)
    assert (v2 / "site/m/cgroup.freeze").read_text() == "1"
