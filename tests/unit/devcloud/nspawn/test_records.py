"""What the next platform makes of what a killed one left."""

from pathlib import Path

import pytest

from devcloud.machines import Machine
from devcloud.nspawn import records
from devcloud.nspawn.processes import Process
from devcloud.nspawn.records import Finding, MachineFolder, Run, find_leader, look_at
from tests.unit.devcloud.nspawn.fake_proc import FakeProc

RUN = Run("boot-1", Process(7, 100), Process(9, 102))
MACHINE = Machine("id-1", "web", "web.example.org", "debian", "10.77.0.5", commands=("true",))


def test_run_goes_on_while_its_keeper_is_the_very_one(tmp_path: Path) -> None:
    proc = FakeProc(tmp_path)
    proc.add(7, 100)

    assert look_at(RUN, tmp_path) is Finding.GOES_ON
    assert look_at(Run("boot-1", Process(7, 99)), tmp_path) is Finding.ENDED
    assert look_at(Run("boot-1", Process(8, 100)), tmp_path) is Finding.ENDED


def test_process_numbers_of_an_earlier_run_of_this_host_mean_nothing(tmp_path: Path) -> None:
    proc = FakeProc(tmp_path, "boot-2")
    proc.add(7, 100)

    assert look_at(RUN, tmp_path) is Finding.LOST


def test_noted_leader_is_the_only_one_that_counts(tmp_path: Path) -> None:
    proc = FakeProc(tmp_path)
    proc.add(7, 100)
    assert find_leader(RUN, tmp_path) is None
    proc.add(9, 555)
    assert find_leader(RUN, tmp_path) is None

    right = tmp_path / "right"
    FakeProc(right).add(9, 102)
    assert find_leader(RUN, right) == Process(9, 102)


def test_leader_that_was_not_noted_yet_is_found_below_the_keeper(tmp_path: Path) -> None:
    proc = FakeProc(tmp_path)
    fresh = Run("boot-1", Process(7, 100))
    proc.add(7, 100, children=(8,))
    proc.add(8, 101, children=(9, 10))
    proc.add(9, 102, inner=(1,), program="/usr/bin/systemd-nspawn")
    proc.add(10, 103, inner=(1,), program="/usr/lib/systemd/systemd")

    assert find_leader(fresh, tmp_path) == Process(10, 103)
    assert find_leader(Run("boot-1", Process(7, 99)), tmp_path) is None


def test_records_are_read_as_written(tmp_path: Path) -> None:
    folder = MachineFolder(tmp_path)
    assert (folder.read_machine(), folder.read_run(), folder.read_exit_status()) == (None, None, None)
    folder.write_machine(MACHINE)
    folder.write_run(RUN)
    folder.exit_status.write_text("133\n")

    assert (folder.read_machine(), folder.read_run(), folder.read_exit_status()) == (MACHINE, RUN, 133)


@pytest.mark.parametrize("content", ["", "{", '{"boot": 1}', "[]"])
def test_record_that_cannot_be_read_is_none(tmp_path: Path, content: str) -> None:
    folder = MachineFolder(tmp_path)
    for name in ("machine.json", "run.json", "exit"):
        (tmp_path / name).write_text(content)

    assert (folder.read_machine(), folder.read_run(), folder.read_exit_status()) == (None, None, None)


def test_console_is_told_from_its_end(tmp_path: Path) -> None:
    folder = MachineFolder(tmp_path)
    assert folder.read_console(10) == ""
    folder.console.write_text("first\nlast\n")

    assert folder.read_console(5) == "last\n"
    assert folder.read_console(100) == "first\nlast\n"


def test_folders_are_named_by_instance(tmp_path: Path) -> None:
    assert records.folders(tmp_path) == []
    for name in ("b", "a"):
        (tmp_path / "machines" / name).mkdir(parents=True)

    assert [folder.instance_id for folder in records.folders(tmp_path)] == ["a", "b"]


def test_data_folders_of_two_paths_differ() -> None:
    folder = MachineFolder(Path("/x"))

    assert folder.data("/var/lib/containerd") == Path("/x/data/var-lib-containerd")
