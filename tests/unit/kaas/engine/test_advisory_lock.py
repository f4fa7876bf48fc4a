"""A second conductor on one SQLite file is told so; the lock of a dead one is free."""

import os
import signal
import subprocess
import sys

import pytest

from kaas.engine.advisory_lock import SecondConductorError, only_conductor

HOLDER = """
import sys, time
from pathlib import Path
from kaas.engine.advisory_lock import only_conductor
with only_conductor(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_one_is_told_which_file_and_what_to_do(tmp_path):
    database = tmp_path / "kaas.db"
    with only_conductor(database), pytest.raises(SecondConductorError) as caught, only_conductor(database):
        raise AssertionError("not reached")
    text = str(caught.value)
    assert f"process {os.getpid()}" in text
    assert str(tmp_path / "kaas.db.conductor-lock") in text
    assert "PostgreSQL" in text


def test_afterwards_it_is_free(tmp_path):
    for _ in range(2):
        with only_conductor(tmp_path / "kaas.db"):
            pass


def test_another_name_of_the_same_file_is_the_same_lock(tmp_path):
    (tmp_path / "kaas.db").touch()
    (tmp_path / "other.db").symlink_to(tmp_path / "kaas.db")
    first, second = only_conductor(tmp_path / "kaas.db"), only_conductor(tmp_path / "other.db")
    with first, pytest.raises(SecondConductorError), second:
        raise AssertionError("not reached")


def test_only_the_owner_may_read_the_file(tmp_path):
    with only_conductor(tmp_path / "kaas.db"):
        assert (tmp_path / "kaas.db.conductor-lock").stat().st_mode & 0o777 == 0o600


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    database = tmp_path / "kaas.db"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, database], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "held\n"
        with pytest.raises(SecondConductorError, match=f"process {child.pid} "), only_conductor(database):
            raise AssertionError("not reached")
        child.send_signal(signal.SIGKILL)
        child.wait()
        with only_conductor(database):
            pass
